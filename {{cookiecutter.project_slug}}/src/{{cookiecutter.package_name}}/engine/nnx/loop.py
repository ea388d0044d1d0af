"""The training loop of the NNX twin, read from top to bottom: state, steps, logs, validation, checkpoints."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...extensions import nnx as extensions
from .. import task as tasks
from ..config import Config
from ..data.batches import TrainBatches, ahead, eval_batches, make_batch
from ..data.sources import Batch, Dataset, Source
from ..errors import InputError
from ..schedule import Plan, learning_rate, schedule_steps
from ..session import Session, arrays, sampled
from ..weights import Weights, init_words, overlay
from . import checkpoint, diagnosis, weights
from .contract import Twin
from .devices import Device
from .optimizers import create_optimizer, follows_schedule, own_rate
from .remat import recompute
from .step import cut, is_finite, make_eval_step, make_predict_step, make_train_step
from .train_state import Evaluated, TrainState, create_state, split
from .weights import Layout

PRECISIONS = {
    "float32": {"dtype": jnp.float32, "param_dtype": jnp.float32},
    "bfloat16": {"dtype": jnp.bfloat16, "param_dtype": jnp.float32},
    "float16": {"dtype": jnp.float16, "param_dtype": jnp.float32},
    "float64": {"dtype": jnp.float64, "param_dtype": jnp.float64},
}


def check_arrays(graphdef: nnx.GraphDef) -> None:
    """Raises InputError where a model holds an array that is none of its data: Flax makes a constant of it."""
    for name, attribute in graphdef.attributes:
        held = jax.tree.leaves(getattr(attribute, "value", None))
        if any(isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) for leaf in held):
            raise InputError(f"the model holds {name} as a plain array: make it nnx.data(ARRAY) or nnx.Variable(ARRAY)")


def _devices(config: Config) -> Device:
    """One, or those that the config asks for."""
    if config.accelerator.devices == config.accelerator.nodes == 1:
        return Device(config.accelerator)
    from ..scale.nnx.mesh import Devices

    return Devices(config.accelerator, config.model)


def scoped(method: Callable) -> Callable:
    """A method under the engine's `settings`."""

    @functools.wraps(method)
    def run(self: "Engine", *given: Any, **named: Any) -> Any:
        with self.settings():
            return method(self, *given, **named)

    return run


