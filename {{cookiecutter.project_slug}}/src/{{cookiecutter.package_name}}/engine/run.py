"""A run's folder: its config, environment, record, checkpoints, events and result.

    <run_dir>/<task>/<preset>/<framework>/<name>/
        config.yaml        the whole config
        environment.json   versions, git commit, command, devices
        fitted/            what was learnt from the data before training: spec.json, and files as tokenizer.json
        data.json          fingerprints of the examples of each split, and checksums of the files in fitted/
        checkpoints/       the last, the one before and the best; made by the framework. Beside each STEP.json: its
                           checksum, and the record as it was then, so that a run can go on from any of them
        record.json        which checkpoints stand, and what choosing the best needs to go on
        metrics.jsonl      every scalar, a line an entry;   events.out.tfevents.*   the same for TensorBoard
        result.json        written at the end; a run that has one is finished and never touched again

Files are written beside and renamed into place, and hold no absolute path: a folder may be moved. JSON is strict: null
stands for a number that is not finite.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout

from . import tensorboard
from .config import Config, flatten, read_yaml, to_dict
from .data.files import say_once
from .errors import Error, InputError, RunError
from .processes import ALONE, Processes, led

# Two configs that differ only in these give the same result, so one may go on with the other's run.
HARMLESS = (
    "run_dir",
    "name",
    "resume",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.max_minutes",
    "data.root",
    "data.download",
    "data.workers",
    "data.on_device",
    "accelerator.name",
    "accelerator.platform",
    "accelerator.devices",
    "accelerator.nodes",
    "accelerator.mesh.data",
    "accelerator.mesh.fsdp",
    "accelerator.mesh.tensor",
)


@dataclass(frozen=True)
class Record:
    """Where a run stands. It is written with each checkpoint, so the two always agree.

    Attributes:
        step: updates done.
        last, best: names in `checkpoints/`; empty before the first.
        best_step, best_metrics: of the best validation so far, keyed as the tags are.
        stale: validations since then.
        seconds: wall time of training so far.
        start: the step that the run began with; not 0 where it carries on another run's state.
        parent: the run that this one was started from, as `resume` had it.
        status: "unfinished" until the result is written.
        examples: of the training split; the order of batches depends on it.
    """

    step: int = 0
    last: str = ""
    best: str = ""
    best_step: int = 0
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    stale: int = 0
    seconds: float = 0.0
    start: int = 0
    parent: str = ""
    status: str = "unfinished"
    examples: int = 0


# What a run must share with the one whose state it starts from, beside the model.
AGREEING = ("task", "data.name", "optimizer.name")
PARTS = {"optimizer.ema_decay": bool, "accelerator.precision": lambda name: name == "float16"}


class Run:
    """An open run: `Run.choose` decides which, `start` takes hold of its folder."""

    def __init__(
        self, config: Config, folder: Path, record: Record, source: Path | None = None, lock: FileLock | None = None
    ):
        self.config, self.folder, self.record, self._lock = config, folder, record, lock
        self.processes: Processes = ALONE
        self.resume_from = source  # the checkpoint to go on from
        self._pending = record  # what validations have changed since the last checkpoint
        self.writer: tensorboard.Writer | None = None
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

        told = led(processes, choose)
        if "finished" in told:
            raise Finished(Path(told["finished"]))
        source = Path(told["source"]) if told["source"] else None
        run = chosen[0] if chosen else cls(config, Path(told["folder"]), Record(**told["record"]), source)
        run.processes = processes
        return run

    @classmethod
    def _choose(cls, config: Config) -> "Run":
        if not config.name:
            for folder in _unfinished(config):
                with contextlib.suppress(Held):  # another process is at it: look for an older one, or start anew
                    return cls._continued(config, folder)
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
                self._start(spec, examples, packages, devices, fingerprint or {})
            except OSError as error:
                raise InputError(
                    f"{self.folder} cannot be written ({error.strerror}): choose another --run_dir"
                ) from error
            return str(self.folder)

        self.folder = Path(led(self.processes, start))
        self.started = True
        self._pending = dataclasses.replace(self._pending, examples=examples)

    def _start(
        self,
        spec: Mapping[str, Any],
        examples: int,
        packages: Iterable[str],
        devices: str,
        fingerprint: Mapping[str, str],
    ) -> None:
        if self._lock is None:
            self.make_folder()
            self._lock = _lock(self.folder)
            fill(self.folder, self.config, spec, fingerprint)
        check_spec(self.folder, spec)
        if self.record.examples not in (0, examples):
            raise InputError(
                f"{self.folder}: the data have changed since this run began: there were {self.record.examples} "
                f"training examples, now {examples}: give it the old ones, or begin anew with --resume never"
            )
        if splits := changed(self.folder, fingerprint):
            raise InputError(
                f"{self.folder}: the data have changed since this run began: other examples, or in another order, in "
                f"{' and '.join(splits)}: give it the old ones, or begin anew with --resume never"
            )
        fresh = self.record.step == self.record.start
        if fresh:
            write_json(self.folder / "environment.json", environment(packages, devices))
        kept = -1 if fresh else self.record.step
        tensorboard.cut(self.folder, kept)
        _cut_lines(self.folder / "metrics.jsonl", kept)
        self._metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self.writer = tensorboard.Writer(self.folder)
        if fresh:
            self.writer.hparams(self._hparams(), self.id)
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
    def id(self) -> str:
        """The run's name among all runs: task/preset/framework/name."""
        return "/".join(self.folder.parts[-4:])

    def log(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        """Scalars, to TensorBoard and to metrics.jsonl. seconds: wall time of the run so far."""
        self.writer.scalars(step, values)
        self._metrics.write(_json({"step": step, "seconds": round(seconds, 3), **values}) + "\n")
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
        beside = checkpoints / f".{name}"
        if self.leads:
            if not checkpoints.is_dir():  # else it would be made anew, without what lay there
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(checkpoints))
            _remove(beside)
        self.processes.wait()
        write(beside)
        self.processes.wait()
        best = name if self._pending.best_step == step else self._pending.best
        before, record = (
            self.record.last,
            dataclasses.replace(self._pending, step=step, last=name, best=best, seconds=seconds),
        )
        if self.leads:
            _remove(checkpoints / name)
            os.replace(beside, checkpoints / name)
            seal(self.folder, record)
            kept = {name, before, best}
            kept |= {_beside(checkpoints, path).name for path in kept if path}
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
            if self.writer is not None:
                writer, self.writer = self.writer, None
                self._metrics.close()
                writer.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _hparams(self) -> dict[str, Any]:
        """What may explain a result: plain values, without those that name places."""
        values = flatten(to_dict(self.config)).items()
        harmless = [key for key in HARMLESS if not key.startswith("accelerator.")]
        return {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in values
            if key not in harmless
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


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config as plain values. Raises InputError where `folder` is no run."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise InputError(f"{folder} is no run: it holds no config.yaml")
    found = read_yaml(path)
    for key in ("task", "framework"):
        if not isinstance(found.get(key), str):
            raise InputError(f"{path} is damaged: it has no {key}")
    if not re.fullmatch(r"(?!\.+$)[\w.-]*", preset := str(found.get("preset", ""))):  # it names a folder
        raise InputError(f"{path} is damaged: preset = {preset!r}")
    return found


def read_record(folder: Path) -> Record:
    read_config(folder)
    path = folder / "record.json"
    if not path.exists():
        return Record()
    with _reading(path):
        return _record(json.loads(path.read_text(encoding="utf-8")))


def _record(values: Mapping[str, Any]) -> Record:
    """Raises ValueError or TypeError where these are not the values of one."""
    record = Record(**values)
    record = dataclasses.replace(record, best_metrics=_numbers(record.best_metrics))
    for name in filter(None, (record.last, record.best)):
        if not re.fullmatch(r"\d{8,}(\.\w+)?", name):
            raise ValueError(f"{name!r} is no name of a checkpoint")
    return record


def sound_record(folder: Path) -> Record:
    """As it was with the newest checkpoint that still is what was saved; those that are not are told.

    Raises RunError where there are checkpoints, and none is sound.
    """
    checkpoints, damaged = folder / "checkpoints", []
    for path in sorted(checkpoints.glob("*.json"), reverse=True):
        try:
            record = Record(**_sealed(path)["record"])
            check_checkpoint(checkpoints / record.last)
        except Error as error:
            damaged.append(str(error))
            continue
        try:
            if record.best:
                check_checkpoint(checkpoints / record.best)
        except Error as error:
            damaged.append(f"{error}: the best from here on counts")
            record = dataclasses.replace(record, best="", best_step=0, best_metrics={}, stale=0)
        for line in damaged:
            print(f"warning: {line}: going on from step {record.step}", file=sys.stderr)
        return record
    if damaged or (folder / "record.json").exists():
        wrong = "; ".join(damaged) or f"{checkpoints} has none"
        raise RunError(f"no checkpoint is sound: {wrong}: put copies in their places, or begin anew by --resume never")
    return Record()


def seal(folder: Path, record: Record) -> None:
    """Writes the record of a run's last checkpoint, and its checksum beside it."""
    path = folder / "checkpoints" / record.last
    values = dataclasses.asdict(record) | {"best_metrics": _numbers(finite(record.best_metrics))}  # as it is read
    write_json(_beside(path.parent, path.name), {"sha256": _seal(path, values), "record": values})
    write_json(folder / "record.json", values)


def check_checkpoint(path: Path) -> None:
    """Raises RunError where a checkpoint is not what was saved."""
    beside = _beside(path.parent, path.name)
    for needed in (path, beside):
        if not needed.exists():
            raise RunError(f"{needed} is gone")
    saved = _sealed(beside)
    if saved["sha256"] != _seal(path, saved["record"]):
        raise RunError(f"{path} is not what was saved: the checksum in {beside.name} differs")


def _sealed(path: Path) -> dict[str, Any]:
    """What stands beside a checkpoint."""
    with _reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"sha256": str(found["sha256"]), "record": dataclasses.asdict(_record(found["record"]))}


