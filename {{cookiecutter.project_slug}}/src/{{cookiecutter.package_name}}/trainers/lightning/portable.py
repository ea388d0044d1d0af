"""A module and its optimizers under the names that `workflow` gives to a checkpoint's parts, to read and to write."""

from collections.abc import Sequence

import torch

from ...weights import Weights, match
from . import weights
from .module import Module, create_optimizer

MOMENTS = {"exp_avg": "momentum", "exp_avg_sq": "square", "momentum_buffer": "momentum"}


def get(module: Module, optimizers: Sequence[torch.optim.Optimizer]) -> Weights:
    """Copies of all that they hold, but for the step and the counts of batch norm, which nothing reads."""
    return {name: weights.array(same[0]) for name, same in _tensors(module, optimizers).items()}


def put(given: Weights, module: Module, optimizers: Sequence[torch.optim.Optimizer], where: str) -> None:
    """Overwrites all of it, in its own dtypes.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from; nothing is written then.
    """
    tensors = _tensors(module, optimizers)
    shapes = {name: same[0].shape for name, same in tensors.items()}
    match({name: value.shape for name, value in given.items()}, shapes, where)
    for name, same in tensors.items():
        for tensor in same:
            tensor.copy_(torch.tensor(given[name]))


def create_optimizers(module: Module) -> list[torch.optim.Optimizer]:
    """One for each loss, with a state as after an update."""
    optimizers = [create_optimizer(module.part(loss), module.config.optimizer) for loss in module.losses.values()]
    for optimizer in optimizers:
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            p.grad = torch.zeros_like(p)
        optimizer.step()
        optimizer.zero_grad()
    return optimizers


def _tensors(module: Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, list[torch.Tensor]]:
    """By their names there; those that are always equal have one together."""
    found = {f"weights/{name}": [tensor] for name, tensor in weights.tensors(module.net).items()}
    averages = weights.tensors(module.ema) if module.ema else {}
    names = {p: name for name, p in module.net.named_parameters()}
    for loss, optimizer in zip(module.losses, optimizers, strict=True):
        for p, state in optimizer.state.items():
            for key, tensor in state.items():
                name = f"{MOMENTS[key]}/{names[p]}" if key in MOMENTS else f"updates/{loss}"
                found.setdefault(name, []).append(tensor)
        for group in optimizer.param_groups:
            for name in (names[p] for p in group["params"] if averages):
                found[f"ema/{name}"] = [averages.pop(name)]
    for name, tensor in averages.items():  # what no loss moves
        found[f"weights/{name}"].append(tensor)
    found["skipped"] = [module.skipped]
    if scale := module.loss_scale:
        found |= {"loss_scale/factor": [scale.factor], "loss_scale/steps": [scale.steps]}
    return found
