"""Bad rows of a table of numbers."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config

ROWS = [f"{i % 7},{i * i},k{i % 3},{i * 2}" for i in range(30)]
BAD = {5: "5,x,k1,7", 9: "9,81", 14: "14,3,k2,"}  # a text, a row that is short, no target


@pytest.fixture
def load(project, monkeypatch):
    """`load(rows, *options)` is what is read of a file with these rows."""

    def read(rows, *options):
        monkeypatch.setattr(data_files, "_said", set())
        (project / "a.csv").write_text("\n".join(["a,b,c,y", *rows]) + "\n")
        words = ["--data.root=.", "--data.path=a.csv", "--data.target=y", "--data.batch_size=4", *options]
        return tasks.find("regression").load(load_config("regression/csv", words), None)

    return read


def test_bad_rows_are_left_out_as_if_they_had_never_been_there(load, capsys):
    rows = [*ROWS]
    for i in sorted(BAD, reverse=True):
        rows.insert(i, BAD[i])
    found = load(rows, "--data.categorical=c", "--data.skip_bad=true")
    line = capsys.readouterr().err
    expected = load(ROWS, "--data.categorical=c")
    for split in ("train", "val", "test"):
        some, other = (getattr(one, split) for one in (found, expected))
        assert len(some) == len(other)
        every = np.arange(len(some))
        assert all((some[every][name] == values).all() for name, values in other[every].items())
    assert found.spec == expected.spec
    assert line.startswith("data.skip_bad leaves out 3 of 33: ") and line.count("\n") == 1


def test_a_column_of_names_is_still_told(load):
    with pytest.raises(InputError, match="add --data.categorical c "):
        load(ROWS, "--data.skip_bad=true")
