"""Files of a person's own, and what is said of them once."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError, on_one_line

_said: set[str] = set()
_lock = threading.Lock()


def find_own(root: str, name: str, key: str, exists: Callable[[Path], bool] = Path.is_file) -> Path:
    """A person's own file, or with `exists` something else, by a path as people type it: from the working folder, or
    else in `root`.

    Raises:
        InputError: where it is in neither, naming both places and the key that it was given by.
    """
    places = list(dict.fromkeys([Path(name), Path(root) / name]))  # an absolute path is one place
    for path in places:
        if name and exists(path):
            return path
    where = " nor ".join(map(str, places)) if name else "nothing"
    raise InputError(f"{key} = {name!r}: there is {'neither ' if len(places) > 1 and name else 'no '}{where}")


def write_text(path: Path, text: str) -> None:
    """Beside, and renamed into place: there is never a part of it. Raises OSError."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def read_bytes(path: Path) -> bytes:
    """Raises InputError where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def say_once(topic: str, line: str) -> None:
    """On stderr, the first line of each topic in this process."""
    with _lock:
        if topic not in _said:
            _said.add(topic)
            tqdm.write(on_one_line(line), file=sys.stderr)  # which does not break a bar
