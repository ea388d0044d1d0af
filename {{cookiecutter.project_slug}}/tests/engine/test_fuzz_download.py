"""Damaged archives: they are unpacked, or refused by one line, and nothing else."""

import gzip
import io
import tarfile
import zipfile

import pytest
from hostile import QUICK, check_damaged, tries

from {{cookiecutter.package_name}}.engine.data import download


def tar(mode):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name in ("a/x.txt", "b.txt"):
            member = tarfile.TarInfo(name)
            member.size = 50
            packed.addfile(member, io.BytesIO(b"x" * 50))
    return file.getvalue()


def zipped(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        packed.writestr("a/x.txt", "hello " * 30)
        packed.writestr("b.txt", "y" * 40)
    return file.getvalue()


def unpack(path):
    """Nothing lands beside the archive's folder, and what cannot be unpacked leaves nothing."""
    inside = path.parent / "inside"
    inside.mkdir(exist_ok=True)
    try:
        download.unpack(path, inside)
    finally:
        assert {entry.name for entry in path.parent.iterdir()} <= {path.name, "inside"}
        assert not [entry for entry in inside.iterdir() if entry.name.startswith(".unpack-")]


READERS = {
    "tar": (".tar", tar("w"), unpack),
    "tar.gz": (".tar.gz", tar("w:gz"), unpack),
    "tar.xz": (".tar.xz", tar("w:xz"), unpack),
    "zip": (".zip", zipped(zipfile.ZIP_DEFLATED), unpack),
    "zip, stored": (".zip", zipped(zipfile.ZIP_STORED), unpack),
    "zip, lzma": (".zip", zipped(zipfile.ZIP_LZMA), unpack),
    "gz": (".gz", gzip.compress(b"hello" * 50), download.read_gzip),
}


@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 500)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    suffix, content, read = READERS[name]
    check_damaged(tmp_path / f"file{suffix}", content, read, count)
