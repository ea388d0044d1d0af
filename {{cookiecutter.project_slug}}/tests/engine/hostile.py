"""What tests of hostile input share: bytes that were valid once, and how many of them are tried.

The same examples are tried each time: `make test` tries QUICK of them, `make test ARGS="-m slow"` all.
"""

import builtins
import errno
import functools
import io
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from {{cookiecutter.package_name}}.engine.errors import InputError

QUICK = 40  # mutations of each file

# Bytes that a reader may stumble over: ends of lines, quotes, separators, numbers without end, what is no UTF-8.
PIECES = [b"\0", b"\r", b"\n", b'"', b",", b"\t", b" ", b"::", b"-", b"\x1a", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80"]
PIECES += [b"\x85", "\u2028".encode(), b"nan", b"1e999", b"1e300", b"9" * 400, b"9" * 5000, b"\x1b[2J", b"\xff" * 8]


def tries(quick: int, slow: int) -> Callable:
    """A test of so many examples, and once more, marked slow, of so many."""
    return pytest.mark.parametrize("count", [quick, pytest.param(slow, marks=pytest.mark.slow)])


def each_of(strategy: st.SearchStrategy, count: int, check: Callable[[object], None]) -> None:
    """check(example) of `count` examples, the same ones each time; of one that fails the simplest is shown."""

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def test(example):
        check(example)

    test()


def unreadable(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """The system does not let this file be opened; its rights alone would not keep an administrator out."""

    def refuse(file, *args, real, **options):
        if not isinstance(file, int) and Path(os.fsdecode(file)) == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(file, *args, **options)

    for module, name in ((builtins, "open"), (io, "open"), (tarfile, "bltn_open")):
        monkeypatch.setattr(module, name, functools.partial(refuse, real=open), raising=False)


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with some damage: cut off, bytes changed, left out, repeated, put in, or replaced everywhere."""
    place = st.integers(0, len(content))
    change = st.one_of(
        st.tuples(st.just(_cut), place, st.none()),
        st.tuples(st.just(_set), place, st.integers(0, 255)),
        st.tuples(st.just(_flip), place, st.integers(0, 7)),
        st.tuples(st.just(_drop), place, st.integers(1, 100)),
        st.tuples(st.just(_repeat), place, st.integers(1, 100)),
        st.tuples(st.just(_insert), place, st.sampled_from(PIECES)),
        st.tuples(st.just(_replace), st.sampled_from([b"\n", b",", b"1", b" "]), st.sampled_from([*PIECES[:4], b""])),
    )
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _changed(content, changes))


def data_or_one_line(read: Callable[[], object]) -> None:
    """Reading gives data, or an InputError of one line."""
    try:
        read()
    except InputError as error:
        assert str(error).isprintable() and len(str(error)) < 20_000, error


def _changed(content: bytes, changes: Iterable[tuple]) -> bytes:
    for change, *details in changes:
        content = change(content, *details)
    return content


def _cut(content, place, _):
    return content[:place]


def _set(content, place, value):
    return content[:place] + bytes([value]) + content[place + 1 :]


def _flip(content, place, bit):
    return _set(content, place, content[place] ^ 1 << bit) if place < len(content) else content


def _drop(content, place, count):
    return content[:place] + content[place + count :]


def _repeat(content, place, count):
    return content[: place + count] + content[place:]


def _insert(content, place, piece):
    return content[:place] + piece + content[place:]


def _replace(content, old, new):
    return content.replace(old, new)


def refused(read: Callable, *arguments: object) -> str:
    """The one line by which a reader refuses."""
    with pytest.raises(InputError) as caught:
        list(read(*arguments))
    return str(caught.value)


def assert_told_where_it_cannot_be_opened(read: Callable, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read, and a folder in its place, are one line each."""
    path.mkdir()
    assert refused(read, path).startswith(f"{path}: Is a directory")
    path.rmdir()
    path.write_bytes(b"something")
    unreadable(monkeypatch, path)
    assert refused(read, path).startswith(f"{path}: Permission denied")


def check_damaged(path: Path, content: bytes, read: Callable, count: int) -> None:
    """A file is read, and each of so many mutations of it is read or refused."""
    path.write_bytes(content)
    read(path)

    def check(damaged):
        path.write_bytes(damaged)
        data_or_one_line(lambda: read(path))

    each_of(mutations(content), count, check)
