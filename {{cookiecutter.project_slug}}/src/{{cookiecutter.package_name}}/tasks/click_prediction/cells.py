"""Tables of any size as numbers: read block by block, and each block's cells at once.

A row of tens of cells takes some microseconds this way, where a loop over cells takes a hundred.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...engine.api import STRICT, Bad, InputError
from ...engine.data.tables import PLAIN, Format, other_delimiter, read_rows

BLOCK = 1 << 19  # bytes that are read at once; what is made of them fits a processor's cache
ROWS = 4096  # of those that have quotes
LONGEST = 1 << 24  # bytes of a row
INTEGER_CODES = 512  # codes of integers are below
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64


@dataclass(frozen=True)
class Cells:
    """Some rows of a table.

    Attributes:
        path: its file, for errors.
        names: of the columns, for errors; empty before they are known.
        lines: int [rows], of each row in the file.
        text: uint8, the bytes.
        starts, ends: int [rows, columns], where in `text` each cell begins and ends, without blanks around it.
        format: how cells are read.
    """

    path: Path | str
    names: Sequence[str]
    lines: np.ndarray
    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    format: Format = PLAIN

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, which: slice) -> "Cells":
        return replace(self, lines=self.lines[which], starts=self.starts[which], ends=self.ends[which])

    def columns(self, names: Sequence[str]) -> "Cells":
        which = [self.names.index(name) for name in names]
        return replace(self, names=names, starts=self.starts[:, which], ends=self.ends[:, which])

    def cell(self, row: int, column: int) -> str:
        return self.text[self.starts[row, column] : self.ends[row, column]].tobytes().decode()

    def where(self, row: int, column: int) -> str:
        """The place of a cell, for an error."""
        return f"{self.path}, row {self.lines[row]}, column {self.names[column]}"


def read_cells(
    path: Path, format: Format, columns: int = 0, progress: Callable[[int], object] = int, bad: Bad = STRICT
) -> Iterator[Cells]:
    """All rows that are not empty, in order. Where cells are quoted, that takes longer.

    Args:
        columns: how many each row has; 0: as many as the first.
        progress: is told of every number of bytes that are done.
        bad: takes rows of another length.

    Raises:
        InputError: for a file that is missing or empty, a row of another length, and bytes that are no UTF-8.
    """
    try:
        read = _read_quoted if format.quotes and _has_quotes(path) else _read_plain
        yield from read(path, format, columns, progress, bad)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def readable(cells: Cells, check: Callable[[Cells], object], bad: Bad) -> Cells:
    """The rows for which `check` raises no InputError; `bad` takes the others. They are found by halving."""
    try:
        check(cells)
        return cells
    except InputError as error:
        if len(cells) == 1:
            bad.add(error)
            return cells.rows(slice(0))
    half = len(cells) // 2
    parts = [readable(cells.rows(part), check, bad) for part in (slice(half), slice(half, None))]
    lines, starts, ends = zip(*((part.lines, part.starts, part.ends) for part in parts), strict=True)
    return replace(cells, lines=np.concatenate(lines), starts=np.concatenate(starts), ends=np.concatenate(ends))


def make_cells(path: Path | str, lines: Sequence[int], rows: Sequence[Sequence[str]], format: Format = PLAIN) -> Cells:
    """Of texts."""
    cells = [cell.strip().encode() for row in rows for cell in row]
    ends = np.cumsum([len(cell) for cell in cells], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    text = np.frombuffer(b"".join(cells) or b" ", np.uint8)
    shape = (len(rows), -1)
    return Cells(path, [], np.array(lines), text, starts.reshape(shape), ends.reshape(shape), format)


def categories(cells: Cells) -> np.ndarray:
    """int32 [rows, columns], >= 0: a hash of each cell's code, as `Format.code` has it; 0 where it is missing."""
    found = hashes(_without_zeros(cells))
    if words := [*cells.format.missing, *cells.format.missing_codes]:
        found[np.isin(found, hashes(make_cells("", range(len(words)), [[word] for word in words])))] = 0
    return found


def hashes(cells: Cells) -> np.ndarray:
    """int32 [rows, columns], >= 0: a hash of each cell's bytes, the same everywhere and always; 0 of an empty one.

    A polynomial of the bytes modulo 2**64, of all cells by one cumulative sum, and its bits mixed. Of a million
    different cells, some 200 share a hash with another.
    """
    n = len(cells.text)
    powers, inverses = _powers(1 << n.bit_length())
    sums = np.zeros(n + 1, np.uint64)
    np.cumsum((cells.text + np.uint64(1)) * powers[:n], out=sums[1:])
    x = (sums[cells.ends] - sums[cells.starts]) * inverses[cells.starts]
    x = (x ^ (x >> np.uint64(32))) * np.uint64(0xD1B54A32D192ED03)
    x = (x ^ (x >> np.uint64(29))) * MULTIPLIER
    return (x >> np.uint64(33)).astype(np.int32)


