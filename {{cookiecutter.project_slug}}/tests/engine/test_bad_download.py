"""Files of a publisher that cannot be read, or hold too much."""

import gzip

import pytest
from hostile import assert_told_where_it_cannot_be_opened, refused, unreadable

from {{cookiecutter.package_name}}.engine.data import download


def test_an_archive_that_holds_too_much_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1000)
    monkeypatch.setattr(download, "BLOCK", 100)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(10_000)))
    assert "a.gz unpacks to more than 1,000 bytes" in refused(download.read_gzip, tmp_path / "a.gz")


@pytest.mark.parametrize("name", ["gz", "archive"])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, name):
    read = {"gz": download.read_gzip, "archive": lambda path: download.unpack(path, path.parent)}[name]
    assert_told_where_it_cannot_be_opened(read, tmp_path / "file.tar", monkeypatch)


def test_a_file_whose_checksum_cannot_be_taken_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "file.tar"
    path.write_bytes(b"something")
    unreadable(monkeypatch, path)
    files = [download.Remote(path.name, "", "")]
    line = refused(lambda: download.locate(tmp_path, files, download=False, verify=True))
    assert line.startswith(f"{path}: Permission denied")
