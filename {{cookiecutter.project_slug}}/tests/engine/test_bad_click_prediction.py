"""Bad rows of tables of clicks."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.click_prediction import cells
from {{cookiecutter.package_name}}.tasks.click_prediction.data import CRITEO, read_fields

HEADER = "click,age,site\n"
ROWS = [f"{i % 2},{i},{'abc'[i % 3]}" for i in range(60)]
BAD = {2: "maybe,3,a", 8: "1,3", 12: "1,old,a", 20: "1,2,3,4"}


@pytest.fixture
def load(project, monkeypatch):
    """`load(text, *options)` is what is read of a file with this text."""

    def read(text, *options):
        monkeypatch.setattr(cells, "BLOCK", 100)
        (project / "a.csv").write_text(text, newline="")
        words = ["--data.root=.", "--data.path=a.csv", "--data.integers=age", "--data.categories=site", *options]
        return tasks.find("click_prediction").load(load_config("click_prediction/csv", words), None)

    return read


def with_bad(rows):
    rows = [*rows]
    for i in sorted(BAD, reverse=True):
        rows.insert(i, BAD[i])
    return rows


@pytest.mark.parametrize("quote", [str, lambda row: row.replace("a", '"a"')], ids=["plain", "quoted"])
def test_bad_rows_are_left_out_as_if_they_had_never_been_there(load, capsys, quote):
    found = load(HEADER + "\n".join(map(quote, with_bad(ROWS))) + "\n", "--data.skip_bad=true")
    line = capsys.readouterr().err
    expected = load(HEADER + "\n".join(ROWS) + "\n")
    for split in ("train", "val", "test"):
        some, other = (getattr(one, split) for one in (found, expected))
        assert len(some) == len(other)
        every = np.arange(len(some))
        assert all((some[every][name] == values).all() for name, values in other[every].items())
    assert line.startswith("data.skip_bad leaves out 4 of 64: ") and line.count("\n") == 1


def test_bad_rows_are_counted_also_where_the_numbers_are_already_made(load, capsys):
    text = HEADER + "\n".join(with_bad(ROWS)) + "\n"
    load(text, "--data.skip_bad=true")
    before = capsys.readouterr().err
    assert before != ""
    found = load_again(load, "--data.skip_bad=true")
    assert len(found.train) == 48 and capsys.readouterr().err == before


def load_again(load, *options):
    """Of the file as it is."""
    words = ["--data.root=.", "--data.path=a.csv", "--data.integers=age", "--data.categories=site", *options]
    data_files._said.clear()
    return tasks.find("click_prediction").load(load_config("click_prediction/csv", words), None)


def test_numbers_of_a_file_without_its_bad_rows_are_not_taken_for_all_of_it(load):
    text = HEADER + "\n".join(with_bad(ROWS)) + "\n"
    load(text, "--data.skip_bad=true")
    with pytest.raises(InputError, match="row 11: 2 columns, expected 3"):
        load_again(load)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (HEADER + "1,2,a\r0,3,b\r", "row 2: a carriage return that ends no line"),
        (HEADER.replace("\n", "\r") + "1,2,a\r0,3,b\r", "row 1: a carriage return that ends no line"),
        (HEADER + "1,2,a\n0,3,\0\n", "row 3: a byte 0, which is no text"),
    ],
)
def test_what_no_row_is_to_blame_for_is_one_line(load, text, what):
    with pytest.raises(InputError, match=what):
        load(text, "--data.skip_bad=true")


def test_a_block_of_bad_rows_of_criteo_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK", 100)
    good = "\t".join(["1", *["7"] * 13, *["68fd1e64"] * 26])
    (tmp_path / "a.txt").write_text("\n".join([*["bad"] * 100, good, *["bad"] * 100]) + "\n")
    bad = Bad(skip=True)
    found = list(read_fields(tmp_path / "a.txt", CRITEO, labelled=True, bad=bad))
    assert sum(len(some) for some, _, _ in found) == 1 and bad.count == 200
