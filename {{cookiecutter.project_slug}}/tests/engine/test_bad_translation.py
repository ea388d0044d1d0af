"""Pairs that cannot be read: files of different length, empty lines, other encodings, texts that are too long."""

import gzip

import pytest
from conftest import FRAMEWORKS, everything

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.translation.scores import to_text

TASK = tasks.find("translation")
SMALL = ["--accelerator=cpu", "--model.layers=1", "--model.heads=2", "--model.width=8", "--model.hidden=8"]
SMALL += ["--model.context=12", "--data.batch_size=4", "--data.vocabulary=300", "--data.groups=1"]
OPTIONS = ["--data.root=.", "--data.source_path=a.en", "--data.target_path=a.de"]
OPTIONS += ["--data.source=en", "--data.target=de", "--data.val_fraction=0.2", "--data.test_fraction=0.2"]
TABLE = [*(option for option in OPTIONS if "_path" not in option), "--data.path=a.tsv"]
SKIP = "--data.skip_bad=true"


@pytest.fixture
def load(project, monkeypatch):
    """`load(*options)` is what is read of the current folder."""

    def read(*options):
        monkeypatch.setattr(data_files, "_said", set())
        return TASK.load(load_config("translation/parallel", [*SMALL, *options]), None)

    return read


@pytest.fixture
def write(project):
    """`write(changes)` makes the files, of which some lines, by their number from 1, are others."""

    def write(en=None, de=None, count=30, name="a"):
        for language, changes in (("en", en or {}), ("de", de or {})):
            lines = [changes.get(i, f"{language} {i}".encode()) for i in range(1, count + 1)]
            (project / f"{name}.{language}").write_bytes(b"".join(line + b"\n" for line in lines))

    return write


def texts(found):
    splits = [everything(split)["source"] for split in (found.train, found.val, found.test)]
    return [[to_text(row, found.spec["pieces"]) for row in rows] for rows in splits]


FAULTS = [
    ({"en": {7: b""}}, "a.en, row 7: empty, but a.de, row 7 is not"),
    ({"de": {7: b" \t"}}, "a.de, row 7: empty, but a.en, row 7 is not"),
    ({"de": {7: "grüß".encode("latin-1")}}, "a.de, row 7: byte 0xfc is no UTF-8 text"),
    ({"en": {1: "one".encode("utf-16")}}, "a.en, row 1: byte 0xff is no UTF-8 text"),
    ({"en": {7: b"a\0b"}}, "a.en, row 7: a byte 0, which is no text"),
]


@pytest.mark.parametrize(("changes", "part"), FAULTS)
def test_a_bad_line_is_named(load, write, changes, part):
    write(**changes)
    with pytest.raises(InputError) as caught:
        load(*OPTIONS)
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("changes", "part"), FAULTS)
def test_bad_lines_are_left_out_as_if_they_had_never_been_there(load, write, project, capsys, changes, part):
    write(**changes)
    found = load(*OPTIONS, SKIP)
    line = capsys.readouterr().err
    assert line.startswith("data.skip_bad leaves out 1 of 30: ") and part in line and line.count("\n") == 1
    load(*OPTIONS, SKIP)  # what is kept says it, too
    assert capsys.readouterr().err == line
    row = next(iter(next(iter(changes.values()))))
    for language in ("en", "de"):
        lines = (project / f"a.{language}").read_bytes().splitlines(keepends=True)
        (project / f"a.{language}").write_bytes(b"".join(lines[: row - 1] + lines[row:]))
    assert texts(found) == texts(load(*OPTIONS))


def test_lines_that_are_empty_in_both_files_are_passed_over(load, write):
    write({7: b"", 9: b""}, {7: b"", 9: b" "})
    assert sum(map(len, texts(load(*OPTIONS)))) == 28


@pytest.mark.parametrize(("longer", "shorter"), [("en", "de"), ("de", "en")])
@pytest.mark.parametrize("options", [[], [SKIP]])
def test_files_of_different_length_are_refused(load, write, project, longer, shorter, options):
    write()
    with (project / f"a.{longer}").open("ab") as file:
        file.write(b"one more\n")
    with pytest.raises(InputError, match=f"a.{shorter} ends before row 31, but a.{longer} goes on"):
        load(*OPTIONS, *options)


def test_a_line_of_ten_thousand_words_is_left_out_of_training_and_told(load, write, capsys):
    write({i: b"word " * 10_000 for i in range(1, 31)} | {i: b"en" for i in range(2, 31)})
    found = load(*OPTIONS)
    line = capsys.readouterr().err
    [name] = [name for name in ("train", "val", "test") if line.startswith(f"{name}: 1 of ")]
    assert line.count("\n") == 1 and "model.context = 12" in line
    assert ("left out" if name == "train" else "cut off") in line
    assert max(map(len, everything(found.train)["source"])) <= 12


