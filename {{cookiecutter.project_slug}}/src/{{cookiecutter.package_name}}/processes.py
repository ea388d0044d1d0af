"""The processes of a run: one, unless several devices or machines need one each."""

from collections.abc import Callable
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
