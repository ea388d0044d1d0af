"""Tables in text files: what is read, and how a mistake in them is told."""

import decimal
import math

import numpy as np
import pyarrow
import pytest

from {{cookiecutter.package_name}}.engine.data.tables import (
    Format,
    OwnTableConfig,
    column_names,
    find_table,
    no_column,
    read_rows,
    read_table,
    split_names,
    to_cell,
    to_format,
)
from {{cookiecutter.package_name}}.engine.errors import InputError


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
    assert list(read_rows(path, Format("\t", quotes=False))) == [(1, ['a "b', 'c"'])]


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
        (
            'a,b\n1,2\n"5" pipe,4\n',
            "row 3: a cell goes on after the quote that closes it: double quotes within it, or, if quotes are part of "
            "the text, --data.quotes false",
        ),
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
    assert np.isnan(table.numbers("x", gaps=True)).tolist() == [False, True]
    assert "row 3, column x: 'NA' is no number" in refused(table.numbers, "x")


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


# What is a number. pandas 3.1 (read_csv) and polars 2.1 (a cast to Float64) read these cells so.

NUMBERS = {
    **{"5": 5, "+5": 5, "-5": -5, ".5": 0.5, "-.5": -0.5, "5.": 5, "007": 7, "00.50": 0.5, "-0": 0},
    **{"1e5": 1e5, "1E5": 1e5, "1e+05": 1e5, "1e-5": 1e-5, "2.5e3": 2500},
}
TEXTS = [
    *("1_000", "1__0", "\uff10\uff15", "\uff15", "\u0663", "\u00bd", "0x10", "0b1", "1,234", "1.234,5", "1'234"),
    *("1 234,5", "1\u202f234,5", "1\u00a0234", "- 5", "--5", "+-5", "1e", "e5", "1e1.5", "1e 5", "1.2.3", "5f", "5L"),
    *("1d5", "5%", "$5", "\u22125", ".", "-", "+", "e", "TRUE", "ten"),
]


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_number_is_what_pandas_and_polars_take_as_one(cell):
    assert Format().number(cell) == NUMBERS[cell]


@pytest.mark.parametrize("cell", TEXTS)
def test_what_pandas_and_polars_take_as_text_is_no_number(cell):
    assert math.isnan(Format().number(cell)) and not Format().is_gap(cell)


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "1e400", "1e30", "9" * 400])
def test_what_float32_cannot_hold_is_no_number(cell):
    assert math.isnan(Format().number(cell))


@pytest.mark.parametrize("cell", ["5 ", " 5", "\t5"])
def test_blanks_around_a_number_are_no_part_of_it(written, cell):
    """As in pandas."""
    assert read_table(written(f"x,y\n{cell},1\n")).numbers("x").tolist() == [5]


# By read_csv of pandas 3.1 with the same options, which takes no narrow no-break space.
GROUPED = [
    ("1,234", {"thousands": ","}, 1234),
    ("-1,234", {"thousands": ","}, -1234),
    ("1,234.5", {"thousands": ","}, 1234.5),
    ("1234.5", {"thousands": ","}, 1234.5),
    ("1.234,5", {"thousands": ".", "decimal": ","}, 1234.5),
    ("1.234.567", {"thousands": ".", "decimal": ","}, 1234567),
    ("1 234,5", {"thousands": "space", "decimal": ","}, 1234.5),
    ("1\u00a0234,5", {"thousands": "space", "decimal": ","}, 1234.5),
    ("1\u202f234,5", {"thousands": "space", "decimal": ","}, 1234.5),
    ("1'234.5", {"thousands": "'"}, 1234.5),
    ("1_000", {"thousands": "_"}, 1000),
    ("1,5", {"decimal": ","}, 1.5),
    ("1,5e3", {"decimal": ","}, 1500),
]


@pytest.mark.parametrize(("cell", "options", "value"), GROUPED)
def test_commas_and_groups_of_three_digits_are_read_by_options(cell, options, value):
    assert to_format(OwnTableConfig(**options).format()).number(cell) == value


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("1.5", {"decimal": ","}),
        ("1,23", {"thousands": ","}),  # a decimal comma, where one forgets to say so
        ("1,2345", {"thousands": ","}),
        ("12,34,567", {"thousands": ","}),
        (",234", {"thousands": ","}),
        ("1.5", {"thousands": ".", "decimal": ","}),
        ("1 234,5", {"thousands": "space"}),
    ],
)
def test_what_the_options_do_not_say_is_no_number(cell, options):
    assert math.isnan(to_format(OwnTableConfig(**options).format()).number(cell))


