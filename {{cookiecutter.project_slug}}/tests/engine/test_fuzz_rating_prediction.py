"""Damaged files of ratings and of films: they are data, or one line."""

import numpy as np
import pytest
from hostile import QUICK, data_or_one_line, each_of, mutations, tries

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.rating_prediction import data


def rows(count, line, header=""):
    return (header + "".join(line(i) + "\n" for i in range(count))).encode()


def read_own(path, *words):
    options = ["--data.name=csv", "--data.split=time", "--data.time=when", f"--data.path={path}", *words]
    found = tasks.find("rating_prediction").load(load_config("rating_prediction", options), None)
    assert np.isfinite(found.train.arrays["rating"]).all()


OWN = rows(40, lambda i: f"u{i % 5},i{i % 7},{i % 5 + 1},2020-01-{i % 28 + 1:02d}", "user,item,rating,when\n")
READERS = {
    "comma": (
        rows(20, lambda i: f"{i % 5},{i % 7},{i % 5}.5,{1000 + i}", "userId,movieId,rating,timestamp\n"),
        lambda path: data.read_numbers(path, ",", True),
    ),
    "colons": (rows(20, lambda i: f"{i % 5}::{i % 7}::4::{i}"), lambda path: data.read_numbers(path, "::", False)),
    "movies.dat": (rows(20, lambda i: f"{i}::Film {i} (1999)::Drama|Crime"), data.read_movies_dat),
    "u.item": (rows(10, lambda i: "|".join([str(i), f"Film {i}", "", "", "", *"0" * 19])), data.read_item_table),
    "movies.csv": (rows(9, lambda i: f'{i},"A, {i}",B', "movieId,title,genres\n"), data.read_titles),
    "own": (OWN, read_own),
    "own, bad rows left out": (OWN, lambda path: read_own(path, "--data.skip_bad=true")),
}


@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 300)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    content, read = READERS[name]
    path = tmp_path / "file"

    def check(damaged):
        path.write_bytes(damaged)
        data_or_one_line(lambda: read(path))

    path.write_bytes(content)
    read(path)
    each_of(mutations(content), count, check)
