"""What the files of a run's folder hold: read and checked, or written whole.

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
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .config import Config, to_dict
from .data.files import say_once, write_text
from .errors import Error, InputError, RunError
from .layers import read_yaml
from .meant import closest

FOLDER_FILE = "TRAIN_WRITES_ITS_FOLDER_TO"  # how a command that trains by another one learns where that has


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


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config as plain values. Raises InputError where `folder` is no run."""
    path = folder / "config.yaml"
    if not path.is_file():
        inside = sorted(file.parent.name for file in folder.glob("*/config.yaml"))
        beside = sorted(file.parent.name for file in folder.parent.glob("*/config.yaml"))
        hint = f": {closest(folder.name, beside[-5:])}" if beside else ""
        hint = f"; it holds {', '.join(inside[-5:])}" if inside else hint
        raise InputError(f"{folder} is no run: it holds no config.yaml{hint}")
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
        return _record(_from_json(path))


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
    write_json(beside(path.parent, path.name), {"sha256": _seal(path, values), "record": values})
    write_json(folder / "record.json", values)


def check_checkpoint(path: Path) -> None:
    """Raises RunError where a checkpoint is not what was saved."""
    seal = beside(path.parent, path.name)
    for needed in (path, seal):
        if not needed.exists():
            raise RunError(f"{needed} is gone")
    saved = _sealed(seal)
    if saved["sha256"] != _seal(path, saved["record"]):
        raise RunError(f"{path} is not what was saved: the checksum in {seal.name} differs")


def _sealed(path: Path) -> dict[str, Any]:
    """What stands beside a checkpoint."""
    with _reading(path):
        found = _from_json(path)
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


def beside(checkpoints: Path, name: str) -> Path:
    """Of a checkpoint, the file with its checksum and record."""
    return checkpoints / f"{Path(name).stem}.json"


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


def check_spec(folder: Path, spec: Mapping[str, Any]) -> None:
    """Raises InputError where the data are not those that the run was trained on."""
    saved, now = read_spec(folder), dict(spec)
    wrong = [f"{name} is another one" for name in saved | now if is_file(name) and not same(saved, now, name)]
    saved, now = map(plain_values, (saved, now))
    saved, now = finite(saved), json.loads(to_json(now))
    wrong += [_changed_to(key, saved.get(key), now.get(key)) for key in saved | now if saved.get(key) != now.get(key)]
    if wrong:
        raise InputError(f"{folder}: the data have changed since this run began: {'; '.join(wrong)}")


def same(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> bool:
    """Whether both have the same text or array of that name."""
    return name in a and name in b and np.array_equal(a[name], b[name])


def _changed_to(key: str, old: Any, new: Any) -> str:
    """Of long lists, only what is gone and what is new."""
    lists = isinstance(old, list) and isinstance(new, list)
    if lists and (gone := [x for x in old if x not in new]) + (added := [x for x in new if x not in old]):
        return f"{key}: gone {gone[:5]}, new {added[:5]} ({len(old)} then, {len(new)} now)"
    return f"{key} was {old}, is {new}"


def read_data(folder: Path) -> dict[str, dict[str, str]]:
    """Of a run's data: `fingerprint`, by split, and the checksums of files in `fitted`; both empty of older runs."""
    path = folder / "data.json"
    if not path.exists():
        if (folder / "config.yaml").exists():
            say_once(str(path), f"{path} is gone, or the run is older: whether its data have changed is not known")
        return {"fingerprint": {}, "fitted": {}}
    with _reading(path):
        found = _from_json(path)
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
    write_text(folder / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


def _write_spec(fitted: Path, spec: Mapping[str, Any]) -> None:
    for name, value in spec.items():
        if isinstance(value, np.ndarray):
            np.save(fitted / name, value, allow_pickle=False)
        elif is_file(name):
            write_text(fitted / name, value)
    write_json(fitted / "spec.json", plain_values(spec))


def read_result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    with _reading(path):
        found = _from_json(path)
        return {**found, "metrics": {name: float(value) for name, value in _numbers(found["metrics"]).items()}}


def read_environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    with _reading(path):
        found = _from_json(path)
        return {**found, "versions": dict(found["versions"]), "git_commit": str(found["git_commit"])}


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


def _git_commit() -> str:
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return ""


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution; those that are not installed are left out."""
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _from_json(path: Path) -> dict[str, Any]:
    """Within `_reading`."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, to_json(value, indent=2, default=str) + "\n")


def to_json(value: Any, **options: Any) -> str:
    return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: Any) -> Any:
    """Plain values, with None for each number that is not finite: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as they were before they were written: NaN where JSON has null."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def cut_lines(path: Path, step: int) -> None:
    """Drops the entries after `step`, those of the test, which is made anew, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and (entry := json.loads(line))["step"] <= step:
            kept += [line] * (not any(tag.startswith("test/") for tag in entry))
    write_text(path, "".join(kept))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises InputError where a file of a run does not hold what it should."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, yaml.YAMLError) as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from error
