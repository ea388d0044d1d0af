"""Ways to end that a person should read as one line, not as a traceback; each with its exit code."""

import signal
import traceback
from pathlib import Path

EVIDENCE = "config, environment, metrics and the whole traceback"  # begins the note of an error that a run has kept


def on_one_line(text: str) -> str:
    """The text whatever it quotes on one line, and with nothing of a file that a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def place(error: BaseException) -> str:
    """Where it comes from: the last line on its way that is the project's own, else the engine's, else any."""
    frames, root = traceback.extract_tb(error.__traceback__), Path(__file__).parents[1]
    inside = [frame for frame in frames if root in Path(frame.filename).parents]
    own = [frame for frame in inside if Path(__file__).parent not in Path(frame.filename).parents]
    frame = [*frames, *inside, *own][-1]
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}"


class Error(Exception):
    exit_code = 1
    told = False  # by another process of the same run, which has met it, too

    def __init__(self, message: str):
        super().__init__(on_one_line(message))


class InputError(Error):
    """A mistake of the person who runs the program: names the thing, the value and the way out."""

    exit_code = 2


class RunError(Error):
    """A run that failed on its way."""


class Stopped(Error):
    """A signal ended the run after its state was saved: 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, number: int, message: str):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.exit_code = 128 + number