@pytest.mark.parametrize("options", [{}, {"missing": "5,1.5e0"}, *(options for _, options, _ in GROUPED)])
def test_a_column_of_numbers_is_what_each_of_its_cells_is(options):
    format = to_format(OwnTableConfig(**options).format())
    cells = [*NUMBERS, *TEXTS, *(cell for cell, _, _ in GROUPED), "", "NA", "inf", "1e30", "1,234e5", "1.234,5e3", "1,"]
    assert repr(format.numbers(pyarrow.array(cells)).tolist()) == repr([format.number(cell) for cell in cells])


def test_one_character_has_one_meaning():
    line = refused(OwnTableConfig(decimal=",", thousands=",").format)
    assert "data.decimal = ','" in line and "data.thousands = ','" in line


def test_a_format_comes_back_from_what_a_run_keeps():
    config = OwnTableConfig(delimiter="tab", quotes=False, decimal=",", thousands=".", missing="-9, k.A.")
    assert to_format(config.format()) == Format("\t", False, ",", ".", ("-9", "k.A."))


# Gaps, codes and lists.


@pytest.mark.parametrize("cell", ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "None", "null", "NULL", "?"])
def test_a_gap_among_numbers_is_what_pandas_takes_as_one_and_a_question_mark(cell):
    assert Format().is_gap(cell)


def test_an_option_adds_words_for_gaps():
    format = to_format(OwnTableConfig(missing="-999,unknown").format())
    assert format.is_gap("-999") and format.is_gap("unknown") and not Format().is_gap("-999")
    assert (format.code("unknown"), format.code("other")) == ("", "other")


def test_a_number_that_stands_for_no_value_is_none(written):
    """As with na_values=["-999"] of pandas."""
    format = to_format(OwnTableConfig(missing="-999").format())
    table = read_table(written("x,y\n1,-999\n-999,2\n"), format)
    assert np.array_equal(table.numbers("x", gaps=True), [1, np.nan], equal_nan=True)
    assert "row 2, column y: '-999' is no number" in refused(table.numbers, "y")


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("5.0", "5"),
        ("5", "5"),
        ("-5.00", "-5"),
        ("5.5", "5.5"),
        ("007", "007"),
        ("5.", "5."),
        ("a.0", "a.0"),
        ("1e5", "1e5"),
        ("", ""),
        ("NA", "NA"),
    ],
)
def test_a_code_with_point_zero_is_the_code(cell, code):
    assert Format().code(cell) == code


def test_codes_follow_the_decimal_comma():
    format = Format(decimal=",", thousands=".")
    assert [format.code(cell) for cell in ("5,0", "5", "1.000", "5,5")] == ["5", "5", "1.000", "5,5"]


def test_values_from_python_are_as_their_cells():
    class NAType:  # that of pandas
        pass

    gaps = [None, float("nan"), np.nan, np.float32("nan"), NAType()]
    assert [to_cell(value) for value in gaps] == [""] * 5
    assert [to_cell(value) for value in (5, 5.0, np.int64(5), np.float32(0.5), " a ")] == ["5", "5.0", "5", "0.5", "a"]
    assert to_cell(0.5, Format(decimal=",")) == "0,5"


def test_a_list_of_names_may_hold_a_comma_in_quotes():
    assert split_names('a, "b, c",d,,a') == ["a", "b, c", "d"]
    assert split_names("") == []


# What is told.


@pytest.mark.parametrize(
    ("content", "format", "advice"),
    [
        ("a;b\n1;2\n", Format(), "with ';' in it: --data.delimiter ';'"),
        ("a\tb\n1\t2\n", Format(), "with tabs in it: --data.delimiter tab"),
        ("a|b,c|d\n1|2,3|4\n", Format(";"), "with '|' in it: --data.delimiter '|'"),
        ("a,b\n1,2\n", Format("\t"), "with ',' in it: --data.delimiter ,"),
        ("a;b\n1;2\n", Format(own=False), "with ';' in it: expected ','"),
    ],
)
def test_another_delimiter_is_seen(written, content, format, advice):
    table = read_table(written(content), format)
    assert refused(table.column, "b").endswith(f"the first row is one cell {advice}")


