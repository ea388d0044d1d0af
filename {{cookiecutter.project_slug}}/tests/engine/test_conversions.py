"""Data that are converted once, and kept."""

import pytest
from helpers import left_in

from {{cookiecutter.package_name}}.engine.data.conversions import convert_once
from {{cookiecutter.package_name}}.engine.errors import InputError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("abc")
    return path


def upper(source, calls):
    def convert(folder):
        calls.append(1)
        (folder / "upper.txt").write_text(source.read_text().upper())

    return convert


def test_data_are_converted_once(tmp_path, source):
    calls = []
    first, second = (convert_once(tmp_path, [source], "a", upper(source, calls)) for _ in range(2))
    assert first == second and calls == [1]
    assert (first / "upper.txt").read_text() == "ABC"


def test_data_are_converted_again_where_they_or_the_settings_are_others(tmp_path, source):
    calls = []
    first = convert_once(tmp_path, [source], "a", upper(source, calls))
    second = convert_once(tmp_path, [source], "b", upper(source, calls))
    source.write_text("other")
    third = convert_once(tmp_path, [source], "b", upper(source, calls))
    assert len({first, second, third}) == len(calls) == 3
    assert (third / "upper.txt").read_text() == "OTHER"


def test_a_conversion_that_breaks_off_leaves_nothing(tmp_path, source):
    def convert(folder):
        (folder / "half.txt").write_text("")
        raise InputError("a fault in the source")

    with pytest.raises(InputError, match="a fault in the source"):
        convert_once(tmp_path / "cache", [source], "a", convert)
    assert left_in(tmp_path / "cache") == []


def test_a_folder_that_cannot_hold_converted_data_is_one_line(tmp_path, source):
    with pytest.raises(InputError, match="source.txt cannot hold converted data .* --data.cache") as caught:
        convert_once(source, [source], "a", upper(source, []))
    assert "\n" not in str(caught.value)
