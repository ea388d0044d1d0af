"""The training loop of the NNX twin, read from top to bottom: state, steps, logs, validation, checkpoints."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ... import task as tasks
from ...config import Config
from ...data.batches import TrainBatches, eval_batches
from ...data.sources import Batch, Dataset, Source
from ..schedule import Plan, learning_rate, schedule_steps
from ..session import Session
from . import checkpoint, devices
from .step import make_eval_step, make_predict_step, make_train_step
from .train_state import TrainState, create_optimizer, create_state

PRECISIONS = {
    "float32": {"dtype": jnp.float32, "param_dtype": jnp.float32},
    "bfloat16": {"dtype": jnp.bfloat16, "param_dtype": jnp.float32},
    "float64": {"dtype": jnp.float64, "param_dtype": jnp.float64},
}


class Engine:
    """A task's model on a device, with its compiled steps."""

    def __init__(self, config: Config, task: tasks.Task, spec: Mapping[str, Any]):
        jax.config.update("jax_enable_x64", config.accelerator.precision == "float64")
        self.config, self.task, self.spec, self.twin = config, task, spec, tasks.twin(task, "nnx")
        self.device = devices.pick(config.accelerator.platform)
        jax.config.update("jax_default_device", self.device)
        self.optimizer = create_optimizer(config.optimizer)
        # The views are made once: their graphdefs are static, and a new one would compile again.
        model = nnx.eval_shape(self._model)
        model.train()
        self.train_step = make_train_step(self.twin, config, nnx.graphdef(model), self.optimizer)
        model.eval()
        self.eval_step = make_eval_step(self.twin, nnx.graphdef(model))
        self.predict_step = make_predict_step(self.twin, nnx.graphdef(model))

    def describe(self) -> str:
        return f"nnx on {self.device.device_kind}, {self.config.accelerator.precision}"

    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        state = self.restore(start) if start else self.init()
        session.begin(self.parameters(state))
        end = schedule_steps(self.config, plan)
        rates = [learning_rate(step, self.config.optimizer, end) for step in range(plan.total_steps)]
        table = jnp.asarray(rates, jnp.result_type(float))
        step = int(state.step)
        stopping = session.stopping
        while step < plan.total_steps and not stopping:
            steps = plan.steps_at_once(step, self.config.frameworks["nnx"].steps_per_call)
            state, logs = self.train_step(state, batches.stack(step, steps), table, plan.logs(step + steps))
            step += steps
            session.advance(steps)
            if plan.logs(step):
                values = {name: float(value) for name, value in jax.device_get(logs).items()}
                session.log(values, rates[step - 1], self.peak_memory())
            improved = False
            if plan.validates(step):
                with session.pause():
                    improved = self.validate(state, batches.batch_size, data, plan, session)
            stopping = session.stopping  # asked once: a signal that comes later waits for the next step
            if plan.saves(step) or improved or stopping:
                with session.pause():
                    session.save(functools.partial(checkpoint.save, state=state))

    def validate(self, state: TrainState, batch_size: int, data: Dataset, plan: Plan, session: Session) -> bool:
        """Metrics, histograms and pictures. Returns whether this is the best so far."""
        metrics = self.run_metrics(state, eval_batches(data.val, batch_size, plan.eval_batches))
        session.histograms(self.parameters(state))
        first = next(eval_batches(data.val, batch_size))
        session.pictures(first, jax.device_get(self.predict_step(state, first)))
        return session.validated(metrics)

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float]:
        return self.run_metrics(self.restore(checkpoint), batches)

    def run_metrics(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
        """The task's metrics by name, each over all examples."""
        metrics = self.twin.Metrics.empty()
        for batch in batches:
            metrics = self.eval_step(state, metrics, batch)
        return {name: float(value) for name, value in metrics.compute().items()}

    def predict(self, checkpoint: Path, source: Source) -> Batch:
        """The outputs for every example, in order."""
        state, outputs = self.restore(checkpoint), []
        for batch in eval_batches(source, self.config.data.batch_size):
            found = jax.device_get(self.predict_step(state, batch))
            outputs.append({name: value[batch["mask"]] for name, value in found.items()})
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    def init(self) -> TrainState:
        """The state at step 0, made by one compiled program."""
        return jax.jit(lambda: create_state(self._model(), self.twin.losses(self.config), self.optimizer))()

    def restore(self, path: Path) -> TrainState:
        return checkpoint.restore(path, self.init())

    def parameters(self, state: TrainState) -> dict[str, np.ndarray]:
        """Every parameter by its path, as `hidden/kernel`."""
        paths = {}
        for part in state.params.values():
            for path, value in nnx.to_flat_state(part):
                paths["/".join(map(str, path))] = np.asarray(value[...])
        return paths

    def peak_memory(self) -> int:
        """Bytes on the device; 0 where it does not tell."""
        return (self.device.memory_stats() or {}).get("peak_bytes_in_use", 0)

    def _model(self) -> nnx.Module:
        dtypes = PRECISIONS[self.config.accelerator.precision]
        return self.twin.create_model(self.config, self.spec, rngs=nnx.Rngs(self.config.seed), **dtypes)
