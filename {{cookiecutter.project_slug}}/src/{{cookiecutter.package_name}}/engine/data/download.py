"""Files of a dataset as their publisher has them: found, downloaded, verified and unpacked."""

import gzip
import hashlib
import lzma
import os
import struct
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError

LARGEST = 2**32  # bytes of a file that is unpacked into memory
BLOCK = 1 << 20


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


# What the libraries raise for an archive that is cut short, changed, or packed in a way that they do not know:
# RuntimeError is zipfile's for one with a password, LookupError for a member without a name, the last two are for
# impossible sizes.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(NotImplementedError, RuntimeError, ValueError, LookupError, struct.error, OverflowError, MemoryError),
)


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
