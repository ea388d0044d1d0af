"""The processes of a run, here one; and work in a process of its own."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from .errors import Error, InputError, RunError

Value = TypeVar("Value")


class Processes:
    """Those that train one run together, of which this is the only one; see `scale.processes` for several.

    Attributes:
        rank: the number of this one; number 0 leads: it alone decides, writes and shows.
        count: how many there are.
    """

    rank, count = 0, 1

    def share(self, value: Any) -> Any:
        """The leader's value, of plain ones, on all of them."""
        return value

    def largest(self, value: int) -> int:
        """Of the values of all."""
        return value

    def wait(self) -> None:
        """Until all have come so far."""

    def led(self, work: Callable[[], Value]) -> Value:
        """What `work` gives on the leader, plain values, on all; or the Error that it raises there."""
        return work()

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """What `work` gives on each: the leader does it first, so that the others find what it has fetched or made."""
        return work()


ALONE = Processes()


def check_several(what: str) -> None:
    """Raises InputError, beginning with `what` asks for several devices or processes, where the project has none."""
    if not Path(__file__).with_name("scale").is_dir():
        raise InputError(f"{what}: this project was made without the feature 'scale'")


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
        reason = "out of memory?" if process.exitcode == -signal.SIGKILL else "see above"
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
    os.kill(os.getpid(), signal.SIGTERM)
