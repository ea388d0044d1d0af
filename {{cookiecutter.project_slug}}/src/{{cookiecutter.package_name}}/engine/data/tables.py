"""Tables in text files: CSV, TSV and their kin, and errors that name file, row and column.

They are read row by row, or whole by Arrow where that is known to give the same. What is a number or a code in one
table is so in all: what pandas and polars take as one.
"""

import codecs
import csv
import decimal
import functools
import itertools
import math
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

import numpy as np
from tqdm import tqdm

from ..config import DataConfig, option
from ..errors import InputError
from ..meant import closest
from .bad import STRICT, Bad
from .files import find_own, say_once

HUGE = 1e30
LONGEST = 2**24  # characters of a line, and of a cell: a text may be long
csv.field_size_limit(LONGEST)
BLOCK = 2**20  # bytes that are looked at together
ROWS = 4096  # that are made columns together

T = TypeVar("T")

DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}
# How tables write that a number is missing, beside an empty cell.
NO_NUMBER = ("?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NaT", "None", "null", "NULL")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"-?\d+", re.ASCII)
THOUSANDS = {",": ",", ".": r"\.", "'": "['’]", "space": "[ \u00a0\u202f]", "_": "_"}


@dataclass(frozen=True)
class Format:
    """How a table is written.

    Attributes:
        delimiter: a character.
        quotes: whether "..." may hold a delimiter or a line break, as in CSV.
        decimal: what stands before the fraction of a number.
        thousands: what stands between groups of three digits, a key of THOUSANDS.
        missing: words that stand for no value, beside an empty cell.
        own: whether a person has said so with options, which errors may then name.
    """

    delimiter: str = ","
    quotes: bool = True
    decimal: str = "."
    thousands: str = ""
    missing: tuple[str, ...] = ()
    own: bool = True

    def number(self, cell: str) -> float:
        """nan where the cell is no number, one that stands for none, or so large that float32 has none like it."""
        value = self._value(cell)
        return math.nan if cell in self.missing or value in self.missing_numbers else value

    def numbers(self, cells: Any) -> np.ndarray:
        """`number` of each of an Arrow array, of cells with blanks around them or of numbers: float64 [cells]."""
        import pyarrow
        import pyarrow.compute as arrow

        try:
            found = arrow.cast(cells, pyarrow.float64())  # it takes the same as numbers, but infinite ones, too
        except pyarrow.ArrowInvalid:
            cells = arrow.utf8_trim_whitespace(cells)
            cells = arrow.if_else(arrow.match_substring_regex(cells, f"^({self._pattern})$"), cells, None)
            if self.thousands:
                cells = arrow.replace_substring_regex(cells, THOUSANDS[self.thousands], "")
            found = arrow.cast(arrow.replace_substring(cells, self.decimal, "."), pyarrow.float64())
        values = found.to_numpy(zero_copy_only=False)
        there = np.abs(values) < HUGE
        if self.missing_numbers:
            there &= ~np.isin(values, [*self.missing_numbers])
        return values if there.all() else np.where(there, values, math.nan)

    def is_gap(self, cell: str) -> bool:
        """Whether a cell of numbers has none."""
        return not cell or cell in NO_NUMBER or cell in self.missing or self._value(cell) in self.missing_numbers

    def code(self, cell: str) -> str:
        """A category, "" where it is missing. 5.0, as a column of codes with gaps is often written, is 5."""
        found = self._whole(cell)
        return "" if cell in self.missing or found in self.missing_codes else found

    @functools.cached_property
    def missing_numbers(self) -> frozenset[float]:
        """Numbers that stand for no value: -999.0 is -999."""
        return frozenset(value for value in map(self._value, self.missing) if not math.isnan(value))

    @functools.cached_property
    def missing_codes(self) -> frozenset[str]:
        """Codes that stand for no value."""
        return frozenset(map(self._whole, self.missing))

    def fault(self, cell: str) -> str:
        """What is wrong with a cell that should be a number."""
        if not cell:
            return "no value"
        other = {",": ".", ".": ","}[self.decimal]
        written = not math.isnan(replace(self, decimal=other, thousands="").number(cell))
        return f"{cell!r} is no number" + (f" (with --data.decimal {other} it is)" if written and self.own else "")

    def _value(self, cell: str) -> float:
        if not self._number.fullmatch(cell):
            return math.nan
        if self.thousands:
            cell = re.sub(THOUSANDS[self.thousands], "", cell)
        value = float(cell.replace(self.decimal, "."))
        return value if abs(value) < HUGE else math.nan

    def _whole(self, cell: str) -> str:
        whole, point, zeros = cell.partition(self.decimal)
        return whole if point and zeros and not zeros.strip("0") and WHOLE.fullmatch(whole) else cell

    @functools.cached_property
    def _number(self) -> re.Pattern[str]:
        return re.compile(self._pattern)

    @functools.cached_property
    def _pattern(self) -> str:
        """Of a number, for Python's `re` and for Arrow's."""
        point, exponent = re.escape(self.decimal), "([eE][+-]?[0-9]+)?"
        pattern = f"([0-9]+{point}?[0-9]*|{point}[0-9]+){exponent}"
        if self.thousands:
            groups = f"({THOUSANDS[self.thousands]}[0-9][0-9][0-9])+"
            pattern += f"|[0-9][0-9]?[0-9]?{groups}({point}[0-9]*{exponent})?"
        return f"[+-]?({pattern})"


