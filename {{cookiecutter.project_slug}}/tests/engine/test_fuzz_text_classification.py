"""Damaged tables of texts and damaged tokenizers: they are data, or one line."""

import pytest
from hostile import QUICK, data_or_one_line, each_of, mutations, tries

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.text_classification import tokens

TABLE = ("text,label\n" + "".join(f"some text {i},{'ab'[i % 2]}\n" for i in range(30))).encode()


def read_table(path, *words):
    options = ["--data.name=csv", f"--data.path={path}", *words]
    tasks.find("text_classification").load(load_config("text_classification", options), None)


def read_tokenizer(path):
    """Every token has a row among the model's."""
    text, count = tokens.read_word_pieces(path.parent, lower=True)
    assert tokens.encode(["some text"], {"tokenizer.json": text}, 8).max() < count


READERS = {
    "table": ("file.csv", lambda: TABLE, read_table),
    "table, bad rows left out": ("file.csv", lambda: TABLE, lambda path: read_table(path, "--data.skip_bad=true")),
    "tokenizer": (tokens.WHOLE, lambda: tokens.learn_word_pieces(["some text"], 60, True)[0].encode(), read_tokenizer),
    "pieces": (tokens.PIECES, lambda: b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nsome\ntext\n##s", read_tokenizer),
}


@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 300)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    file, make, read = READERS[name]
    path, content = tmp_path / file, make()

    def check(damaged):
        path.write_bytes(damaged)
        data_or_one_line(lambda: read(path))

    path.write_bytes(content)
    read(path)
    each_of(mutations(content), count, check)


def test_a_line_of_the_pieces_that_is_there_twice_leaves_every_piece_its_row(tmp_path):
    (tmp_path / tokens.PIECES).write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nsome\nsome\ntext\n")
    _, count = tokens.read_word_pieces(tmp_path, lower=True)
    assert count == 8
