"""The state of training: one pytree, donated to each step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from ...errors import InputError
from ...task import Loss
from ..schedule import LOSS_SCALE, LOSS_SCALE_STEPS


@struct.dataclass
class LossScale:
    """The factor that keeps float16 gradients from vanishing, and the updates since it last changed."""

    factor: jax.Array
    steps: jax.Array

    def next(self, finite: jax.Array) -> "LossScale":
        """Half where a gradient was not finite; twice as large after `LOSS_SCALE_STEPS` updates that were."""
        grows = self.steps + 1 >= LOSS_SCALE_STEPS
        factor = jnp.where(finite, jnp.where(grows, self.factor * 2, self.factor), self.factor / 2)
        return LossScale(factor, jnp.where(finite & ~grows, self.steps + 1, 0))


@struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
        step: int32, updates done.
        params: the parameters that each loss moves, by the loss's name.
        rest: all else that the model holds: running statistics, parameters that no loss moves.
        opt_state: the optimizer's, by the loss's name.
        ema: the moving averages of `params`, float32; None without.
        loss_scale: in float16; None otherwise.
        skipped: int32, updates left out, as their gradient was not finite.
    """

    step: jax.Array
    params: dict[str, nnx.State]
    rest: nnx.State
    opt_state: dict[str, optax.OptState]
    ema: dict[str, nnx.State] | None = None
    loss_scale: LossScale | None = None
    skipped: jax.Array = struct.field(default_factory=lambda: jnp.zeros((), jnp.int32))

    @property
    def evaluated(self) -> list[nnx.State]:
        """The weights to evaluate and keep: the averages where there are any, with the current statistics."""
        return [*(self.ema or self.params).values(), self.rest]


def create_state(
    model: nnx.Module, losses: Mapping[str, Loss], optimizer: optax.GradientTransformation, *, ema: bool, scaled: bool
) -> TrainState:
    params, rest = split(model, losses)
    opt_state = {name: optimizer.init(part) for name, part in params.items()}
    averages = jax.tree.map(jnp.copy, params) if ema else None
    scale = LossScale(jnp.float32(LOSS_SCALE), jnp.int32(0)) if scaled else None
    return TrainState(jnp.zeros((), jnp.int32), params, rest, opt_state, averages, scale)


def split(model: nnx.Module, losses: Mapping[str, Loss]) -> tuple[dict[str, nnx.State], nnx.State]:
    """(the parameters by loss, the rest). Raises InputError where a loss has none."""
    _, *parts, rest = nnx.split(model, *(_filter(loss.params) for loss in losses.values()), ...)
    for (name, loss), part in zip(losses.items(), parts, strict=True):
        if not part:
            raise InputError(f"loss {name!r} moves nothing: the model has no parameter for params = {loss.params!r}")
    return dict(zip(losses, parts, strict=True)), rest


def _filter(params: Any) -> Any:
    """For nnx.split: that of `Loss.params`, which an attribute's name may stand for."""
    if not isinstance(params, str):
        return params
    return nnx.All(nnx.Param, lambda path, _: path[0] == params) if params else nnx.Param
