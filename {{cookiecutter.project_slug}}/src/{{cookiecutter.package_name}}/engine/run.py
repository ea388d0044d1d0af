"""A run: which one a command goes on with, and what it writes on its way. The files of its folder are `folder`'s."""

import contextlib
import dataclasses
import errno
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from . import tensorboard
from .config import Config, flatten, to_dict
from .errors import InputError
from .folder import (
    Record,
    beside,
    changed,
    check_spec,
    cut_lines,
    environment,
    fill,
    read_config,
    seal,
    sound_record,
    to_json,
    write_json,
)
from .processes import ALONE, Processes

# Two configs that differ only in these give the same result, so one may go on with the other's run.
HARMLESS = (
    *("run_dir", "name", "resume"),
    *("trainer.log_every", "trainer.checkpoint_every", "trainer.max_minutes"),
    *("data.root", "data.download", "data.workers", "data.on_device"),
    *("accelerator.name", "accelerator.platform", "accelerator.devices", "accelerator.nodes"),
    *("accelerator.mesh.data", "accelerator.mesh.fsdp", "accelerator.mesh.tensor"),
)

# What a run must share with the one whose state it starts from, beside the model.
AGREEING = ("task", "data.name", "optimizer.name")
PARTS = {"optimizer.ema_decay": bool, "accelerator.precision": lambda name: name == "float16"}


# What a row of TensorBoard's HParams has, beside the keys of these sections: what is varied, and explains a result.
VARIED = ("framework", "seed", "trainer.epochs", "trainer.max_steps", "trainer.accumulate", "accelerator.precision")
SECTIONS = ("model.", "data.", "optimizer.")
FIRST = ("optimizer.learning_rate", "data.batch_size", "model.name", "framework", "optimizer.name")


