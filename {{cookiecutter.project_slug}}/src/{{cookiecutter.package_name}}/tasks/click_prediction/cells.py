"""Tables of any size as numbers: read block by block, and each block's cells at once.

A row of tens of cells takes some microseconds this way, where a loop over cells takes a hundred.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...data.bad import STRICT, Bad
from ...data.tables import read_rows
from ...errors import InputError

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
    """

    path: Path | str
    names: Sequence[str]
    lines: np.ndarray
    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

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
    path: Path, delimiter: str, columns: int = 0, progress: Callable[[int], object] = int, bad: Bad = STRICT
) -> Iterator[Cells]:
    """All rows that are not empty, in order. Cells may be quoted where the delimiter is a comma, which takes longer.

    Args:
        columns: how many each row has; 0: as many as the first.
        progress: is told of every number of bytes that are done.
        bad: takes rows of another length.

    Raises:
        InputError: for a file that is missing or empty, a row of another length, and bytes that are no UTF-8.
    """
    try:
        if delimiter == "," and _has_quotes(path):
            yield from _read_quoted(path, delimiter, columns, progress, bad)
        else:
            yield from _read_plain(path, delimiter, columns, progress, bad)
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
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("lines", "starts", "ends")}
    return replace(cells, **joined)


def make_cells(path: Path | str, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> Cells:
    """Of texts."""
    cells = [cell.strip(" ").encode() for row in rows for cell in row]
    ends = np.cumsum([len(cell) for cell in cells], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    text = np.frombuffer(b"".join(cells) or b" ", np.uint8)
    shape = (len(rows), -1)
    return Cells(path, [], np.array(lines), text, starts.reshape(shape), ends.reshape(shape))


def hashes(cells: Cells) -> np.ndarray:
    """int32 [rows, columns], >= 0: a hash of each cell's bytes, the same everywhere and always.

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


def integers(cells: Cells, wanted: str = "no number") -> tuple[np.ndarray, np.ndarray]:
    """(float64 [rows, columns], bool, where there is one). What is not whole is cut down: 3.5 is 3, -3.5 is -4.

    Raises:
        InputError: for text, which is `wanted`.
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
    for row, column in np.argwhere(~plain):
        found[row, column] = _number(cells, row, column, wanted)
    return found, present


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
    values, present = integers(cells, "neither 0 nor 1")
    wrong = ~present | (values != 0) & (values != 1)
    longer = (cells.ends - cells.starts)[:, 0] > 1  # `integers` cuts 0.5 down to 0
    for row in np.flatnonzero(wrong[:, 0] | longer):
        if wrong[row, 0] or float(cells.cell(row, 0)) != values[row, 0]:
            raise InputError(f"{cells.where(row, 0)}: {cells.cell(row, 0)!r} is neither 0 nor 1")
    return values[:, 0].astype(np.int32)


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(BLOCK), b""))


def _read_plain(path: Path, delimiter: str, columns: int, progress: Callable, bad: Bad) -> Iterator[Cells]:
    line, rest, empty = 1, b"", True
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark
            file.seek(0)
        for block in itertools.chain(iter(lambda: file.read(BLOCK), b""), [b""]):
            read = rest + (block or b"\n")  # the last line may have no end
            cut = read.rfind(b"\n") + 1
            whole, rest = read[:cut], read[cut:]
            if whole.strip(b"\r\n"):
                found = _split(path, line, whole.replace(b"\r\n", b"\n"), delimiter, columns, bad)
                columns, empty = found.starts.shape[1], False
                yield found
            line += whole.count(b"\n")
            if len(rest) > LONGEST:
                raise InputError(f"{path}, row {line}: longer than {LONGEST:,} bytes")
            progress(len(block))
    if empty:
        raise InputError(f"{path} is empty")


def _split(path: Path, line: int, block: bytes, delimiter: str, columns: int, bad: Bad) -> Cells:
    """The cells of whole lines, of which the first is number `line`. columns = 0: as many as the first has."""
    text = np.frombuffer(block, np.uint8)
    if text.max() >= 128:
        _check_utf8(path, line, block)
    for byte, what in ((b"\0", "a byte 0, which is no text"), (b"\r", "a carriage return that ends no line")):
        if (place := block.find(byte)) >= 0:
            row = line + block.count(b"\n", 0, place)
            raise InputError(f"{path}, row {row}: {what}: save the file as UTF-8 with the line ends of this system")
    separators = np.flatnonzero((text == ord(delimiter)) | (text == ord("\n")))
    newlines = separators[text[separators] == ord("\n")]
    counts = np.diff(np.searchsorted(separators, newlines), prepend=-1)
    blank = np.diff(newlines, prepend=-1) == 1
    columns = columns or int(counts[~blank][0])
    wrong = (counts != columns) & ~blank
    for row in np.flatnonzero(wrong):
        bad.add(InputError(f"{path}, row {line + row}: {counts[row]} columns, expected {columns}"))
    starts = np.concatenate([[0], separators[:-1] + 1])
    left_out = blank | wrong
    if left_out.any():
        kept = ~left_out[np.searchsorted(newlines, separators)]  # a separator is of the line that ends next
        starts, separators = starts[kept], separators[kept]
    ends = separators
    while (leading := (starts < ends) & (text[starts] == ord(" "))).any():
        starts = starts + leading
    while (trailing := (starts < ends) & (text[ends - 1] == ord(" "))).any():
        ends = ends - trailing
    shape = (-1, columns)
    return Cells(path, [], line + np.flatnonzero(~left_out), text, starts.reshape(shape), ends.reshape(shape))


def _read_quoted(path: Path, delimiter: str, columns: int, progress: Callable, bad: Bad) -> Iterator[Cells]:
    rows = read_rows(path, delimiter, columns=columns, bad=bad)
    while some := list(itertools.islice(rows, ROWS)):
        cells = make_cells(path, [line for line, _ in some], [row for _, row in some])
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


def _number(cells: Cells, row: int, column: int, wanted: str) -> float:
    """Of a cell that is not a few digits only."""
    cell = cells.cell(row, column)
    try:
        value = np.floor(float(cell))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{cells.where(row, column)}: {cell!r} is {wanted}")
    return value


@functools.lru_cache(maxsize=8)
def _powers(n: int) -> tuple[np.ndarray, np.ndarray]:
    """MULTIPLIER**i and its inverses modulo 2**64, for i below n."""
    inverse = pow(int(MULTIPLIER), -1, 2**64)
    return tuple(np.cumprod(np.full(n, factor, np.uint64)) for factor in (int(MULTIPLIER), inverse))
