"""A model's weights, to read and to replace, under the names and in the layout of `weights`.

A name is the path of attributes joined by dots, with the leaf's name from one table; what the table does not hold keeps
its name and its layout.
"""

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
    return {name: _array(variable, axes) for name, (variable, axes) in _leaves(model).items()}


def put(weights: Weights, model: nnx.Module, where: str) -> None:
    """Overwrites all of them, in the model's own dtypes; the model may be abstract, from nnx.eval_shape.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from; nothing is written then.
    """
    leaves = _leaves(model)
    shapes = {name: [variable.shape[axis] for axis in axes] for name, (variable, axes) in leaves.items()}
    match({name: value.shape for name, value in weights.items()}, shapes, where)
    for name, (variable, axes) in leaves.items():
        variable.set_value(jnp.asarray(weights[name].transpose(np.argsort(axes)), variable.dtype))


def _leaves(model: nnx.Module) -> dict[str, tuple[nnx.Variable, tuple[int, ...]]]:
    """Each parameter and running statistic by its name there, with the order of its axes there."""
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
            found[name] = variable, axes
    return found


def _array(variable: nnx.Variable, axes: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(variable[...]).transpose(axes)
    return np.array(array, np.float32 if array.dtype == jnp.bfloat16 else None, order="C")  # NumPy has no bfloat16
