"""Pairs of texts in files: two of them, line by line, or a table."""

import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...engine.api import Bad, InputError, say_once
from ...engine.data.tables import Format, column_names, no_column, read_rows
from ...engine.data.texts import clean

LONGEST = 2**24  # bytes of a line
Pair = tuple[str, str]  # a text and its translation
Line = tuple[int, str | InputError]  # its number in the file, and its text or what is wrong with it


class Files(NamedTuple):
    """Where pairs stand.

    Attributes:
        paths: a file of the source and one of the target, or a table.
        columns: of a table, that of the source and that of the target: names, or numbers from 1.
        format: how a table is written.
    """

    paths: tuple[Path, ...]
    columns: tuple[str, str] = ("", "")
    format: Format = Format("\t", quotes=False)

    def __str__(self) -> str:
        return " and ".join(map(str, self.paths))


def read_pairs(files: Files, bad: Bad) -> Iterator[Pair]:
    """In a stream. Pairs of which both sides are empty are passed over; `bad` takes those that cannot be read.

    Raises:
        InputError: for files that cannot be read, and two of different length.
    """
    rows = _of_table(files, bad) if len(files.paths) == 1 else _of_files(*files.paths)
    for places, found in rows:
        try:
            if pair := _checked(places, found):
                yield pair
        except InputError as error:
            bad.add(error)


def _checked(places: tuple[str, str], found: tuple[str | InputError, str | InputError]) -> Pair | None:
    """None where both are empty. Raises InputError where one is, or cannot be read."""
    source, target = found
    for text in found:
        if isinstance(text, InputError):
            raise text
    assert isinstance(source, str) and isinstance(target, str)
    if not source and not target:
        return None
    if not source or not target:
        empty, other = places if not source else places[::-1]
        raise InputError(f"{empty}: empty, but {other} is not")
    return source, target


def _of_files(source: Path, target: Path) -> Iterator[tuple[tuple[str, str], tuple]]:
    for one, other in itertools.zip_longest(read_lines(source), read_lines(target)):
        if not one or not other:
            (longer, (last, _)), shorter = ((source, one), target) if one else ((target, other), source)
            raise InputError(
                f"{shorter} ends before row {last}, but {longer} goes on: each line has to be the translation of the "
                "same line of the other file"
            )
        yield (f"{source}, row {one[0]}", f"{target}, row {other[0]}"), (one[1], other[1])


def _of_table(files: Files, bad: Bad) -> Iterator[tuple[tuple[str, str], tuple]]:
    [path] = files.paths
    if path.suffix.lower() == ".gz":
        raise InputError(f"{path}: a table is read as it is: unpack it with gunzip")
    rows = read_rows(path, files.format, bad=bad)
    if all(name.isdecimal() for name in files.columns):
        first = next(rows)
        rows, names = itertools.chain([first], rows), [str(i) for i in range(1, len(first[1]) + 1)]
    else:
        names = column_names(path, next(rows)[1])
    for name in files.columns:
        if name not in names:
            raise no_column(path, name, names, files.format)
    indices = [names.index(name) for name in files.columns]
    for line, cells in rows:
        one, other = (f"{path}, row {line}, column {name}" for name in files.columns)
        if not files.format.quotes and any(_is_quoted(cells[i]) for i in indices):
            say_once(
                f"quotes of {path}",
                f"{path}, row {line}: a text in quotes that are doubled within: --data.quotes true?",
            )
        yield (one, other), tuple(clean(cells[i]) for i in indices)


def _is_quoted(cell: str) -> bool:
    """Whether it is how CSV writes a text that holds quotes."""
    inside = cell[1:-1]
    return cell == f'"{inside}"' and '""' in inside and '"' not in inside.replace('""', "")


def read_lines(path: Path) -> Iterator[Line]:
    """Of a UTF-8 file, which may be compressed by gzip, each `clean`."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for row, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
                if len(line) > LONGEST:
                    raise InputError(f"{path}, row {row}: longer than {LONGEST:,} bytes")
                yield row, _decoded(line, f"{path}, row {row}", row)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no whole file of gzip: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _decoded(line: bytes, where: str, row: int) -> str | InputError:
    try:
        text = line.decode("utf-8-sig" if row == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        return InputError(f"{where}: byte 0x{byte:02x} is no UTF-8 text: save the file as UTF-8")
    if "\0" in text:
        return InputError(f"{where}: a byte 0, which is no text: save the file as UTF-8")
    return clean(text)
