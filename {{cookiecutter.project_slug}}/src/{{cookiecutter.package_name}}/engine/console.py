"""What a command prints to: streams that take every text, and how values are shown."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Any


class _Stderr(io.FileIO):
    """A run goes on where nobody reads any more what it tells, as `2>&1 | head`."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def open_streams() -> None:
    """Whatever they are, they take every text: letters that a console cannot say are escaped."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: a file of the run would get its number
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    errors = sys.__stderr__  # None where it was closed
    buffer = getattr(errors, "buffer", None)
    if errors and sys.stderr is errors and type(getattr(buffer, "raw", buffer)) is io.FileIO and not errors.isatty():
        file = io.BufferedWriter(_Stderr(errors.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(file, errors.encoding, "backslashreplace", line_buffering=True)


def drop_output() -> None:
    """What is kept of stdout would fail once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shown(value: float) -> str:
    """With four decimals, or where these would say nothing with four digits."""
    return f"{value:.4f}" if not value or 1e-3 <= abs(value) < 1e9 else f"{value:.4g}"


def beginning(lines: Sequence[str], most: int) -> str:
    """The lines, or as many of them as there may be and how many more there are."""
    rest = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *rest])