def keys(cells: Cells) -> np.ndarray:
    """int64 [rows], the same for rows that have the same cells."""
    places = np.arange(cells.starts.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = (hashes(cells).astype(np.uint64) + np.uint64(1)) * (places * MULTIPLIER)
    return ((mixed ^ (mixed >> np.uint64(31))) * MULTIPLIER).sum(1, dtype=np.uint64).astype(np.int64)


def integers(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [rows, columns] of whole numbers, bool, where there is one).

    Raises:
        InputError: for text, and for a number with a fraction.
    """
    text, starts, ends = cells.text, cells.starts, cells.ends
    present = ends > starts
    last = len(text) - 1
    negative = present & (text[np.minimum(starts, last)] == ord("-"))
    starts = starts + negative
    lengths = ends - starts
    values = np.zeros(starts.shape, np.int64)
    plain = ~present | (lengths > 0) & (lengths < 19)
    for i in range(min(lengths.max(initial=0), 18)):
        inside = i < lengths
        digits = text[np.minimum(starts + i, last)] - np.uint8(ord("0"))  # what comes before "0" wraps around
        plain &= ~inside | (digits < 10)
        values = np.where(inside, values * 10 + digits, values)
    found = np.where(negative, -values, values).astype(np.float64)
    for row, column in np.argwhere(~plain):  # that are not a few digits only
        cell = cells.cell(row, column)
        if cells.format.is_gap(cell):
            present[row, column], found[row, column] = False, 0
            continue
        found[row, column] = value = cells.format.number(cell)
        if not np.isfinite(value):
            raise InputError(f"{cells.where(row, column)}: {cells.format.fault(cell)}")
        if value != np.floor(value):
            raise InputError(
                f"{cells.where(row, column)}: {cell!r} has a fraction, and integers have none: multiply the column, so "
                "that it is whole (as dollars to cents), or list it in --data.categories"
            )
    if cells.format.missing_numbers:
        present &= ~np.isin(found, [*cells.format.missing_numbers])
    return np.where(present, found, 0), present


def codes(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """float [...] of whole numbers, bool [...] -> int32 [...] below INTEGER_CODES: 0 where there is none.

    Up to 2 each has its own code, but all below -5; larger ones share that of floor(log(x)**2), as those who won
    Criteo's challenge had it (Juan et al. 2016).
    """
    small = np.clip(values, -6, 2) + 7
    large = np.floor(np.log(np.maximum(values, 3)) ** 2) + 9
    found = np.where(values <= 2, small, np.minimum(large, INTEGER_CODES - 1))
    return np.where(present, found, 0).astype(np.int32)


def ranges() -> list[str]:
    """The integers of each code, for people: "", "< -5", "-5", ..., "2", "3 to 4", ..."""
    named = ["", "< -5", *map(str, range(-5, 3))]
    for k in range(1, INTEGER_CODES - 9):
        first, after = (max(3, int(np.ceil(np.exp(np.sqrt(i))))) for i in (k, k + 1))
        named.append(f"{first:,} to {after - 1:,}" if after > first + 1 else f"{first:,}")
    return [*named[:-1], f"from {first:,}"]


def labels(cells: Cells) -> np.ndarray:
    """int32 [rows] of 0 and 1, of a single column, also written as 0.0 and 1.0. Raises InputError for others."""
    found = cells.text[np.minimum(cells.starts[:, 0], len(cells.text) - 1)].astype(np.int32) - ord("0")
    plain = (cells.ends - cells.starts == 1)[:, 0] & ((found == 0) | (found == 1))
    for row in np.flatnonzero(~plain).tolist():
        cell = cells.cell(row, 0)
        if (value := cells.format.number(cell)) not in (0, 1):
            raise InputError(f"{cells.where(row, 0)}: {cell!r} is neither 0 nor 1")
        found[row] = value
    return found


def _without_zeros(cells: Cells) -> Cells:
    """Whole numbers without a fraction of zeros: 5.0, as a column of codes with gaps is often written, is 5."""
    text, starts, point = cells.text, cells.starts, ord(cells.format.decimal)
    ends = cells.ends
    if not (text == point).any():
        return cells
    while (zero := (ends > starts) & (text[ends - 1] == ord("0"))).any():
        ends = ends - zero
    shortened = (ends < cells.ends) & (ends > starts) & (text[ends - 1] == point)
    ends = ends - shortened
    others = np.concatenate([[0], np.cumsum((text < ord("0")) | (text > ord("9")))])  # before each place
    digits = starts + (text[np.minimum(starts, len(text) - 1)] == ord("-"))
    whole = shortened & (ends > digits) & (others[ends] == others[np.minimum(digits, len(text))])
    return replace(cells, ends=np.where(whole, ends, cells.ends))


def _has_quotes(path: Path) -> bool:
    """Or blanks of more than a byte, which stand around a cell as others do."""
    marks = (b'"', "\u00a0".encode(), "\u202f".encode(), "\u3000".encode())
    with path.open("rb") as file:
        return any(mark in block for block in iter(lambda: file.read(BLOCK), b"") for mark in marks)


def _read_plain(path: Path, format: Format, columns: int, progress: Callable, bad: Bad) -> Iterator[Cells]:
    line, rest, empty = 1, b"", True
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark
            file.seek(0)
        for block in itertools.chain(iter(lambda: file.read(BLOCK), b""), [b""]):
            read = rest + (block or b"\n")  # the last line may have no end
            cut = read.rfind(b"\n") + 1
            whole, rest = read[:cut], read[cut:]
            if whole.strip(b"\r\n"):
                found = _split(path, line, whole.replace(b"\r\n", b"\n"), format, columns, bad)
                columns, empty = found.starts.shape[1], False
                yield found
            line += whole.count(b"\n")
            if len(rest) > LONGEST:
                raise InputError(f"{path}, row {line}: longer than {LONGEST:,} bytes")
            progress(len(block))
    if empty:
        raise InputError(f"{path} is empty")


def _split(path: Path, line: int, block: bytes, format: Format, columns: int, bad: Bad) -> Cells:
    """The cells of whole lines, of which the first is number `line`. columns = 0: as many as the first has."""
    text = np.frombuffer(block, np.uint8)
    if text.max() >= 128:
        _check_utf8(path, line, block)
    for byte, what in ((b"\0", "a byte 0, which is no text"), (b"\r", "a carriage return that ends no line")):
        if (place := block.find(byte)) >= 0:
            row = line + block.count(b"\n", 0, place)
            raise InputError(f"{path}, row {row}: {what}: save the file as UTF-8 with the line ends of this system")
    separators = np.flatnonzero((text == ord(format.delimiter)) | (text == ord("\n")))
    newlines = separators[text[separators] == ord("\n")]
    counts = np.diff(np.searchsorted(separators, newlines), prepend=-1)
    blank = np.diff(newlines, prepend=-1) == 1
    columns = columns or int(counts[~blank][0])
    wrong = (counts != columns) & ~blank
    for row in np.flatnonzero(wrong).tolist():
        hint = other_delimiter([block[: newlines[0]].decode()], format) if columns == line == 1 else ""
        bad.add(InputError(f"{path}, row {line + row}: {counts[row]} columns, expected {columns}{hint}"))
    starts = np.concatenate([[0], separators[:-1] + 1])
    left_out = blank | wrong
    if left_out.any():
        kept = ~left_out[np.searchsorted(newlines, separators)]  # a separator is of the line that ends next
        starts, separators = starts[kept], separators[kept]
    ends = separators
    while (leading := (starts < ends) & (text[starts] <= ord(" "))).any():
        starts = starts + leading
    while (trailing := (starts < ends) & (text[ends - 1] <= ord(" "))).any():
        ends = ends - trailing
    shape = (-1, columns)
    lines = line + np.flatnonzero(~left_out)
    return Cells(path, [], lines, text, starts.reshape(shape), ends.reshape(shape), format)


def _read_quoted(path: Path, format: Format, columns: int, progress: Callable, bad: Bad) -> Iterator[Cells]:
    rows = read_rows(path, format, columns=columns, bad=bad)
    while some := list(itertools.islice(rows, ROWS)):
        cells = make_cells(path, [line for line, _ in some], [row for _, row in some], format)
        yield cells
        progress(int(cells.ends[-1, -1]) + cells.ends.size)  # and the delimiters


def _check_utf8(path: Path, line: int, block: bytes) -> None:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        row = line + block.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}, row {row}: byte 0x{block[error.start]:02x} is no UTF-8 text: save the file as UTF-8"
        ) from error


@functools.lru_cache(maxsize=8)
def _powers(n: int) -> tuple[np.ndarray, np.ndarray]:
    """MULTIPLIER**i and its inverses modulo 2**64, for i below n."""
    inverse = pow(int(MULTIPLIER), -1, 2**64)
    powers, inverses = (np.cumprod(np.full(n, factor, np.uint64)) for factor in (int(MULTIPLIER), inverse))
    return powers, inverses
