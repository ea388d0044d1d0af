"""Damaged texts and damaged tokenizers: they are data, or one line."""

import pytest
from hostile import QUICK, data_or_one_line, each_of, mutations, tries

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.texts import Bpe
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config

TEXT = ("Es war einmal ein König. \n" * 30).encode()


def read_text(path, *words):
    options = ["--data.name=text", f"--data.path={path}", "--model.context=8", *words]
    tasks.find("language_modeling").load(load_config("language_modeling", options), None)


def read_tokenizer(path):
    list(Bpe.read(path).encode(["Es war einmal"], "the text"))


READERS = {
    "characters": (lambda: TEXT, read_text),
    "bpe": (lambda: TEXT, lambda path: read_text(path, "--data.tokens=bpe", "--data.vocabulary=300")),
    "tokenizer": (lambda: Bpe.fit([TEXT.decode()], 270).content.encode(), read_tokenizer),
}


@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 300)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    make, read = READERS[name]
    path, content = tmp_path / "file", make()

    def check(damaged):
        path.write_bytes(damaged)
        data_or_one_line(lambda: read(path))

    path.write_bytes(content)
    read(path)
    each_of(mutations(content), count, check)


def test_a_number_of_a_token_that_would_fill_the_memory_is_refused(tmp_path):
    content = Bpe.fit([TEXT.decode()], 257).content
    last = content.rindex(":256")
    path = tmp_path / "tokenizer.json"
    path.write_text(content[:last] + ":4000000000" + content[last + 4 :])
    with pytest.raises(InputError, match="one of them is number 4000000000"):
        Bpe.read(path)
