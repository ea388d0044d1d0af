"""What lies in folders: the files that are wanted, and the others, of which nothing is left out without a word."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .bad import STRICT, Bad
from .files import say_once

CONVERTED = re.compile(r"converted-[0-9a-f]{16}")  # what `convert_once` makes, beside the data
SHOWN = 10  # folders, and kinds of what is left out in one


class Entries(NamedTuple):
    """What lies in a folder, in the order of the names.

    Attributes:
        files: those that are wanted, as paths.
        folders: as paths.
        others: what each of the others is: `.tif`, or what has no suffix.
        total: how many there are of all, those that `bad` took included.
    """

    files: list[str]
    folders: list[str]
    others: list[str]
    total: int


def entries(folder: Path | str, suffixes: Sequence[str], bad: Bad = STRICT) -> Entries:
    """Of a folder, without what is hidden or was converted here. See `sort_out`. Raises InputError where it cannot be
    read."""
    try:
        with os.scandir(folder) as found:
            seen = [entry for entry in found if not (entry.name.startswith(".") or CONVERTED.fullmatch(entry.name))]
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error
    return sort_out(sorted(seen, key=lambda entry: entry.name), suffixes, bad)


def sort_out(found: Iterable[os.DirEntry | Path], suffixes: Sequence[str], bad: Bad = STRICT) -> Entries:
    """Files, folders and others.

    Args:
        suffixes: of the files that are wanted, in lower case; a file may have them in any case. "": any.
        bad: takes links to nothing, which are what is left of files that were not fetched.
    """
    files: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    total = 0
    for entry in found:
        path, total = os.fspath(entry), total + 1
        if entry.is_symlink() and not os.path.exists(path):
            bad.add(InputError(f"{path} is a link to nothing, {os.readlink(path)}: fetch that, or remove the link"))
        elif entry.is_dir():
            folders.append(path)
        elif not entry.is_file():
            others.append("no file")
        elif entry.name.lower().endswith(tuple(suffixes)):
            files.append(path)
        else:
            others.append(os.path.splitext(entry.name)[1].lower() or "without a suffix")
    return Entries(files, folders, others, total)


def counted(others: Sequence[str], folders: Sequence[str]) -> str:
    """What these are, in words: `3 .tif, 1 folder`; empty where there is nothing."""
    kinds = Counter(others).most_common()
    words = [f"{number:,} {kind}" for kind, number in kinds[:SHOWN]]
    words += [f"{sum(number for _, number in kinds[SHOWN:]):,} of other kinds"] if len(kinds) > SHOWN else []
    words += [f"{len(folders):,} folder{'s' if len(folders) > 1 else ''}"] if folders else []
    return ", ".join(words)


def say_left_out(found: Iterable[tuple[Path | str, Entries]]) -> None:
    """On stderr, once, a line for each folder of which something is left out: its others, and its folders.

    Args:
        found: each with what lies in it, without the folders that are read.
    """
    lines = []
    for folder, (_, folders, others, total) in found:
        if number := len(others) + len(folders):
            are = "is" if number == 1 else "are"
            lines.append(f"{folder}: {number:,} of {total:,} entries {are} left out: {counted(others, folders)}")
    more = len(lines) - SHOWN
    if more > 0:
        lines[SHOWN - 1] += f"; and so of {more:,} more folder{'s' if more > 1 else ''}"
    for line in lines[:SHOWN]:
        say_once(line, line)
