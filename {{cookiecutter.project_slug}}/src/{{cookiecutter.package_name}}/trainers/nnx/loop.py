"""The training loop of the NNX twin, read from top to bottom: state, steps, logs, validation, checkpoints."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ... import task as tasks
from ...config import Config
from ...data.batches import TrainBatches, ahead, eval_batches
from ...data.sources import Batch, Dataset, Source
from ...errors import InputError
from ...weights import Weights, init_words, overlay
from ..schedule import Plan, learning_rate, schedule_steps
from ..session import Session
from . import checkpoint, portable, weights
from .export import write
from .mesh import Devices
from .optimizers import create_optimizer
from .remat import recompute
from .step import is_finite, make_eval_step, make_predict_step, make_train_step
from .train_state import TrainState, create_state

PRECISIONS = {
    "float32": {"dtype": jnp.float32, "param_dtype": jnp.float32},
    "bfloat16": {"dtype": jnp.bfloat16, "param_dtype": jnp.float32},
    "float16": {"dtype": jnp.float16, "param_dtype": jnp.float32},
    "float64": {"dtype": jnp.float64, "param_dtype": jnp.float64},
}


class Engine:
    """A task's model on a device, with its compiled steps."""

    def __init__(self, config: Config, task: tasks.Task, spec: Mapping[str, Any]):
        self.config, self.task, self.spec, self.twin = config, task, spec, tasks.twin(task, "nnx")
        self.devices = Devices(config.accelerator, config.model)
        if config.accelerator.precision == "float16" and self.devices.first.platform == "tpu":
            raise InputError("accelerator.precision = 'float16': a tpu has none: use bfloat16")
        self.share = self.devices.share(config.data.batch_size, config.trainer.accumulate)
        self._configure()
        self.optimizer = create_optimizer(config.optimizer)
        self.Metrics = self.twin.create_metrics(spec)
        self.initial: Weights = {}
        self._open: Path | None = None  # the checkpoint that predictions are made with
        # The views are made once: their graphdefs are static, and a new one would compile again.
        model = nnx.eval_shape(self._model)
        model.train()
        self.graphdef = nnx.graphdef(model)
        model.eval()
        # Everything is placed: a program is compiled again for arrays whose place is left open.
        self.shapes = jax.eval_shape(self._create)
        self.shardings = self.devices.shardings(self.shapes)
        self.eval_step = make_eval_step(self.twin, nnx.graphdef(model), self.devices.whole)
        self.predict_step = make_predict_step(self.twin, nnx.graphdef(model), self.devices.whole)

    def describe(self) -> str:
        return f"nnx on {self.devices.describe()}, {self.config.accelerator.precision}"

    def start_from(self, given: Weights) -> None:
        """Begins with these weights, but for those of `init_skip`."""
        self._configure()
        model = self._model()
        self.initial = overlay(given, weights.get(model), self.config.init_skip)
        weights.put(self.initial, model, init_words(self.config.init, self.config.init_skip))

    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        state = self.restore(start) if start else self.init()
        train_step = self.train_step(data.augment)
        resident = self.devices.put(batches.resident, self.devices.whole)
        session.begin(self.parameters(state), self.frozen(state))
        shares, end = self.shares(plan), schedule_steps(self.config, plan)
        step = int(state.step)
        stopping = session.run.out_of_patience
        calls = plan.calls(step, self.config.frameworks["nnx"].steps_per_call)
        stream = ahead(lambda call: batches.stack(*call), calls, self.config.data.workers)
        while step < plan.total_steps and not stopping:
            if plan.profile and step == plan.profile.start:
                jax.profiler.start_trace(session.run.folder)
            batch = next(stream)
            steps = len(next(iter(batch.values())))
            state, logs = train_step(state, self.devices.cut(batch, 1), shares, plan.logs(step + steps), resident)
            if self.devices.one_step_at_a_time:
                jax.block_until_ready(state)
            step += steps
            session.advance(steps)
            if plan.profile and step == plan.profile.stop:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            if plan.logs(step):
                values = {name: float(value) for name, value in jax.device_get(logs).items()}
                session.log(values, learning_rate(step - 1, self.config.optimizer, end), self.peak_memory())
            improved = False
            if plan.validates(step):
                with session.pause():
                    session.check(bool(is_finite(state.params)))
                    improved = self.validate(state, batches.batch_size, data, plan, session)
            stopping = session.stopping  # asked once: a signal that comes later waits for the next step
            if plan.saves(step) or improved or stopping:
                with session.pause():
                    session.save(functools.partial(checkpoint.save, state=state), bool(is_finite(state.params)))

    def shares(self, plan: Plan) -> jax.Array:
        """Of the peak learning rate, at every step: float [total steps]."""
        config, end = self.config.optimizer, schedule_steps(self.config, plan)
        shares = [learning_rate(step, config, end) / config.learning_rate for step in range(plan.total_steps)]
        return self.devices.put(np.asarray(shares, jnp.result_type(float)), self.devices.whole)

    def validate(self, state: TrainState, batch_size: int, data: Dataset, plan: Plan, session: Session) -> bool:
        """Metrics, histograms and pictures. Returns whether this is the best so far."""
        batches = eval_batches(data.val, batch_size, plan.eval_batches, self.config.data.workers, self.share)
        first = next(batches)
        metrics = self.run_metrics(state, itertools.chain([first], batches))
        outputs = jax.device_get(self.predict_step(state, self.devices.cut(first)))
        # Outputs are of all processes, and the first has the first part of them.
        outputs = {name: value[: len(first["mask"])] for name, value in outputs.items()}
        return session.validated(metrics, self.parameters(state), first, outputs)

    def first_not_finite(
        self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
    ) -> tuple[int, str] | None:
        from .diagnosis import first_not_finite

        return first_not_finite(self, start, batches, data, plan, end)

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        return self.run_metrics(self.restore(checkpoint), batches)

    def run_metrics(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        """The task's metrics by name, each over all examples: numbers, or arrays."""
        metrics = self.devices.put(self.Metrics.empty(), self.devices.whole)
        for batch in batches:
            metrics = self.eval_step(state, metrics, self.devices.cut(batch))
            if self.devices.one_step_at_a_time:
                jax.block_until_ready(metrics)
        found = jax.device_get(metrics.compute())
        return {name: value if np.ndim(value) else float(value) for name, value in found.items()}

    def predict(self, checkpoint: Path, source: Source) -> Batch:
        """The outputs for every example, in order."""
        self._configure()
        if checkpoint != self._open:  # read once for many predictions
            self._open, self._opened = checkpoint, self.restore(checkpoint)
        state = self._opened
        size = min(self.config.data.batch_size, len(source))
        batches = eval_batches(source, size, workers=self.config.data.workers)
        outputs = [jax.device_get(self.predict_step(state, batch)) for batch in batches]
        return {name: np.concatenate([output[name] for output in outputs])[: len(source)] for name in outputs[0]}

    def generate(self, checkpoint: Path, batch: Batch, **options: Any) -> Iterator[Batch]:
        """What the task's `generate` yields, with `config.seed` for what it draws."""
        model = nnx.merge(self.graphdef, *self.restore(checkpoint).evaluated)
        model.eval()
        yield from map(jax.device_get, self.twin.generate(model, batch, seed=self.config.seed, **options))

    def weights(self, checkpoint: Path | None) -> Weights:
        """A checkpoint's weights by name, as in files, or the initial ones."""
        state = self.restore(checkpoint) if checkpoint else self.init()
        return weights.get(nnx.merge(self.graphdef, *state.evaluated))

    def state(self, checkpoint: Path) -> Weights:
        """All of a checkpoint, by name; see `workflow`."""
        return portable.get(self.restore(checkpoint), self._layout())

    def write(self, given: Weights, path: Path, where: str) -> None:
        """As a checkpoint. Raises InputError, beginning with `where` it comes from, where it is of another model."""
        self._configure()
        checkpoint.save(path, self.devices.put(portable.put(given, self.shapes, self._layout(), where), self.shardings))

    def export(self, format: str, batch: Batch, path: Path) -> None:
        """What it begins with, as a file of one of this framework's formats."""
        self._configure()
        model = self._model()
        weights.put(self.initial, model, self.config.init)
        write(format, model, self.twin.predict_step, batch, path)

    def train_step(self, augment: Callable | None = None):
        shardings = (self.shardings, self.devices.whole)
        return make_train_step(
            self.twin, self.config, self.graphdef, self.optimizer, augment, self.share.parts, shardings
        )

    def init(self) -> TrainState:
        """The state at step 0, made by one compiled program."""
        self._configure()
        if self.initial:
            model = self._model()
            weights.put(self.initial, model, self.config.init)
            return self.devices.put(self._state(model), self.shardings)
        # It runs once: on a CPU, optimizing it takes three times as long as it saves.
        options = {"xla_backend_optimization_level": 0} if self.devices.first.platform == "cpu" else None
        return jax.jit(self._create, out_shardings=self.shardings, compiler_options=options)()

    def restore(self, path: Path) -> TrainState:
        self._configure()

        def place(x: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        return checkpoint.restore(path, jax.tree.map(place, self.shapes, self.shardings))

    def parameters(self, state: TrainState) -> dict[str, np.ndarray]:
        """Every parameter by its path, as `hidden/kernel`."""
        paths = {}
        for part in [*state.params.values(), nnx.filter_state(state.rest, nnx.Param)]:
            for path, value in nnx.to_flat_state(part):
                paths["/".join(map(str, path))] = self.devices.get(value[...])
        return paths

    def frozen(self, state: TrainState) -> list[str]:
        """The paths of those that no loss moves."""
        return ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.filter_state(state.rest, nnx.Param))]

    def peak_memory(self) -> int:
        """Bytes on the fullest device of this process; 0 where they do not tell."""
        return max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in self.devices.local)

    def _configure(self) -> None:
        """JAX's own settings are those of the process, which may hold engines of other runs."""
        jax.config.update("jax_enable_x64", self.config.accelerator.precision == "float64")
        jax.config.update("jax_default_device", self.devices.first)

    def _layout(self) -> portable.Layout:
        return weights.layout(nnx.eval_shape(self._model))

    def _create(self) -> TrainState:
        return self._state(self._model())

    def _state(self, model: nnx.Module) -> TrainState:
        config = self.config
        ema, scaled = config.optimizer.ema_decay > 0, config.accelerator.precision == "float16"
        return create_state(model, self.twin.losses(config), self.optimizer, ema=ema, scaled=scaled)

    def _model(self) -> nnx.Module:
        dtypes = PRECISIONS[self.config.accelerator.precision]
        model = self.twin.create_model(self.config, self.spec, rngs=nnx.Rngs(self.config.seed), **dtypes)
        if self.config.frameworks["nnx"].remat:
            recompute(model, self.config.model.name)
        return model
