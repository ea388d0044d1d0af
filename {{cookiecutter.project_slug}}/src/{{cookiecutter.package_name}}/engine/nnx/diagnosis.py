"""Where values cease to be finite: a run's steps taken once more, with an eye on every module."""

import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..data.batches import TrainBatches, make_batch
from ..data.sources import Dataset
from ..schedule import Plan
from .loop import Engine
from .step import Batch, cut, dropout_keys, is_finite
from .train_state import TrainState, moved


def first_not_finite(
    engine: Engine, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
) -> tuple[int, str] | None:
    """(step, what) between a checkpoint, or the beginning, and step `end`; None where all is finite this time."""
    state = engine.restore(start) if start else engine.init()
    train_step = engine.train_step(data.augment)
    resident = engine.devices.put(batches.resident, engine.devices.whole)
    for step in range(int(state.step), end):
        batch = engine.devices.cut(batches.stack(step, 1), 1)
        before = jax.tree.map(jnp.copy, state)  # the step takes what it is given
        state, logs = train_step(state, batch, engine.rates(step, 1, plan), True, resident)
        mean = sum(value for name, value in logs.items() if name.startswith("loss/"))
        # In float16 that is the loss scale's to try, unless the gradient itself is not finite.
        overflow = state.loss_scale is not None and not jnp.isfinite(logs["grad_norm"])
        if overflow or not (jnp.isfinite(mean) and is_finite(state.params)):
            batch = jax.tree.map(lambda x: x[0], batch)
            if resident:
                batch = make_batch(batch, data.augment, resident)
            what = _what(engine, before, batch, state)
            if what or not overflow:
                return step + 1, what or "the sum over all devices"
    return None


def _what(engine: Engine, state: TrainState, batch: Batch, after: TrainState) -> str:
    """The first value of a step that is not finite, "" where one process sees none."""
    for name, value in batch.items():
        if not _finite(value):
            return f"{name!r} of the batch"
    config, accumulate = engine.config, engine.config.trainer.accumulate
    micro = cut(batch, engine.share.parts, accumulate)
    for i, (name, loss) in enumerate(engine.losses.items()):
        part, others = moved(loss, state.params)
        keys = dropout_keys(config.seed, state.step, i, accumulate)
        for k in range(accumulate):
            piece, rngs = jax.tree.map(lambda x, k=k: x[k], micro), nnx.Rngs(dropout=keys[k])
            model = nnx.merge(engine.graphdef, state.params, state.rest, copy=True)
            called = _watch(model)
            with jax.disable_jit():  # module by module, those in a loop too
                total, weight, *_ = loss.fn(model, piece, rngs)
            if wrong := [path for path, finite in called if not finite]:
                return f"the output of {wrong[0] or 'the model'}"
            if not _finite(total):
                return f"loss/{name}, though what the model gave it is finite"

            def objective(part: nnx.State, loss=loss, others=others, piece=piece, key=keys[k]) -> jax.Array:
                model = nnx.merge(engine.graphdef, part, others, state.rest, copy=True)
                return loss.fn(model, piece, nnx.Rngs(dropout=key))[0]

            grads = nnx.to_flat_state(jax.grad(objective)(part))
            if wrong := {".".join(map(str, path)) for path, value in grads if not _finite(value[...])}:
                order = [path for path, _ in called]  # the last one called is the first that a gradient reaches
                return f"the gradient of {max(wrong, key=lambda path: _last(order, path.rpartition('.')[0]))}"
    for path, value in nnx.to_flat_state(after.params):
        if not _finite(value[...]):
            return f"the update of {'.'.join(map(str, path))}"
    return ""


def _watch(model: nnx.Module) -> list[tuple[str, bool]]:
    """(path, whether its output is finite) of every module of a model that is going to be called, as they end."""
    called: list[tuple[str, bool]] = []

    def watched(kind: type, path: str) -> type:
        plain = inspect.unwrap(kind.__call__)  # blocks that are computed twice are so once here

        def call(self, *args: Any, **kwargs: Any) -> Any:
            outputs = plain(self, *args, **kwargs)
            called.append((path, all(map(_finite, jax.tree.leaves(outputs)))))
            return outputs

        return type(kind.__name__, (kind,), {"__call__": call})

    for path, module in list(nnx.iter_modules(model)):
        if callable(module):
            object.__setattr__(module, "__class__", watched(type(module), ".".join(map(str, path))))
    return called


def _finite(value: Any) -> bool:
    if not isinstance(value, jax.Array | np.ndarray) or not jnp.issubdtype(value.dtype, jnp.inexact):
        return True
    return bool(jnp.isfinite(value).all())


def _last(order: list[str], path: str) -> int:
    return max((i for i, name in enumerate(order) if name == path), default=-1)
