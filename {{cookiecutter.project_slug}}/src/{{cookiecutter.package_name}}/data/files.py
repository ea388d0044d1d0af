"""Find, download and verify the files of a dataset."""

import gzip
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError


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


def read_gzip(path: Path) -> bytes:
    """The content of a .gz file. Raises InputError where it is damaged or cut short."""
    try:
        with gzip.open(path) as file:
            return file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is no whole gzip file ({error}): remove it and run with --data.download true"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _check(path: Path, md5: str, shown: str = "") -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        advice = (
            ""
            if shown
            else ": remove it and run with --data.download true, or, for files of your own, --data.verify false"
        )
        raise InputError(f"{shown or path} has md5 {found}, not {md5}{advice}")
