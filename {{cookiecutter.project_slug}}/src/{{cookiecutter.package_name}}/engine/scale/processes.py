"""Several processes that train one run together: the first leads, and the others hear what it says."""

from collections.abc import Callable
from typing import Any

from ..errors import Error, InputError, RunError
from ..processes import Processes, Value


class Several(Processes):
    """Of a framework's own kind, which says how they talk: by `share`, `largest` and `wait`.

    Every method is called by all of them, in the same order.
    """

    def led(self, work: Callable[[], Value]) -> Value:
        told: dict[str, Any] = {}
        if self.rank == 0:
            try:
                told = {"value": work()}
            except Error as error:
                told = {"error": str(error), "code": error.exit_code}
        told = self.share(told)
        if "error" in told:
            kind = InputError if told["code"] == InputError.exit_code else RunError
            raised = kind(told["error"])
            raised.told = self.rank > 0
            raise raised
        return told["value"]

    def in_turn(self, work: Callable[[], Value]) -> Value:
        done: list[Value] = []
        self.led(lambda: done.append(work()))
        return done[0] if done else work()
