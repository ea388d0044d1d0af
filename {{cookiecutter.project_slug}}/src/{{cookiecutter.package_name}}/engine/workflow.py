"""Train, evaluate, predict: the course of each, whatever the framework, of which `contract.Engine` is all it knows."""

import contextlib
import dataclasses
import functools
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import task as tasks
from .config import Config, MeshConfig, flatten, to_dict
from .contract import Engine
from .data.bad import Bad
from .data.batches import TrainBatches, eval_batches, make_batch
from .data.files import say_once, write_text
from .data.sources import Arrays, Batch, Dataset, Spec
from .errors import EVIDENCE, Error, InputError, RunError, Stopped
from .folder import (
    changed,
    check_checkpoint,
    check_spec,
    is_file,
    plain_values,
    read_config,
    read_record,
    read_spec,
    same,
    versions,
)
from .layers import read_options
from .progress import peak_host_memory
from .registry import check, frameworks, load_config
from .run import HARMLESS, Finished, Run
from .schedule import Plan, schedule_steps, warmup_steps
from .session import OF_THE_BATCH, Diverged, Session, arrays, scalars
from .weights import Weights
from .weights import read as read_weights

# Keys that a run's model asks for when it predicts, beside those of the hardware.
ASKED = ("seed", "data.batch_size", "data.skip_bad", "data.workers")

# How the frameworks' RuntimeErrors say it.
OUT_OF_MEMORY = ("out of memory", "Out of memory", "RESOURCE_EXHAUSTED", "can't allocate memory")


def train(config: Config, module: type | None = None) -> Path:
    """Trains, or goes on training, and tests the best checkpoint. Returns the run's folder.

    module: a class in place of the task's own, where the framework has one for each task.

    It holds `result.json`, unless `trainer.max_minutes` ended the run before.

    Raises:
        InputError: for what the person can mend; nothing has been written then.
        RunError: where training failed.
        Stopped: where a signal ended it, after the state was saved.
    """
    began = time.perf_counter()
    check(config)
    task = tasks.find(config.task)
    framework = frameworks()[config.framework]
    if module and not hasattr(framework, "build"):
        raise InputError(f"framework = {config.framework!r} trains functions, and no class: change those of the task")
    if config.resume not in ("auto", "never"):
        other = read_config(Path(config.resume))["framework"]
        if other != config.framework:
            raise InputError(f"--resume {config.resume}: a run of {other}, which this project does not have")
    processes = framework.join(config)
    try:
        run = Run.choose(config, processes)
    except Finished as finished:
        if processes.rank == 0:
            print(f"{finished.folder} is finished", file=sys.stderr)
        return finished.folder
    with _evidence(run), _resources(run), contextlib.closing(run):
        _train(run, config, task, began, module)
    return run.folder