PLAIN = Format()


@dataclass(frozen=True)
class OwnTableConfig(DataConfig):
    """How a table of one's own is written."""

    delimiter: Literal[",", ";", "|", "tab"] = option(",", "what stands between cells")
    quotes: bool = option(
        True, 'whether "..." may hold a delimiter or a line break; false: quotes are part of the text'
    )
    decimal: Literal[".", ","] = option(".", "what stands before the fraction of a number")
    thousands: Literal["", ",", ".", "'", "space", "_"] = option("", "what stands between groups of three digits")
    missing: str = option(
        "", "words that stand for no value, separated by commas; in columns of numbers NA, NaN, null and ? do anyway"
    )

    def format(self) -> dict[str, Any]:
        """As plain values, which a run keeps to read what it predicts: `Format(**values)`.

        Raises:
            InputError: where one character would have two meanings.
        """
        if self.decimal == self.thousands:
            raise InputError(f"data.decimal = {self.decimal!r} and data.thousands = {self.thousands!r}: choose others")
        missing = tuple(split_names(self.missing))
        return {
            "delimiter": DELIMITERS[self.delimiter],
            "quotes": self.quotes,
            "decimal": self.decimal,
            "thousands": self.thousands,
            "missing": list(missing),
        }


def to_format(values: Mapping[str, Any], own: bool = True) -> Format:
    """Of what `OwnTableConfig.format` gives. own: whether its options may be changed where the table is read."""
    return Format(**{**values, "missing": tuple(values["missing"])}, own=own)


def find_table(config: Any, key: str = "path") -> Path:
    """The file that a key of `data` names. Raises InputError where there is none."""
    return find_own(config.root, getattr(config, key), f"data.{key}")


