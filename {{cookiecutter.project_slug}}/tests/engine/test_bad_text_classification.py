"""Bad rows of tables of texts, bad texts in files, and texts with nothing in them."""

import numpy as np
import pytest
from conftest import small, steps, values_of
from hostile import unreadable

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config

SKIP = "--data.skip_bad=true"


@pytest.fixture
def load(project, monkeypatch):
    """`load(preset, *options)` is what is read of the current folder."""

    def read(preset, *options):
        monkeypatch.setattr(data_files, "_said", set())
        return tasks.find("text_classification").load(
            load_config(f"text_classification/{preset}", ["--data.root=.", *options]), None
        )

    return read


def same(found, expected):
    for split in ("train", "val", "test"):
        some, other = (getattr(one, split).arrays for one in (found, expected))
        assert all(np.array_equal(some[name], other[name]) for name in other)
    return found.spec == expected.spec


def test_bad_rows_are_left_out_as_if_they_had_never_been_there(load, project, capsys):
    rows = [f"some text {i},{'ab'[i % 2]}" for i in range(30)]
    (project / "clean.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    bad = [*rows[:4], "no label,", *rows[4:9], "one,two,three", *rows[9:]]
    (project / "bad.csv").write_text("\n".join(["text,label", *bad]) + "\n")
    found = load("csv", "--data.path=bad.csv", SKIP)
    line = capsys.readouterr().err
    assert same(found, load("csv", "--data.path=clean.csv"))
    assert line.startswith("data.skip_bad leaves out 2 of 32: ") and line.count("\n") == 1


def reviews(project, bad=()):
    for split in ("train", "test"):
        for label in ("neg", "pos"):
            folder = project / "aclImdb" / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(12):
                (folder / f"{i}_1.txt").write_text(f"review {i} {label}", encoding="utf-8")
    for name in bad:
        (project / "aclImdb" / name).write_bytes(b"\xff")


def test_reviews_that_are_no_text_are_left_out_and_named(load, project, capsys):
    reviews(project, ["train/pos/12_1.txt", "test/neg/12_1.txt"])
    found = load("imdb", SKIP)
    lines = capsys.readouterr().err.splitlines()
    for name in ("train/pos/12_1.txt", "test/neg/12_1.txt"):
        (project / "aclImdb" / name).unlink()
    assert same(found, load("imdb"))
    assert lines == [
        "data.skip_bad leaves out 1 of 25: aclImdb/train/pos/12_1.txt: byte 0xff is no UTF-8 text",
        "data.skip_bad leaves out 1 of 25: aclImdb/test/neg/12_1.txt: byte 0xff is no UTF-8 text",
    ]


def test_a_review_that_may_not_be_read_is_one_line(load, project, monkeypatch):
    reviews(project)
    unreadable(monkeypatch, project.joinpath("aclImdb/train/pos/3_1.txt").relative_to(project))
    with pytest.raises(InputError, match="aclImdb/train/pos/3_1.txt: Permission denied"):
        load("imdb")


def test_a_byte_0_and_a_link_to_nothing_are_left_out_and_named(load, project, capsys):
    reviews(project)
    (project / "aclImdb/train/pos/12_1.txt").write_bytes(b"a\0b")
    (project / "aclImdb/train/neg/12_1.txt").symlink_to("gone.txt")
    with pytest.raises(InputError, match="train/neg/12_1.txt is a link to nothing, gone.txt"):
        load("imdb")
    assert len(load("imdb", SKIP).train) + len(load("imdb", SKIP).val) == 24
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("data.skip_bad leaves out 2 of 26: ") and "train/pos/12_1.txt: a byte 0" in line


def test_other_files_beside_reviews_are_counted_and_suffixes_may_be_in_capitals(load, project, capsys):
    reviews(project)
    (project / "aclImdb/train/pos/12_1.TXT").write_text("more")
    (project / "aclImdb/test/neg/notes.md").write_text("none")
    (project / "aclImdb/test/neg/more").mkdir()
    found = load("imdb")
    assert (len(found.train) + len(found.val), len(found.test)) == (25, 24)
    assert capsys.readouterr().err == "aclImdb/test/neg: 2 of 14 entries are left out: 1 .md, 1 folder\n"


def test_empty_texts_are_counted_once(load, project, capsys):
    rows = [f'"{"" if i % 10 else " "}{"" if i % 5 == 0 else i}",{"ab"[i % 2]}' for i in range(30)]
    (project / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    load("csv", "--data.path=a.csv")
    assert capsys.readouterr().err == "a.csv: 6 of 30 texts are empty\n"
    load("csv", "--data.path=a.csv", "--data.missing=1,2")
    assert capsys.readouterr().err == "a.csv: 8 of 30 texts are empty\n"


def test_texts_with_nothing_in_them_train(cli, project, framework):
    rows = [f'"{("word", "", " ", "!")[i % 4]}",{"ab"[i % 2]}' for i in range(60)]
    (project / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    words = [f"--framework={framework}", "--data.root=.", "--data.path=a.csv", "--name=one", "--data.batch_size=8"]
    outcome = cli(
        "train", "text_classification/csv", *small("text_classification"), *words, *steps(3), "--trainer.log_every=1"
    )
    assert outcome.code == 0, outcome.err
    losses = values_of(next(project.glob("runs/*/*/*/one")), "train/loss")
    assert np.isfinite(list(losses.values())).all() and len(losses) == 3


def test_labels_may_be_numbers_of_any_length(load, project):
    labels = ["1" * 5000, "2", "10"]
    rows = [f"some text {i},{labels[i % 3]}" for i in range(30)]
    (project / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    assert load("csv", "--data.path=a.csv").spec["classes"] == ["2", "10", "1" * 5000]
