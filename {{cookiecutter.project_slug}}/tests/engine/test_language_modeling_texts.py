"""Language modelling: its texts, tokenizers and batches."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, small
from helpers import load_data
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data import texts
from {{cookiecutter.package_name}}.engine.data.texts import Bpe
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.tasks.language_modeling import data
from {{cookiecutter.package_name}}.tasks.language_modeling.data import TINY_SHAKESPEARE

TASK = tasks.find("language_modeling")
TEXT = "".join(f"Am {i}. Tag grüßte Nr. {i * i % 97}: »Ach, {'so ' * (i % 3)}fünf €!«\r\n\r\n" for i in range(400))
OWN = ("--data.name=text", "--data.path=text.txt", "--data.root=.", "--model.context=16")


def config(*options):
    return load_config(TASK.name, [*small(TASK.name), "--data.val_fraction=0.1", "--data.test_fraction=0.1", *options])


def dataset(*options):
    return load_data(config(*options))


def write(path, content):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def own(project):
    """A file of text in the current folder."""
    write("text.txt", TEXT)


def everything(source):
    return source[np.arange(len(source))]


def text_of(found, *sources):
    """What is read from the sources of a dataset, one after the other, as bytes; windows overlap by a token."""
    pieces = texts.of_spec(found.spec).pieces
    rows = [row[i > 0 :] for source in sources for i, row in enumerate(everything(source)["tokens"])]
    return b"".join(pieces[token] for row in rows for token in row[row >= 0].tolist())


def training_text(found):
    """The training part as bytes."""
    starts = everything(found.train)["start"]
    context = found.spec["context"]
    rows = found.augment({"start": starts, "offset": np.zeros_like(starts)})["tokens"][:, :context]
    pieces = texts.of_spec(found.spec).pieces
    return b"".join(pieces[token] for token in rows.ravel().tolist())


def refused(*options):
    with pytest.raises(InputError) as caught:
        dataset(*options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Texts and their parts.


def test_without_a_share_for_the_test_it_is_that_of_validation(own):
    found = dataset(*OWN, "--data.test_fraction=0")
    assert text_of(found, found.val) == text_of(found, found.test)


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_no_part_of_a_text_is_lost_or_changed(own, monkeypatch, kind):
    monkeypatch.setattr(data, "BLOCK", 5000)
    monkeypatch.setattr(texts, "PIECE", 1000)
    found = dataset(*OWN, f"--data.tokens={kind}", "--data.vocabulary=300", "--data.val_fraction=0.3334")
    train, val, test = training_text(found), text_of(found, found.val), text_of(found, found.test)
    assert TEXT.encode().startswith(train) and TEXT.encode().endswith(val + test)
    assert len(train) == pytest.approx((1 - 0.3334 - 0.1) * len(TEXT.encode()), abs=200)


def test_files_are_joined_in_the_order_of_their_names(project):
    for name, content in {"b.txt": "bb", "a.txt": "aa" * 50, "c.txt": "cc" * 50, "d.md": "dd", "e/f.txt": "ff"}.items():
        write(f"books/{name}", content)
    options = (
        "--data.name=text",
        "--data.root=.",
        "--model.context=1",
        "--data.val_fraction=0.5",
        "--data.test_fraction=0",
    )
    folder, pattern = dataset(*options, "--data.path=books"), dataset(*options, "--data.path=books/**/*.txt")
    assert (training_text(folder), text_of(folder, folder.val)) == (b"a" * 100, b"b" + b"c" * 100)
    assert text_of(pattern, pattern.val).endswith(b"ccff")


BOOKS = ("--data.name=text", "--data.root=.", "--model.context=1", "--data.val_fraction=0.5", "--data.test_fraction=0")


@pytest.fixture
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


@pytest.mark.parametrize("path", ["books", "books/*.txt", "books/**/*.txt", "books/*.[tT]*"])
def test_a_suffix_may_be_in_any_case(project, path):
    write("books/a.TXT", "a" * 100)
    write("books/b.txt", "b" * 100)
    found = dataset(*BOOKS, f"--data.path={path}")
    assert (training_text(found), text_of(found, found.val)) == (b"a" * 99, b"b" * 100)


def test_what_is_left_out_of_a_folder_is_told_in_one_line(project, quiet, capsys):
    for name in ("a.txt", "b.md", "c.pdf", "d.pdf", ".DS_Store", "part2/e.txt"):
        write(f"books/{name}", name * 50)
    for _ in range(2):  # the second time beside what was converted
        dataset(*BOOKS, "--data.path=books")
    assert capsys.readouterr().err.splitlines() == [
        "books: 4 of 5 entries are left out: 2 .pdf, 1 .md, 1 folder",
        "data.test_fraction = 0: the validation part of books/a.txt is the test, too",
    ]


def test_of_a_pattern_the_folders_that_it_fits_are_told_unless_what_is_in_them_is_read(project, quiet, capsys):
    write("books/a.txt", "a" * 100)
    write("books/part2/b.txt", "b" * 100)
    dataset(*BOOKS, "--data.path=books/*")
    assert "books/*: 1 of 2 entries is left out: 1 folder\n" in capsys.readouterr().err
    found = dataset(*BOOKS, "--data.path=books/**/*")
    assert text_of(found, found.val) == b"b" * 100
    assert "left out" not in capsys.readouterr().err


def test_a_folder_of_ones_own_that_is_called_converted_is_read(project):
    write("books/a.txt", "a" * 100)
    write("books/converted-books/b.txt", "b" * 100)
    found = dataset(*BOOKS, "--data.path=books/**/*.txt")
    assert text_of(found, found.val) == b"b" * 100


@pytest.mark.parametrize("path", ["books", "books/*.txt"])
def test_a_link_to_nothing_is_an_error_or_counted(project, quiet, capsys, path):
    write("books/a.txt", "a" * 100)
    Path("books/b.txt").symlink_to("gone.txt")
    assert refused(*BOOKS, f"--data.path={path}").startswith("books/b.txt is a link to nothing, gone.txt: ")
    found = dataset(*BOOKS, f"--data.path={path}", "--data.skip_bad=true")
    assert text_of(found, found.val) == b"a" * 50
    assert "data.skip_bad leaves out 1 of 2: books/b.txt is a link to nothing" in capsys.readouterr().err


PLACES = {"a file": "books/a.txt", "a folder": "./books", "a pattern": "books/*.txt"}


@pytest.mark.parametrize("case", PLACES)
def test_a_path_is_looked_for_in_the_working_folder_and_then_in_root(project, case):
    options = [*BOOKS, f"--data.path={PLACES[case]}", "--data.root=data"]
    write("data/books/a.txt", "d" * 100)
    assert training_text(dataset(*options)).startswith(b"d" * 49)
    [converted] = {path.parent for path in Path().rglob("converted-*")}
    assert converted == Path("data/books")
    write("books/other.md", "a folder that holds something else")
    assert training_text(dataset(*options)).startswith(b"d" * 49)
    write("books/a.txt", "w" * 100)
    assert training_text(dataset(*options)).startswith(b"w" * 49)
    assert {path.parent for path in Path().rglob("converted-*")} == {Path("data/books"), Path("books")}


def test_a_mark_of_the_byte_order_is_no_text(project):
    write("text.txt", b"\xef\xbb\xbf" + b"abcdefgh" * 50)
    assert "\ufeff" not in json.loads(dataset(*OWN).spec["characters.json"])


def test_of_a_text_in_ascii_the_first_nine_tenths_are_for_training(project):
    """As in nanoGPT: of n characters the first int(0.9 n)."""
    text = "".join(chr(ord("a") + i * i % 26) for i in range(1234))
    write("text.txt", text)
    found = dataset(*OWN, "--data.test_fraction=0")
    assert text_of(found, found.val) == text[1110:].encode()


# A text of its own for the test.


def test_a_test_of_its_own_leaves_the_text_to_training_and_validation(own):
    write("later.txt", TEXT[:5000])
    found = dataset(*OWN, "--data.test_path=later.txt")
    assert text_of(found, found.test) == TEXT[:5000].encode()
    assert TEXT.encode().startswith(training_text(found)) and TEXT.encode().endswith(text_of(found, found.val))
    assert len(training_text(found)) == pytest.approx(0.9 * len(TEXT.encode()), abs=40)


@pytest.mark.parametrize("path", ["later", "later/*.txt"])
@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_a_test_of_its_own_may_be_a_folder_or_a_pattern(own, path, kind):
    write("later/1.txt", TEXT[:500])
    write("later/2.txt", TEXT[500:1000])
    found = dataset(*OWN, f"--data.test_path={path}", f"--data.tokens={kind}", "--data.vocabulary=300")
    assert text_of(found, found.test) == TEXT[:1000].encode()


def test_shares_that_leave_nothing_for_training_do_not_matter_to_a_test_of_its_own(own):
    write("later.txt", TEXT[:500])
    options = config(*OWN, "--data.test_path=later.txt", "--data.val_fraction=0.5", "--data.test_fraction=0.6")
    TASK.check(options)
    assert len(training_text(load_data(options))) == pytest.approx(0.5 * len(TEXT.encode()), abs=40)


def test_a_tokenizer_is_not_fitted_on_a_test_of_its_own(own):
    write("later.txt", TEXT[:500] + "日")
    line = refused(*OWN, "--data.test_path=later.txt")
    assert line.startswith("later.txt has '日', for which the model has no token")
    write("later.txt", "zzzz" * 200)
    bpe = [
        dataset(*OWN, "--data.tokens=bpe", "--data.vocabulary=300", f"--data.test_path={name}.txt")
        for name in ("later", "text")
    ]
    assert bpe[0].spec == bpe[1].spec


def test_a_test_of_its_own_that_is_missing_or_too_short_is_named(own):
    line = refused(*OWN, "--data.test_path=later.txt")
    assert line.startswith("data.test_path = 'later.txt': there is no later.txt that is a UTF-8 file")
    write("later.txt", "a")
    assert "later.txt: the test part has 1 tokens" in refused(*OWN, "--data.test_path=later.txt")


# Digests.


def digests(found):
    return [split.digest() for split in (found.train, found.val, found.test)]


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_the_same_text_elsewhere_has_the_same_digests(project, kind):
    kinds = (f"--data.tokens={kind}", "--data.vocabulary=300")
    write("one/a.txt", TEXT)
    write("deep/er/b.txt", TEXT[:1000])
    write("deep/er/c.txt", TEXT[1000:])
    one = dataset(*OWN, *kinds, "--data.path=one/a.txt")
    again = dataset(*OWN, *kinds, "--data.path=one/a.txt")
    two = TASK.load(config(*OWN, *kinds, "--data.path=deep/er", "--data.cache=kept"), one.spec)
    assert digests(one) == digests(again) == digests(two) and len({*digests(one)}) == 3


def test_a_byte_that_changes_changes_the_digest_of_its_part(own):
    before = digests(dataset(*OWN))
    size = len(TEXT.encode())
    for part, place in enumerate((0.3, 0.85, 0.95)):
        content = bytearray(TEXT.encode())
        at = content.index(b"Tag", int(place * size))
        content[at] = ord("A")
        write("text.txt", bytes(content))
        same = [a == b for a, b in zip(digests(dataset(*OWN)), before, strict=True)]
        assert same == [i != part for i in range(3)]


def test_files_in_another_order_have_another_digest(project):
    write("a/1.txt", TEXT)
    write("a/2.txt", TEXT[::-1])
    write("b/1.txt", TEXT[::-1])
    write("b/2.txt", TEXT)
    one, two = (digests(dataset(*OWN, f"--data.path={name}")) for name in "ab")
    assert all(a != b for a, b in zip(one, two, strict=True))


def test_digests_are_those_of_the_tokens_whether_they_are_kept_or_not(own):
    kept = dataset(*OWN)
    assert data._digest([np.array(kept.val.tokens)]) == kept.val.digest()
    embedded = dataset()
    assert data._digest([embedded.val.tokens]) == embedded.val.digest() != embedded.test.digest()


def test_a_converted_text_is_not_read_for_its_digest(own, monkeypatch):
    before = digests(dataset(*OWN))
    monkeypatch.setattr(data, "_digest", None)
    assert digests(dataset(*OWN)) == before


# Tokenizers.


def test_bpe_is_trained_on_the_training_part_alone(project):
    write("a.txt", TEXT + "seen " * 500 + "x" * 5000)
    write("b.txt", TEXT + "seen " * 500 + "other words in the end " * 217 + "y" * 9)
    options = (
        "--data.name=text",
        "--data.root=.",
        "--data.tokens=bpe",
        "--data.vocabulary=300",
        "--data.val_fraction=0.2",
    )
    a, b = (dataset(*options, f"--data.path={name}.txt").spec["tokenizer.json"] for name in "ab")
    assert Path("a.txt").stat().st_size == Path("b.txt").stat().st_size
    assert a == b


def test_bpe_has_as_many_tokens_as_are_asked_for(own):
    assert dataset(*OWN, "--data.tokens=bpe", "--data.vocabulary=300").spec["vocabulary"] == 300


def test_how_a_text_is_read_does_not_change_its_tokens(monkeypatch):
    tokenizer = Bpe.fit([TEXT], 300)
    whole = np.concatenate(list(tokenizer.encode([TEXT], "")))
    monkeypatch.setattr(texts, "PIECE", 7)
    blocks = [TEXT[i : i + 11] for i in range(0, len(TEXT), 11)]
    assert np.array_equal(np.concatenate(list(tokenizer.encode(blocks, ""))), whole)


def test_a_text_without_blanks_is_not_kept_in_memory(monkeypatch):
    tokenizer = Bpe.fit([TEXT], 300)
    monkeypatch.setattr(texts, "PIECE", 10)
    found = list(tokenizer.encode(["ä" * 100] * 5, ""))
    assert max(map(len, found)) <= 400 and sum(map(len, found)) > 100
    assert b"".join(tokenizer.pieces[token] for block in found for token in block).decode() == "ä" * 500


def gpt2_tokenizer(folder):
    """GPT-2's in its two forms, in miniature: tokenizer.json in one folder, vocab.json and merges.txt in another."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = ["<|endoftext|>"]
    trained.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=end)
    )
    for name in ("new", "old"):
        (folder / name).mkdir()
    trained.save(str(folder / "new" / "tokenizer.json"))
    trained.model.save(str(folder / "old"))
    return folder / "new", folder / "old"