def _seal(checkpoint: Path, record: Mapping[str, Any]) -> str:
    """The checksum of a checkpoint and its record."""
    return hashlib.sha256(f"{checksum(checkpoint)} {json.dumps(record, sort_keys=True)}".encode()).hexdigest()


def checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and checksums of all files in a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = (f"{checksum(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(checkpoints: Path, name: str) -> Path:
    """Of a checkpoint, the file with its checksum and record."""
    return checkpoints / f"{Path(name).stem}.json"


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises InputError where a file of a run does not hold what it should."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, yaml.YAMLError) as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def plain_values(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Of a spec: what models and metrics see."""
    return {name: value for name, value in spec.items() if not is_file(name)}


def is_file(name: str) -> bool:
    """Whether an entry of a spec is kept as a file of its own: `tokenizer.json`, `means.npy`."""
    return "." in name


def read_spec(folder: Path) -> dict[str, Any]:
    """The plain values of `fitted/spec.json` and the files beside it: texts, and .npy as arrays that are mapped."""
    found = {}
    for path in sorted((folder / "fitted").glob("[!.]*")):
        with _reading(path):
            is_array = path.suffix == ".npy"
            found[path.name] = (
                np.load(path, mmap_mode="r", allow_pickle=False) if is_array else path.read_text(encoding="utf-8")
            )
    path = folder / "fitted" / "spec.json"
    if path.name not in found:
        raise InputError(f"{path} is gone: what the run has learnt of its data")
    with _reading(path):
        found = {**dict(json.loads(found.pop(path.name))), **found}
    for name, saved in read_data(folder)["fitted"].items():
        if not (path := folder / "fitted" / name).exists():
            raise InputError(f"{path} is gone: what the run has learnt of its data")
        if checksum(path) != saved:
            raise InputError(f"{path} is damaged: it is not what was saved, by the checksum in data.json")
    return found


def read_data(folder: Path) -> dict[str, dict[str, str]]:
    """Of a run's data: `fingerprint`, by split, and the checksums of files in `fitted`; both empty of older runs."""
    path = folder / "data.json"
    if not path.exists():
        if (folder / "config.yaml").exists():
            say_once(str(path), f"{path} is gone, or the run is older: whether its data have changed is not known")
        return {"fingerprint": {}, "fitted": {}}
    with _reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(found[name]) for name in ("fingerprint", "fitted")}