def test_another_delimiter_is_seen_where_rows_differ(written):
    assert refused(read_rows, written("a;b\n1,5;2\n")).endswith("--data.delimiter ';'")


def test_a_column_of_one_word_is_no_other_delimiter(written):
    assert "delimiter" not in refused(read_table(written("price\n1\n")).column, "cost")


def test_a_column_without_a_name_has_that_of_pandas(written):
    table = read_table(written(",x, \n0,5,a\n"))
    assert table.names == ["Unnamed: 0", "x", "Unnamed: 2"]
    assert [table.is_unnamed(name) for name in table.names] == [True, False, True]


def test_names_of_columns_are_told_where_one_is_there_twice_or_missing():
    assert "a.csv has 2 columns 'x'" in refused(column_names, "a.csv", ["x", "y", " x "])
    assert str(no_column("a.csv", "prise", ["price"])) == "a.csv has no column 'prise': did you mean 'price'?"


SWALLOWED = 'text\tlabel\n"so he said\ta\nnext\tb\nthe end"\tb\n' + "fine\ta\n" * 3


def test_a_quoted_cell_that_may_have_swallowed_rows_is_told(written, capsys):
    path = written(SWALLOWED)
    assert len(list(read_rows(path, Format("\t")))) == 5
    line = capsys.readouterr().err
    assert f"{path}, row 2: a quoted cell goes over 3 lines and holds tabs" in line and "--data.quotes false" in line


def test_rows_that_may_have_been_swallowed_are_counted(written, capsys):
    list(read_rows(written(SWALLOWED * 3), Format("\t")))
    assert "holds tabs, and so do 2 more rows: " in capsys.readouterr().err


@pytest.mark.parametrize("content", ['a,b\n"two\nlines",1\n', 'a,b\n"one, line",1\n', "a,b\n1,2\n"])
def test_a_quoted_cell_with_a_line_break_or_a_delimiter_is_as_csv_has_it(written, capsys, content):
    assert len(list(read_rows(written(content)))) == 2
    assert capsys.readouterr().err == ""


def test_options_that_a_dataset_lacks_are_not_advised(written, capsys):
    list(read_rows(written(SWALLOWED), Format("\t", own=False)))
    assert "--data" not in capsys.readouterr().err
    line = refused(read_rows, written('a,b\n1,"2\n3,4\n'), Format(own=False))
    assert "a quote that is not closed: close it" in line and "--data" not in line
    assert "--data.quotes false" in refused(read_rows, written('a,b\n1,"2\n3,4\n'))


def test_a_table_is_looked_for_where_one_works_and_then_in_the_root(project):
    class Config:
        root, path = "data", "a.csv"

    line = refused(find_table, Config)
    assert "data.path = 'a.csv'" in line and "a.csv nor data/a.csv" in line
    (project / "data").mkdir()
    (project / "data" / "a.csv").write_text("x\n1\n")
    assert find_table(Config).as_posix() == "data/a.csv"
    (project / "a.csv").write_text("x\n2\n")
    assert find_table(Config).as_posix() == "a.csv"


@pytest.mark.parametrize("word", ["-999", "-999.0", "-9.99e2"])
def test_a_number_that_stands_for_no_value_does_so_however_it_is_written(word):
    format = Format(missing=(word,))
    assert all(np.isnan(format.number(cell)) and format.is_gap(cell) for cell in ("-999", "-999.0", "-999.00"))
    assert format.number("-998") == -998 and not format.is_gap("999")


def test_a_code_that_stands_for_no_value_does_so_however_it_is_written():
    assert [Format(missing=("-1.0",)).code(cell) for cell in ("-1", "-1.0", "-1.00", "1")] == ["", "", "", "1"]


def test_a_decimal_of_a_data_base_is_the_number_that_it_is():
    format = Format(decimal=",", thousands=".")
    assert format.number(to_cell(decimal.Decimal("1.234"), format)) == format.number(to_cell(1.234, format)) == 1.234


def test_a_number_with_another_decimal_sign_is_told_with_the_option():
    assert Format().fault("925,53") == "'925,53' is no number (with --data.decimal , it is)"
    assert Format(decimal=",").fault("1.5") == "'1.5' is no number (with --data.decimal . it is)"
    assert Format().fault("ten") == "'ten' is no number"
