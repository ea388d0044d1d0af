"""A run of one framework becomes a run of the other, with all that training goes on from."""

import dataclasses
import multiprocessing
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .. import task as tasks
from ..config import AcceleratorConfig, Config, to_dict
from ..errors import InputError, RunError
from ..run import Run, fill, is_file, read_config, read_spec, seal, sound_record
from ..trainers import check, frameworks, load_config


def convert_apart(config: Config) -> Path:
    """`convert` in a process of its own: JAX takes most of a GPU's memory wherever it finds one, and has none there."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return Path(pool.submit(_apart, to_dict(config)).result())


def _apart(saved: Mapping[str, Any]) -> str:
    os.environ["JAX_PLATFORMS"] = "cpu"
    return str(convert(load_config(saved=saved)))


def convert(config: Config) -> Path:
    """Makes a run of `config.framework` of the one that `config.resume` names. Returns its folder.

    Its last checkpoint is the other's, and so is its best one. It appears at once, and whole.

    Raises:
        InputError: where that is no run of another framework, has no checkpoint, or differs in what must agree.
        RunError: where none of its checkpoints is sound, or the disk does not take what is made.
    """
    check(config)
    path = Path(config.resume)
    there = load_config(saved=read_config(path))
    if there.framework == config.framework:
        others = " or ".join(f"--to {name}" for name in frameworks() if name != there.framework)
        raise InputError(f"{path} is a run of {there.framework} already: {others}")
    run, record, spec = Run.new(config), sound_record(path), read_spec(path)
    reader, writer = _engine(there, spec), _engine(config, spec)
    try:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=run.folder.parent) as scratch:
            folder = Path(scratch, "run")
            folder.mkdir()
            fill(folder, config, spec)
            best = {"best": _name(record.best_step, config), "best_step": record.best_step}
            best = {**best, "best_metrics": record.best_metrics} if record.best else {}
            for step, name in {record.best_step: record.best, record.step: record.last}.items():
                if name:
                    source, made = path / "checkpoints" / name, _name(step, config)
                    writer.write(reader.state(source), folder / "checkpoints" / made, str(source))
                    seal(folder, dataclasses.replace(run.record, step=step, last=made, **best))
            run.make_folder()
            run.folder.rmdir()
            os.rename(folder, run.folder)
    except OSError as error:
        what = f"{error.filename2 or error.filename or run.folder}: {error.strerror or error}"
        raise RunError(f"{what}: nothing has been made of {path}") from error
    return run.folder


def _name(step: int, config: Config) -> str:
    return f"{step:08d}{frameworks()[config.framework].SUFFIX}"


def _engine(config: Config, spec: Mapping[str, Any]):
    """On the CPU, whatever the run is trained on."""
    accelerator = AcceleratorConfig(platform="cpu", precision=config.accelerator.precision)
    config = dataclasses.replace(config, accelerator=accelerator)
    plain = {name: value for name, value in spec.items() if not is_file(name)}
    return frameworks()[config.framework].engine()(config, tasks.find(config.task), plain)
