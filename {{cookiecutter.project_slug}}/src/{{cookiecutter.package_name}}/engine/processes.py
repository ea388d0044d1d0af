"""The processes of a run: one, unless several devices or machines need one each."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from .errors import Error, InputError, RunError

Value = TypeVar("Value")


class Processes(Protocol):
    """Those that train one run together. Every method is called by all of them, in the same order.

    Attributes:
        rank: the number of this one; number 0 leads: it alone decides, writes and shows.
        count: how many there are.
    """

    rank: int
    count: int

    def share(self, value: Any) -> Any:
        """The leader's value, of plain ones, on all of them."""

    def largest(self, value: int) -> int:
        """Of the values of all."""

    def wait(self) -> None:
        """Until all have come so far."""


class Alone:
    """The only one."""

    rank, count = 0, 1

    def share(self, value: Any) -> Any:
        return value

    def largest(self, value: int) -> int:
        return value

    def wait(self) -> None:
        pass


ALONE = Alone()


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
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


def led(processes: Processes, work: Callable[[], Value]) -> Value:
    """What `work` gives on the leader, plain values, on all; or the Error that it raises there."""
    if processes.count == 1:
        return work()
    told = None
    if processes.rank == 0:
        try:
            told = {"value": work()}
        except Error as error:
            told = {"error": str(error), "code": error.exit_code}
    told = processes.share(told)
    if "error" in told:
        error = (InputError if told["code"] == InputError.exit_code else RunError)(told["error"])
        error.told = processes.rank > 0
        raise error
    return told["value"]


def in_turn(processes: Processes, work: Callable[[], Value]) -> Value:
    """What `work` gives on each: the leader does it first, so that the others find what it has fetched or made."""
    if processes.count == 1:
        return work()
    done: list[Value] = []
    led(processes, lambda: done.append(work()))
    return done[0] if done else work()
