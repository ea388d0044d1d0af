"""Bad rows of tables: the first is an error, or all are counted and left out; and files that are no tables."""

import pytest
from hostile import assert_told_where_it_cannot_be_opened, refused

from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data import tables
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.data.tables import read_rows, read_table
from {{cookiecutter.package_name}}.engine.errors import InputError


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


@pytest.fixture
def written(tmp_path):
    """`written(content)` is the path of a file."""

    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_rows_of_another_length_are_left_out(written):
    bad = Bad(skip=True)
    assert list(read_rows(written("a,b\n1\n2,3\n4,5,6\n7,8\n"), bad=bad)) == [
        (1, ["a", "b"]),
        (3, ["2", "3"]),
        (5, ["7", "8"]),
    ]
    assert bad.count == 2 and bad.first[0].endswith("table.csv, row 2: 1 columns, expected 2")


def test_rows_without_a_number_are_left_out(written):
    bad = Bad(skip=True)
    table = read_table(written("a,b\n1,2\nx,3\n?,4\n5,\n6,inf\n"))
    found = table.readable({"a": ["?"], "b": []}, bad)
    assert found.lines.tolist() == [2, 4] and (found.column("a"), found.column("b")) == (["1", "?"], ["2", "4"])
    assert [line.partition("row ")[2] for line in bad.first] == [
        "3, column a: 'x' is no number",
        "5, column b: no value",
        "6, column b: 'inf' is no number",
    ]


def test_a_column_of_text_does_not_leave_out_every_row(written):
    table = read_table(written("a,b\nx,1\ny,2\n"))
    assert table.readable({"a": [], "b": []}, Bad(skip=True)).column("a") == table.column("a")


def test_a_table_of_bad_rows_names_the_first(written):
    with pytest.raises(InputError, match="row 2: 1 columns, expected 2: data.skip_bad leaves nothing"):
        read_table(written("a,b\n1\n2\n"), bad=Bad(skip=True))


# What no row is to blame for.


def test_a_byte_0_is_told_with_its_row_also_where_bad_rows_are_left_out(written):
    line = refused(lambda path: read_rows(path, bad=Bad(skip=True)), written("a,b\n1,2\n3\0,4\n"))
    assert line.endswith("table.csv, row 3: a byte 0, which is no text: save the file as UTF-8")


def test_lines_may_end_in_carriage_returns_alone(written):
    assert [line for line, _ in read_rows(written("a,b\r1,2\r3,4\r"))] == [1, 2, 3]


def test_a_file_without_line_breaks_is_refused_before_it_fills_the_memory(written, monkeypatch):
    monkeypatch.setattr(tables, "LONGEST", 100)
    assert refused(read_rows, written("a,b\n" + "x," * 200)).endswith("table.csv, row 2: longer than 100 characters")


def test_a_number_that_is_too_large_to_calculate_with_is_none(written):
    with pytest.raises(InputError, match="row 2, column b: '1e300' is no number"):
        read_table(written("a,b\n1,1e300\n")).numbers("b")


def test_a_table_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    assert_told_where_it_cannot_be_opened(read_rows, tmp_path / "table.csv", monkeypatch)