def _train(run: Run, config: Config, task: tasks.Task, began: float, module: type | None = None) -> None:
    framework, processes = frameworks()[config.framework], run.processes
    # A run that goes on, or begins with another's state, has what was fitted then.
    spec = read_spec(run.resume_from.parents[1]) if run.resume_from else None
    data = processes.in_turn(lambda: task.load(config, spec))
    settings = (config.data.batch_size, config.seed, config.data.on_device)
    fingerprint = data.fingerprint() if run.leads else {}
    whole = TrainBatches(data, *settings)  # before a framework is imported: there may be too few examples
    if config.debug == "overfit":
        data = _one_batch(data, whole)
    engine = create_engine(config, data.spec, module)
    engine.check_training()
    batches = TrainBatches(data, *settings, engine.share)
    plan = Plan.of(config, batches.steps_per_epoch, run.record.start, task.overfit.steps)
    weights = _weights(config, data.spec) if config.init and not run.resume_from else None
    if weights:
        engine.start_from(weights)
    run.start(data.spec, len(data.train), framework.PACKAGES, engine.describe(), fingerprint)
    session = Session(run, task, data, plan, began)
    end = schedule_steps(config, plan)
    if own := engine.own_schedule():
        session.say(own)
    elif config.debug == "none" and (warmup := warmup_steps(config.optimizer, end)) < config.optimizer.warmup_steps:
        session.say(
            f"optimizer.warmup_steps = {config.optimizer.warmup_steps} is cut to {warmup}, a tenth of the {end} steps"
        )
    if plan.is_longer_than_its_epochs(config):
        session.say(
            f"trainer.min_steps = {config.trainer.min_steps} is more than trainer.epochs = {config.trainer.epochs}, of "
            f"{plan.steps_per_epoch} steps each, and rules: --trainer.min_steps 0 ends with the epochs"
        )
    begins = f", from step {run.record.start} of {run.record.parent}" if run.record.parent else ""
    if run.record.step > run.record.start:
        begins = f", goes on from step {run.record.step}"
    session.say(f"{run.folder}: {engine.describe()}, {len(data.train)} examples, {plan.total_steps} steps{begins}")
    if batches.too_few:
        session.say(
            f"{batches.too_few} of the {len(data.train)} examples are never trained on: there are fewer than "
            f"data.batch_size = {config.data.batch_size} of their length"
        )
    if run.record.parent and changed(Path(run.record.parent), fingerprint):
        session.say(f"{run.record.parent} was trained on other data")
    if run.leads and run.record.step == run.record.start:
        _say_leaked(data)
    with session.signals(), contextlib.closing(session.progress):
        try:
            engine.train(run.resume_from, batches, data, plan, session)
        except Diverged as error:
            raise RunError(_diverged(error, engine, batches, data, plan, session)) from error
    if session.signal:
        stopped = Stopped(session.signal, f"step {session.step} is saved, the same command goes on from there")
        stopped.told = not run.leads
        raise stopped
    if session.step < plan.total_steps and session.out_of_time and not run.out_of_patience:
        session.say(
            f"{run.folder} is unfinished after trainer.max_minutes = {config.trainer.max_minutes}: "
            f"step {session.step} is saved, the same command goes on from there"
        )
        return
    if session.step < plan.total_steps:
        session.say(f"stopped at step {session.step} of {plan.total_steps}: {_why(session)}")
    if config.debug == "overfit":
        found = f"train/loss on one batch is {session.loss:.4g} after {session.step} steps"
        if not session.loss < task.overfit.loss:
            wrong = "look for a fault in the model, the loss or the labels, or at optimizer.learning_rate"
            raise RunError(f"{found} and should be below {task.overfit.loss}: {wrong}")
        session.say(f"{found}, below {task.overfit.loss} as it should be")
    if plan.profile:
        session.say(f"{run.folder}/plugins/profile holds *.trace.json.gz: open it at https://ui.perfetto.dev")
    metrics = _test(engine, data, plan, session)
    run.finish(_result(session, metrics, engine.peak_memory(), versions(framework.PACKAGES)))


def _why(session: Session) -> str:
    """Of a run that has ended before its last step, and is finished."""
    run = session.run
    if not run.out_of_patience:
        return "a callback asked for it"
    return f"{run.config.trainer.patience} validations without a better {session.task.monitor} (trainer.patience)"


@contextlib.contextmanager
def _evidence(run: Run) -> Iterator[None]:
    """What nobody has foreseen leaves its traceback in the run's folder, beside all else that a report needs."""
    try:
        yield
    except Exception as error:
        if run.started and not isinstance(error, Error):
            rank = run.processes.rank
            path = run.folder / (f"traceback-{rank}.txt" if rank else "traceback.txt")
            write_text(path, traceback.format_exc())
            error.add_note(f"{EVIDENCE}: {path}")
        raise


