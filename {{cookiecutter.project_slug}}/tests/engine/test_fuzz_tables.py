"""Damaged tables are read, or refused by one line, and nothing else; odd ones as by modules that read cell by cell."""

import csv
import io
import math
import re

import pytest
from hostile import QUICK, check_damaged, each_of, tries
from hypothesis import strategies as st

from {{cookiecutter.package_name}}.engine.data import tables
from {{cookiecutter.package_name}}.engine.errors import InputError

TABLE = "name,value\n" + "".join(f'"a {i}",{i}\n' for i in range(9))


@tries(QUICK, 500)
def test_a_damaged_table_is_read_or_refused(tmp_path, count):
    check_damaged(tmp_path / "file.csv", TABLE.encode(), lambda path: tables.read_table(path).numbers("value"), count)


# Random tables of odd cells, and what the modules csv and re make of them.

CELLS = ["", " ", "7 ", *"5 +5 -.5 5. 1e5 1E-5 007 5.0 -3.00 9007199254740993 0.1 1e-400".split()]
ODD = [" NA", "9" * 40, "\uff10\uff15", "\u00a05", "\t5", 'a "quote"', 'a""b', '"', "two\nlines", "a,\nb", "\r\n", "\0"]
ODD += "NA nan ? -nan inf 1e30 1_000 1,5 ten 0x10 5f 1d5 TRUE -999 -999.0 é".split()
GAPS = ["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NaT", "None", "null", "NULL"]

cells = st.one_of(st.sampled_from(CELLS), st.sampled_from(CELLS), st.sampled_from([*CELLS, *ODD]))
rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=12)
spelled = st.tuples(
    rows,
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, None]),
    st.sampled_from(["\n", "\r\n", "\n", "\r"]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["", "", "", "\n", "3\n", "1,2,3\n", "\n4,5", '"6"x,7\n', '"8,9\n', ' "6",7']),
)


def file_of(example):
    """Rows as somebody's program writes them, or with quotes as they are; what follows may be anything."""
    rows, quoting, end, mark, rest = example
    written = io.StringIO()
    if quoting is None:
        written.write("".join(f"{x},{y}{end}" for x, y in [("x", "y"), *rows]))
    else:
        csv.writer(written, quoting=quoting, lineterminator=end).writerows([("x", "y"), *rows])
    return (mark + written.getvalue() + rest).encode()


def by_hand(content):
    """(line of each row, numbers of x, codes of y), or the fault that has to be named."""
    lines, xs, ys, fault = [], [], [], ""
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    header, line = next(reader), 1
    try:
        for row in reader:
            line, began = reader.line_num, line + 1
            if not row:
                continue
            if "\0" in "".join(row):
                return f"row {began}: a byte 0"
            if len(row) != len(header):
                return f"row {began}: {len(row)} columns, expected {len(header)}"
            x, y = (cell.strip() for cell in row)
            number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", x)
            value = float(x) if number else math.nan
            if x not in GAPS and value != -999 and not abs(value) < 1e30:
                fault = fault or f"row {began}, column x: {x!r} is no number"
            lines.append(began)
            xs.append(value if abs(value) < 1e30 and value != -999 else math.nan)
            code = re.sub(r"^(-?[0-9]+)\.0+$", r"\1", y)
            ys.append("" if code == "-999" else code)
    except csv.Error:
        return f"row {line + 1}: a "  # quote that is not closed, or a cell that goes on after it
    return fault or (lines, xs, ys) if lines else "has no rows"


@tries(5 * QUICK, 2000)
def test_a_table_is_what_csv_and_float_make_of_it(tmp_path, monkeypatch, count):
    """Also where a block of what is looked at ends anywhere."""

    def check(example):
        path.write_bytes(content := file_of(example))
        expected = by_hand(content)
        try:
            table = tables.read_table(path, tables.Format(missing=("-999",)), numbers=lambda name: name == "x")
            found = table.lines.tolist(), table.numbers("x", gaps=True).tolist(), table.codes("y")
        except InputError as error:
            assert isinstance(expected, str) and expected in str(error), (content, expected, str(error))
        else:
            assert repr(found) == repr(expected), content

    path = tmp_path / "file.csv"
    monkeypatch.setattr(tables, "BLOCK", 7)
    each_of(spelled, count, check)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("cell", ['"5"', "5", '""', "NA"])
def test_a_table_with_a_row_in_each_line_is_not_read_row_by_row(tmp_path, monkeypatch, cell, start, end):
    monkeypatch.delattr(tables.Table, "of")
    (tmp_path / "file.csv").write_bytes(f'{start}"x",y{end}1,"a ""b"", c"{end}{cell},d'.encode())
    table = tables.read_table(tmp_path / "file.csv", numbers=lambda name: name == "x")
    assert (table.lines.tolist(), table.codes("y")) == ([2, 3], ['a "b", c', "d"])
    assert repr(table.numbers("x", gaps=True).tolist()) == ("[1.0, 5.0]" if "5" in cell else "[1.0, nan]")
