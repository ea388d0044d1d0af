"""Tables in text files: CSV, TSV and their kin, read row by row, and errors that name file, row and column."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from ..config import closest
from ..errors import InputError
from .bad import STRICT, Bad

HUGE = 1e30
LONGEST = 2**24  # characters of a line, and of a cell: a text may be long
csv.field_size_limit(LONGEST)


def read_rows(
    path: Path,
    delimiter: str = ",",
    *,
    columns: int = 0,
    quotes: bool = True,
    encoding: str = "utf-8-sig",
    bad: Bad = STRICT,
) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not empty; in a stream, so that a file may have any size.

    Args:
        columns: how many cells each row has; 0: as many as the first.
        quotes: whether "..." may hold a delimiter or a line break, as in CSV.
        bad: takes rows of another length.

    Raises:
        InputError: for a file that is missing or empty, a row of another length, and bytes that are no text.
    """
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(_lines(file, path), delimiter=delimiter, quoting=quoting, strict=quotes)
            line, first = 1, 0  # a row may go over several lines: its own is where it begins
            for cells in reader:
                if cells:
                    columns, first = columns or len(cells), first or line
                    if any("\0" in cell for cell in cells):
                        raise InputError(f"{path}, row {line}: a byte 0, which is no text: save the file as UTF-8")
                    if len(cells) == columns:
                        yield line, cells
                    else:
                        bad.add(InputError(f"{path}, row {line}: {len(cells)} columns, expected {columns}"))
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, {_line_of(path, error)}: byte 0x{error.object[error.start]:02x} is no {_shown(encoding)} text: "
            "save the file as UTF-8"
        ) from error
    except csv.Error as error:
        open_quote = "unexpected end of data" in str(error)
        raise InputError(f"{path}, row {line}: {'a quote that is not closed' if open_quote else error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not first:
        raise InputError(f"{path} is empty")


@dataclass(frozen=True)
class Table:
    """A table in memory, as text.

    Attributes:
        path: its file, for errors.
        names: of the columns.
        rows: the cells of each row.
        lines: the line of each row in the file.
    """

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[str]:
        """Its cells, without blanks around them. Raises InputError, with the nearest name, where there is none."""
        if name not in self.names:
            raise InputError(f"{self.path} has no column {name!r}: {closest(name, self.names)}")
        index = self.names.index(name)
        return [row[index].strip() for row in self.rows]

    def numbers(self, name: str, missing: Sequence[str] = ()) -> np.ndarray:
        """float64 [rows], nan for the cells that `missing` lists.

        Raises:
            InputError: for a cell that is no finite number.
        """
        values = self._values(name)
        for _, error in self._faults(name, values, missing):
            raise error
        return values

    def readable(self, names: Mapping[str, Sequence[str]], bad: Bad) -> "Table":
        """The rows in which all of these columns are numbers, or one of the cells listed; `bad` takes the others.

        Of a column without any number no row is bad: it is meant as something else.
        """
        faults: dict[int, InputError] = {}
        for name, missing in names.items():
            values = self._values(name)
            if np.isfinite(values).any():
                faults = dict(self._faults(name, values, missing)) | faults
        for i in sorted(faults):
            bad.add(faults[i])
        kept = [i for i in range(len(self)) if i not in faults]
        return replace(self, rows=[self.rows[i] for i in kept], lines=[self.lines[i] for i in kept])

    def _values(self, name: str) -> np.ndarray:
        return np.array([_number(cell) for cell in self.column(name)])

    def _faults(self, name: str, values: np.ndarray, missing: Sequence[str]) -> Iterator[tuple[int, InputError]]:
        """The rows in which a column is no finite number."""
        cells = self.column(name)
        for i in np.flatnonzero(~np.isfinite(values)).tolist():
            if cells[i] not in missing:
                what = f"{cells[i]!r} is no number" if cells[i] else "no value"
                yield i, InputError(f"{self.where(i, name)}: {what}")

    def where(self, row: int, name: str) -> str:
        """The place of a cell, for an error."""
        return f"{self.path}, row {self.lines[row]}, column {name}"


def read_table(path: Path, delimiter: str = ",", *, bad: Bad = STRICT, **options) -> Table:
    """A table whose first row names the columns; options are those of `read_rows`.

    Raises:
        InputError: as `read_rows`, and where the names are not distinct or no row follows them.
    """
    rows = read_rows(path, delimiter, bad=bad, **options)
    _, names = next(rows)
    names = [name.strip() for name in names]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has {names.count(twice[0])} columns {twice[0]!r}: give each its own name")
    numbered = list(rows)
    if not numbered:
        bad.say(0)
        raise InputError(f"{path} has no rows below the names of its columns")
    return Table(path, names, [cells for _, cells in numbered], [line for line, _ in numbered])


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Its lines. Raises InputError for one that would fill the memory, as that of a file without line breaks."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), ""), 1):
        if len(line) > LONGEST:
            raise InputError(f"{path}, row {number}: longer than {LONGEST:,} characters")
        yield line


def _number(cell: str) -> float:
    """nan where it is none, or so large that float32 has none like it."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if abs(value) < HUGE else math.nan


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
