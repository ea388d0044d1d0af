"""Archives: unpacked in their folder, whole or not at all."""

import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pytest
from helpers import left_in

from {{cookiecutter.package_name}}.engine.data.download import Remote, locate_unpacked, unpack
from {{cookiecutter.package_name}}.engine.errors import InputError


def pack(path, members, **kinds):
    """An archive of contents by name; `kinds` makes something else of some members."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in kinds.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return path


MEMBERS = {"set/a.bin": b"a" * 1000, "set/sub/b.bin": bytes(range(256))}


def not_unpacked(archive, folder):
    with pytest.raises(InputError) as caught:
        unpack(archive, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_archive_is_unpacked_in_its_folder(tmp_path):
    unpack(pack(tmp_path / "a.tar.gz", MEMBERS), tmp_path)
    assert left_in(tmp_path) == ["a.tar.gz", "set", "set/a.bin", "set/sub", "set/sub/b.bin"]
    assert all((tmp_path / name).read_bytes() == content for name, content in MEMBERS.items())


def test_files_that_are_there_are_not_unpacked_again(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_text("mine")
    unpack(pack(tmp_path / "a.tar.gz", MEMBERS), tmp_path)
    assert (tmp_path / "set" / "a.bin").read_text() == "mine" and (tmp_path / "set" / "sub" / "b.bin").is_file()


@pytest.mark.parametrize("name", ["../b.bin", "set/../../b.bin", "/../b.bin"])
def test_an_archive_does_not_leave_its_folder(tmp_path, name):
    (tmp_path / "in").mkdir()
    line = not_unpacked(pack(tmp_path / "in" / "a.tar.gz", {"a.bin": b"a", name: b"b"}), tmp_path / "in")
    assert "a.tar.gz is not safe to unpack" in line
    assert left_in(tmp_path) == ["in", "in/a.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_with_links_or_devices_is_refused(tmp_path, kind):
    archive = pack(tmp_path / "a.tar.gz", {"a.bin": b""}, type=kind, linkname="b.bin")
    assert "a.tar.gz is not safe to unpack" in not_unpacked(archive, tmp_path)
    assert left_in(tmp_path) == ["a.tar.gz"]


@pytest.mark.parametrize(
    "damage", [lambda tar: tar[:-100], lambda tar: tar[:20], lambda tar: b"", lambda tar: b"a" * 99]
)
def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path, damage):
    noise = {"a.bin": np.random.default_rng(0).bytes(30000), "b.bin": b"b"}
    archive = pack(tmp_path / "a.tar.gz", noise)
    archive.write_bytes(damage(archive.read_bytes()))
    assert "a.tar.gz is no whole tar archive" in not_unpacked(archive, tmp_path)
    assert left_in(tmp_path) == ["a.tar.gz"]


def test_members_are_fetched_with_their_archive(tmp_path):
    path = pack(tmp_path / "a.tar.gz", MEMBERS)
    archive = Remote(path.name, path.as_uri(), hashlib.md5(path.read_bytes()).hexdigest())
    paths = locate_unpacked(tmp_path / "to", archive, list(MEMBERS), download=True, verify=True)
    assert paths == [tmp_path / "to" / name for name in MEMBERS] and all(path.is_file() for path in paths)


def test_members_that_are_there_need_no_archive(tmp_path):
    unpack(pack(tmp_path / "a.tar.gz", MEMBERS), tmp_path)
    (tmp_path / "a.tar.gz").unlink()
    archive = Remote("a.tar.gz", "https://example.org/a.tar.gz", "0" * 32)
    assert len(locate_unpacked(tmp_path, archive, list(MEMBERS), download=False, verify=True)) == 2


def test_members_that_an_archive_lacks_are_named(tmp_path):
    archive = Remote("a.tar.gz", "https://example.org/a.tar.gz", "")
    pack(tmp_path / "a.tar.gz", MEMBERS)
    with pytest.raises(InputError, match="a.tar.gz lacks set/c.bin"):
        locate_unpacked(tmp_path, archive, ["set/a.bin", "set/c.bin"], download=False, verify=False)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_archive_is_unpacked_in_its_folder(tmp_path):
    unpack(zipped(tmp_path / "a.zip", MEMBERS), tmp_path)
    assert all((tmp_path / name).read_bytes() == content for name, content in MEMBERS.items())


def test_a_zip_archive_does_not_leave_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    unpack(zipped(tmp_path / "in" / "a.zip", {"../b.bin": b"b"}), tmp_path / "in")
    assert left_in(tmp_path) == ["in", "in/a.zip", "in/b.bin"]


@pytest.mark.parametrize("content", [b"", b"abc", None])
def test_a_damaged_zip_archive_is_one_line_and_leaves_nothing(tmp_path, content):
    path = zipped(tmp_path / "a.zip", MEMBERS)
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 255  # of the first member, whose checksum is then another one
    path.write_bytes(damaged if content is None else content)
    assert "a.zip is no whole zip archive" in not_unpacked(path, tmp_path)
    assert left_in(tmp_path) == ["a.zip"]
