"""Train, evaluate, predict: the course of each, whatever the framework. An engine, which `engine()` gives, has

Engine(config, task, spec)                          raises InputError where the hardware is not there
.describe()                                         the device, in words
.train(checkpoint, batches, data, plan, session)    from a checkpoint, or from the beginning where it is None
.evaluate(checkpoint, batches)                      the task's metrics by name
.predict(checkpoint, source)                        the outputs for every example
.peak_memory()                                      bytes on the device, 0 where it does not tell
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import task as tasks
from ..config import Config
from ..data.batches import TrainBatches, eval_batches
from ..data.sources import Dataset
from ..errors import InputError, Stopped
from ..run import Finished, Run, check_spec, read_record, read_spec, versions
from . import check, frameworks
from .progress import peak_host_memory
from .schedule import Plan
from .session import Session


def train(config: Config) -> Path:
    """Trains, or goes on training, and tests the best checkpoint. Returns the run's folder, which holds `result.json`.

    Raises:
        InputError: for what the person can mend; nothing has been written then.
        RunError: where training failed.
        Stopped: where a signal ended it, after the state was saved.
    """
    began = time.perf_counter()
    check(config)
    task = tasks.find(config.task)
    try:
        run = Run.choose(config)
    except Finished as finished:
        print(f"{finished.folder} is finished", file=sys.stderr)
        return finished.folder
    try:
        data = task.load(config.data)
        batches = TrainBatches(data.train, config.data.batch_size, config.seed, data.augment)
        plan = Plan.of(config, batches.steps_per_epoch, run.record.start)
        framework = frameworks()[config.framework]
        engine = framework.engine()(config, task, data.spec)
        run.start(data.spec, framework.PACKAGES, engine.describe())
        session = Session(run, task, data.spec, plan, began)
        session.say(f"{run.folder}: {engine.describe()}, {len(data.train)} examples, {plan.total_steps} steps")
        with session.signals(), contextlib.closing(session.progress):
            engine.train(run.resume_from, batches, data, plan, session)
        if session.signal:
            raise Stopped(session.signal, f"step {session.step} is saved, the same command goes on from there")
        metrics = _test(engine, data, plan, session)
        run.finish(_result(session, metrics, engine.peak_memory(), versions(framework.PACKAGES)))
    finally:
        run.close()
    return run.folder


def evaluate(folder: Path, config: Config, checkpoint: str = "best") -> dict[str, float]:
    """A run's metrics on its test split, keyed as the tags are. `config`: the run's own, with what is overridden."""
    task, engine, path = _open(folder, config, checkpoint)
    data = task.load(config.data)
    check_spec(folder, data.spec)
    metrics = engine.evaluate(path, eval_batches(data.test, config.data.batch_size))
    return {f"test/{name}": value for name, value in sorted(metrics.items())}


def predict(folder: Path, config: Config, inputs: Sequence[str], checkpoint: str = "best") -> list[dict[str, Any]]:
    """A row of readable values for each input: what the run's task makes of files or texts."""
    source = tasks.find(config.task).inputs(inputs, read_spec(folder))
    task, engine, path = _open(folder, config, checkpoint)
    return task.describe(engine.predict(path, source), read_spec(folder))


def _open(folder: Path, config: Config, checkpoint: str):
    check(config)
    record = dataclasses.asdict(read_record(folder))
    if checkpoint not in ("best", "last"):
        raise InputError(f"--checkpoint {checkpoint}: choose best or last")
    if not record[checkpoint]:
        raise InputError(f"{folder} has no checkpoint yet")
    task = tasks.find(config.task)
    engine = frameworks()[config.framework].engine()(config, task, read_spec(folder))
    return task, engine, folder / "checkpoints" / record[checkpoint]


def _test(engine, data: Dataset, plan: Plan, session: Session) -> dict[str, float]:
    """Of the best checkpoint, once, at the end."""
    run = session.run
    batches = eval_batches(data.test, run.config.data.batch_size, plan.eval_batches)
    found = engine.evaluate(run.folder / "checkpoints" / (run.record.best or run.record.last), batches)
    metrics = {f"test/{name}": value for name, value in sorted(found.items())}
    run.log(session.step, metrics)
    return metrics


def _result(
    session: Session, metrics: Mapping[str, float], peak_device_memory: int, found: Mapping[str, str]
) -> dict[str, Any]:
    run, progress = session.run, session.progress
    config, record = run.config, run.record
    task, preset, framework, name = run.folder.parts[-4:]
    return {
        "task": task,
        "preset": preset,
        "framework": framework,
        "name": name,
        "seed": config.seed,
        "steps": session.step,
        "epochs": session.step / session.plan.steps_per_epoch,
        "seconds": progress.seconds,
        "first_step_seconds": progress.first_step_seconds,
        "steps_per_second": progress.steps_per_second,
        "examples_per_second": progress.steps_per_second * config.data.batch_size,
        "peak_host_memory_bytes": peak_host_memory(),
        "peak_device_memory_bytes": peak_device_memory,
        "parameters": session.parameters,
        "metrics": {**record.best_metrics, **metrics},
        "checkpoints": {"best": record.best, "last": record.last},
        "versions": found,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "parent": record.parent,
    }
