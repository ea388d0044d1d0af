"""A module's weights, to read and to replace: its state dict as NumPy arrays."""

import numpy as np
import torch
from torch import nn

from ..weights import Weights, is_count, match


def get(net: nn.Module) -> Weights:
    """Copies of all parameters and running statistics, by name."""
    return {name: array(tensor) for name, tensor in tensors(net).items()}


def put(weights: Weights, net: nn.Module, where: str) -> None:
    """Overwrites all of them, in the module's own dtypes.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from; nothing is written then.
    """
    found = tensors(net)
    match({name: value.shape for name, value in weights.items()}, {name: t.shape for name, t in found.items()}, where)
    for name, tensor in found.items():
        tensor.copy_(torch.tensor(weights[name]))


def tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    """All of them, by name, in the module's own memory."""
    return {name: tensor for name, tensor in net.state_dict().items() if not is_count(name)}


def array(tensor: torch.Tensor) -> np.ndarray:
    """A copy."""
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # NumPy has none
    return tensor.numpy(force=True).copy()
