"""A network's weights: to read and to replace as NumPy arrays, to show by their paths, and whole or in parts."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..session import sampled
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
    """A copy; bfloat16, which NumPy lacks, becomes float32."""
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return tensor.numpy(force=True).copy()


def local(value: torch.Tensor) -> torch.Tensor:
    """This process's part, in the same memory."""
    return value.to_local().detach() if isinstance(value, DTensor) else value


def whole(value: torch.Tensor) -> torch.Tensor:
    """All of it. Of a tensor in parts, to be called by all processes."""
    return value.full_tensor().detach().cpu() if isinstance(value, DTensor) else value


def by_path(net: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters by a path that says what each does: `hidden/kernel`, `norm/scale`."""
    for prefix, part in net.named_modules():
        for name, value in part.named_parameters(recurse=False):
            if name == "weight" and isinstance(part, nn.Embedding | nn.EmbeddingBag):
                name = "embedding"
            elif name == "weight":
                name = "kernel" if value.ndim > 1 else "scale"
            yield "/".join([*prefix.split("."), name]) if prefix else name, value


def samples(net: nn.Module, most: int) -> dict[str, np.ndarray]:
    """At most so many values of each kernel and embedding, by its path, on all processes; the others stay there."""
    matrices = {path: p for path, p in by_path(net) if p.ndim > 1 and most}
    return {path: array(whole(p.detach()).reshape(-1)[sampled(p.numel(), most)]) for path, p in matrices.items()}


def rows(net: nn.Module, path: str, count: int) -> np.ndarray:
    """The first ones of a parameter."""
    return array(whole(dict(by_path(net))[path].detach())[:count])


def is_finite(net: nn.Module) -> bool:
    """Whether all of this process's weights are."""
    return all(bool(local(p).isfinite().all()) for p in net.parameters())


def frozen(net: nn.Module) -> list[str]:
    """The paths of the parameters that are not trained."""
    return [path for path, p in by_path(net) if not p.requires_grad]


def freeze(net: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """As it was: BaseFinetuning freezes anew what it has unfrozen."""
    for path, p in by_path(net) if "frozen" in checkpoint else ():
        p.requires_grad_(path not in checkpoint["frozen"])
