"""A model's weights, to read and to replace, under the names and in the layout of `weights`.

A name is the path of attributes joined by dots, with the leaf's name from one table; what the table does not hold keeps
its name and its layout. States of random numbers, caches, and what was sown are no weights.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..weights import Weights, match

NO_WEIGHTS = (nnx.RngState, nnx.Intermediate, nnx.Cache)
KERNEL = {"kernel": "weight"}  # and its axes: [height, width, input, output] here, [output, input, height, width] there
NORM = {"scale": "weight", "mean": "running_mean", "var": "running_var"}
NAMES: dict[type[nnx.Module], dict[str, str]] = {
    nnx.Linear: KERNEL,
    nnx.Conv: KERNEL,
    nnx.ConvTranspose: KERNEL,
    nnx.Embed: {"embedding": "weight"},
    nnx.BatchNorm: NORM,
    nnx.LayerNorm: NORM,
    nnx.GroupNorm: NORM,
    nnx.RMSNorm: NORM,
}


@dataclass(frozen=True)
class Place:
    """Where an array stands in files: under `name`, in `shape`; cut into `split`, with the `axes` of that in order."""

    name: str
    shape: tuple[int, ...]
    split: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def same(cls, name: str, shape: tuple[int, ...]) -> "Place":
        return cls(name, shape, shape, tuple(range(len(shape))))

    def there(self, value: jax.Array) -> np.ndarray:
        """A copy, as it is in files."""
        found = np.asarray(value).reshape(self.split).transpose(self.axes).reshape(self.shape)
        return np.array(found, np.float32 if found.dtype == jnp.bfloat16 else None, order="C")  # NumPy has no bfloat16

    def here(self, value: np.ndarray, like: Any) -> np.ndarray:
        """As it is in a model, in the shape and the dtype of another array."""
        found = value.reshape([self.split[axis] for axis in self.axes]).transpose(np.argsort(self.axes))
        return found.reshape(like.shape).astype(like.dtype)


def get(model: nnx.Module) -> Weights:
    """Copies of all of them, by name."""
    return {place.name: place.there(variable[...]) for place, variable in _leaves(model).values()}


def put(weights: Weights, model: nnx.Module, where: str) -> None:
    """Overwrites all of them, in the model's own dtypes; the model may be abstract, from nnx.eval_shape.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from; nothing is written then.
    """
    leaves = _leaves(model).values()
    shapes = {place.name: place.shape for place, _ in leaves}
    match({name: value.shape for name, value in weights.items()}, shapes, where)
    for place, variable in leaves:
        variable.set_value(jnp.asarray(place.here(weights[place.name], variable)))


Layout = dict[tuple[str, ...], Place]


def layout(model: nnx.Module) -> Layout:
    """The place of each, by its path."""
    return {tuple(map(str, path)): place for path, (place, _) in _leaves(model).items()}


def _leaves(model: nnx.Module) -> dict[tuple, tuple[Place, nnx.Variable]]:
    """Of each, by its path: its place, itself."""
    nodes, found = dict(nnx.iter_graph(model)), {}
    for path, variable in nodes.items():
        if isinstance(variable, nnx.Variable) and not isinstance(variable, NO_WEIGHTS):
            *parents, leaf = path
            owner = nodes[tuple(parents)]
            names = next((names for kind, names in NAMES.items() if isinstance(owner, kind)), {})
            name = ".".join(map(str, [*parents, names.get(str(leaf), leaf)]))
            if isinstance(owner, nnx.ConvTranspose) and not owner.transpose_kernel:
                raise ValueError(f"{name}: without transpose_kernel=True a kernel is the mirror image of the one there")
            groups = getattr(owner, "output_groups", ()) if names is KERNEL else ()
            found[path] = _place(name, variable.shape, names is KERNEL and leaf == "kernel", groups), variable
    return found


def _place(name: str, shape: tuple[int, ...], kernel: bool, groups: tuple[int, ...]) -> Place:
    """groups: of a linear layer's outputs, its `output_groups`, which are there in the opposite order."""
    if groups:
        inputs, outputs = shape[:-1], shape[-1]
        split = (*inputs, *groups, outputs // math.prod(groups))
        first = len(inputs)
        axes = (*reversed(range(first, first + len(groups))), len(split) - 1, *range(first))
        return Place(name, (outputs, *inputs), split, axes)
    axes = tuple(range(len(shape)))
    axes = (*axes[:-3:-1], *axes[:-2]) if kernel else axes
    return Place(name, tuple(shape[axis] for axis in axes), shape, axes)
