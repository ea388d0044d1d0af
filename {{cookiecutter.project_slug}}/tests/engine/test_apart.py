"""A process of one's own: signals and its end, on Windows, too, which is pretended elsewhere."""

import signal
import sys
from types import SimpleNamespace

import pytest

from {{cookiecutter.package_name}}.engine import apart


@pytest.fixture
def windows(monkeypatch):
    """For a module: all of Python is not to believe it."""
    return lambda module: monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))


def test_a_process_that_ends_itself_runs_its_handlers(windows, monkeypatch):
    caught = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    try:
        windows(apart)
        monkeypatch.setattr(apart.os, "kill", None)  # which would end it at once
        apart.end_this()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == [signal.SIGTERM]


@pytest.mark.parametrize("pretended", [False, True])
def test_a_signal_is_passed_on_where_the_other_process_has_not_got_it(windows, pretended):
    if pretended:
        windows(apart)
    sent = []
    apart._passes_on(SimpleNamespace(send_signal=sent.append))(signal.SIGINT, None)
    assert sent == ([] if pretended or sys.platform == "win32" else [signal.SIGINT])