def split_names(text: str) -> list[str]:
    """Of a list with commas, in which "..." may hold a name with a comma."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    return list(dict.fromkeys(filter(None, names)))


def to_cell(value: Any, format: Format = PLAIN) -> str:
    """A value of a row from Python as it would stand in a file: None and nan are gaps, of pandas, too."""
    if isinstance(value, numbers.Real | decimal.Decimal):
        return "" if value != value else str(value).replace(".", format.decimal)
    return "" if value is None or type(value).__name__ in ("NAType", "NaTType") else str(value).strip()


def read_rows(
    path: Path,
    format: Format = PLAIN,
    *,
    columns: int = 0,
    encoding: str = "utf-8-sig",
    bad: Bad = STRICT,
) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not empty; in a stream, so that a file may have any size.

    A row whose quoted cell goes over lines and holds delimiters may have swallowed others: that is said.

    Args:
        columns: how many cells each row has; 0: as many as the first.
        bad: takes rows of another length.

    Raises:
        InputError: for a file that is missing or empty, a row of another length, and bytes that are no text.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if format.quotes else csv.QUOTE_NONE
    header: list[str] = []
    swallowing: list[tuple[int, int]] = []  # the line of such a row, and over how many it goes
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(_lines(file, path), delimiter=format.delimiter, quoting=quoting, strict=format.quotes)
            line = 1  # a row may go over several lines: its own is where it begins
            for cells in reader:
                if cells:
                    columns, header = columns or len(cells), header or cells
                    if any("\0" in cell for cell in cells):
                        raise InputError(f"{path}, row {line}: a byte 0, which is no text: save the file as UTF-8")
                    if reader.line_num > line and any("\n" in cell and format.delimiter in cell for cell in cells):
                        swallowing.append((line, reader.line_num - line + 1))
                    if len(cells) == columns:
                        yield line, cells
                    else:
                        fault = f"{path}, row {line}: {len(cells)} columns, expected {columns}"
                        bad.add(InputError(fault + other_delimiter(header, format)))
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, {_line_of(path, error)}: byte 0x{error.object[error.start]:02x} is no {_shown(encoding)} text: "
            "save the file as UTF-8"
        ) from error
    except csv.Error as error:
        fault, advice = str(error), f", or, if quotes are part of the text, {NO_QUOTES}" if format.own else ""
        if "unexpected end of data" in fault:
            fault = f"a quote that is not closed: close it{advice}"
        elif "expected after" in fault:
            fault = f"a cell goes on after the quote that closes it: double quotes within it{advice}"
        raise InputError(f"{path}, row {line}: {fault}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not header:
        raise InputError(f"{path} is empty")
    if swallowing:
        first, lines = swallowing[0]
        more = f", and so do {len(swallowing) - 1:,} more rows" if len(swallowing) > 1 else ""
        advice = f"if it has swallowed rows, as quotes are part of the text, {NO_QUOTES}"
        say_once(
            f"quotes of {path}",
            f"{path}, row {first}: a quoted cell goes over {lines} lines and holds {_named(format.delimiter)}{more}: "
            f"{advice if format.own else 'see whether it has swallowed rows'}",
        )


@dataclass(frozen=True)
class Table:
    """A table in memory: as text, of which Arrow holds a cell in its bytes and four more, and as numbers.

    Attributes:
        path: its file, for errors.
        names: of the columns; one without a name is "Unnamed: 0" by its place, as pandas calls it.
        cells: a pyarrow.Table, column for column: of strings, or of float64, null where there is no value.
        lines: int [rows], the line of each row in the file.
        format: how cells are read.
    """

    path: Path
    names: list[str]
    cells: Any
    lines: np.ndarray
    format: Format = PLAIN

    @classmethod
    def of(cls, path: Path, names: list[str], rows: Iterable[tuple[int, Sequence[str]]], format: Format = PLAIN):
        """Of (line number, cells) of each row. Raises InputError for a cell that is no text."""
        import pyarrow

        rows, types = iter(rows), pyarrow.schema([(name, pyarrow.string()) for name in names])
        lines, batches = [np.zeros(0, np.int64)], []
        while some := list(itertools.islice(rows, ROWS)):
            numbers, cells = zip(*some, strict=True)
            try:
                columns = [pyarrow.array(column, pyarrow.string()) for column in zip(*cells, strict=True)]
            except UnicodeEncodeError as error:
                raise InputError(f"{path}: {error.object!r} is no text") from error
            batches.append(pyarrow.record_batch(columns, types))
            lines.append(np.array(numbers))
        return cls(path, names, pyarrow.Table.from_batches(batches, types), np.concatenate(lines), format)

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> list[str]:
        """Its cells, without blanks around them. Raises InputError, with the nearest name, where there is none."""
        return [cell.strip() for cell in self._texts(name).to_pylist()]

    def numbers(self, name: str, gaps: bool = False) -> np.ndarray:
        """float64 [rows], nan for cells without a value where `gaps` are allowed.

        Raises:
            InputError: for another cell that is no finite number.
        """
        values = self.format.numbers(self._cells(name))
        for i in self._faults(name, values, gaps):
            raise self._fault(name, i)
        return values

    def codes(self, name: str) -> list[str]:
        """The categories of a column, "" where one is missing."""
        found, which = self.categories(name)
        return [found[i] for i in which.tolist()]

    def categories(self, name: str) -> tuple[list[str], np.ndarray]:
        """(codes, int [rows]: which of them each row has). One that is written in two ways is there twice."""
        return _mapped(self.format.code, self._texts(name))

    def readable(self, names: Mapping[str, bool], bad: Bad) -> "Table":
        """The rows in which all of these columns are numbers, or have gaps where that is true; `bad` takes the others.

        Of a column without any number no row is bad: it is meant as something else.
        """
        faults: dict[int, str] = {}
        for name, gaps in names.items():
            values = self.format.numbers(self._cells(name))
            if np.isfinite(values).any():
                faults = dict.fromkeys(self._faults(name, values, gaps).tolist(), name) | faults
        for i in sorted(faults):
            bad.add(self._fault(faults[i], i))
        kept = np.delete(np.arange(len(self)), list(faults))
        return replace(self, cells=self.cells.take(kept), lines=self.lines[kept])

    def _cells(self, name: str) -> Any:
        if name not in self.names:
            raise no_column(self.path, name, self.names, self.format)
        return self.cells.column(self.names.index(name))

    def _texts(self, name: str) -> Any:
        cells = self._cells(name)
        assert cells.type == "string", f"{name} was read as numbers"
        return cells

    def _faults(self, name: str, values: np.ndarray, gaps: bool) -> np.ndarray:
        """int [faults]: the rows in which a column is no finite number."""
        rows, cells = np.flatnonzero(np.isnan(values)), self._cells(name)
        if not gaps or not len(rows):
            return rows
        if cells.type != "string":  # it would not have become numbers
            return rows[:0]
        found, which = _mapped(self.format.is_gap, cells.take(rows))
        return rows[~np.array(found)[which]]

    def _fault(self, name: str, row: int) -> InputError:
        cell = self._texts(name)[row].as_py().strip()
        return InputError(f"{self.where(row, name)}: {self.format.fault(cell)}")

    def is_unnamed(self, name: str) -> bool:
        return name == f"Unnamed: {self.names.index(name)}"

    def where(self, row: int, name: str) -> str:
        """The place of a cell, for an error."""
        return f"{self.path}, row {self.lines[row]}, column {name}"


def read_table(
    path: Path, format: Format = PLAIN, *, numbers: Callable[[str], bool] = lambda name: False, bad: Bad = STRICT
) -> Table:
    """A table whose first row names the columns.

    Args:
        numbers: of a column's name, whether it is meant to be read as numbers with gaps, and as nothing else.

    Raises:
        InputError: as `read_rows`, and where the names are not distinct or no row follows them.
    """
    rows = read_rows(path, format, bad=bad)
    line, cells = next(rows)
    names = column_names(path, cells)
    table = None
    if line == 1 and (lines := _count_lines(path, format)):
        table = _read_at_once(path, names, format, lines, [name for name in names if numbers(name)])
    if table is None:
        table = Table.of(path, names, rows, format)
    if not len(table):
        bad.say(0)
        raise InputError(f"{path} has no rows below the names of its columns")
    return table


def _read_at_once(path: Path, names: list[str], format: Format, lines: int, numbers: Sequence[str]) -> Table | None:
    """A table of so many lines, with these columns as numbers or, where a cell is none, all as text. None where it has
    no row in each line, or rows of another length, or bytes that are no text.
    """
    import pyarrow
    import pyarrow.compute as arrow
    import pyarrow.csv

    types = dict.fromkeys(names, pyarrow.string()) | dict.fromkeys(numbers, pyarrow.float64())
    try:
        with path.open("rb") as file:
            cells = pyarrow.csv.read_csv(
                file,
                pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
                pyarrow.csv.ParseOptions(delimiter=format.delimiter, quote_char='"' if format.quotes else False),
                pyarrow.csv.ConvertOptions(
                    column_types=types, null_values=["", *NO_NUMBER, *format.missing], decimal_point=format.decimal
                ),
            )
        whole = all(arrow.all(arrow.less(arrow.abs(cells[name]), HUGE)).as_py() is not False for name in numbers)
    except pyarrow.ArrowInvalid:
        whole = False
    if not whole:
        return _read_at_once(path, names, format, lines, []) if numbers else None
    places = np.arange(2, lines + 1)
    return Table(path, names, cells, places, format) if len(cells) == len(places) else None  # else some are empty


def _count_lines(path: Path, format: Format) -> int:
    """How many lines a file has, 0 where `read_rows` and Arrow may not take it alike: of a byte 0, a carriage return
    alone, a line break in quotes, and a quote that neither opens nor closes a cell, nor is doubled within one.
    """
    beside = np.zeros(256, bool)
    beside[[*b'"\r\n', ord(format.delimiter)]] = True
    lines, quotes, held = 0, 0, b"\n"
    with path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        for block in itertools.chain(iter(lambda: file.read(BLOCK), b""), [b"\n"]):
            text = held + block  # of which all but the first and the last byte are new, and have a byte on either side
            inside, held = text[1:-1], text[-2:]
            lines += inside.count(b"\n")
            if b"\0" in inside or (b"\r" in inside and inside.count(b"\r") != text.count(b"\r\n", 1)):
                return 0
            if format.quotes and (quotes % 2 or b'"' in inside):
                found = np.frombuffer(text, np.uint8)
                places = np.flatnonzero(found[1:-1] == ord('"')) + 1
                breaks = np.flatnonzero(found[1:-1] == ord("\n")) + 1
                opens = (np.arange(len(places)) + quotes) % 2 == 0
                in_quotes = (np.searchsorted(places, breaks) + quotes) % 2
                if in_quotes.any() or not beside[found[np.where(opens, places - 1, places + 1)]].all():
                    return 0
                quotes += len(places)
    return 0 if quotes % 2 else lines + (held[:1] != b"\n")


def _mapped(function: Callable[[str], T], cells: Any) -> tuple[list[T], np.ndarray]:
    """(function(cell) of all different cells, int [cells]: which of these each has), of an Arrow array."""
    encoded = cells.dictionary_encode().combine_chunks()
    found = [function(cell.strip()) for cell in encoded.dictionary.to_pylist()]
    return found, encoded.indices.to_numpy()


def release() -> None:
    """Gives the memory of tables that are needed no longer back to the system: Arrow would keep it for others."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()


