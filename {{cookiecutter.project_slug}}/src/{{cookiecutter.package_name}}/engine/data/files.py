"""Find, download and verify the files of a dataset."""

import gzip
import hashlib
import lzma
import os
import struct
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError, on_one_line

LARGEST = 2**32  # bytes of a file that is unpacked into memory
BLOCK = 1 << 20
FEW, ENDS = 100, 1 << 16  # of so many files a conversion knows so many first and last bytes


@dataclass(frozen=True)
class Remote:
    """A file as its publisher has it."""

    name: str
    url: str
    md5: str


def locate(folder: Path, files: Sequence[Remote], *, download: bool, verify: bool) -> list[Path]:
    """The paths of all `files`, which are in `folder` and intact.

    Raises:
        InputError: for files that are missing (they are fetched where `download` is set) or whose checksum is
            another one (where `verify` is set).
    """
    missing = [file for file in files if not (folder / file.name).is_file()]
    if missing and not download:
        names = ", ".join(file.name for file in missing)
        source = missing[0].url.rpartition("/")[0]
        raise InputError(
            f"{folder} lacks {names}: fetch them with --data.download true, or put them there from {source}"
        )
    for file in missing:
        fetch(file, folder)
    if verify:
        for file in files:
            _check(folder / file.name, file.md5)
    return [folder / file.name for file in files]


def locate_unpacked(
    folder: Path, archive: Remote, members: Sequence[str], *, download: bool, verify: bool
) -> list[Path]:
    """The paths of `members`, which are in `folder`; those that are missing are unpacked there from the archive.

    Raises:
        InputError: as `locate` does for the archive, and for members that it lacks.
    """

    def missing() -> list[str]:
        return [member for member in members if not (folder / member).is_file()]

    if missing():
        if not download and not (folder / archive.name).is_file():
            raise InputError(
                f"{folder} lacks {', '.join(missing())}: fetch them with --data.download true, or put {archive.name} "
                f"from {archive.url} there"
            )
        [path] = locate(folder, [archive], download=download, verify=verify)
        unpack(path, folder)
        if missing():
            raise InputError(f"{path} lacks {', '.join(missing())}: remove it and run with --data.download true")
    return [folder / member for member in members]


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


def fetch(file: Remote, folder: Path) -> None:
    """Downloads beside the final name and renames only what is whole, so a partial file never stands in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as partial:
            path = Path(partial) / file.name
            with urllib.request.urlopen(file.url, timeout=60) as response, path.open("wb") as out:
                length = int(response.headers.get("Content-Length", 0)) or None
                with tqdm(desc=file.name, total=length, unit="B", unit_scale=True) as bar:
                    while block := response.read(1 << 18):
                        out.write(block)
                        bar.update(len(block))
            _check(path, file.md5, f"{file.url}: what came")
            os.replace(path, folder / file.name)
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise InputError(f"{file.url}: {error.reason}: fetch {file.name} elsewhere and put it into {folder}") from error
    except OSError as error:
        raise InputError(f"{folder / file.name}: {error.strerror or error}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Puts the files of a tar or zip archive into `folder`, each only when all are unpacked; those that are there stay.

    Raises:
        InputError: where the archive is damaged, or has links or members that lead out of the folder.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as beside:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(beside)  # which makes no links, and keeps members in the folder
            else:
                with tarfile.open(archive) as packed:
                    packed.extractall(beside, filter=_plain)
            for path in sorted(Path(beside).rglob("*")):
                target = folder / path.relative_to(beside)
                if path.is_dir():
                    target.mkdir(exist_ok=True)
                elif not target.exists():
                    os.replace(path, target)
    except tarfile.FilterError as error:
        raise InputError(f"{archive} is not safe to unpack: {error}") from error
    except DAMAGED as error:
        reason = str(error).partition(":\n")[0] or type(error).__name__  # four ways to open it have their say
        kind = "zip" if archive.suffix == ".zip" else "tar"
        raise InputError(
            f"{archive} is no whole {kind} archive ({reason}): remove it and run with --data.download true"
        ) from error
    except OSError as error:
        raise InputError(f"{archive}: {error.strerror or error}") from error


def convert_once(folder: Path, sources: Sequence[Path], settings: str, convert: Callable[[Path], None]) -> Path:
    """A folder below `folder` with what `convert` has written into it, now or at an earlier time.

    It is made again where the sources (by name, size and time of change) or the settings are others, and never found
    half done. Raises InputError where nothing can be written.
    """
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
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


def read_bytes(path: Path) -> bytes:
    """Raises InputError where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def read_gzip(path: Path) -> bytes:
    """The content of a .gz file. Raises InputError where it is damaged, cut short, or holds more than LARGEST."""
    blocks, size = [], 0
    try:
        with gzip.open(path) as file:
            while block := file.read(BLOCK):
                blocks.append(block)
                size += len(block)
                if size > LARGEST:
                    raise InputError(f"{path} unpacks to more than {LARGEST:,} bytes: it is none of these data")
            return b"".join(blocks)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is no whole gzip file ({error}): remove it and run with --data.download true"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def say_once(topic: str, line: str) -> None:
    """On stderr, the first line of each topic in this process."""
    with _lock:
        if topic not in _said:
            _said.add(topic)
            tqdm.write(on_one_line(line), file=sys.stderr)  # which does not break a bar


# What the libraries raise for an archive that is cut short, changed, or packed in a way that they do not know:
# RuntimeError is zipfile's for one with a password, LookupError for a member without a name, the last two are for
# impossible sizes.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(NotImplementedError, RuntimeError, ValueError, LookupError, struct.error, OverflowError, MemoryError),
)

_said: set[str] = set()
_lock = threading.Lock()


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Python's own filter, which keeps members in the folder, and no links, which could lead others out of it."""
    if not (member.isfile() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder)


def _check(path: Path, md5: str, shown: str = "") -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if found != md5:
        advice = (
            ""
            if shown
            else ": remove it and run with --data.download true, or, for files of your own, --data.verify false"
        )
        raise InputError(f"{shown or path} has md5 {found}, not {md5}{advice}")
