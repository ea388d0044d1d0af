"""Weights of a model, from one twin to the other: by path, and by one table of leaf rules."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from ..errors import InputError


class Rule(NamedTuple):
    """A leaf's name in torch, and the axes that bring torch's array into Flax's order."""

    name: str
    axes: tuple[int, ...] | None = None


NORM = {"scale": Rule("weight"), "bias": Rule("bias"), "mean": Rule("running_mean"), "var": Rule("running_var")}
RULES: dict[type[nn.Module], dict[str, Rule]] = {
    nn.Linear: {"kernel": Rule("weight", (1, 0)), "bias": Rule("bias")},
    nn.Conv1d: {"kernel": Rule("weight", (2, 1, 0)), "bias": Rule("bias")},
    nn.Conv2d: {"kernel": Rule("weight", (2, 3, 1, 0)), "bias": Rule("bias")},
    nn.Embedding: {"embedding": Rule("weight")},
    nn.BatchNorm1d: NORM,
    nn.BatchNorm2d: NORM,
    nn.LayerNorm: NORM,
}


def from_torch(model: nn.Module) -> dict[str, np.ndarray]:
    """Every weight by its path in Flax, in Flax's order of axes."""
    return {path: _array(tensor, rule) for path, (tensor, rule) in _leaves(model).items()}


def from_nnx(model: nnx.Module) -> dict[str, np.ndarray]:
    """Every weight by its path."""
    return {path: np.asarray(variable[...]) for path, variable in _variables(model).items()}


def to_torch(weights: Mapping[str, np.ndarray], model: nn.Module) -> None:
    """Puts weights by path into the model. Raises InputError, listing both sides, where names or shapes differ."""
    leaves = _leaves(model)
    _match(weights, {path: _array(tensor, rule).shape for path, (tensor, rule) in leaves.items()})
    for path, (tensor, rule) in leaves.items():
        value = weights[path] if rule.axes is None else weights[path].transpose(np.argsort(rule.axes))
        tensor.data.copy_(torch.from_numpy(np.array(value)))


def to_nnx(weights: Mapping[str, np.ndarray], model: nnx.Module) -> None:
    """Puts weights by path into the model. Raises InputError, listing both sides, where names or shapes differ."""
    variables = _variables(model)
    _match(weights, {path: variable.shape for path, variable in variables.items()})
    for path, variable in variables.items():
        variable[...] = jnp.asarray(weights[path], variable.dtype)


def _leaves(model: nn.Module) -> dict[str, tuple[torch.Tensor, Rule]]:
    found = {}
    for prefix, part in model.named_modules():
        for leaf, rule in RULES.get(type(part), {}).items():
            tensor = getattr(part, rule.name, None)
            if tensor is not None:
                found["/".join([*prefix.split("."), leaf])] = (tensor, rule)
    return found


def _variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    found = {}
    for path, value in nnx.iter_graph(model):
        if isinstance(value, (nnx.Param, nnx.BatchStat)):
            found["/".join(map(str, path))] = value
    return found


def _array(tensor: torch.Tensor, rule: Rule) -> np.ndarray:
    array = tensor.detach().cpu().numpy()
    return array if rule.axes is None else array.transpose(rule.axes)


def _match(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    given = {path: tuple(value.shape) for path, value in weights.items()}
    if given != dict(shapes):
        only = {path: shape for path, shape in given.items() if shapes.get(path) != shape}
        wanted = {path: shape for path, shape in shapes.items() if given.get(path) != shape}
        raise InputError(f"the weights do not fit: given {only}, the model has {wanted}")
