"""Tables in text files: what is read, and how a mistake in them is told."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.data.tables import read_rows, read_table
from {{cookiecutter.package_name}}.errors import InputError


@pytest.fixture
def written(tmp_path):
    """`written(content)` is the path of a file."""

    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(read, *arguments, **options):
    with pytest.raises(InputError) as caught:
        list(read(*arguments, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_come_with_the_line_that_they_begin_in(written):
    path = written('a,b\n1,"two\nlines"\n\n3,4\n')
    assert list(read_rows(path)) == [(1, ["a", "b"]), (2, ["1", "two\nlines"]), (5, ["3", "4"])]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_may_end_as_on_any_system(written, end):
    assert [cells for _, cells in read_rows(written(f"a,b{end}1,2{end}"))] == [["a", "b"], ["1", "2"]]


def test_the_last_line_needs_no_end_and_a_byte_order_mark_is_no_text(written):
    assert [cells for _, cells in read_rows(written("\ufeffa,b\n1,2"))] == [["a", "b"], ["1", "2"]]


def test_without_quotes_they_are_text(written):
    path = written('a "b\tc"\n')
    assert list(read_rows(path, "\t", quotes=False)) == [(1, ['a "b', 'c"'])]


def test_another_encoding_may_be_told(written):
    assert list(read_rows(written(b"caf\xe9,1\n"), encoding="latin-1")) == [(1, ["café", "1"])]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a,b\n1,2\n3\n", "row 3: 1 columns, expected 2"),
        ("a,b\n1,2,3\n", "row 2: 3 columns, expected 2"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        (b"a,b\n1,2\n\xff,3\n", "row 3: byte 0xff is no UTF-8 text"),
        ('a,b\n1,"2\n3,4\n', "row 2: a quote that is not closed"),
    ],
)
def test_what_is_no_table_is_told_with_file_and_row(written, content, part):
    line = refused(read_rows, written(content))
    assert part in line and "table.csv" in line


def test_a_byte_that_is_no_text_is_told_with_its_row_in_a_large_file(written):
    line = refused(read_rows, written(b"1,2\n" * 50_000 + b"\xe9,3\n" + b"1,2\n" * 50_000))
    assert "row 50001: byte 0xe9" in line


def test_a_file_that_is_missing_is_one_line(tmp_path):
    assert "table.csv: No such file" in refused(read_rows, tmp_path / "table.csv")


def test_columns_are_found_by_name(written):
    table = read_table(written("id, price \n1, 2.5\n2,-1e3 \n"))
    assert (table.names, len(table)) == (["id", "price"], 2)
    assert table.column("price") == ["2.5", "-1e3"]
    assert np.array_equal(table.numbers("price"), [2.5, -1000])


def test_a_cell_may_be_long(written):
    assert read_table(written(f"a,b\n1,{'x' * 200_000}\n")).column("b") == ["x" * 200_000]


def test_gaps_are_numbers_that_are_none_where_they_are_allowed(written):
    table = read_table(written("x,y\n1,\nNA,2\n"))
    assert np.isnan(table.numbers("x", ["", "NA"])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("cell", "what"), [("ten", "'ten' is no number"), ("", "no value"), ("inf", "'inf' is no number")]
)
def test_a_cell_that_is_no_number_is_told_with_file_row_and_column(written, cell, what):
    table = read_table(written(f"x,y\n1,2\n{cell},3\n"))
    assert f"table.csv, row 3, column x: {what}" in refused(table.numbers, "x")


def test_a_column_that_is_missing_is_told_with_the_nearest(written):
    assert "no column 'prize': did you mean 'price'?" in refused(read_table(written("price\n1\n")).column, "prize")


def test_a_table_without_rows_is_one_line(written):
    assert "has no rows below the names" in refused(read_table, written("a,b\n"))


def test_columns_of_one_name_are_one_line(written):
    assert "2 columns 'a'" in refused(read_table, written("a,b,a\n1,2,3\n"))
