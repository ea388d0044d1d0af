"""What is made of a dataset's files once, and kept for later runs."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import InputError

FEW, ENDS = 100, 1 << 16  # of so many files a conversion knows so many first and last bytes


def convert_once(folder: Path, sources: Sequence[Path], settings: str, convert: Callable[[Path], None]) -> Path:
    """A folder below `folder` with what `convert` has written into it, now or at an earlier time.

    It is made again where the sources (by name, size and time of change) or the settings are others, and never found
    half done. Raises InputError where nothing can be written.
    """
    stamps: list[object] = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    stamps += map(_ends, sources[:FEW])  # copies keep times
    key = hashlib.sha256(repr((stamps, settings)).encode()).hexdigest()[:16]
    made = folder / f"converted-{key}"
    if made.is_dir():
        return made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".converting-") as beside:
            whole = Path(beside, "whole")  # what is renamed is not what is removed
            whole.mkdir()
            convert(whole)
            try:
                os.rename(whole, made)
            except OSError:
                if not made.is_dir():  # else another process was faster
                    raise
    except OSError as error:
        raise InputError(
            f"{folder} cannot hold converted data ({error.strerror}): name another folder with --data.cache"
        ) from error
    return made


def _ends(path: Path) -> bytes:
    """The first and the last bytes of a file."""
    try:
        with path.open("rb") as file:
            first = file.read(ENDS)
            file.seek(max(0, path.stat().st_size - ENDS))
            return hashlib.blake2b(first + file.read(ENDS)).digest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
