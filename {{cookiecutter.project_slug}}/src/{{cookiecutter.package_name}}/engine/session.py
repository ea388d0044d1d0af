"""What both trainers do alike around their steps: count, log, show, validate, save, stop."""

import contextlib
import functools
import math
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .data.files import say_once
from .data.sources import Batch, Dataset
from .errors import InputError, RunError
from .progress import Elsewhere, Progress, peak_host_memory
from .run import Run
from .schedule import Plan, schedule_steps, warmup_steps
from .task import Charts, PrecisionRecall, Sound, Task

ASK_EVERY = 10  # steps
# What stands at `train/`, beside `loss/<name>`.
TAGS = (
    *("loss", "learning_rate", "grad_norm", "skipped_updates", "loss_scale"),
    *("steps_per_second", "examples_per_second", "epoch", "memory_bytes"),
)


OF_THE_BATCH = "of the batch"  # ends what a framework finds where the data, and not the model, are not finite


class Diverged(RunError):
    """A value that is not finite where the run depends on it."""


class Session:
    """One process's work on a run."""

    def __init__(self, run: Run, task: Task, data: Dataset, plan: Plan, began: float):
        self.run, self.task, self.data, self.spec, self.plan = run, task, data, data.spec, plan
        self.progress = Progress(plan, run.config, run.record.step, run.record.seconds, began, shown=run.leads)
        self.elsewhere = Elsewhere()
        self.caught = 0  # the signal that this process has got
        self.signal, self.out_of_time = 0, False  # what all know of
        self._asked = run.record.step
        self.listeners: list[Callable[[int, Mapping[str, float]], None]] = []  # get what is logged, too
        self.parameters = self.trained_parameters = 0
        self.loss = math.nan  # train/loss, as logged last
        self.pause = self.progress.pause
        self.advance = self.progress.advance

    @property
    def step(self) -> int:
        return self.progress.step

    @property
    def stopping(self) -> bool:
        """After a signal, out of time or patience: the run ends once this step's validation, log and save are done.

        Where several processes train, all of them ask, after the same step: what one has met ends all. As an answer
        waits for the devices, they ask after every tenth step only, or where they meet anyway.
        """
        meet = self.plan.validates(self.step) or self.plan.saves(self.step)
        if self.run.processes.count > 1 and self.step < self._asked + ASK_EVERY and not meet:
            return self.run.out_of_patience
        self._asked = self.step
        told = self.run.processes.largest(2 * self.caught + self.progress.out_of_time)
        self.signal, self.out_of_time = told // 2, bool(told % 2)
        return bool(self.signal) or self.out_of_time or self.run.out_of_patience

    def say(self, line: str) -> None:
        if self.run.leads:
            tqdm.write(line, file=sys.stderr)

    def begin(self, shapes: Mapping[str, Sequence[int]], frozen: Collection[str] = ()) -> None:
        """Takes the parameters' shapes by path, before the first step: counts them, and makes a table.

        frozen: the paths of those that are not trained.
        """
        sizes = {path: math.prod(shape) for path, shape in shapes.items()}
        self.parameters = sum(sizes.values())
        self.trained_parameters = self.parameters - sum(sizes[path] for path in frozen)
        if self.run.leads and self.step == self.run.record.start:
            rows = [
                f"| {path}{' (frozen)' if path in frozen else ''} | {' x '.join(map(str, shape))} | {sizes[path]:,} |"
                for path, shape in shapes.items()
            ]
            totals = [f"| total | | {self.parameters:,} |", f"| trained | | {self.trained_parameters:,} |"]
            table = "\n".join(["| path | shape | size |", "|---|---|---|", *rows, *totals])
            self.run.writer.text(self.step, "parameters", table)
            self.run.writer.charts(overlaid(self.task.monitor))
            self._show(self.data.charts())

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run between two steps, with its state saved; a second one ends it at once."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def listen(self) -> None:
        """Takes the signals; where the caller is not the main thread, as in some notebooks, it handles them."""

        def note(number: int, frame) -> None:
            if self.caught:
                raise KeyboardInterrupt
            self.caught = number

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, note)

    def log(self, logs: Mapping[str, float], learning_rate: float | None, peak_device_memory: int) -> None:
        """logs: of the step just done `loss/<name>` of each loss, the parts of losses by their names, `grad_norm`, and
        the `loss_scale` of float16; and `skipped_updates` of the run. learning_rate: None where nobody knows it.

        Raises:
            Diverged: where a loss is not finite or no loss scale is small enough, unless such updates are skipped.
        """
        skips = self.run.config.trainer.on_nan == "skip"
        if not skips and not logs.get("skipped_updates"):
            logs = {name: value for name, value in logs.items() if name != "skipped_updates"}
        elif not skips and "loss_scale" not in logs:
            say_once("skipped", f"step {self.step}: the updates of batches that weigh nothing are left out and counted")
        losses = {name: value for name, value in logs.items() if name.startswith("loss/")}
        values = {
            "train/loss": sum(losses.values()),
            **({f"train/{name}": value for name, value in losses.items()} if len(losses) > 1 else {}),
            **({} if learning_rate is None else {"train/learning_rate": learning_rate}),
            **{f"train/{name}": value for name, value in logs.items() if name not in losses},
            **self.progress.speed(),
            "train/epoch": self.step / self.plan.steps_per_epoch,
            "train/memory_bytes": peak_device_memory or peak_host_memory(),
        }
        self._log(values)
        self.progress.show({"loss": values["train/loss"]})
        self.loss = values["train/loss"]
        if not math.isfinite(self.loss) and not skips:
            raise Diverged(f"train/loss is {self.loss} at step {self.step}")
        if logs.get("loss_scale", 1) < 1 and not skips:
            raise Diverged(f"gradients are not finite at step {self.step}, whatever float16's loss scale")

    def check(self, finite: bool) -> None:
        """Before the weights are saved or shown. finite: whether those of this process are."""
        if self.run.processes.largest(not finite):
            raise Diverged(f"weights are not finite at step {self.step}")

    def validated(
        self,
        metrics: Mapping[str, float | np.ndarray],
        values: Mapping[str, np.ndarray],
        rows: Callable[[str, int], np.ndarray],
        batch: Batch,
        outputs: Batch,
    ) -> bool:
        """Logs a validation. Returns whether the monitored metric is the best so far: save it then.

        Args:
            metrics: of the split.
            values: of kernels and embeddings, by path, for histograms; see `sampled`.
            rows: (path, count) -> the first rows of a parameter, for the projector.
            batch: the first of the split, of which examples are shown.
            outputs: the model's, of that batch.
        """
        found = self.measured("val", metrics)
        warming_up = self.step <= warmup_steps(self.run.config.optimizer, schedule_steps(self.run.config, self.plan))
        best = self.run.validated(self.step, found, self.task.monitor, self.task.mode, patient=warming_up)
        tables = self.task.embeddings(self.spec) if best else {}
        vectors = {path: rows(path, len(labels)) for path, (_, labels) in tables.items()}  # in all processes
        if not self.run.leads:
            return best
        for path, value in values.items():
            self.run.writer.histogram(self.step, f"weights/{path}", value)
        for path, (header, labels) in tables.items():
            self.run.writer.embedding(path, vectors[path], header, labels)
        mask = batch["mask"]
        batch, outputs = ({name: np.asarray(value)[mask] for name, value in both.items()} for both in (batch, outputs))
        self._show(tagged("val", self.task.examples(batch, outputs, self.spec)))
        self.progress.show({self.task.monitor: found[self.task.monitor]})
        self.progress.line(found)
        return best

    def measured(self, split: str, metrics: Mapping[str, float | np.ndarray]) -> dict[str, float]:
        """Logs the metrics of a split, and charts of those that are arrays. Returns the others, by tag."""
        values = scalars(split, metrics)
        self._log(values)
        if self.run.leads:
            self._show(tagged(split, self.task.charts(arrays(metrics), self.spec)))
        return values

    def save(self, write: Callable[[Path], None], finite: bool, suffix: str = "") -> None:
        self.check(finite)
        self.run.save(self.step, self.progress.seconds, write, suffix)

    def _log(self, values: Mapping[str, float]) -> None:
        if not self.run.leads:
            return
        self.run.log(self.step, values, self.progress.seconds)
        for listener in self.listeners:
            listener(self.step, values)

    def _show(self, found: Charts) -> None:
        writer, step = self.run.writer, self.step
        for tag, value in found.items():
            if isinstance(value, str):
                writer.text(step, tag, value)
            elif isinstance(value, Sound):
                writer.sound(step, tag, value.samples, value.rate)
            elif isinstance(value, PrecisionRecall):
                writer.precision_recall(step, tag, value.counts)
            else:
                writer.image(step, tag, value)


