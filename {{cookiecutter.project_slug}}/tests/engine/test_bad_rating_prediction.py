"""Bad rows of a table of ratings, and files that may not be read."""

import pytest
from hostile import unreadable

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.rating_prediction import data

ROWS = [f"u{i % 5},i{i % 7},{i % 5 + 1},2020-01-{i % 28 + 1:02}" for i in range(40)]
BAD = {2: "x,y,many,2020-01-01", 8: "x,y,3", 12: "x,,3,2020-01-01", 20: "x,y,3,2020-02-31"}


@pytest.fixture
def load(project, monkeypatch):
    """`load(rows, *options)` is what is read of a file with these rows."""

    def read(rows, *options):
        monkeypatch.setattr(data_files, "_said", set())
        (project / "a.csv").write_text("\n".join(["user,item,rating,when", *rows]) + "\n")
        words = ["--data.root=.", "--data.path=a.csv", "--data.split=time", "--data.time=when", *options]
        return tasks.find("rating_prediction").load(load_config("rating_prediction/csv", words), None)

    return read


def test_bad_rows_are_left_out_as_if_they_had_never_been_there(load, capsys):
    rows = [*ROWS]
    for i in sorted(BAD, reverse=True):
        rows.insert(i, BAD[i])
    found = load(rows, "--data.skip_bad=true")
    line = capsys.readouterr().err
    expected = load(ROWS)
    for split in ("train", "val", "test"):
        some, other = (getattr(one, split).arrays for one in (found, expected))
        assert all((some[name] == other[name]).all() for name in other)
    assert found.spec["users.json"] == expected.spec["users.json"]
    assert line.startswith("data.skip_bad leaves out 4 of 44: ") and line.count("\n") == 1


def test_films_that_may_not_be_read_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "movies.dat").write_bytes(b"1::Film::Drama\n")
    unreadable(monkeypatch, tmp_path / "movies.dat")
    with pytest.raises(InputError, match="movies.dat: Permission denied"):
        data.read_movies_dat(tmp_path / "movies.dat")