def test_long_texts_are_cut_off_in_evaluation_and_told(load, write, capsys):
    write()
    write({2: b"x y " * 50}, count=3, name="b")
    found = load(*OPTIONS, "--data.test_source_path=b.en", "--data.test_target_path=b.de")
    assert "test: 1 of 3 pairs are cut off, as they have more tokens than model.context = 12" in capsys.readouterr().err
    assert everything(found.test)["source"].shape == (3, 12) and len(found.test) == 3


def test_where_all_texts_are_too_long_the_context_is_named(load, write):
    write({i: b"word " * 50 for i in range(1, 31)})
    with pytest.raises(InputError, match="model.context = 12: all .* training pairs have more tokens: raise it"):
        load(*OPTIONS)


def test_files_without_a_line_are_refused(load, project):
    for language in ("en", "de"):
        (project / f"a.{language}").write_bytes(b"")
    with pytest.raises(InputError, match="a.en and a.de: nothing is left for the train part"):
        load(*OPTIONS)


def test_a_part_that_no_pair_falls_into_is_named(load, write):
    write(count=3)
    with pytest.raises(InputError, match="nothing is left for the .* part: .* change data.*_fraction"):
        load(*OPTIONS, "--data.val_fraction=0.001")


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"one\n" * 1000)[:30]])
def test_a_file_that_is_no_whole_gzip_is_named(load, write, project, content):
    write()
    (project / "a.en.gz").write_bytes(content)
    with pytest.raises(InputError, match="a.en.gz is no whole file of gzip"):
        load(*OPTIONS, "--data.source_path=a.en.gz")


def rows(*changes):
    lines = [f"en {i}\tde {i}" for i in range(2, 32)]
    for row, line in changes:
        lines[row - 2] = line
    return "\n".join(["en\tde", *lines, ""])


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (rows((7, "one")), "a.tsv, row 7: 1 columns, expected 2"),
        (rows((7, "one\ttwo\tthree")), "a.tsv, row 7: 3 columns, expected 2"),
        (rows((7, "one\t")), "a.tsv, row 7, column de: empty, but a.tsv, row 7, column en is not"),
    ],
)
def test_bad_rows_of_a_table_are_named_and_may_be_left_out(load, project, capsys, content, part):
    (project / "a.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=part):
        load(*TABLE)
    assert sum(map(len, texts(load(*TABLE, SKIP)))) == 29
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "options", "part"),
    [
        (rows(), ["--data.source=eng"], "a.tsv has no column 'eng'"),
        (rows(), ["--data.source=1", "--data.target=3"], "a.tsv has no column '3'"),
        (rows().replace("\t", ","), [], "a.tsv has no column 'en': the first row is one cell with ',' in it"),
        ("", [], "a.tsv is empty"),
        (rows(), ["--data.source=en", "--data.target=en"], "these are two columns"),
        (rows(), ["--data.source_path=b.en"], "give one of the two"),
        (rows(), ["--data.path="], "nothing to train on"),
        (rows(), [f"--data.{key}_path=a.tsv" for key in ("val_source", "val_target")], "are both 'a.tsv': give two"),
        (rows(), ["--data.val_fraction=0.9", "--data.test_fraction=0.9"], "leave nothing for training"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(complaint, project, content, options, part):
    (project / "a.tsv").write_text(content, encoding="utf-8")
    words = ["train", "translation/parallel", "--framework", FRAMEWORKS[0], *SMALL, *TABLE, *options]
    assert part in complaint(*words)


def test_a_table_that_is_compressed_is_refused(load, project):
    (project / "a.tsv.gz").write_bytes(gzip.compress(rows().encode()))
    with pytest.raises(InputError, match="a.tsv.gz: a table is read as it is: unpack it with gunzip"):
        load(*TABLE, "--data.path=a.tsv.gz")


def test_quotes_that_look_like_those_of_csv_are_told(load, project, capsys):
    (project / "a.tsv").write_text(rows((7, '"a ""b"""\tde 7'), (9, '"c"\t"d"')), encoding="utf-8")
    load(*TABLE)
    assert "a.tsv, row 7: a text in quotes that are doubled within: --data.quotes true?\n" in capsys.readouterr().err
    load(*TABLE, "--data.quotes=true")
    assert "quotes" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--data.target=xx"], "data.target = 'xx': num2words has"),
        (["--data.target=en"], "data.source and data.target are both 'en'"),
        (["--data.val_fraction=0.00001"], "leave none for a part"),
    ],
)
def test_numbers_that_cannot_be_had_are_one_line(complaint, options, part):
    words = ["train", "translation", "--framework", FRAMEWORKS[0], *SMALL, "--data.count=100", *options]
    assert part in complaint(*words)
