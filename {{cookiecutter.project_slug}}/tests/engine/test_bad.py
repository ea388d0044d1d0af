"""Bad rows and images: the first is an error, or all are counted and left out."""

import gzip

import numpy as np
import pytest
from hostile import unreadable
from PIL import Image

from {{cookiecutter.package_name}}.engine.data import download, images, tables
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.data.tables import read_rows, read_table
from {{cookiecutter.package_name}}.engine.errors import InputError


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


@pytest.fixture
def written(tmp_path):
    """`written(content)` is the path of a file."""

    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def error(i):
    return InputError(f"row {i} is bad")


def test_the_first_bad_one_is_an_error():
    with pytest.raises(InputError, match="row 1 is bad"):
        Bad(skip=False).add(error(1))


def test_bad_ones_are_counted_and_the_first_are_named(capsys):
    bad = Bad(skip=True)
    for i in range(5):
        bad.add(error(i))
    bad.say(kept=95)
    expected = "data.skip_bad leaves out 5 of 100: row 0 is bad; row 1 is bad; row 2 is bad; and 2 more\n"
    assert capsys.readouterr().err == expected


def test_nothing_is_said_of_none(capsys):
    Bad(skip=True).say(kept=0)
    assert capsys.readouterr().err == ""


def test_what_is_all_bad_is_an_error():
    bad = Bad(skip=True)
    bad.add(error(1))
    with pytest.raises(InputError, match="row 1 is bad: data.skip_bad leaves nothing"):
        bad.say(kept=0)


def test_what_was_found_bad_can_be_kept(capsys):
    bad = Bad(skip=True)
    bad.add(error(1))
    Bad.from_text(bad.to_text()).say(kept=1)
    assert capsys.readouterr().err == "data.skip_bad leaves out 1 of 2: row 1 is bad\n"


def test_rows_of_another_length_are_left_out(written):
    bad = Bad(skip=True)
    assert list(read_rows(written("a,b\n1\n2,3\n4,5,6\n7,8\n"), bad=bad)) == [
        (1, ["a", "b"]),
        (3, ["2", "3"]),
        (5, ["7", "8"]),
    ]
    assert bad.count == 2 and bad.first[0].endswith("table.csv, row 2: 1 columns, expected 2")


def test_rows_without_a_number_are_left_out(written):
    bad = Bad(skip=True)
    table = read_table(written("a,b\n1,2\nx,3\n?,4\n5,\n6,inf\n"))
    found = table.readable({"a": ["?"], "b": []}, bad)
    assert found.lines == [2, 4] and found.rows == [["1", "2"], ["?", "4"]]
    assert [line.partition("row ")[2] for line in bad.first] == [
        "3, column a: 'x' is no number",
        "5, column b: no value",
        "6, column b: 'inf' is no number",
    ]


def test_a_column_of_text_does_not_leave_out_every_row(written):
    table = read_table(written("a,b\nx,1\ny,2\n"))
    assert table.readable({"a": [], "b": []}, Bad(skip=True)).rows == table.rows


def test_a_table_of_bad_rows_names_the_first(written):
    with pytest.raises(InputError, match="row 2: 1 columns, expected 2: data.skip_bad leaves nothing"):
        read_table(written("a,b\n1\n2\n"), bad=Bad(skip=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_cannot_be_read_are_found(tmp_path, workers):
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    for i in (1, 4):
        with open(paths[i], "wb") as file:
            file.write(b"no image")
    bad = Bad(skip=True)
    found = images.readable(images.Files(paths), lambda file: images.decode(file, channels=3), workers, bad)
    assert found == [0, 2, 3, 5] and bad.count == 2 and bad.first[0].startswith(paths[1])


# What no row is to blame for.


def refused(read, *arguments):
    with pytest.raises(InputError) as caught:
        list(read(*arguments))
    return str(caught.value)


def test_a_byte_0_is_told_with_its_row_also_where_bad_rows_are_left_out(written):
    line = refused(lambda path: read_rows(path, bad=Bad(skip=True)), written("a,b\n1,2\n3\0,4\n"))
    assert line.endswith("table.csv, row 3: a byte 0, which is no text: save the file as UTF-8")


def test_lines_may_end_in_carriage_returns_alone(written):
    assert [line for line, _ in read_rows(written("a,b\r1,2\r3,4\r"))] == [1, 2, 3]


def test_a_file_without_line_breaks_is_refused_before_it_fills_the_memory(written, monkeypatch):
    monkeypatch.setattr(tables, "LONGEST", 100)
    assert refused(read_rows, written("a,b\n" + "x," * 200)).endswith("table.csv, row 2: longer than 100 characters")


def test_a_number_that_is_too_large_to_calculate_with_is_none(written):
    with pytest.raises(InputError, match="row 2, column b: '1e300' is no number"):
        read_table(written("a,b\n1,1e300\n")).numbers("b")


def test_what_is_quoted_in_an_error_is_one_line_that_a_terminal_does_not_obey():
    line = str(InputError("a\r\nb \x1b[2J \u202e \ud800 ü"))
    assert line == r"a\r\nb \x1b[2J \u202e \ud800 ü"


def test_what_is_said_of_a_file_is_one_line_that_a_terminal_does_not_obey(capsys):
    data_files.say_once("topic", "a column \x1b[2J\n")
    assert capsys.readouterr().err == "a column \\x1b[2J\\n\n"


def test_an_archive_that_holds_too_much_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1000)
    monkeypatch.setattr(download, "BLOCK", 100)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(10_000)))
    assert "a.gz unpacks to more than 1,000 bytes" in refused(download.read_gzip, tmp_path / "a.gz")


READERS = {
    "table": read_rows,
    "gz": download.read_gzip,
    "bytes": data_files.read_bytes,
    "checksum": lambda path: download.locate(
        path.parent, [download.Remote(path.name, "", "")], download=False, verify=True
    ),
    "archive": lambda path: download.unpack(path, path.parent),
    "image": lambda path: np.asarray(images.decode(str(path), channels=3)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch, name):
    path = tmp_path / "file.tar"
    path.write_bytes(b"something")
    unreadable(monkeypatch, path)
    assert refused(READERS[name], path).startswith(f"{path}: Permission denied")


@pytest.mark.parametrize("name", [name for name in READERS if name != "checksum"])
def test_a_folder_for_a_file_is_one_line(tmp_path, name):
    path = tmp_path / "file.tar"
    path.mkdir()
    assert refused(READERS[name], path).startswith(f"{path}: Is a directory")