def test_both_forms_of_gpt2s_tokenizer_give_the_same_tokens(own, project):
    new, old = gpt2_tokenizer(project)
    assert sorted(path.name for path in old.iterdir()) == ["merges.txt", "vocab.json"]
    text = "Tag<|endoftext|>grüßte \x00 日本"
    a, b, c = (Bpe.read(path) for path in (new, old, new / "tokenizer.json"))
    found = [np.concatenate(list(tokenizer.encode([text], ""))).tolist() for tokenizer in (a, b, c)]
    assert found[0] == found[1] == found[2] == Tokenizer.from_file(str(new / "tokenizer.json")).encode(text).ids
    assert b"".join(a.pieces[token] for token in found[0]).decode() == text
    assert 0 in found[0] and a.pieces[0] == b"<|endoftext|>"


def test_weights_that_come_with_a_tokenizer_need_it(complaint, project):
    for folder in map(str, gpt2_tokenizer(project)):
        line = complaint("train", TASK.name, *small(TASK.name), "--framework", FRAMEWORKS[0], "--init", folder)
        assert f"add --data.tokens bpe --data.tokenizer {folder}" in line


def test_a_tokenizer_that_changes_texts_is_refused(own, project):
    new, _ = gpt2_tokenizer(project)
    lowering = Tokenizer.from_file(str(new / "tokenizer.json"))
    lowering.normalizer = normalizers.Lowercase()
    lowering.save("lower.json")
    line = refused(*OWN, "--data.tokens=bpe", "--data.tokenizer=lower.json")
    assert "text.txt: the tokenizer changes 'Am 0. Tag" in line