class Run:
    """An open run: `Run.choose` decides which, `start` takes hold of its folder."""

    def __init__(
        self, config: Config, folder: Path, record: Record, source: Path | None = None, lock: FileLock | None = None
    ):
        self.config, self.folder, self.record, self._lock = config, folder, record, lock
        self.processes: Processes = ALONE
        self.resume_from = source  # the checkpoint to go on from
        self._pending = record  # what validations have changed since the last checkpoint
        self._writer: tensorboard.Writer | None = None
        self.started = False

    @classmethod
    def choose(cls, config: Config, processes: Processes = ALONE) -> "Run":
        """The run that this command goes on with, or a new one, as the leader decides. Writes nothing.

        Raises:
            InputError: for a name that another config, or another process, holds; for a `resume` path that is no run.
            RunError: where none of a run's checkpoints is as it was saved.
            Finished: if the named run is done.
        """
        chosen: list[Run] = []

        def choose() -> dict[str, Any]:
            try:
                chosen.append(cls._choose(config))
            except Finished as finished:
                return {"finished": str(finished.folder)}
            run = chosen[0]
            return {
                "folder": str(run.folder),
                "record": dataclasses.asdict(run.record),
                "source": str(run.resume_from or ""),
            }

        told = processes.led(choose)
        if "finished" in told:
            raise Finished(Path(told["finished"]))
        source = Path(told["source"]) if told["source"] else None
        run = chosen[0] if chosen else cls(config, Path(told["folder"]), Record(**told["record"]), source)
        run.processes = processes
        return run

    @classmethod
    def _choose(cls, config: Config) -> "Run":
        if not config.name:
            for unfinished in _unfinished(config):
                with contextlib.suppress(Held):  # another process is at it: look for an older one, or start anew
                    return cls._continued(config, unfinished)
        elif folder := begun(config):
            if differing := drift(read_config(folder), to_dict(config)):
                keys = "; ".join(f"{key} was {old!r}, now {new!r}" for key, old, new in differing)
                raise InputError(f"{folder} has another config: {keys}: choose another --name, or the old values")
            if (folder / "result.json").exists():
                raise Finished(folder)
            return cls._continued(config, folder)
        return cls.new(config)

    @classmethod
    def new(cls, config: Config, other: Record | None = None) -> "Run":
        """One that nothing has begun. Writes nothing. Raises InputError as `choose` does.

        other: the record of the run that `resume` names, where it has been read.
        """
        parent = _parent(config)
        numbers = [int(folder.name) for folder in parent.glob("*") if folder.name.isdigit()]
        folder = parent / (config.name or f"{max(numbers, default=0) + 1:03d}")
        if (folder / "config.yaml").exists():
            raise InputError(f"{folder} exists: choose another --name, or train with --resume auto to go on with it")
        return cls(config, folder, *_beginning(config, config.resume, other))

    @classmethod
    def _continued(cls, config: Config, folder: Path) -> "Run":
        lock = _lock(folder)
        record = sound_record(folder)
        if record.last:
            return cls(config, folder, record, folder / "checkpoints" / record.last, lock)
        try:  # it ended before its first checkpoint: it begins again as it began
            return cls(config, folder, *_beginning(config, read_config(folder).get("resume", "auto")), lock)
        except InputError as error:
            raise InputError(f"{folder} began with another's state: {error}: begin anew with --resume never") from error

    def start(
        self,
        spec: Mapping[str, Any],
        examples: int,
        packages: Iterable[str],
        devices: str,
        fingerprint: Mapping[str, str] | None = None,
    ) -> None:
        """Makes the folder, or cuts a continued one back to its last checkpoint, and opens the logs.

        examples: of the training split. fingerprint: of the dataset.

        Raises:
            InputError: where the folder cannot be written, or the data are not those that the run began with.
        """

        def start() -> str:
            try:
                self._begin(spec, examples, fingerprint or {})
                self._open(packages, devices)
            except OSError as error:
                raise InputError(
                    f"{self.folder} cannot be written ({error.strerror}): choose another --run_dir"
                ) from error
            return str(self.folder)

        self.folder = Path(self.processes.led(start))
        self.started = True
        self._pending = dataclasses.replace(self._pending, examples=examples)

    def _begin(self, spec: Mapping[str, Any], examples: int, fingerprint: Mapping[str, str]) -> None:
        if self._lock is None:
            self.make_folder()
            self._lock = _lock(self.folder)
            fill(self.folder, self.config, spec, fingerprint)
        check_spec(self.folder, spec)
        if self.record.examples not in (0, examples):
            what = f"there were {self.record.examples} training examples, now {examples}"
        elif splits := changed(self.folder, fingerprint):
            what = f"other examples, or in another order, in {' and '.join(splits)}"
        else:
            return
        raise InputError(
            f"{self.folder}: the data have changed since this run began: {what}: give it the old ones, or begin anew "
            "with --resume never"
        )

    def _open(self, packages: Iterable[str], devices: str) -> None:
        """The logs, without what came after the last checkpoint."""
        fresh = self.record.step == self.record.start
        if fresh:
            write_json(self.folder / "environment.json", environment(packages, devices))
        kept = -1 if fresh else self.record.step
        tensorboard.cut(self.folder, kept)
        cut_lines(self.folder / "metrics.jsonl", kept)
        self._metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._writer = tensorboard.Writer(self.folder)
        if fresh:
            self.writer.hparams(self._hparams(), self._row, FIRST)
            table = "\n".join(f"| {key} | {value} |" for key, value in flatten(to_dict(self.config)).items())
            self.writer.text(0, "config", f"| key | value |\n|---|---|\n{table}")

    def make_folder(self) -> None:
        """With the next number that is free, where it has no name of its own."""
        while True:
            try:
                return self.folder.mkdir(parents=True, exist_ok=bool(self.config.name))
            except FileExistsError:  # a command that started at the same moment has taken this number
                if self.config.name:
                    raise
                self.folder = self.folder.with_name(f"{int(self.folder.name) + 1:03d}")

    @property
    def leads(self) -> bool:
        """Whether this process writes. The others keep the same account, so that all agree on the best and the end."""
        return self.processes.rank == 0

    @property
    def writer(self) -> tensorboard.Writer:
        """Of TensorBoard's events, which the leader has from `start` to `finish`."""
        assert self._writer is not None
        return self._writer

    @property
    def id(self) -> str:
        """The run's name among all runs: task/preset/framework/name."""
        return "/".join(self.folder.parts[-4:])

    @property
    def _row(self) -> str:
        """The same in HParams, where there is room for its end."""
        task, preset, framework, name = self.folder.parts[-4:]
        return f"{framework}/{name} {task}/{preset}"

    def log(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        """Scalars, to TensorBoard and to metrics.jsonl. seconds: wall time of the run so far."""
        self.writer.scalars(step, values)
        self._metrics.write(to_json({"step": step, "seconds": round(seconds, 3), **values}) + "\n")
        self._metrics.flush()

    def validated(
        self, step: int, metrics: Mapping[str, float], monitor: str, mode: str, patient: bool = False
    ) -> bool:
        """Takes the metrics of a validation. Returns whether the monitored one is the best so far: save it then.

        patient: whether it may be none without trying patience.
        """
        best = self._pending.best_metrics
        better = not best or _rank(metrics, monitor, mode) > _rank(best, monitor, mode)
        if better:
            self._pending = dataclasses.replace(self._pending, best_step=step, best_metrics=metrics, stale=0)
        elif not patient:
            self._pending = dataclasses.replace(self._pending, stale=self._pending.stale + 1)
        return better

    @property
    def out_of_patience(self) -> bool:
        return 0 < self.config.trainer.patience <= self._pending.stale

    def save(self, step: int, seconds: float, write: Callable[[Path], None], suffix: str = "") -> None:
        """A checkpoint that `write` makes at the path it gets, then the record; what neither names is then removed.

        The one before stays, for the case that the last is found damaged one day.
        """
        checkpoints = self.folder / "checkpoints"
        name = f"{step:08d}{suffix}"
        made = checkpoints / f".{name}"
        if self.leads:
            if not checkpoints.is_dir():  # else it would be made anew, without what lay there
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(checkpoints))
            _remove(made)
        self.processes.wait()
        write(made)
        self.processes.wait()
        best, before = name if self._pending.best_step == step else self._pending.best, self.record.last
        record = dataclasses.replace(self._pending, step=step, last=name, best=best, seconds=seconds)
        if self.leads:
            _remove(checkpoints / name)
            os.replace(made, checkpoints / name)
            seal(self.folder, record)
            kept = {name, before, best}
            kept |= {beside(checkpoints, path).name for path in kept if path}
            for path in checkpoints.iterdir():
                if path.name not in kept:
                    _remove(path)
        self._pending = self.record = record
        self.processes.wait()

    def finish(self, result: Mapping[str, Any]) -> None:
        if not self.leads:
            return
        self.writer.finished(self.record.step)
        self.close()
        write_json(self.folder / "result.json", result)
        write_json(self.folder / "record.json", dataclasses.asdict(self.record) | {"status": "finished"})

    def close(self) -> None:
        try:
            if self._writer is not None:
                writer, self._writer = self._writer, None
                self._metrics.close()
                writer.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _hparams(self) -> dict[str, Any]:
        """As plain values."""
        return {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in flatten(to_dict(self.config)).items()
            if key in VARIED or (key.startswith(SECTIONS) and key not in HARMLESS)
        }


