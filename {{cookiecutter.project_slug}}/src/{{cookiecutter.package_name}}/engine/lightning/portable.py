"""A module and its optimizers under the names that `contract` gives to a checkpoint's parts, to read and to write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities.types import LRSchedulerConfig

from ..errors import InputError
from ..weights import Weights, match
from . import weights
from .counts import count_updates
from .module import TaskModule
from .optimizers import group_sizes, own

WEIGHTS_ONLY = "begin with the run's weights, by --init RUN"
MOMENTS = {"exp_avg": "momentum", "momentum_buffer": "momentum", "exp_avg_sq": "square", "square_avg": "square"}


def read(checkpoint: Mapping[str, Any], module: TaskModule, where: str) -> Weights:
    """All of a checkpoint, by name.

    module: a new one. Raises InputError, beginning with `where` it stands, for an optimizer of your own.
    """
    created = create_optimizers(module)
    if group_sizes(checkpoint["optimizer_states"]) != group_sizes(one.state_dict() for one in created):
        raise InputError(
            f"{where}: its optimizer is not as optimizer.name makes it, but as a configure_optimizers or a callback of "
            f"your own does, which no other framework knows: {WEIGHTS_ONLY}"
        )
    module.load_state_dict(checkpoint["state_dict"])
    for optimizer, saved in zip(created, checkpoint["optimizer_states"], strict=True):
        optimizer.load_state_dict(saved)
    step = checkpoint["global_step"] // len(created)
    return {"step": np.array(step), **get(module, created, checkpoint.get("MixedPrecision"))}


def write(given: Weights, module: TaskModule, trainer: L.Trainer, path: Path, where: str) -> None:
    """As a checkpoint of a new module. Raises InputError, beginning with `where` it comes from, where it is of another
    model.
    """
    created, given = create_optimizers(module), dict(given)
    step = int(given.pop("step"))
    put(given, module, created, trainer.precision_plugin, where)
    # As `fit` does. Where a run begins with it, it sets the other counts.
    count_updates(trainer, step * len(created))
    trainer.strategy.connect(module)
    trainer.strategy.optimizers = created
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0) for optimizer in created]
    for schedule in schedules:
        schedule.last_epoch, schedule._step_count = step, step + 1
    trainer.strategy.lr_scheduler_configs = list(map(LRSchedulerConfig, schedules))
    trainer.save_checkpoint(path)


def get(
    module: TaskModule, optimizers: Sequence[torch.optim.Optimizer], scaler: Mapping[str, Any] | None = None
) -> Weights:
    """Copies of all that they hold, but for the step and the counts of batch norm, which nothing reads.

    scaler: the state of the loss's, in float16.
    """
    found = {name: weights.array(same[0]) for name, same in _tensors(module, optimizers).items()}
    if scaler:
        factor, steps = torch.tensor(scaler["scale"]), torch.tensor(scaler["_growth_tracker"])
        found |= {"loss_scale/factor": weights.array(factor), "loss_scale/steps": weights.array(steps)}
    return found


def put(
    given: Weights,
    module: TaskModule,
    optimizers: Sequence[torch.optim.Optimizer],
    precision: Precision,
    where: str,
) -> None:
    """Overwrites all of it, in its own dtypes.

    Raises:
        InputError: where names or shapes differ, beginning with `where` they come from; nothing is written then.
    """
    tensors = _tensors(module, optimizers)
    shapes: dict[str, Sequence[int]] = {name: same[0].shape for name, same in tensors.items()}
    if scaler := getattr(precision, "scaler", None):
        shapes |= {"loss_scale/factor": (), "loss_scale/steps": ()}
    match({name: value.shape for name, value in given.items()}, shapes, where)
    for name, same in tensors.items():
        for tensor in same:
            tensor.copy_(torch.tensor(given[name]))
    if scaler:
        factor, steps = float(given["loss_scale/factor"]), int(given["loss_scale/steps"])
        scaler.load_state_dict({**scaler.state_dict(), "scale": factor, "_growth_tracker": steps})


def create_optimizers(module: TaskModule) -> list[torch.optim.Optimizer]:
    """One for each loss, with a state as after an update. Raises InputError for one of your own."""
    if (name := module.config.optimizer.name) in own():
        raise InputError(
            f"optimizer.name = {name!r} is one of extensions/lightning.py, whose state other frameworks do not know: "
            f"{WEIGHTS_ONLY}"
        )
    optimizers = list(map(module.create_optimizer, module.parts()))
    for optimizer in optimizers:
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            p.grad = torch.zeros_like(p)
        optimizer.step()
        optimizer.zero_grad()
    return optimizers


def _tensors(module: TaskModule, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, list[torch.Tensor]]:
    """By their names there; those that are always equal have one together."""
    found = {f"weights/{name}": [tensor] for name, tensor in weights.tensors(module.net).items()}
    averages = weights.tensors(module.ema) if module.ema else {}
    names: dict[torch.Tensor, str] = {p: name.removeprefix("net.") for name, p in module.named_parameters()}
    for loss, optimizer in zip(module.PARTS or ("loss",), optimizers, strict=True):
        for p, state in optimizer.state.items():
            for key, tensor in state.items():
                if key == "step" and isinstance(optimizer, torch.optim.RMSprop):
                    continue  # it counts its updates and does not look at them
                name = f"updates/{loss}" if key == "step" else f"{MOMENTS.get(key, key)}/{names[p]}"
                found.setdefault(name, []).append(tensor)
        for group in optimizer.param_groups:
            for name in (names[p] for p in group["params"] if averages):
                found[f"ema/{name}"] = [averages.pop(name)]
    for name, tensor in averages.items():  # what no loss moves
        found[f"weights/{name}"].append(tensor)
    found["skipped"] = [module.skipped]
    return found