# Conversion.


def test_a_text_is_converted_once(own, monkeypatch):
    before = dataset(*OWN)
    monkeypatch.setattr(data.Text, "read", None)
    after = dataset(*OWN)
    assert before.spec == after.spec and text_of(before, before.val) == text_of(after, after.val)


def test_a_text_that_has_changed_is_converted_again(own):
    before = dataset(*OWN)
    write("text.txt", TEXT.upper())
    assert dataset(*OWN).spec != before.spec


def test_tokens_are_mapped_from_where_the_cache_is(own):
    found = dataset(*OWN, "--data.cache=kept/here")
    assert isinstance(found.val.tokens, np.memmap) and found.val.tokens.dtype == np.uint16
    assert Path("kept/here").resolve() in Path(found.val.tokens.filename).parents
    assert sorted(Path().glob("converted-*")) == []


def test_a_place_where_nothing_can_be_kept_is_named_with_the_option(own):
    write("file", "in the way")
    line = refused(*OWN, "--data.cache=file")
    assert "file cannot hold converted data" in line and "--data.cache" in line


def test_a_run_that_goes_on_keeps_its_tokenizer(own):
    spec = dataset(*OWN).spec
    write("text.txt", TEXT.replace("Tag", "gaT"))
    settings = config(*OWN)
    assert TASK.load(settings, spec).spec == spec
    write("text.txt", TEXT.replace("A", "日"))
    with pytest.raises(InputError, match="text.txt has '日', for which the model has no token"):
        TASK.load(settings, spec)