@contextlib.contextmanager
def _resources(run: Run) -> Iterator[None]:
    """A disk that is full or gone and memory that is short are told as one line: the run's earlier state is intact."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not run.started:  # what reads the output, or what was given
            raise
        what = f"{error.filename2 or error.filename or run.folder}: {error.strerror or error}"  # the second: a target
        raise RunError(f"{what}: {_kept(run)}") from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        ways = "lower data.batch_size, raise trainer.accumulate, or take a smaller model"
        raise RunError(f"out of memory: {ways}; {_kept(run)}") from error


def _kept(run: Run) -> str:
    if not run.record.last or not (run.folder / "checkpoints" / run.record.last).exists():
        return f"{run.folder} has no checkpoint, the same command begins anew"
    return f"step {run.record.step} of {run.folder} is kept, the same command goes on from there"


def evaluate(folder: Path, config: Config, checkpoint: str = "best") -> tuple[dict[str, float], tasks.Charts]:
    """A run's metrics on its test split, keyed as the tags are, and charts of those that are arrays.

    config: the run's own, with what is overridden. checkpoint: best, last, or a step.
    """
    task, path = tasks.find(config.task), _checkpoint(folder, config, checkpoint)
    data = task.load(config, read_spec(folder))
    check_spec(folder, data.spec)
    _check_test(folder, config, data)
    batches = eval_batches(data.test, config.data.batch_size, workers=config.data.workers)
    metrics = create_engine(_for_inference(config), data.spec).evaluate(path, batches)
    return scalars("test", metrics), task.charts(arrays(metrics), data.spec)


def _check_test(folder: Path, config: Config, data: Dataset) -> None:
    """Says how many of the test examples a run was trained on.

    Raises InputError where the data have changed since, unless `data.test_path` has been given: what is cut from them
    for the test now may be what was trained on.
    """
    path, trained = read_config(folder).get("data", {}).get("test_path", ""), data
    named = getattr(config.data, "test_path", "") != path
    if named:  # with it, other rows are cut off, or none
        before = dataclasses.replace(config, data=dataclasses.replace(config.data, test_path=path))
        trained = tasks.find(config.task).load(before, read_spec(folder))
    others = changed(folder, trained.fingerprint())
    if not {"train", "val"} & {*others}:
        if others and not named:
            say_once("test", f"{folder}: these are other test examples than those at the end of its training")
        return _say_leaked(dataclasses.replace(trained, test=data.test))
    what = f"{folder}: the data have changed since this run was trained: other examples in {' and '.join(others)}"
    if not named:
        way = "--data.test_path names what to test on" if hasattr(config.data, "test_path") else "give it the old ones"
        raise InputError(f"{what}, or in another order, so that what was trained on may be in its test now: {way}")
    say_once("test", f"{what}: whether it was trained on what it is tested on is not known")


def _say_leaked(data: Dataset) -> None:
    if count := data.leaked():
        say_once("leaked", f"{count:,} of the {len(data.test):,} test examples stand among those for training, too")


class Predictor:
    """A run's model, ready for inputs.

    Args:
        folder: the run's.
        config: its own, with what is overridden.
        checkpoint: best, last, or a step.
        module: the class that was given to `train`.
    """

    def __init__(self, folder: Path, config: Config, checkpoint: str = "best", module: type | None = None):
        _check_effect(folder, config)
        self.module = module
        self.config, self.spec, self.task = _for_inference(config), read_spec(folder), tasks.find(config.task)
        self.checkpoint = _checkpoint(folder, config, checkpoint)

    @functools.cached_property
    def _engine(self) -> Engine:
        return create_engine(self.config, self.spec, self.module)

    @functools.cached_property
    def model(self) -> Any:
        """The network to evaluate, as the framework has it, in eval mode."""
        return self._engine.model(self.checkpoint)

    def outputs(self, inputs: Any) -> Batch:
        """What the model gives for each input, as arrays. inputs: paths, texts or arrays, as the task takes them."""
        return self._engine.predict(self.checkpoint, self._inputs(inputs).source)

    def weights(self) -> Weights:
        """By name, as in files."""
        return self._engine.weights(self.checkpoint)

    def predict(self, inputs: Any, **options: Any) -> list[dict[str, Any]]:
        """Rows of readable values for each input. options: those of the task, `task.options`."""
        if not self.task.describe:
            given = [inputs] if isinstance(inputs, str) else inputs
            return [{"input": prompt, "output": "".join(self.stream(prompt, **options))} for prompt in given]
        settings = dataclasses.asdict(read_options(self.task.options, options))
        source, names = self._inputs(inputs)
        self.task.check_options(names, self.spec, **settings)
        decoding = {name: settings[name] for name in self.task.decoding}
        outputs = self._engine.predict(self.checkpoint, source, **decoding)
        return self.task.describe(names, outputs, self.spec, **settings)

    def stream(self, prompt: str, **options: Any) -> Iterator[str]:
        """What the model makes of one prompt, piece by piece. Raises InputError where the task does not go so."""
        if not self.task.stream:
            raise InputError(f"{self.task.name} makes nothing piece by piece: use predict")
        settings = dataclasses.asdict(read_options(self.task.options, {**options, "prompt": prompt}))
        source, _ = self._inputs([settings.pop("prompt")])
        pieces = self._engine.generate(self.checkpoint, source[np.arange(1)], **settings)
        return self.task.stream(pieces, self.spec)

    def _inputs(self, given: Any) -> tasks.Inputs:
        """With `data.skip_bad`, without those that cannot be read, which are named."""
        bad = Bad(self.config.data.skip_bad)
        found = self.task.inputs(given, self.spec, bad)
        bad.say(len(found.names))
        return found


def _check_effect(folder: Path, config: Config) -> None:
    """Raises InputError for an option that a model which is ready does not ask for: the run keeps how it reads."""
    before, now = flatten(read_config(folder)), flatten(to_dict(config))
    effective = ("accelerator.", f"{config.framework}.", *ASKED)
    for key, value in now.items():
        if before.get(key, value) != value and not key.startswith(effective) and key not in HARMLESS:
            raise InputError(
                f"--{key} {value}: the run was trained with {before[key]!r}, and its inputs are read as then: options "
                f"here are {', '.join(ASKED)} and those of accelerator"
            )


def _for_inference(config: Config) -> Config:
    """One device, or as many as the model is cut over, where the framework has one process for all of them."""
    accelerator = config.accelerator
    cut = (accelerator.mesh.fsdp, accelerator.mesh.tensor) != (1, 1) and accelerator.nodes == 1
    return config if cut and frameworks()[config.framework].ONE_PROCESS else on_one_device(config)


def on_one_device(config: Config) -> Config:
    """A run's checkpoints go anywhere, whatever it was trained on."""
    one = dataclasses.replace(config.accelerator, devices=1, nodes=1, mesh=MeshConfig())
    return dataclasses.replace(config, accelerator=one)


