"""A step without the hardware: what would each device hold?"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ...config import Config, MeshConfig
from ...data.batches import TrainBatches
from ...data.sources import Arrays, Dataset
from ...lightning.data import split, tensors
from ...lightning.flags import make_trainer
from ...lightning.manual import ManualModule
from ...lightning.module import Batch, TaskModule
from ...lightning.trainer import Engine
from ...task import Task
from ..mesh import Mesh


def rehearse(config: Config, task: Task, spec: Mapping[str, Any], data: Dataset) -> dict[str, int]:
    """Bytes that each device holds, by what they are, after one step of one device's share of a batch, on the CPU.

    What is gathered for a moment, as a layer's weights where they are cut, comes on top.
    """
    mesh = Mesh.of(config.accelerator, config.accelerator.devices)
    one = dataclasses.replace(config.accelerator, devices=1, mesh=MeshConfig())
    config = dataclasses.replace(config, accelerator=one)
    module = Engine(config, task, spec).module()
    share = mesh.share(config.data.batch_size, config.trainer.accumulate, (0,))
    batches = TrainBatches(data, config.data.batch_size, config.seed, share=share)
    batch = tensors(batches[batches.largest()])
    piece = split(batch, config.trainer.accumulate)[0]
    kept: dict[int, int] = {}  # bytes by address, as many operations keep the same tensor

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    activations, held = 0, {"parameters": 0, "gradients": 0, "optimizer's state": 0}
    optimizers = [module.create_optimizer(part) for part in module.parts()]
    for name, optimizer in zip(module.PARTS or [""], optimizers, strict=True):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with make_trainer(config, max_epochs=1).precision_plugin.forward_context():
                loss = _loss(module, name, piece)
            for parameter in module.net.parameters():
                kept.pop(parameter.untyped_storage().data_ptr(), None)
            activations = max(activations, sum(kept.values()))
            loss.backward()
        optimizer.step()
    for name, parameter in module.net.named_parameters():
        parts = mesh.fsdp * (mesh.tensor if _is_cut(name, config.model.TENSOR) else 1)
        held["parameters"] += parameter.nbytes // parts
        held["gradients"] += parameter.nbytes // parts * parameter.requires_grad
        states = (_bytes(optimizer.state.get(parameter, {}).values()) for optimizer in optimizers)
        held["optimizer's state"] += sum(states) // parts
    held["activations"] = activations
    held["moving average"] = held["parameters"] if config.optimizer.ema_decay else 0
    resident = data.train if config.data.on_device and isinstance(data.train, Arrays) else Arrays()
    held["data"] = sum(value.nbytes for value in resident.arrays.values())
    return {what: size for what, size in held.items() if size}


def _loss(module: TaskModule, name: str, batch: Batch) -> torch.Tensor:
    """name: of one of several."""
    found: Any
    if isinstance(module, ManualModule):
        found = module.mean(module.loss_fn(name, batch), batch)
    else:
        found = module.training_step(batch, 0)
    return found if isinstance(found, torch.Tensor) else found["loss"]


def _is_cut(name: str, tensor: Mapping[str, str]) -> bool:
    return any(f".{name}".endswith(f".{end}.weight") for end in tensor)


def _bytes(values: Iterable[Any]) -> int:
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))
