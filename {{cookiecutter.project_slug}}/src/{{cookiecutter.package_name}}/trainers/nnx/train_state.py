"""The state of training: one pytree, donated to each step."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from ...config import OptimizerConfig
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
    """(the parameters by loss, the rest)."""
    _, *parts, rest = nnx.split(model, *(_filter(loss.params) for loss in losses.values()), ...)
    return dict(zip(losses, parts, strict=True)), rest


def create_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The direction of an update. The step multiplies it by the learning rate: optax's schedules round to float32.

    AdamW (Loshchilov and Hutter, 2019) with epsilon = 1e-8, or SGD with momentum and L2.
    """
    decay = optax.add_decayed_weights(
        config.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    )
    if config.name == "adamw":
        return optax.chain(optax.scale_by_adam(b1=config.momentum, b2=config.beta2, eps=1e-8), decay)
    return optax.chain(decay, optax.trace(config.momentum) if config.momentum else optax.identity())


def _filter(attribute: str) -> Callable | type:
    if not attribute:
        return nnx.Param
    return nnx.All(nnx.Param, lambda path, _: path[0] == attribute)
