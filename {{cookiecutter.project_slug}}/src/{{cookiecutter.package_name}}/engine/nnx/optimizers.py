"""The optimizers that `optimizer.name` knows; yours stand in extensions/nnx.py.

Each is a whole one, as optax's documentation makes them: its updates are added to the parameters. In a step,
`config.learning_rate` is that step's, by `optimizer.schedule`, in the precision of the parameters: optax's schedules
round to float32.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ...extensions import nnx as extensions
from ..config import OptimizerConfig
from ..errors import InputError
from ..meant import closest

EPSILON = 1e-8  # outside of the square root
RMS = 0.2  # of an update by Muon, about that of AdamW


def adamw(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter, 2019): the decay is no part of the gradient."""
    momentum, decay = config.momentum, config.weight_decay
    return optax.adamw(config.learning_rate, momentum, config.beta2, EPSILON, weight_decay=decay, mask=_decays)


def adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015), with L2: the decay is added to the gradient."""
    return optax.chain(_l2(config), optax.adam(config.learning_rate, config.momentum, config.beta2, EPSILON))


def sgd(config: OptimizerConfig) -> optax.GradientTransformation:
    """Gradient descent with momentum, Nesterov's too, and L2."""
    return optax.chain(_l2(config), optax.sgd(config.learning_rate, config.momentum or None, config.nesterov))


def rmsprop(config: OptimizerConfig) -> optax.GradientTransformation:
    """RMSProp (Tieleman and Hinton, 2012), not centred, with momentum and L2.

    In `optax.rmsprop` the learning rate comes before the momentum, so that a step has those of earlier ones, too.
    """
    rms = optax.scale_by_rms(config.beta2, EPSILON, eps_in_sqrt=False)
    trace = optax.trace(config.momentum) if config.momentum else optax.identity()
    return optax.chain(_l2(config), rms, trace, optax.scale_by_learning_rate(config.learning_rate))


def muon(config: OptimizerConfig) -> optax.GradientTransformation:
    """Muon (Jordan, 2024) of matrices, with Nesterov's momentum and decoupled decay; AdamW of all else.

    Updates are as large as AdamW's (Liu et al., 2025), so that one learning rate is for both.
    """
    matrices = optax.contrib.muon(
        config.learning_rate,
        beta=config.momentum,
        eps=EPSILON,
        weight_decay=config.weight_decay,
        consistent_rms=RMS,
    )

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda p: "muon" if p.ndim == 2 else "adamw", params)

    # In `optax.contrib.muon` all else has Nesterov's momentum, too, and no decay.
    return optax.partition({"muon": matrices, "adamw": adamw(config)}, labels)


OPTIMIZERS: dict[str, Callable[[OptimizerConfig], optax.GradientTransformation]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "rmsprop": rmsprop,
    "muon": muon,
}


def create_optimizer(
    config: OptimizerConfig, learning_rate: jax.Array | None = None
) -> optax.GradientTransformationExtraArgs:
    """learning_rate: a step's, in place of the config's. Raises InputError where no optimizer has the name."""
    known = OPTIMIZERS | extensions.OPTIMIZERS
    if learning_rate is not None:
        config = dataclasses.replace(config, learning_rate=cast(float, learning_rate))  # optax takes either
    if config.name not in known:
        hint = closest(config.name, list(known))
        raise InputError(f"optimizer.name = {config.name!r}: {hint}, or add it to OPTIMIZERS in extensions/nnx.py")
    if not callable(known[config.name]):
        raise InputError(
            f"optimizer.name = {config.name!r}: OPTIMIZERS in extensions/nnx.py has an optimizer, and wants what makes "
            "it: lambda config: ..."
        )
    found = known[config.name](config)
    if isinstance(found, optax.MultiSteps):  # which is no transformation itself
        found = optax.GradientTransformationExtraArgs(found.init, found.update)
    return optax.with_extra_args_support(found)


def follows_schedule(config: OptimizerConfig, params: nnx.State) -> bool:
    """Whether an optimizer uses the learning rate of `optimizer.schedule`, and not one of its own.

    One of `extensions` is tried on a gradient of 1, three times, as a warm-up may begin with 0. params: paths and
    ranks, may be abstract.

    Raises:
        InputError: where it climbs the loss, as one does whose sign was forgotten, or asks for what a step has not.
    """
    if config.name not in extensions.OPTIMIZERS:
        return True
    params = jax.tree.map(lambda p: jnp.zeros((2,) * p.ndim, p.dtype), params)
    grads, climb = jax.tree.map(jnp.ones_like, params), 0.0
    try:
        optimizer = create_optimizer(config)
        first = state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(grads, state, params, value=jnp.zeros(()))
            climb += sum(float(u.sum()) for u in jax.tree.leaves(updates))
    except Exception as error:  # of whatever class the person's own code raises
        what = " ".join(str(error).split())
        raise InputError(f"optimizer.name = {config.name!r} of extensions/nnx.py takes no step: {what}") from error
    if climb > 0:
        raise InputError(
            f"optimizer.name = {config.name!r}: what it adds to the parameters climbs the loss: end its chain with "
            "optax.scale_by_learning_rate(config.learning_rate), or optax.scale(-1)"
        )

    def update(rate: jax.Array) -> Any:
        return create_optimizer(config, rate).update(grads, first, params, value=jnp.zeros(()))

    program = jax.make_jaxpr(update)(jnp.zeros(())).jaxpr
    return any(value is program.invars[0] for equation in program.eqns for value in equation.invars)


def own_rate(opt_state: optax.OptState) -> float | None:
    """The learning rate that the state of an optimizer tells, where `optax.inject_hyperparams` has made it."""
    named = [value for _, value in optax.tree.get_all_with_path(opt_state, "learning_rate")]
    found = [value for value in named if isinstance(value, jax.Array)]  # a schedule has a state of that name, too
    return float(found[0]) if len(found) == 1 else None


def _l2(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.add_decayed_weights(config.weight_decay, _decays)


def _decays(params: Any) -> Any:
    """Those with more than one dimension do."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
