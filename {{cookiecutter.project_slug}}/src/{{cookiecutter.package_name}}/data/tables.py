"""Tables in text files: CSV, TSV and their kin, read row by row, and errors that name file, row and column."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import closest
from ..errors import InputError

csv.field_size_limit(2**31 - 1)  # characters of a cell: a text may be long


def read_rows(
    path: Path, delimiter: str = ",", *, columns: int = 0, quotes: bool = True, encoding: str = "utf-8-sig"
) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not empty; in a stream, so that a file may have any size.

    Args:
        columns: how many cells each row has; 0: as many as the first.
        quotes: whether "..." may hold a delimiter or a line break, as in CSV.

    Raises:
        InputError: for a file that is missing or empty, a row of another length, and bytes that are no text.
    """
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=quotes)
            line, first = 1, 0  # a row may go over several lines: its own is where it begins
            for cells in reader:
                if cells:
                    columns, first = columns or len(cells), first or line
                    if len(cells) != columns:
                        raise InputError(f"{path}, row {line}: {len(cells)} columns, expected {columns}")
                    yield line, cells
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
        cells = self.column(name)
        values = np.array([_number(cell) for cell in cells])
        for i in np.flatnonzero(~np.isfinite(values)):
            if cells[i] not in missing:
                what = f"{cells[i]!r} is no number" if cells[i] else "no value"
                raise InputError(f"{self.where(i, name)}: {what}")
        return values

    def where(self, row: int, name: str) -> str:
        """The place of a cell, for an error."""
        return f"{self.path}, row {self.lines[row]}, column {name}"


def read_table(path: Path, delimiter: str = ",", **options) -> Table:
    """A table whose first row names the columns; options are those of `read_rows`.

    Raises:
        InputError: as `read_rows`, and where the names are not distinct or no row follows them.
    """
    rows = read_rows(path, delimiter, **options)
    _, names = next(rows)
    names = [name.strip() for name in names]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has {names.count(twice[0])} columns {twice[0]!r}: give each its own name")
    numbered = list(rows)
    if not numbered:
        raise InputError(f"{path} has no rows below the names of its columns")
    return Table(path, names, [cells for _, cells in numbered], [line for line, _ in numbered])


def _number(cell: str) -> float:
    """nan where it is none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


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
