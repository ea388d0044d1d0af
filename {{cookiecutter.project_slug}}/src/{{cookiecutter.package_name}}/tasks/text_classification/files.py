"""Files of texts: what `predict` takes, and a text in a file of its own."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...engine.api import Bad, InputError, Spec, say_once
from ...engine.data.files import read_bytes
from ...engine.data.folders import entries, say_left_out
from ...engine.data.tables import Format, read_rows, read_table, to_format

SUFFIXES = (".txt",)
MEANT = re.compile(r"\S+\.(csv|tsv|txt)", re.IGNORECASE)  # a path, where no such file is there
AS_TEXT = "if it is a text, put a blank before it"
Named = tuple[str, str]  # a text, and what it is called


def texts_of(given: Iterable[str | Path], spec: Spec, bad: Bad) -> list[Named]:
    """(text, name) of texts, and of those in files and folders.

    A table is read as that of the training data: each row is a text. A .txt file is one text, unless its first row
    names the column of the texts. `bad` takes texts, rows and files that cannot be read.
    """
    found: list[Named] = []
    for one in given:
        try:
            found += _texts_of(one, spec, bad)
        except InputError as error:
            bad.add(error)
    say_empty([text for text, _ in found], "inputs")
    return found


def say_empty(texts: Sequence[str], where: str) -> None:
    """On stderr, once, how many are empty, if any are."""
    if count := sum(not text.strip() for text in texts):
        are = "is" if count == 1 else "are"
        say_once(f"empty {where}", f"{where}: {count:,} of {len(texts):,} texts {are} empty")


def list_texts(folders: Sequence[Path], bad: Bad, below: bool = False) -> list[Path]:
    """The .txt files of folders, and maybe of those below, in the order of their names. What else is there is told."""
    found = {folder: entries(folder, SUFFIXES, bad) for folder in folders}
    if below:
        inner = [Path(path) for top in found.values() for path in top.folders]
        found |= {folder: entries(folder, SUFFIXES, bad) for folder in inner}
    unread = {folder: [path for path in one.folders if Path(path) not in found] for folder, one in found.items()}
    say_left_out((folder, one._replace(folders=unread[folder])) for folder, one in found.items())
    return [Path(file) for inside in found.values() for file in inside.files]


def read_text(path: Path) -> str:
    """Of a file. Raises InputError where it is no UTF-8 text."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte 0x{error.object[error.start]:02x} is no UTF-8 text") from error
    if "\0" in text:
        raise InputError(f"{path}: a byte 0, which is no text: save the file as UTF-8")
    return text


def read_review(path: Path) -> str:
    """Of a file as those of IMDb, whose paragraphs <br /> separates."""
    return read_text(path).replace("<br />", " ")


def _texts_of(one: str | Path, spec: Spec, bad: Bad) -> list[Named]:
    column, format = spec["column"], to_format(spec["format"], own=False)
    if os.path.isdir(one):
        if column is not None:
            raise InputError(f"{one} is a folder, and the run's texts are rows of a table: name files, or, {AS_TEXT}")
        paths = list_texts([Path(one)], bad, below=True)
        if not paths:
            raise InputError(f"{one} has no .txt files, nor have the folders in it")
        return [named for path in paths for named in _texts_of(path, spec, bad)]
    if isinstance(one, Path) or os.path.isfile(one):
        path = Path(one)
        if path.suffix.lower() not in SUFFIXES:
            return _rows_of(path, column, format, bad)
        text = read_review(path) if column is None else read_text(path)
        return _rows_of(path, column, format, bad) if _names_column(text, column, format) else [(text, str(path))]
    if MEANT.fullmatch(one):
        raise InputError(f"{one}: there is no such file: {AS_TEXT}")
    shown = " ".join(one.split())  # a line
    if any("\ud800" <= c <= "\udfff" or c == "\0" for c in one):  # what a shell makes of other bytes
        raise InputError(f"inputs: {shown!r} is no UTF-8 text")
    return [(one, shown)]


def _rows_of(path: Path, column: str | None, format: Format, bad: Bad) -> list[Named]:
    if column is None:
        raise InputError(f"{path}: the run's texts are .txt files: name such, or folders of them, or, {AS_TEXT}")
    if not column:
        rows = read_rows(path, format, columns=3, bad=bad)
        return [(f"{title} {body}", f"{path}, row {line}") for line, (_, title, body) in rows]
    table = read_table(path, format, bad=bad)
    texts = ["" if text in format.missing else text for text in table.column(column)]
    return [(text, f"{path}, row {line}") for text, line in zip(texts, table.lines, strict=True)]


def _names_column(text: str, column: str | None, format: Format) -> bool:
    """Whether the first line names the column."""
    return bool(column) and column in [cell.strip(' "\r') for cell in text.partition("\n")[0].split(format.delimiter)]
