"""A run of one framework becomes a run of the other, with all that training goes on from."""

import dataclasses
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import task as tasks
from ..apart import apart
from ..config import AcceleratorConfig, Config, to_dict
from ..errors import InputError, RunError
from ..folder import environment, fill, plain_values, read_config, read_data, read_spec, seal, sound_record, write_json
from ..registry import check, frameworks, load_config
from ..run import Run, begun


def taken_over(config: Config) -> Config:
    """Where `resume` names a run of another framework, a config that goes on with what it has been converted to.

    Raises as `convert` does.
    """
    if config.resume in ("auto", "never"):
        return config
    framework = read_config(Path(config.resume))["framework"]
    if framework == config.framework or framework not in frameworks():
        return config
    check(config)
    processes = frameworks()[config.framework].join(config)
    folder = processes.led(lambda: str(begun(config) or convert_apart(config, best=False)))
    return dataclasses.replace(config, name=Path(folder).name, resume="auto")


def convert_apart(config: Config, best: bool) -> Path:
    """`convert` in a process of its own: JAX takes most of a GPU's memory wherever it finds one, and has none there."""
    return Path(apart(_apart, to_dict(config), best))


def _apart(saved: Mapping[str, Any], best: bool) -> str:
    os.environ["JAX_PLATFORMS"] = "cpu"
    return str(convert(load_config(saved=saved), best))


def convert(config: Config, best: bool) -> Path:
    """Makes a run of `config.framework` of the one that `config.resume` names. Returns its folder.

    Its last checkpoint is the other's. It appears at once, and whole.

    best: whether that one's best so far is its own, too, and not the search for it begun anew.

    Raises:
        InputError: where that is no run of another framework, has no checkpoint, or differs in what must agree.
        RunError: where none of its checkpoints is sound, or the disk does not take what is made.
    """
    check(config)
    path = Path(config.resume)
    there = load_config(saved=read_config(path))
    check(there)
    if there.framework == config.framework:
        others = " or ".join(f"--to {name}" for name in frameworks() if name != there.framework)
        raise InputError(f"{path} is a run of {there.framework} already: {others}")
    record, spec = sound_record(path), read_spec(path)
    run = Run.new(config, record)
    writer, reader = _engine(config, spec), _engine(there, spec)
    checkpoints, found = {record.last: record.step}, run.record
    if best and record.best:
        checkpoints = {record.best: record.best_step} | checkpoints
        name = _name(record.best_step, config)
        found = dataclasses.replace(found, best=name, best_step=record.best_step, best_metrics=record.best_metrics)
    packages = frameworks()[config.framework].PACKAGES
    try:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=run.folder.parent) as scratch:
            folder = Path(scratch, "run")
            folder.mkdir()
            fill(folder, config, spec, read_data(path)["fingerprint"])
            write_json(folder / "environment.json", environment(packages, writer.describe()))
            for name, step in checkpoints.items():
                source, made = path / "checkpoints" / name, _name(step, config)
                writer.write(reader.state(source), folder / "checkpoints" / made, str(source))
                stale = record.stale if found.best and step == record.step else 0
                seal(folder, dataclasses.replace(found, step=step, start=step, last=made, stale=stale))
            run.make_folder()
            if sys.platform == "win32":
                run.folder.rmdir()  # nothing is renamed over a folder there
            os.rename(folder, run.folder)  # in the place of the empty one, which held the number
    except OSError as error:
        what = f"{error.filename2 or error.filename or run.folder}: {error.strerror or error}"
        raise RunError(f"{what}: nothing has been made of {path}: make room, or choose another --run_dir") from error
    return run.folder


def _name(step: int, config: Config) -> str:
    return f"{step:08d}{frameworks()[config.framework].SUFFIX}"


def _engine(config: Config, spec: Mapping[str, Any]):
    """On the CPU, whatever the run is trained on."""
    accelerator = AcceleratorConfig(platform="cpu", precision=config.accelerator.precision)
    config = dataclasses.replace(config, accelerator=accelerator)
    return frameworks()[config.framework].engine()(config, tasks.find(config.task), plain_values(spec))
