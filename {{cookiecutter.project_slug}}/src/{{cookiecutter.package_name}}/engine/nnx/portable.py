"""The train state under the names that `workflow` gives to a checkpoint's parts, to read and to write.

What is the framework's own has none: states of random numbers, and the coefficients of Muon's polynomial.
"""

import dataclasses

import jax
from flax import nnx

from ..weights import Weights, match
from .train_state import TrainState
from .weights import Layout, Place

OF_OPTAX = {"mu": "momentum", "trace": "momentum", "nu": "square", "count": "updates"}


def get(state: TrainState, layout: Layout) -> Weights:
    """Copies of all that it holds. layout: of the model, `weights.layout`."""
    return {place.name: place.there(leaf) for place, leaf in _leaves(state, layout) if place}


def put(given: Weights, like: TrainState, layout: Layout, where: str) -> TrainState:
    """The state that holds them, in the dtypes of another one, whose states of random numbers it keeps.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from.
    """
    leaves = _leaves(like, layout)
    shapes = {place.name: place.shape for place, _ in leaves if place}
    match({name: value.shape for name, value in given.items()}, shapes, where)
    found = [place.here(given[place.name], leaf) if place else leaf for place, leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def _leaves(state: TrainState, layout: Layout) -> list[tuple[Place | None, jax.Array]]:
    """Of each array of the state, in order: its place there, if it has one, and itself."""
    random = nnx.to_flat_state(nnx.filter_state(state.rest, nnx.RngState))
    found: list[tuple[Place | None, jax.Array]] = []
    keys = {tuple(map(str, path)) for path, _ in random}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        words = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value").split("/")
        match words:
            case ["rest", *rest] if tuple(rest) in keys:
                found.append((None, leaf))
                continue
            case ["opt_state", *_, "ns_coeffs"]:
                found.append((None, leaf))
                continue
            case ["params" | "rest", *rest]:
                part = "weights"
            case ["ema", *rest]:
                part = "ema"
            case ["opt_state", loss, *words_of_optax] if known := [w for w in words_of_optax if w in OF_OPTAX]:
                part, rest = OF_OPTAX[known[0]], words_of_optax[words_of_optax.index(known[0]) + 1 :]
                part = part if rest else f"{part}/{loss}"
            case _:
                part, rest = "/".join(words), []
        place = layout.get(tuple(rest)) or Place.same("/".join(rest), leaf.shape)
        found.append((dataclasses.replace(place, name=f"{part}/{place.name}" if rest else part), leaf))
    return found
