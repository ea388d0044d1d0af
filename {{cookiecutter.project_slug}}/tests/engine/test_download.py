"""Files of a publisher: fetched whole or not at all, and held to their checksums."""

import gzip
import hashlib
import http.server
import threading

import pytest
from helpers import left_in

from {{cookiecutter.package_name}}.engine.data.download import Remote, locate, read_gzip
from {{cookiecutter.package_name}}.engine.errors import InputError

CONTENT = {"a.gz": gzip.compress(b"a" * 1000), "b.gz": bytes(range(256)) * 4096}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, counts what it is asked for, and cuts short what is asked for below /cut/."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = CONTENT.get(self.path.rpartition("/")[2])
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/cut/") else content)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def loopback():
    """A server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(loopback, monkeypatch):
    """`remote(name)` is a file on the server, with its true checksum."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    loopback.asked.clear()

    def file(name, place="", md5=None):
        url = f"http://127.0.0.1:{loopback.server_port}/{place}{name}"
        return Remote(name, url, md5 or hashlib.md5(CONTENT.get(name, b"")).hexdigest())

    return file


def refused(folder, *files):
    """The error of a download, which is one line."""
    with pytest.raises(InputError) as caught:
        locate(folder, files, download=True, verify=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_is_what_the_server_has(remote, tmp_path):
    paths = locate(tmp_path / "set", [remote("a.gz"), remote("b.gz")], download=True, verify=True)
    assert [path.read_bytes() for path in paths] == [CONTENT["a.gz"], CONTENT["b.gz"]]


def test_a_download_leaves_nothing_but_its_files(remote, tmp_path):
    locate(tmp_path / "set", [remote("a.gz"), remote("b.gz")], download=True, verify=True)
    assert left_in(tmp_path / "set") == ["a.gz", "b.gz"]


def test_what_is_there_is_not_downloaded_again(remote, loopback, tmp_path):
    (tmp_path / "a.gz").write_bytes(CONTENT["a.gz"])
    locate(tmp_path, [remote("a.gz"), remote("b.gz")], download=True, verify=True)
    assert loopback.asked == ["/b.gz"]


def test_nothing_is_downloaded_unasked(remote, loopback, tmp_path):
    with pytest.raises(InputError):
        locate(tmp_path, [remote("a.gz")], download=False, verify=True)
    assert loopback.asked == []


def test_a_download_shows_how_far_it_is(remote, tmp_path, capsys):
    locate(tmp_path, [remote("b.gz")], download=True, verify=True)
    assert "b.gz: 100%" in capsys.readouterr().err


def test_a_download_with_another_checksum_is_refused(remote, tmp_path):
    file = remote("a.gz", md5="0" * 32)
    line = refused(tmp_path, file)
    assert file.url in line and hashlib.md5(CONTENT["a.gz"]).hexdigest() in line and "0" * 32 in line


def test_a_download_with_another_checksum_leaves_nothing(remote, tmp_path):
    refused(tmp_path, remote("a.gz", md5="0" * 32))
    assert left_in(tmp_path) == []


def test_a_download_that_breaks_off_is_refused(remote, tmp_path):
    file = remote("b.gz", place="cut/")
    assert file.url in refused(tmp_path, file)


def test_a_download_that_breaks_off_leaves_nothing(remote, tmp_path):
    refused(tmp_path, remote("b.gz", place="cut/"))
    assert left_in(tmp_path) == []


def test_files_that_came_before_one_that_did_not_stay(remote, tmp_path):
    refused(tmp_path, remote("a.gz"), remote("none.gz"))
    assert left_in(tmp_path) == ["a.gz"]


def test_a_file_that_the_server_lacks_names_its_address_and_its_place(remote, tmp_path):
    file = remote("none.gz")
    line = refused(tmp_path, file)
    assert file.url in line and "Not Found" in line and str(tmp_path) in line


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/a.gz"
    assert url in refused(tmp_path, Remote("a.gz", url, "0" * 32))


def test_a_folder_that_cannot_be_made_is_one_line(remote, tmp_path):
    (tmp_path / "data").write_text("in the way")
    assert str(tmp_path / "data") in refused(tmp_path / "data" / "set", remote("a.gz"))


def test_missing_files_are_named_with_their_place_and_their_source(tmp_path):
    (tmp_path / "a.gz").touch()
    files = [Remote(name, f"https://example.org/set/{name}", "") for name in ("a.gz", "b.gz", "c.gz")]
    with pytest.raises(InputError) as caught:
        locate(tmp_path, files, download=False, verify=False)
    line = str(caught.value)
    assert all(part in line for part in (str(tmp_path), "b.gz, c.gz", "https://example.org/set"))
    assert "--data.download true" in line and "a.gz" not in line


def test_a_file_with_another_checksum_is_named_with_both_and_the_way_out(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"mine")
    with pytest.raises(InputError) as caught:
        locate(tmp_path, [Remote("a.gz", "https://example.org/a.gz", "0" * 32)], download=True, verify=True)
    line = str(caught.value)
    found = hashlib.md5(b"mine").hexdigest()
    assert all(part in line for part in (str(tmp_path / "a.gz"), found, "0" * 32, "--data.verify false"))


def test_a_file_with_another_checksum_stays(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"mine")
    with pytest.raises(InputError):
        locate(tmp_path, [Remote("a.gz", "https://example.org/a.gz", "0" * 32)], download=True, verify=True)
    assert (tmp_path / "a.gz").read_bytes() == b"mine"


def test_a_checksum_is_not_asked_for_without_verify(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"mine")
    paths = locate(tmp_path, [Remote("a.gz", "https://example.org/a.gz", "0" * 32)], download=False, verify=False)
    assert paths == [tmp_path / "a.gz"]


def test_a_whole_gzip_file_is_read(tmp_path):
    (tmp_path / "a.gz").write_bytes(CONTENT["a.gz"])
    assert read_gzip(tmp_path / "a.gz") == b"a" * 1000


@pytest.mark.parametrize(
    "damage",
    [lambda gz: gz[:-9], lambda gz: gz[:4], lambda gz: gz[:-6] + b"XX" + gz[-4:], lambda gz: b"a"],
    ids=["cut short", "no more than its head", "another checksum", "no gzip"],
)
def test_a_damaged_gzip_file_is_refused(tmp_path, damage):
    (tmp_path / "a.gz").write_bytes(damage(CONTENT["a.gz"]))
    with pytest.raises(InputError, match="a.gz is no whole gzip file .*: remove it and run with --data.download true"):
        read_gzip(tmp_path / "a.gz")
