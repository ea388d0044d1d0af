"""What a run tells while it trains: a line for each validation, on a terminal above a live bar; and its speed."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from .config import Config
from .schedule import Plan


class Progress:
    """Counts steps and the time they take; time spent in `pause` (validation, checkpoints) is not training time."""

    def __init__(self, plan: Plan, config: Config, start: int, seconds: float, began: float, shown: bool = True):
        """start, seconds: steps and wall time of the run so far; began: `time.perf_counter()` at its (re)start.

        shown: whether anything is told: by one process of a run only.
        """
        self._shown = shown
        self.plan, self.batch_size, self.step = plan, config.data.batch_size, start
        self._end = began + 60 * config.trainer.max_minutes if config.trainer.max_minutes else math.inf
        self.first_step_seconds = 0.0
        self._began, self._earlier = began, seconds
        self._clock, self._paused = time.perf_counter(), 0.0
        self._mark, self._mark_step = self._clock, start
        # (step, training time) after the first dispatch, and at the last log entry.
        self._first: tuple[int, float] | None = None
        self._last = (start, 0.0)
        live = shown and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._beside: dict[str, str] = {}
        self._bar = tqdm(total=plan.total_steps, initial=start, unit="step", disable=not live, dynamic_ncols=True)

    def advance(self, steps: int) -> None:
        self.step += steps
        self._bar.update(steps)
        if self._first is None:
            now = time.perf_counter()
            self.first_step_seconds = now - self._began
            self._first = (self.step, self._training_time(now))

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        spent = time.perf_counter() - before
        self._paused += spent
        self._mark += spent

    def speed(self) -> dict[str, float]:
        """Steps and examples a second since the last call; the caller has waited for the device."""
        now = time.perf_counter()
        rate = (self.step - self._mark_step) / max(now - self._mark, 1e-9)
        self._mark, self._mark_step = now, self.step
        self._last = (self.step, self._training_time(now))
        return {"train/steps_per_second": rate, "train/examples_per_second": rate * self.batch_size}

    def show(self, values: Mapping[str, float]) -> None:
        """Beside the bar, each until another value of its name comes."""
        self._beside |= {tag: f"{value:.4g}" for tag, value in values.items()}
        self._bar.set_postfix(self._beside, refresh=False)

    def line(self, values: Mapping[str, float]) -> None:
        """A line for the log; where there is a bar, above it."""
        if self._shown:
            shown = "  ".join(f"{tag} {value:.4g}" for tag, value in values.items())
            epoch = self.step / self.plan.steps_per_epoch
            tqdm.write(f"step {self.step}/{self.plan.total_steps}  epoch {epoch:.4g}  {shown}", file=sys.stderr)

    @property
    def seconds(self) -> float:
        """Wall time of the run, with imports and evaluation, earlier processes included."""
        return self._earlier + time.perf_counter() - self._began

    @property
    def out_of_time(self) -> bool:
        return time.perf_counter() >= self._end

    @property
    def steps_per_second(self) -> float:
        """Of this process, from its first dispatch, which compiles, to its last log entry."""
        if self._first is None or self._last[0] <= self._first[0]:
            return 0.0
        (first_step, began), (last_step, ended) = self._first, self._last
        return (last_step - first_step) / (ended - began)

    def close(self) -> None:
        self._bar.close()

    def _training_time(self, now: float) -> float:
        return now - self._clock - self._paused


class Elsewhere:
    """What other processes take of the machine's cores, from its making on."""

    def __init__(self):
        self._began, self._busy, self._own = time.perf_counter(), _busy_seconds(), sum(os.times()[:4])

    def share(self) -> float | None:
        """0 to 1, in the mean. None where the system does not tell: only Linux does."""
        busy, own = _busy_seconds(), sum(os.times()[:4])
        if busy is None or self._busy is None:
            return None
        cores = (os.cpu_count() or 1) * max(time.perf_counter() - self._began, 1e-9)
        return min(max((busy - self._busy - (own - self._own)) / cores, 0.0), 1.0)


def _busy_seconds() -> float | None:
    """Of all cores together, since the machine has started, with what other machines on the same hardware took."""
    file = Path("/proc/stat")
    if not file.exists():
        return None
    columns = file.read_text(encoding="ascii").split(maxsplit=9)[1:9]
    user, nice, system, _idle, _waiting, *interrupted_or_stolen = map(int, columns)
    return sum((user, nice, system, *interrupted_or_stolen)) / os.sysconf("SC_CLK_TCK")


def peak_host_memory() -> int:
    """Bytes; 0 on Windows, which has no such call."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