def column_names(path: Path | str, cells: Sequence[str]) -> list[str]:
    """Of a first row. Raises InputError where one stands twice."""
    names = [cell.strip() or f"Unnamed: {i}" for i, cell in enumerate(cells)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has {names.count(twice[0])} columns {twice[0]!r}: give each its own name")
    return names


def no_column(path: Path | str, name: str, names: Sequence[str], format: Format = PLAIN) -> InputError:
    """What is wrong where a table has no such column."""
    hint = other_delimiter(names, format) or f": {closest(name, names)}"
    return InputError(f"{path} has no column {name!r}{hint}")


def other_delimiter(names: Sequence[str], format: Format) -> str:
    """Where the first row is one cell that holds another delimiter: the end of an error's line, which tells it."""
    found = [key for key, character in DELIMITERS.items() if len(names) == 1 and character in names[0]]
    found = [key for key in found if DELIMITERS[key] != format.delimiter]
    if not found:
        return ""
    key = max(found, key=lambda key: names[0].count(DELIMITERS[key]))
    advice = f"--data.delimiter {_quoted(key)}" if format.own else f"expected {_named(format.delimiter)}"
    return f": the first row is one cell with {_named(DELIMITERS[key])} in it: {advice}"


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Its lines. Raises InputError for one that would fill the memory, as that of a file without line breaks."""
    size = path.stat().st_size
    with tqdm(desc=path.name, total=size, unit="B", unit_scale=True, leave=False, delay=2, disable=None) as bar:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), ""), 1):
            if len(line) > LONGEST:
                raise InputError(f"{path}, row {number}: longer than {LONGEST:,} characters")
            yield line
            bar.update(len(line))  # characters: some fewer than the bytes


def _line_of(path: Path, error: UnicodeDecodeError) -> str:
    """Where in the file the byte stands: what was decoded at once is a part of it."""
    with path.open("rb") as file:
        for line, content in enumerate(file, 1):
            try:
                content.decode(error.encoding.removesuffix("-sig"))
            except UnicodeDecodeError:
                return f"row {line}"
    return "at its end"


def _shown(encoding: str) -> str:
    return encoding.removesuffix("-sig").upper()


NO_QUOTES = "--data.quotes false"


def _named(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else repr(delimiter)


def _quoted(key: str) -> str:
    """As a shell takes it."""
    return key if key in (",", "tab") else f"'{key}'"