# Batches.


def test_training_examples_lie_anywhere_in_the_training_part(own):
    found = dataset(*OWN)
    whole = training_text(found)
    pieces = texts.of_spec(found.spec).pieces
    rng, places = np.random.default_rng(0), set()
    for _ in range(20):
        drawn = found.draw(rng, len(found.train))
        batch = found.augment({**everything(found.train), **drawn})
        assert batch["tokens"].shape == (len(found.train), 17) and batch["tokens"].min() >= 0
        row = b"".join(pieces[token] for token in batch["tokens"][0])
        assert row[:10] in whole and batch["bytes"][0] == len(row) - len(pieces[batch["tokens"][0, 0]])
        places |= {*drawn["offset"].tolist()}
    assert places == {*range(16)}


def test_an_epoch_is_one_pass(own):
    found = dataset(*OWN)
    assert 16 * len(found.train) == pytest.approx(len(training_text(found).decode(errors="ignore")), abs=16)


# What is wrong is told before anything is written.


def test_a_text_that_is_missing_names_its_place(project):
    line = refused(*OWN)
    assert "data.path = 'text.txt': there is no text.txt" in line and "data.root is ." in line


def test_a_pattern_that_fits_nothing_is_named(project):
    write("books/a.md", "text")
    assert "books/*.txt" in refused(*OWN, "--data.path=books/*.txt")
    assert "there is no books" in refused(*OWN, "--data.path=books")