class Finished(Exception):
    """The named run is done."""

    def __init__(self, folder: Path):
        super().__init__(str(folder))
        self.folder = folder


class Held(InputError):
    """Another process is at the run."""


def begun(config: Config) -> Path | None:
    """The folder of the run that a command has begun, if any: the named one, or one that is unfinished and free."""
    if config.name:
        folder = _parent(config) / config.name
        return folder if (folder / "config.yaml").exists() and _is_at(config, folder) else None
    for folder in _unfinished(config):
        with contextlib.suppress(Held):
            _lock(folder).release()
            return folder
    return None


def drift(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, old, new) for every key that differs and changes the result."""
    others = [name for name in set(old) | set(new) if isinstance(old.get(name, new.get(name)), Mapping)]
    own = {"model", "data", "optimizer", "trainer", "accelerator", new["framework"]}
    ignored = tuple(f"{name}." for name in others if name not in own)  # another framework's section
    a, b = flatten(old), flatten(new)
    keys = [key for key in {**a, **b} if key not in HARMLESS and not key.startswith(ignored or ("\0",))]
    return [(key, a.get(key), b.get(key)) for key in keys if _plain(a.get(key)) != _plain(b.get(key))]


def _is_of(config: Config, folder: Path) -> bool:
    """Whether a run's config is equal, but for keys that do not change the result."""
    try:
        return not drift(read_config(folder), to_dict(config))
    except InputError as error:
        print(f"warning: {error}: {folder} is left alone", file=sys.stderr)
        return False


