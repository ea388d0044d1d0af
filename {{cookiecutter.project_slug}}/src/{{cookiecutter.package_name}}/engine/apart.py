"""Work, and training, in a process of its own."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from .errors import Error, RunError
from .folder import FOLDER_FILE

Value = TypeVar("Value")
FOLLOWS = "TRAIN_ENDS_WITH_ITS_STDIN"
ASK_EVERY = 1.0  # seconds
KILLED = -9  # exit code of a process that SIGKILL has ended, as the system does where memory is short


def train_apart(words: list[str], unwanted: Callable[[], bool] | None = None) -> tuple[int, Path | None]:
    """Trains in another process. Returns its exit code, and the run's folder where it got to the end.

    Where this process ends, so does that, with its state saved. unwanted: asked all the time; where it says so, too.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "folder")
        command = [sys.executable, "-m", __package__.partition(".")[0], "train", *words]
        told = {FOLDER_FILE: str(file), FOLLOWS: "true"}
        # A session of its own, as a terminal's Ctrl-C would reach it twice: signals to this process are passed on once.
        child = subprocess.Popen(command, env=os.environ | told, stdin=subprocess.PIPE, start_new_session=True)
        before = {number: signal.signal(number, _passes_on(child)) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while (code := _code(child, ASK_EVERY if unwanted else None)) is None:
                if unwanted and unwanted():
                    child.terminate()
                    unwanted = None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if child.stdin:
                child.stdin.close()
        # A child that a signal killed has a negative code; a shell would say 128 + its number.
        return code if code >= 0 else 128 - code, Path(file.read_text(encoding="utf-8")) if file.exists() else None


def _passes_on(child: subprocess.Popen) -> Callable[[int, Any], None]:
    def handle(number: int, frame: Any) -> None:
        if sys.platform != "win32":  # where a console's Ctrl-C has reached the child, too
            child.send_signal(number)

    return handle


def _code(child: subprocess.Popen, seconds: float | None) -> int | None:
    """The exit code of a process; None where it is not at its end after so long."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def follow() -> None:
    """In a process of `train_apart`, which holds the other end of its stdin: ends it after the one that started it."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock a thread would keep at the end
        end_this()

    if FOLLOWS in os.environ:
        threading.Thread(target=wait, daemon=True).start()


def apart(call: Callable[..., Value], *arguments: Any) -> Value:
    """What call(*arguments), plain values, gives in a process of its own. Where this process ends, so does that.

    Raises:
        Error: that it raises there.
        RunError: where that process has been ended.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(there, call, arguments))
    process.start()
    there.close()
    try:
        found, error = here.recv()
    except EOFError as closed:
        process.join()
        reason = "out of memory?" if process.exitcode == KILLED else "see above"
        raise RunError(f"a process of this command ended with exit code {process.exitcode}: {reason}") from closed
    except BaseException:  # also a signal's
        process.terminate()
        raise
    finally:
        process.join()
    if error:
        raise error
    return found


def _serve(there: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """In the other process."""
    told: tuple[Any, Error | None]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which the first process gets, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_follow, daemon=True).start()
    try:
        told = call(*arguments), None
    except Error as error:
        told = None, error
    there.send(told)


def _follow() -> None:
    """Ends this process, with what it has to clean up, after the one that started it."""
    if parent := multiprocessing.parent_process():
        parent.join()
    end_this()


def end_this() -> None:
    """SIGTERM to this process, which its handlers take."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)  # `os.kill` would end it at once there
    else:
        os.kill(os.getpid(), signal.SIGTERM)