def test_an_empty_file_is_named(project):
    write("text.txt", "")
    assert "text.txt: there is no text, the size is 0" in refused(*OWN)


def test_a_byte_0_is_no_text_as_in_files_of_utf16(project):
    (project / "text.txt").write_bytes("a line\nthe next".encode("utf-16-le") * 50)
    assert "text.txt, row 1: a byte 0, which is no text: save the file as UTF-8" in refused(*OWN)


@pytest.mark.parametrize(
    ("content", "row", "byte"),
    [(b"a\nb\xff" + 99 * b"c", 2, "ff"), (99 * b"a\n" + b"\xe2\x82", 100, "e2"), (b"\xe4" + 99 * b"a", 1, "e4")],
)
def test_what_is_no_utf8_is_named_with_its_row(project, monkeypatch, content, row, byte):
    monkeypatch.setattr(data, "BLOCK", 3)
    write("text.txt", content)
    assert f"text.txt, row {row}: byte 0x{byte} is no UTF-8 text" in refused(*OWN, "--data.val_fraction=0.3")


def test_a_pattern_that_is_none_is_told(project):
    assert "data.path = 'books/a**b'" in refused(*OWN, "--data.path=books/a**b")


def test_a_text_that_is_too_short_is_told_what_it_needs(project):
    write("text.txt", "abcdefghij" * 2)
    assert "the train part has 16 tokens, but model.context = 16 needs 17" in refused(*OWN)
    assert "of 20 bytes, data.val_fraction = 0.01" in refused(
        *OWN, "--data.val_fraction=0.01", "--data.test_fraction=0.01"
    )
    assert "the val part has 1 tokens" in refused(*OWN, "--data.val_fraction=0.05", "--model.context=4")


WRONG = {
    "heads": (["--model.heads=3"], "model.width = 16 is not divisible by model.heads = 3"),
    "a vocabulary": (["--data.tokens=bpe", "--data.vocabulary=100"], "data.vocabulary = 100: byte-level BPE has"),
    "a tokenizer": (["--data.tokenizer=x"], "data.tokenizer = 'x' is for data.tokens = bpe"),
    "no tokenizer": (["--data.tokens=bpe", "--data.tokenizer=x"], "data.tokenizer = 'x': no tokenizer.json there"),
    "fractions": (["--data.val_fraction=0.6", "--data.test_fraction=0.5"], "data.test_fraction = 0.5 leave nothing"),
    "no validation": (["--data.val_fraction=0"], "data.val_fraction = 0.0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_fit_are_one_line(complaint, case):
    options, expected = WRONG[case]
    assert expected in complaint("train", TASK.name, *small(TASK.name), "--framework", FRAMEWORKS[0], *options)


@pytest.mark.parametrize(("content", "expected"), [("{", "EOF"), ('{"model": 1}', ""), ("{}", "")])
def test_a_file_that_is_no_tokenizer_is_named(own, content, expected):
    write("tokenizer.json", content)
    line = refused(*OWN, "--data.tokens=bpe", "--data.tokenizer=tokenizer.json")
    assert "data.tokenizer = 'tokenizer.json': " in line and expected in line


def test_tiny_shakespeare_that_is_missing_or_another_file_names_its_source(project):
    root = ("--data.name=tiny_shakespeare", "--data.root=data")
    assert TINY_SHAKESPEARE.url.rpartition("/")[0] in refused(*root)
    write("data/tiny_shakespeare/input.txt", "Other plays.\n")
    assert "not 6fb458f1232090904fb40fe944165e91" in refused(*root)