def tagged(split: str, found: Charts) -> Charts:
    return {f"{split}/{name}": value for name, value in found.items()}


def overlaid(monitor: str) -> dict[str, list[str]]:
    """The tags of charts that show all runs together, by title."""
    return {
        "loss": ["train/loss", "val/loss"],
        **({} if monitor == "val/loss" else {monitor: [monitor]}),
        "learning rate": ["train/learning_rate"],
        "gradient norm": ["train/grad_norm"],
        "examples per second": ["train/examples_per_second"],
        "memory (bytes)": ["train/memory_bytes"],
    }


@functools.cache
def sampled(size: int, most: int) -> np.ndarray:
    """The places of at most so many of `size` values: always the same, and drawn, as rows and columns have a period."""
    return np.random.default_rng(0).integers(0, size, most) if size > most else np.arange(size)


def check_parts(names: Iterable[str], taken: Collection[str] = ()) -> None:
    """Raises InputError where a loss names a part of itself after something else that is logged beside it.

    taken: the names of other losses' parts.
    """
    for name in names:
        if name in TAGS or name in taken or name.startswith("loss/"):
            raise InputError(f"a loss names a part of itself {name!r}, but train/{name} is something else: rename it")


def scalars(split: str, metrics: Mapping[str, float | np.ndarray]) -> dict[str, float]:
    """The metrics that are numbers, keyed as the tags are."""
    return {f"{split}/{name}": value for name, value in sorted(metrics.items()) if not isinstance(value, np.ndarray)}


def arrays(metrics: Mapping[str, float | np.ndarray]) -> dict[str, np.ndarray]:
    """The others."""
    return {name: value for name, value in metrics.items() if isinstance(value, np.ndarray)}
