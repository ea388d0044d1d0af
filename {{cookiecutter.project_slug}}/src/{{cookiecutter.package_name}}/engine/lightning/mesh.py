"""The devices of a run, and what each of them holds: of a batch, of the model, of the optimizer's state."""

from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy, Strategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout  # a mesh takes none
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from ..config import AcceleratorConfig, Config
from ..data.batches import Share
from ..errors import InputError, RunError
from ..mesh import Mesh
from . import devices
from .processes import SILENCE, Copies, joined


def sizes(config: Config) -> Mesh:
    """Raises InputError where the devices cannot be arranged as `accelerator.mesh` asks for."""
    settings = config.accelerator
    found = Mesh.of(settings, len(devices.pick(settings.platform, settings.devices, settings.nodes)) * settings.nodes)
    found.check(config.model)
    return found


def device(settings: AcceleratorConfig) -> torch.device:
    """That of this process."""
    found = devices.pick(settings.platform, settings.devices, settings.nodes)
    if found[0].type != "cuda":
        return found[0]
    return found[joined[0].local_rank if joined and len(found) > 1 else 0]


def strategy(found: Mesh, several_losses: bool) -> Strategy | str:
    """What Lightning does with the devices."""
    if found.devices == 1:
        return "auto"
    if found.devices == found.data:
        return Copies(find_unused_parameters=several_losses)  # each moves parameters of its own
    return Cut(found)


def part(strategy: Strategy | None) -> int:
    """Which part of a batch is this process's: one for each copy of the model, be it whole or in pieces."""
    return strategy.distributed_sampler_kwargs["rank"] if isinstance(strategy, ParallelStrategy) else 0


def share(trainer: L.Trainer | None, batch_size: int, accumulate: int) -> Share:
    """What this process reads of a batch; without a Trainer all. Raises InputError where a batch cannot be cut so."""
    strategy = trainer and trainer.strategy
    parts = strategy.distributed_sampler_kwargs["num_replicas"] if isinstance(strategy, ParallelStrategy) else 1
    return Mesh(parts).share(batch_size, accumulate, [part(strategy)])


def fixed(weight: torch.Tensor | float, trainer: L.Trainer | None) -> torch.Tensor | float:
    """A loss's own weight, which is that of every micro-batch and device, as a number of examples is.

    Raises InputError where there are several of these, and it is computed from what is in them.
    """
    if isinstance(weight, torch.Tensor) and trainer and trainer.accumulate_grad_batches * trainer.world_size > 1:
        raise InputError(
            "the weight of a loss is computed from the batch, and micro-batches and devices have other ones: give the "
            "dataset its `weights`, or set trainer.accumulate = 1 and accelerator.devices = 1"
        )
    return weight


def check_alone(trainer: L.Trainer | None, automatic: bool) -> None:
    """Raises RunError where an update is to be left out which Lightning cannot leave out."""
    if automatic and trainer and trainer.world_size > 1:
        raise RunError(
            "the examples of a step weigh 0 in all, and on several devices Lightning leaves out no update: take such "
            "examples out of the data, or set accelerator.devices = 1"
        )


class Cut(ModelParallelStrategy):
    """FSDP2 and tensor parallelism. A checkpoint is the one file that a single device would write.

    torch's format of a file for each process is not used: its index is a pickle, which can execute code.
    """

    lightning_restore_optimizer = True

    def __init__(self, found: Mesh):
        super().__init__(found.parts, found.tensor, save_distributed_checkpoint=False, timeout=SILENCE)
        self.found = found

    barrier = Copies.barrier

    def setup_environment(self) -> None:
        super().setup_environment()
        found = self.found
        # Of the processes that have a part of a batch each: their metrics are one.
        ranks = [list(range(i, found.devices, found.tensor)) for i in range(found.tensor)]
        self.metrics_group = dist.new_subgroups_by_enumeration(ranks, timeout=SILENCE)[0] if found.tensor > 1 else None

    def cut(self, nets: Iterable[nn.Module], table: Mapping[str, str]) -> None:
        """Once, leaves this process its part of them, by the model's table."""
        nets = [net for net in nets if not any(isinstance(p, DTensor) for p in net.parameters())]
        cut(nets, self.found, table, self.root_device.type)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {name: whole(value) for name, value in self.lightning_module.state_dict().items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return _each_state(optimizer.state_dict(), optimizer, lambda p, value: whole(value))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only=True)

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        for name, value in self.lightning_module.state_dict().items():
            local(value).copy_(local(_cut_like(value, checkpoint["state_dict"][name])))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_each_state(state, optimizer, _cut_like))