class Engine:
    """A task's model on a device, with its compiled steps.

    JAX's own settings, precision and default device, hold inside of its methods only.
    """

    def __init__(self, config: Config, task: tasks.Task, spec: Mapping[str, Any]):
        self.config, self.task, self.spec = config, task, spec
        self.twin: Twin = tasks.twin(task, "nnx")
        self.devices = _devices(config)
        if config.accelerator.precision == "float16" and self.devices.first.platform == "tpu":
            raise InputError("accelerator.precision = 'float16': a tpu has none: use bfloat16")
        self.share = self.devices.share(config.data.batch_size, config.trainer.accumulate)
        self.losses = self.twin.losses(config)
        self.initial: Weights = {}
        self.x64_elsewhere = jnp.result_type(float) == jnp.float64
        self._open: Path | None = None  # the checkpoint that predictions are made with
        with self.settings():
            self._prepare()

    def _prepare(self) -> None:
        self.Metrics = self.twin.create_metrics(self.spec)
        # The views are made once: their graphdefs are static, and a new one would compile again.
        model = nnx.eval_shape(self._model)
        self.graphdef = nnx.graphdef(model)
        check_arrays(self.graphdef)
        self.abstract = split(model, self.losses)  # what `evaluated` is like
        model.eval()
        self.eval_step = make_eval_step(self.twin, nnx.graphdef(model), self.Metrics, self.devices.whole)
        # Of predictions with options, one for each choice.
        self.make_predict_step = functools.cache(
            functools.partial(make_predict_step, self.twin, nnx.graphdef(model), self.devices.whole)
        )
        self.predict_step = self.make_predict_step()
        self.take = jax.jit(
            lambda values, places: {path: value.reshape(-1)[places[path]] for path, value in values.items()},
            out_shardings=self.devices.whole,
        )

    @functools.cached_property
    def shapes(self) -> TrainState:
        with self.settings():
            return jax.eval_shape(self._create)

    @functools.cached_property
    def shardings(self) -> TrainState:
        """Everything is placed: a program is compiled again for arrays whose place is left open."""
        return self.devices.shardings(self.shapes)

    @functools.cached_property
    def follows_schedule(self) -> bool:
        with self.settings():
            return follows_schedule(self.config.optimizer, self.abstract[0])

    def check_training(self) -> None:
        """Raises InputError where there is no such optimizer, it cannot train, or its state cannot be shared out."""
        _ = self.shardings, self.follows_schedule

    def own_schedule(self) -> str:
        if self.follows_schedule:
            return ""
        return (
            f"optimizer.name = {self.config.optimizer.name!r} has a learning rate of its own: optimizer.learning_rate "
            "and its schedule are not used"
        )

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """Those of JAX that the engine's arrays need; outside of its methods they are the person's."""
        with jax.enable_x64(self.config.accelerator.precision == "float64"), jax.default_device(self.devices.first):
            yield

    def describe(self) -> str:
        return f"nnx on {self.devices.describe()}, {self.config.accelerator.precision}"

    @scoped
    def start_from(self, given: Weights) -> None:
        """Begins with these weights, but for those of `init_skip`."""
        model = self._model()
        initial = overlay(given, weights.get(model), self.config.init_skip)
        weights.put(initial, model, init_words(self.config.init, self.config.init_skip))
        self.initial = initial

    @scoped
    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        state = self.restore(start) if start else self.init()
        train_step = self.train_step(data.augment)
        resident = self.devices.put(batches.resident)
        precision = self.config.accelerator.precision
        if self.x64_elsewhere and precision != "float64":
            session.say(f"JAX_ENABLE_X64 is set, but accelerator.precision = {precision!r} rules: float64 is another")
        session.begin({path: p.shape for path, p in self.parameters(state).items()}, self.frozen(state))
        if session.run.leads:
            session.listeners += extensions.loggers(self.config)
        with_norm = self.devices.put({False: np.array(False), True: np.array(True)})
        step = int(state.step)
        stopping = session.run.out_of_patience
        wanted = self.config.frameworks["nnx"].steps_per_call
        if wanted > 1 and batches.groups is not None:
            session.say(f"nnx.steps_per_call = {wanted}: batches of these data have several shapes: one step a call")
            wanted = 1
        calls = plan.calls(step, wanted)
        stream = ahead(lambda call: batches.stack(*call), calls, self.config.data.workers)
        while step < plan.total_steps and not stopping:
            if plan.profile and step == plan.profile.start:
                jax.profiler.start_trace(session.run.folder)
            batch = next(stream)
            steps = len(next(iter(batch.values())))
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                given = self.devices.cut(batch, 1), self.rates(step, steps, plan), with_norm[plan.logs(step + steps)]
                state, logs = train_step(state, *given, resident)
            if self.devices.one_step_at_a_time:
                jax.block_until_ready(state)
            step += steps
            session.advance(steps)
            if plan.profile and step == plan.profile.stop:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            if plan.logs(step):
                values = {name: float(value) for name, value in jax.device_get(logs).items()}
                session.log(values, self.rate(step - 1, plan, state), self.peak_memory())
            improved = False
            if plan.validates(step):
                with session.pause():
                    session.check(bool(is_finite(state.params)))
                    improved = self.validate(state, batches.batch_size, data, plan, session)
            stopping = session.stopping  # asked once: a signal that comes later waits for the next step
            if plan.saves(step) or improved or stopping:
                with session.pause():
                    session.save(functools.partial(checkpoint.save, state=state), bool(is_finite(state.params)))

    def rates(self, step: int, steps: int, plan: Plan) -> jax.Array:
        """The learning rates of so many steps from `step` on, float [steps]."""
        config, end = self.config.optimizer, schedule_steps(self.config, plan)
        rates = [learning_rate(i, config, end) for i in range(step, step + steps)]
        return self.devices.put(np.asarray(rates, jnp.result_type(float)))

    def rate(self, step: int, plan: Plan, state: TrainState) -> float | None:
        """The learning rate of a step that is done; None where the optimizer has its own and does not tell it."""
        if self.follows_schedule:
            return learning_rate(step, self.config.optimizer, schedule_steps(self.config, plan))
        return own_rate(state.opt_state)

    def validate(self, state: TrainState, batch_size: int, data: Dataset, plan: Plan, session: Session) -> bool:
        """Metrics, histograms and pictures. Returns whether this is the best so far."""
        batches = eval_batches(data.val, batch_size, plan.eval_batches, self.config.data.workers, self.share)
        first = next(batches)
        metrics = self.run_metrics(state.evaluated, itertools.chain([first], batches))
        outputs = jax.device_get(self.predict_step(state.evaluated, self.devices.cut(first)))
        # Outputs are of all processes, and the first has the first part of them.
        outputs = {name: value[: len(first["mask"])] for name, value in outputs.items()}
        parameters = self.parameters(state)
        matrices = {path: p for path, p in parameters.items() if p.ndim > 1}
        values = self.sampled(matrices, self.config.trainer.histograms)

        def rows(path: str, count: int) -> np.ndarray:
            return self.devices.get(parameters[path][:count])

        return session.validated(metrics, values, rows, first, outputs)

    def sampled(self, parameters: Mapping[str, jax.Array], most: int) -> dict[str, np.ndarray]:
        """At most so many values of each; the others stay on the device."""
        if not most:
            return {}
        places = self.devices.put({path: sampled(p.size, most) for path, p in parameters.items()})
        return {path: self.devices.get(value) for path, value in self.take(parameters, places).items()}

    @scoped
    def first_not_finite(
        self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
    ) -> tuple[int, str] | None:
        """(step, what) between a checkpoint, or the beginning, and step `end`; None where all is finite this time."""
        state = self.restore(start) if start else self.init()
        train_step = self.train_step(data.augment)
        resident = self.devices.put(batches.resident)
        for step in range(int(state.step), end):
            batch = self.devices.cut(batches.stack(step, 1), 1)
            before = jax.tree.map(jnp.copy, state)  # the step takes what it is given
            state, logs = train_step(state, batch, self.rates(step, 1, plan), True, resident)
            # In float16 that is the loss scale's to try, unless the gradient itself is not finite.
            overflow = state.loss_scale is not None and not jnp.isfinite(logs["grad_norm"])
            mean = sum(value for name, value in logs.items() if name.startswith("loss/"))
            if overflow or not (jnp.isfinite(mean) and is_finite(state.params)):
                batch = jax.tree.map(lambda x: x[0], batch)
                if resident:
                    batch = make_batch(batch, data.augment, resident)
                pieces = cut(batch, self.share.parts, self.config.trainer.accumulate)
                found = diagnosis.not_finite(self.graphdef, self.losses, self.config.seed, before, pieces, state)
                if found or not overflow:
                    return step + 1, found or "the sum over all devices"
        return None

    @scoped
    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        return self.run_metrics(self.evaluated(checkpoint), batches)

    def run_metrics(self, evaluated: Evaluated, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        """The task's metrics by name, each over all examples: numbers, or arrays."""
        metrics = self.devices.put(self.Metrics.empty())
        for batch in batches:
            metrics = self.eval_step(evaluated, metrics, self.devices.cut(batch))
            if self.devices.one_step_at_a_time:
                jax.block_until_ready(metrics)
        found = jax.device_get(metrics.compute())
        found = {name: value if np.ndim(value) else float(value) for name, value in found.items()}
        return found | self.task.scores(arrays(found), self.spec)

    @scoped
    def predict(self, checkpoint: Path, source: Source, **options: Any) -> Batch:
        """The outputs for every example, in order. options: those of the task's `decoding`."""
        if checkpoint != self._open:  # read once for many predictions
            self._open, self._opened = checkpoint, self.evaluated(checkpoint)
        # Few sizes, as each is compiled: powers of two, up to a batch.
        size = min(self.config.data.batch_size, max(self.share.parts, 1 << (len(source) - 1).bit_length()))
        batches = eval_batches(source, size, workers=self.config.data.workers)
        predict_step = self.make_predict_step(**options)
        outputs = [jax.device_get(predict_step(self._opened, self.devices.cut(batch))) for batch in batches]
        return {name: np.concatenate([output[name] for output in outputs])[: len(source)] for name in outputs[0]}

    def generate(self, checkpoint: Path, batch: Batch, **options: Any) -> Iterator[Batch]:
        """What the task's `generate` yields, with `config.seed` for what it draws."""
        pieces = self.twin.generate(self.model(checkpoint), batch, seed=self.config.seed, **options)
        while True:  # the settings are not those of the caller, who goes on between two pieces
            with self.settings():
                piece = jax.device_get(next(pieces, None))
            if piece is None:
                return
            yield piece

    @scoped
    def model(self, checkpoint: Path) -> nnx.Module:
        """The model to evaluate, as it then is: without dropout, with running statistics."""
        model = nnx.merge(self.graphdef, *self.evaluated(checkpoint))
        model.eval()
        return model

    @scoped
    def weights(self, checkpoint: Path | None) -> Weights:
        """A checkpoint's weights by name, as in files, or the initial ones."""
        evaluated = self.evaluated(checkpoint) if checkpoint else self.init().evaluated
        return weights.get(nnx.merge(self.graphdef, *evaluated))

    @scoped
    def state(self, checkpoint: Path) -> Weights:
        """All of a checkpoint, by name; see `contract`."""
        from .portable import get

        return get(self.restore(checkpoint), self._layout())

    @scoped
    def write(self, given: Weights, path: Path, where: str) -> None:
        """As a checkpoint. Raises InputError, beginning with `where` it comes from, where it is of another model."""
        from .portable import put

        state = put(given, self.init(), self._layout(), where)
        checkpoint.save(path, self.devices.put(state, self.shardings))

    @scoped
    def export(self, format: str, batch: Batch, path: Path) -> None:
        """What it begins with, as a file of one of this framework's formats."""
        from .export import write

        write(format, self._model(), self.twin.predict_step, batch, path)

    def train_step(self, augment: Callable | None = None):
        shardings = (self.shardings, self.devices.whole)
        on_cpu = self.devices.first.platform == "cpu"
        return make_train_step(self.twin, self.config, self.graphdef, augment, self.share.parts, on_cpu, shardings)

    @scoped
    def init(self) -> TrainState:
        """The state at step 0, made by one compiled program."""
        if self.initial:  # not in a program, of which they would be constants
            # Copies, as an optimizer may begin with the parameters: each array is given away by itself.
            return self.devices.put(jax.tree.map(jnp.copy, self._create()), self.shardings)
        # It runs once: on a CPU, optimizing it takes three times as long as it saves.
        options = {"xla_backend_optimization_level": 0} if self.devices.first.platform == "cpu" else None
        return jax.jit(self._create, out_shardings=self.shardings, compiler_options=options)()

    @scoped
    def restore(self, path: Path) -> TrainState:
        return checkpoint.restore(path, self.devices.placed(self.shapes))

    @scoped
    def evaluated(self, path: Path) -> Evaluated:
        """The model of a checkpoint, to evaluate it; nothing of the optimizer is read."""
        return checkpoint.restore_evaluated(path, self.devices.placed(self.abstract))

    def parameters(self, state: TrainState) -> dict[str, jax.Array]:
        """Every parameter by its path, as `hidden/kernel`."""
        parts = (state.params, nnx.filter_state(state.rest, nnx.Param))
        return {"/".join(map(str, path)): p[...] for part in parts for path, p in nnx.to_flat_state(part)}

    def frozen(self, state: TrainState) -> list[str]:
        """The paths of those that no loss moves."""
        return ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.filter_state(state.rest, nnx.Param))]

    def peak_memory(self) -> int:
        """Bytes on the fullest device of this process; 0 where they do not tell."""
        return max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in self.devices.local)

    def _layout(self) -> Layout:
        return weights.layout(nnx.eval_shape(self._model))

    def _create(self) -> TrainState:
        config = self.config
        ema, scaled = config.optimizer.ema_decay > 0, config.accelerator.precision == "float16"
        return create_state(self._model(), self.losses, create_optimizer(config.optimizer), ema=ema, scaled=scaled)

    def _model(self) -> nnx.Module:
        """As training begins with it."""
        dtypes = PRECISIONS[self.config.accelerator.precision]
        model = self.twin.create_model(self.config, self.spec, rngs=nnx.Rngs(self.config.seed), **dtypes)
        module: Any
        for _, module in nnx.iter_modules(model):
            if getattr(module, "deterministic", False) is None:  # as of attention: for the caller to say
                module.deterministic = False
        if self.config.frameworks["nnx"].remat:
            recompute(model, self.config.model.name)
        if self.initial:
            weights.put(self.initial, model, self.config.init)
        return model