def _parent(config: Config) -> Path:
    """Of the folders of its runs."""
    return Path(config.run_dir, config.task, config.preset or "default", config.framework)


def _beginning(config: Config, resume: str, record: Record | None = None) -> tuple[Record, Path | None]:
    """The record that a run begins with, and the checkpoint of another run whose state it carries on: its steps count
    on, the best is its own.

    record: of that run, where it has been read.

    Raises InputError where that is no run, or one of something else.
    """
    if resume in ("auto", "never"):
        return Record(), None
    other = Path(resume)
    old, new = flatten(read_config(other)), flatten(to_dict(config))
    record = record or sound_record(other)
    if not record.last:
        raise InputError(f"{other} holds no checkpoint to resume from")
    keys = [key for key in new if key.startswith("model.") or key in AGREEING]
    wrong = [key for key in keys if old.get(key) != new[key]]
    # Only with these is there something more in the state.
    parts = PARTS | ({"optimizer.momentum": bool} if new["optimizer.name"] in ("sgd", "rmsprop") else {})
    wrong += [key for key, has in parts.items() if has(old.get(key)) != has(new[key])]
    if wrong := [f"{key} is {old.get(key)!r} there, here {new[key]!r}" for key in wrong]:
        raise InputError(f"{other}: {'; '.join(wrong)}: these must agree, as its state is carried on")
    return Record(step=record.step, start=record.step, parent=resume), other / "checkpoints" / record.last


def _unfinished(config: Config) -> Iterator[Path]:
    """The folders of the runs that a command without a name goes on with, the newest first."""
    if config.resume != "never":
        for folder in sorted(_runs(_parent(config)), key=_changed, reverse=True):
            if not (folder / "result.json").exists() and _is_of(config, folder) and _is_at(config, folder):
                yield folder


def _is_at(config: Config, folder: Path) -> bool:
    """Whether `resume` means a run: any for auto, for a path those that began with the state of what lies there."""
    there = str(read_config(folder).get("resume", "auto"))
    if {config.resume, there} & {"auto", "never"}:
        return config.resume == "auto"
    return os.path.abspath(config.resume) == os.path.abspath(there)


def _runs(parent: Path) -> list[Path]:
    return [path.parent for path in parent.glob("*/config.yaml")]


def _changed(folder: Path) -> float:
    return max((folder / name).stat().st_mtime for name in ("config.yaml", "record.json") if (folder / name).exists())


def _lock(folder: Path) -> FileLock:
    """The operating system drops the lock of a process that dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Held(f"{folder}: another process is training this run: wait for it, or choose another --name") from None
    return lock


def _rank(metrics: Mapping[str, float], monitor: str, mode: str) -> list[float]:
    """The larger, the better. Between equals the loss decides, and what is not a number is the worst."""
    values = [metrics[monitor] * (1 if mode == "max" else -1), -metrics.get("val/loss", 0.0)]
    return [-math.inf if math.isnan(value) else value for value in values]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
