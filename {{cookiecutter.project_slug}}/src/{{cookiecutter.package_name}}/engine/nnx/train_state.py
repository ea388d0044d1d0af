"""The state of training: one pytree, donated to each step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from ..errors import InputError
from ..schedule import LOSS_SCALE, LOSS_SCALE_STEPS
from ..task import Loss


class LossScale(struct.PyTreeNode):
    """The factor that keeps float16 gradients from vanishing, and the updates since it last changed."""

    factor: jax.Array
    steps: jax.Array

    def next(self, finite: jax.Array | bool) -> "LossScale":
        """Half where a gradient was not finite; twice as large after `LOSS_SCALE_STEPS` updates that were."""
        grows = self.steps + 1 >= LOSS_SCALE_STEPS
        factor = jnp.where(finite, jnp.where(grows, self.factor * 2, self.factor), self.factor / 2)
        return LossScale(factor, jnp.where(finite & ~grows, self.steps + 1, 0))


class TrainState(struct.PyTreeNode):
    """Everything that a step reads and writes.

    Attributes:
        step: int32, updates done.
        params: the parameters that the losses move.
        rest: all else that the model holds: running statistics, keys of random numbers, parameters that no loss moves.
        opt_state: the optimizer's, by the loss's name.
        ema: the moving averages of `params`, at least in float32; None without.
        loss_scale: in float16; None otherwise.
        skipped: int32, updates left out, as their gradient was not finite or their batch weighed nothing.
    """

    step: jax.Array
    params: nnx.State
    rest: nnx.State
    opt_state: dict[str, optax.OptState]
    ema: nnx.State | None = None
    loss_scale: LossScale | None = None
    skipped: jax.Array = struct.field(default_factory=lambda: jnp.zeros((), jnp.int32))

    @property
    def evaluated(self) -> "Evaluated":
        """The model to evaluate and keep: the averages where there are any, with the current rest."""
        return self.ema or self.params, self.rest


Evaluated = tuple[nnx.State, nnx.State]


def create_state(
    model: nnx.Module, losses: Mapping[str, Loss], optimizer: optax.GradientTransformation, *, ema: bool, scaled: bool
) -> TrainState:
    params, rest = split(model, losses)
    opt_state = {name: optimizer.init(moved(loss, params)[0]) for name, loss in losses.items()}
    averages = jax.tree.map(lambda p: jnp.array(p, jnp.promote_types(p.dtype, jnp.float32)), params) if ema else None
    scale = LossScale(jnp.float32(LOSS_SCALE), jnp.int32(0)) if scaled else None
    return TrainState(jnp.zeros((), jnp.int32), params, rest, opt_state, averages, scale)


def split(model: nnx.Module | nnx.State, losses: Mapping[str, Loss]) -> tuple[nnx.State, nnx.State]:
    """(the parameters that the losses move, the rest). Raises InputError where a loss has none."""
    state = model if isinstance(model, nnx.State) else nnx.state(model)
    for name, loss in losses.items():
        if not moved(loss, state)[0]:
            raise InputError(f"loss {name!r} moves nothing: the model has no parameter for params = {loss.params!r}")
    params, rest = nnx.split_state(state, nnx.Any(*map(_filter, losses.values())), ...)
    return params, rest


def moved(loss: Loss, params: nnx.State) -> tuple[nnx.State, nnx.State]:
    """(what a loss moves, the others)."""
    part, others = nnx.split_state(params, _filter(loss), ...)
    return part, others


def _filter(loss: Loss) -> Any:
    """For nnx.split: that of `Loss.params`, which an attribute's name may stand for."""
    if not isinstance(loss.params, str):
        return loss.params
    return nnx.All(nnx.Param, lambda path, _: path[0] == loss.params) if loss.params else nnx.Param
