"""What becomes of a loss: its weight, what is logged of it, and its gradient."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import nn
from torch.distributed.tensor import DTensor

from ..errors import InputError, RunError
from .weights import local


def weight_of(
    weight: torch.Tensor | float, batch: Mapping[str, torch.Tensor], trainer: L.Trainer | None, automatic: bool
) -> torch.Tensor | float:
    """What the sum of a loss is divided by: the batch's own weight, which is whole over micro-batches and devices, or
    the loss's, where that is the same for all of these, as a number of examples is.

    Raises:
        InputError: where there are several of these, and it is computed from what is in them.
        RunError: where an update is to be left out which Lightning cannot leave out.
    """
    world_size, pieces = (trainer.world_size, trainer.accumulate_grad_batches) if trainer else (1, 1)
    if "weight" in batch:
        weight = batch["weight"]
    elif isinstance(weight, torch.Tensor) and pieces * world_size > 1:
        raise InputError(
            "the weight of a loss is computed from the batch, and micro-batches and devices have other ones: give the "
            "dataset its `weights`, or set trainer.accumulate = 1 and accelerator.devices = 1"
        )
    if not weight and automatic and world_size > 1:
        raise RunError(
            "the examples of a step weigh 0 in all, and on several devices Lightning leaves out no update: take such "
            "examples out of the data, or set accelerator.devices = 1"
        )
    return weight


def numbers(outputs: Mapping[str, Any], trainer: L.Trainer) -> dict[str, torch.Tensor]:
    """What is logged of a `training_step`'s outputs: its loss, which Lightning has divided by the number of
    micro-batches, and the numbers beside it.
    """
    found = {
        name: value.detach()
        for name, value in outputs.items()
        if isinstance(value, torch.Tensor) and value.ndim == 0 and value.is_floating_point()
    }
    return found | ({"loss": found["loss"] * trainer.accumulate_grad_batches} if "loss" in found else {})


def clip(optimizer: torch.optim.Optimizer, limit: float | None, precision: Precision) -> torch.Tensor:
    """Returns the norm of the whole gradient, which is then scaled down to a limit."""
    grads = gradients(optimizer)
    # In float16, gradients are scaled; those of a fused optimizer until its step, which one without any has not.
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    if (scaler := getattr(precision, "scaler", None)) and fused and grads:
        scaler.unscale_(optimizer)
    found = norm(grads)
    if limit and grads:  # an update that is left out has none
        torch._foreach_mul_([local(grad) for grad in grads], limit / found.clamp(min=limit))
    return found


def gradients(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def norm(grads: Sequence[torch.Tensor]) -> torch.Tensor:
    """Of all gradients together."""
    if any(isinstance(grad, DTensor) for grad in grads):
        from ..scale.lightning.mesh import norm as norm_of_parts

        return norm_of_parts(grads)
    return nn.utils.get_total_norm(grads)
