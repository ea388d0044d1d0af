"""Where values cease to be finite: a run's steps taken once more, with an eye on every module."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..session import OF_THE_BATCH
from ..task import Loss
from .step import Batch, dropout_keys
from .train_state import TrainState, moved


def not_finite(
    graphdef: nnx.GraphDef, losses: Mapping[str, Loss], seed: int, state: TrainState, pieces: Batch, after: TrainState
) -> str:
    """The first value of a step that is not finite, "" where one process sees none.

    Args:
        state: before the step.
        pieces: the step's micro-batches, [micro-batch, example, ...].
        after: the state after it.
    """
    for name, value in pieces.items():
        if not _finite(value):
            return f"{name!r} {OF_THE_BATCH}"
    accumulate = len(next(iter(pieces.values())))
    for i, (name, loss) in enumerate(losses.items()):
        part, others = moved(loss, state.params)
        keys = dropout_keys(seed, state.step, i, accumulate)
        for k in range(accumulate):
            piece, rngs = jax.tree.map(lambda x, k=k: x[k], pieces), nnx.Rngs(dropout=keys[k])
            model = nnx.merge(graphdef, state.params, state.rest, copy=True)
            called = _watch(model)
            with jax.disable_jit():  # module by module, those in a loop too
                total, weight, *_ = loss.fn(model, piece, rngs)
            if wrong := [path for path, finite in called if not finite]:
                return f"the output of {wrong[0] or 'the model'}"
            if not _finite(total):
                return f"loss/{name}, though what the model gave it is finite"

            def objective(part: nnx.State, loss=loss, others=others, piece=piece, key=keys[k]) -> jax.Array:
                model = nnx.merge(graphdef, part, others, state.rest, copy=True)
                return loss.fn(model, piece, nnx.Rngs(dropout=key))[0]

            grads = nnx.to_flat_state(jax.grad(objective)(part))
            if paths := {".".join(map(str, path)) for path, value in grads if not _finite(value[...])}:
                order = [path for path, _ in called]  # the last one called is the first that a gradient reaches
                return f"the gradient of {max(paths, key=lambda path: _last(order, path.rpartition('.')[0]))}"
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