def changed(folder: Path, fingerprint: Mapping[str, str]) -> list[str]:
    """The splits of which a run has seen other examples, or in another order."""
    seen = read_data(folder)["fingerprint"]
    return [name for name in seen if name in fingerprint and seen[name] != fingerprint[name]]


def fill(folder: Path, config: Config, spec: Mapping[str, Any], fingerprint: Mapping[str, str]) -> None:
    """What a run's folder holds from its beginning; the config last, as that makes it a run."""
    fitted = folder / "fitted"
    fitted.mkdir(exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    _write_spec(fitted, spec)
    sums = {path.name: checksum(path) for path in sorted(fitted.glob("[!.]*"))}
    write_json(folder / "data.json", {"fingerprint": dict(fingerprint), "fitted": sums})
    _write(folder / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


def _write_spec(fitted: Path, spec: Mapping[str, Any]) -> None:
    for name, value in spec.items():
        if isinstance(value, np.ndarray):
            np.save(fitted / name, value, allow_pickle=False)
        elif is_file(name):
            _write(fitted / name, value)
    write_json(fitted / "spec.json", plain_values(spec))


def read_result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    with _reading(path):
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        return {**found, "metrics": {name: float(value) for name, value in _numbers(found["metrics"]).items()}}


def read_environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    with _reading(path):
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        return {**found, "versions": dict(found["versions"]), "git_commit": str(found["git_commit"])}


def check_spec(folder: Path, spec: Mapping[str, Any]) -> None:
    """Raises InputError where the data are not those that the run was trained on."""
    saved, now = read_spec(folder), dict(spec)
    wrong = [f"{name} is another one" for name in saved | now if is_file(name) and not _same(saved, now, name)]
    saved, now = map(plain_values, (saved, now))
    saved, now = finite(saved), json.loads(_json(now))
    wrong += [_changed_to(key, saved.get(key), now.get(key)) for key in saved | now if saved.get(key) != now.get(key)]
    if wrong:
        raise InputError(f"{folder}: the data have changed since this run began: {'; '.join(wrong)}")


def _same(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> bool:
    """Whether both have the same text or array."""
    return name in a and name in b and np.array_equal(a[name], b[name])


def _changed_to(key: str, old: Any, new: Any) -> str:
    """Of long lists, only what is gone and what is new."""
    lists = isinstance(old, list) and isinstance(new, list)
    if lists and (gone := [x for x in old if x not in new]) + (added := [x for x in new if x not in old]):
        return f"{key}: gone {gone[:5]}, new {added[:5]} ({len(old)} then, {len(new)} now)"
    return f"{key} was {old}, is {new}"


def environment(packages: Iterable[str], devices: str) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": f"{os.cpu_count()} x {_cpu()}",
        "versions": versions(packages),
        "devices": devices,
        "git_commit": _git_commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _cpu() -> str:
    """The processor's name, as far as the system tells."""
    file = Path("/proc/cpuinfo")  # of Linux, where platform.processor() tells nothing
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution; those that are not installed are left out."""
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    _write(path, _json(value, indent=2, default=str) + "\n")


def finite(value: Any) -> Any:
    """Plain values, with None for each number that is not finite: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Any, **options: Any) -> str:
    return json.dumps(finite(value), allow_nan=False, **options)


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as they were before they were written: NaN where JSON has null."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _cut_lines(path: Path, step: int) -> None:
    """Drops the entries after `step`, those of the test, which is made anew, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and (entry := json.loads(line))["step"] <= step:
            kept += [line] * (not any(tag.startswith("test/") for tag in entry))
    _write(path, "".join(kept))


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


def _git_commit() -> str:
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return ""