def cut(nets: Iterable[nn.Module], found: Mesh, table: Mapping[str, str], device: str) -> None:
    """Leaves each process its part of the parameters: `tensor` by the model's table, `fsdp` of every block and of the
    rest.

    `data` copies of those are in step, as a part's gradients are summed over them.
    """
    names = ("data", "fsdp", "tensor")
    mesh = init_device_mesh(device, (found.data, found.fsdp, found.tensor), mesh_dim_names=names)
    for group in mesh.get_all_groups():
        _set_pg_timeout(SILENCE, group)
    options = {"mesh": mesh["data", "fsdp"] if found.data > 1 else mesh["fsdp"]}
    for net in nets:
        if found.tensor > 1:
            parallelize_module(net, mesh["tensor"], _styles(net, table), src_data_rank=None)
        for block in list(net.modules()):
            if isinstance(block, nn.ModuleList | nn.Sequential):
                for part in block:
                    if any(part.children()):
                        fully_shard(part, **options)
        # Outside of a step all is in parts. Of a model in training that is so by itself, with less to send.
        trained = any(p.requires_grad for p in net.parameters())
        fully_shard(net, reshard_after_forward=None if trained else True, **options)


def check_tensor(net: nn.Module, found: Mesh, table: Mapping[str, str]) -> None:
    """Raises InputError where `tensor` does not divide what it has to cut."""
    sizes = {f"{m.heads} heads of {name}": m.heads for name, m in net.named_modules() if name and hasattr(m, "heads")}
    for name, how in _kernels(net, table):
        layer = net.get_submodule(name)
        size = layer.out_features if how == "columns" else layer.in_features
        sizes[f"{size} {how} of {name}"] = size
    for what, size in sizes.items():
        if size % found.tensor:
            raise InputError(f"accelerator.mesh.tensor = {found.tensor} does not divide the {what}")


class Columns(ColwiseParallel):
    """Of a layer that is several in one, `parts`, whose outputs are gathered and each cut anew, so that the heads of
    attention stay whole.
    """

    @staticmethod
    def _prepare_output_fn(output_layouts, use_local_output, layer, outputs, mesh):
        parts = getattr(layer, "parts", 1)
        if parts == 1:
            return outputs.to_local()
        # What each process does with its heads says only its part of the gradient.
        outputs = outputs.redistribute(placements=[Replicate()]).to_local(grad_placements=[Partial()])
        return outputs.unflatten(-1, (parts, mesh.size(), -1))[..., mesh.get_local_rank(), :].flatten(-2)


def _kernels(net: nn.Module, table: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, columns or rows) of every layer that is cut."""
    names = [name for name, _ in net.named_modules()]
    return [(name, how) for name in names for end, how in table.items() if f".{name}".endswith(f".{end}")]


def _styles(net: nn.Module, table: Mapping[str, str]) -> dict[str, Any]:
    return {name: Columns() if how == "columns" else RowwiseParallel() for name, how in _kernels(net, table)}


def local(value: torch.Tensor) -> torch.Tensor:
    """This process's part, in the same memory."""
    return value.detach().to_local() if isinstance(value, DTensor) else value


def whole(value: torch.Tensor) -> torch.Tensor:
    """All of it. Of a tensor in parts, to be called by all processes."""
    return value.detach().full_tensor().cpu() if isinstance(value, DTensor) else value


def unscale(optimizer: torch.optim.Optimizer, precision: Precision) -> None:
    """In float16, gradients are scaled; those of a fused optimizer until its step, which one without any has not."""
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    if (scaler := getattr(precision, "scaler", None)) and fused and gradients(optimizer):
        scaler.unscale_(optimizer)


def clip(optimizer: torch.optim.Optimizer, limit: float | None) -> torch.Tensor:
    """Returns the norm of the whole gradient, which is then scaled down to a limit."""
    found = norm(p for group in optimizer.param_groups for p in group["params"])
    if limit and (grads := gradients(optimizer)):  # an update that is left out has none
        torch._foreach_mul_(grads, limit / found.clamp(min=limit))
    return found


def gradients(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """This process's parts of them."""
    return [local(p.grad) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


@torch.no_grad()
def average(ema: nn.Module, net: nn.Module, weight: float) -> None:
    """Moves an average of the parameters towards a network's by `weight`, and copies what else there is."""
    torch._foreach_lerp_(*([local(p) for p in module.parameters()] for module in (ema, net)), weight)
    if buffers := list(ema.buffers()):
        torch._foreach_copy_(buffers, list(net.buffers()))


def norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Of the whole gradient."""
    groups: dict[Any, list[torch.Tensor]] = {}
    for p in parameters:
        if p.grad is not None:
            parts = isinstance(p, DTensor)
            key = (p.device_mesh, tuple(x.is_replicate() for x in p.placements)) if parts else None
            groups.setdefault(key, []).append(local(p.grad))
    if groups.keys() <= {None}:
        return torch.nn.utils.get_total_norm(groups.get(None, []))
    squares = []
    for (mesh, replicated), grads in groups.items():
        square = torch.nn.utils.get_total_norm(grads) ** 2
        placements = [Replicate() if same else Partial() for same in replicated]
        squares.append(DTensor.from_local(square, mesh, placements, run_check=False).full_tensor())
    return torch.stack(squares).sum().sqrt()


def _cut_like(like: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A whole tensor in parts, as another one is. What has another form, as a count, stays."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _each_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer, change) -> dict[str, Any]:
    """An optimizer's state dict with every tensor changed, given its parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        i: {name: change(parameters[i], v) if isinstance(v, torch.Tensor) else v for name, v in values.items()}
        for i, values in state["state"].items()
    }
    return {**state, "state": moments}
