"""The train state under the names that `workflow` gives to a checkpoint's parts, to read and to write."""

from collections.abc import Mapping

import jax
import numpy as np

from ...weights import Weights, match
from . import weights
from .train_state import TrainState

OF_OPTAX = {"mu": "momentum", "trace": "momentum", "nu": "square", "count": "updates"}
Layout = Mapping[tuple[str, ...], tuple[str, tuple[int, ...]]]


def get(state: TrainState, layout: Layout) -> Weights:
    """Copies of all that it holds. layout: of the model, `weights.layout`."""
    return {name: weights.array(leaf, axes) for name, axes, leaf in _leaves(state, layout)}


def put(given: Weights, like: TrainState, layout: Layout, where: str) -> TrainState:
    """The state that holds them, in the dtypes of another one, which may be abstract.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from.
    """
    leaves = _leaves(like, layout)
    shapes = {name: [leaf.shape[axis] for axis in axes] for name, axes, leaf in leaves}
    match({name: value.shape for name, value in given.items()}, shapes, where)
    found = [given[name].transpose(np.argsort(axes)).astype(leaf.dtype) for name, axes, leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def _leaves(state: TrainState, layout: Layout) -> list[tuple[str, tuple[int, ...], jax.Array]]:
    """Of each array of the state, in order: its name there, the order of its axes there, itself."""
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        words = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value").split("/")
        match words:
            case ["params", _, *rest] | ["rest", *rest]:
                part = "weights"
            case ["ema", _, *rest]:
                part = "ema"
            case ["opt_state", loss, *words_of_optax] if known := [w for w in words_of_optax if w in OF_OPTAX]:
                part, rest = OF_OPTAX[known[0]], words_of_optax[words_of_optax.index(known[0]) + 1 :]
                part = part if rest else f"{part}/{loss}"
            case _:
                part, rest = "/".join(words), []
        name, axes = layout.get(tuple(rest), ("/".join(rest), tuple(range(leaf.ndim))))
        found.append((f"{part}/{name}" if rest else part, axes, leaf))
    return found
