"""The processes of a run, here one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError

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


def several_devices() -> bool:
    """Whether the project was made for several devices and processes, too."""
    return (Path(__file__).with_name("scale") / "__init__.py").is_file()  # a folder with caches may be left behind


def check_several(what: str) -> None:
    """Raises InputError, beginning with `what` asks for several devices or processes, where the project has none."""
    if not several_devices():
        raise InputError(f"{what}: this project was made without the feature 'scale'")
