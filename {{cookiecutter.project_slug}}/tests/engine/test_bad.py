"""Bad examples: the first is an error, or all are counted and left out. What is said of them is one line."""

import pytest
from hostile import assert_told_where_it_cannot_be_opened

from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.errors import InputError


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


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


def test_what_is_quoted_in_an_error_is_one_line_that_a_terminal_does_not_obey():
    line = str(InputError("a\r\nb \x1b[2J \u202e \ud800 ü"))
    assert line == r"a\r\nb \x1b[2J \u202e \ud800 ü"


def test_what_is_said_of_a_file_is_one_line_that_a_terminal_does_not_obey(capsys):
    data_files.say_once("topic", "a column \x1b[2J\n")
    assert capsys.readouterr().err == "a column \\x1b[2J\\n\n"


def test_a_line_is_said_once_for_each_topic(monkeypatch, capsys):
    monkeypatch.setattr(data_files, "_said", set())
    for topic, line in (("a", "one"), ("a", "two"), ("b", "three")):
        data_files.say_once(topic, line)
    assert capsys.readouterr().err == "one\nthree\n"


def test_a_file_of_ones_own_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    assert_told_where_it_cannot_be_opened(data_files.read_bytes, tmp_path / "file.txt", monkeypatch)