def create_engine(config: Config, spec: Spec, module: type | None = None) -> Engine:
    """Of the config's framework. Raises InputError where the hardware is not there."""
    given = [module] if module else []
    return frameworks()[config.framework].engine()(config, tasks.find(config.task), plain_values(spec), *given)


def _checkpoint(folder: Path, config: Config, checkpoint: str) -> Path:
    """The path of a run's checkpoint: best, last, or a step."""
    check(config)
    record = read_record(folder)
    names = {"best": record.best, "last": record.last}
    found = {int(Path(name).stem): name for name in names.values() if name}
    if not found:
        raise InputError(f"{folder} has no checkpoint yet")
    if checkpoint not in names and not (checkpoint.isdecimal() and int(checkpoint) in found):
        raise InputError(f"--checkpoint {checkpoint}: choose best, last or one of the steps {sorted(found)}")
    name = (names[checkpoint] or record.last) if checkpoint in names else found[int(checkpoint)]
    check_checkpoint(folder / "checkpoints" / name)
    return folder / "checkpoints" / name


def _diverged(
    error: Diverged, engine: Engine, batches: TrainBatches, data: Dataset, plan: Plan, session: Session
) -> str:
    """What a person should read where a run has diverged. Alone, a process looks for the place."""
    run, found = session.run, ""
    ways = "lower optimizer.learning_rate, set optimizer.clip_norm, or --trainer.on_nan skip"
    last = run.folder / "checkpoints" / run.record.last if run.record.last else run.resume_from
    if run.processes.count == 1:
        session.say(f"{error}: going there again from step {run.record.step}, to see where that begins")
        if first := engine.first_not_finite(last, batches, data, plan, session.step):
            step, what = first
            found = f", first {what} in step {step}"
            if what.endswith(OF_THE_BATCH):
                ways = "a number in the data is none, or infinite: take it out, or let `load` refuse it"
        else:
            found = ", but was finite when these steps were repeated"
    kept = f"step {run.record.step} is kept" if last else "there is no earlier state"
    return f"{error}{found}: {ways}; {kept}"


def _one_batch(data: Dataset, batches: TrainBatches) -> Dataset:
    """The first batch for everything."""
    batch = make_batch(batches[0], data.augment if batches.resident else None, batches.resident)
    arrays = Arrays(**batch)
    return Dataset(arrays, arrays, arrays, data.spec)


def _weights(config: Config, spec: Spec) -> Weights:
    """Of `--init`: those of a file, of a folder that holds `model.safetensors`, or the best ones of a run."""
    path = Path(config.init)
    try:
        if not (path / "config.yaml").is_file():  # no run
            return config.model.adopt(read_weights(path))
        theirs = read_spec(path)
        for name in sorted(filter(is_file, theirs)):
            if not same(theirs, spec, name):
                other = f"its fitted/{name} is not that of these data: its inputs meant something else"
                print(f"--init {path}: {other}", file=sys.stderr)
        there = load_config("", {"accelerator.platform": config.accelerator.platform}, saved=read_config(path))
        return create_engine(on_one_device(there), theirs).weights(_checkpoint(path, there, "best"))
    except InputError as error:
        raise InputError(
            f"--init {error}" if str(error).startswith(str(path)) else f"--init {path}: {error}"
        ) from error


def _test(engine: Engine, data: Dataset, plan: Plan, session: Session) -> dict[str, float]:
    """Of the best checkpoint, once, at the end."""
    run = session.run
    config = run.config.data
    batches = eval_batches(data.test, config.batch_size, plan.eval_batches, config.workers, engine.share)
    found = engine.evaluate(run.folder / "checkpoints" / (run.record.best or run.record.last), batches)
    return session.measured("test", found)


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
        # Of several processes of a run, each would take the others for strangers.
        "busy_elsewhere": session.elsewhere.share() if run.processes.count == 1 else None,
        "peak_host_memory_bytes": peak_host_memory(),
        "peak_device_memory_bytes": peak_device_memory,
        "parameters": session.parameters,
        "trained_parameters": session.trained_parameters,
        "metrics": {**record.best_metrics, **metrics},
        "checkpoints": {"best": record.best, "last": record.last},
        "versions": found,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "parent": record.parent,
    }
