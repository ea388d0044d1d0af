"""A model's weights, to read and to replace, under the names and in the layout of `weights`.

A name is the path of attributes joined by dots, with the leaf's name from one table; what the table does not hold keeps
its name and its layout.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...weights import Weights, match

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


def get(model: nnx.Module) -> Weights:
    """Copies of all parameters and running statistics, by name."""
    return {name: array(variable[...], axes) for name, axes, variable in _leaves(model).values()}


def put(weights: Weights, model: nnx.Module, where: str) -> None:
    """Overwrites all of them, in the model's own dtypes; the model may be abstract, from nnx.eval_shape.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from; nothing is written then.
    """
    leaves = _leaves(model).values()
    shapes = {name: [variable.shape[axis] for axis in axes] for name, axes, variable in leaves}
    match({name: value.shape for name, value in weights.items()}, shapes, where)
    for name, axes, variable in leaves:
        variable.set_value(jnp.asarray(weights[name].transpose(np.argsort(axes)), variable.dtype))


def layout(model: nnx.Module) -> dict[tuple[str, ...], tuple[str, tuple[int, ...]]]:
    """Of each parameter and running statistic, by its path: its name there, and the order of its axes there."""
    return {tuple(map(str, path)): (name, axes) for path, (name, axes, _) in _leaves(model).items()}


def _leaves(model: nnx.Module) -> dict[tuple, tuple[str, tuple[int, ...], nnx.Variable]]:
    """Of each parameter and running statistic, by its path: its name there, the order of its axes there, itself."""
    nodes, found = dict(nnx.iter_graph(model)), {}
    for path, variable in nodes.items():
        if isinstance(variable, (nnx.Param, nnx.BatchStat)):
            *parents, leaf = path
            owner, axes = nodes[tuple(parents)], tuple(range(variable.ndim))
            names = next((names for kind, names in NAMES.items() if isinstance(owner, kind)), {})
            name = ".".join(map(str, [*parents, names.get(leaf, leaf)]))
            if isinstance(owner, nnx.ConvTranspose) and not owner.transpose_kernel:
                raise ValueError(f"{name}: without transpose_kernel=True a kernel is the mirror image of the one there")
            if names is KERNEL and leaf == "kernel":
                axes = (*axes[:-3:-1], *axes[:-2])
            found[path] = name, axes, variable
    return found


def array(value: jax.Array, axes: Sequence[int]) -> np.ndarray:
    """A copy, with its axes in another order."""
    found = np.asarray(value).transpose(axes)
    return np.array(found, np.float32 if found.dtype == jnp.bfloat16 else None, order="C")  # NumPy has no bfloat16
