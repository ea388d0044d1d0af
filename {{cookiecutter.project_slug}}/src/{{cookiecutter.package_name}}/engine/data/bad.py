"""Images and rows of tables that cannot be read."""

import json

from ..errors import InputError
from .files import say_once

SHOWN = 3


class Bad:
    """What becomes of them: the first one ends the command, or with `skip` they are counted and left out.

    They are left out before anything is numbered, split or shuffled. So a run is the same, number for number, as one of
    data that never had them: order, shapes and losses are those of what is left.

    Attributes:
        count: how many are left out.
        first: what is wrong with the first of them.
    """

    def __init__(self, skip: bool, count: int = 0, first: tuple[str, ...] = ()):
        self.skip, self.count, self.first = skip, count, list(first)

    def add(self, error: InputError) -> None:
        """Counts a bad one. Raises the error where it may not be skipped."""
        if not self.skip:
            raise error
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(str(error))

    def say(self, kept: int) -> None:
        """On stderr, how many are left out, if any are. Raises InputError where nothing else is there."""
        if not self.count:
            return
        if not kept:
            raise InputError(f"{self.first[0]}: data.skip_bad leaves nothing, as all {self.count:,} are bad")
        more = f"; and {self.count - len(self.first):,} more" if self.count > len(self.first) else ""
        line = f"data.skip_bad leaves out {self.count:,} of {self.count + kept:,}: {'; '.join(self.first)}{more}"
        say_once(line, line)

    def to_text(self) -> str:
        """To be kept beside what was converted without them."""
        return json.dumps([self.skip, self.count, self.first])

    @classmethod
    def from_text(cls, text: str) -> "Bad":
        return cls(*json.loads(text))


STRICT = Bad(skip=False)
