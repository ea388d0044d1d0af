"""The devices of a run, and what each of them holds: of a batch, of the model, of the optimizer's state."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy, Strategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout  # a mesh takes none
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from ...config import AcceleratorConfig, Config
from ...errors import InputError
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


class Parts:
    """A batch's parts, one for each copy of the model, be it whole or in pieces; and which is of this process."""

    def __init__(self, found: Mesh):
        rank = joined[0].rank if joined and found.devices > 1 else 0
        self.count, self.mine = found.parts, rank // found.tensor
        self.group = None  # of the processes that have a part each: all
        if joined and found.tensor > 1:
            ranks = [list(range(i, found.devices, found.tensor)) for i in range(found.tensor)]
            self.group, _ = dist.new_subgroups_by_enumeration(ranks, timeout=SILENCE)

    def sum(self, *values: torch.Tensor | float) -> tuple[torch.Tensor | float, ...]:
        """Each over all parts."""
        if self.count == 1:
            return values
        device = next(value.device for value in values if isinstance(value, torch.Tensor))
        found = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values])
        dist.all_reduce(found, group=self.group)
        return tuple(found)


class Cut(ModelParallelStrategy):
    """FSDP2 and tensor parallelism. A checkpoint is the one file that a single device would write.

    torch's format of a file for each process is not used: its index is a pickle, which can execute code.
    """

    lightning_restore_optimizer = True

    def __init__(self, found: Mesh):
        super().__init__(found.parts, found.tensor, save_distributed_checkpoint=False, timeout=SILENCE)

    barrier = Copies.barrier

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {name: whole(value) for name, value in self.lightning_module.state_dict().items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return _each_state(optimizer.state_dict(), optimizer, _whole_moment)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only=True)

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        for name, value in self.lightning_module.state_dict().items():
            local(value).copy_(local(_cut_like(value, checkpoint["state_dict"][name])))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_each_state(state, optimizer, lambda p, value: local(_cut_like(p.whole, value))))


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


def own(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """What an optimizer updates: of a parameter in parts this process's, which knows the `whole`.

    The fused optimizers and torch's operations on lists do not take parts on different meshes together.
    """
    found = []
    for p in parameters:
        if isinstance(p, DTensor):
            part = nn.Parameter(local(p))
            part.whole = p
            p = part
        found.append(p)
    return found


def take_gradients(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    """The gradients of parameters, those of parts from the whole, where backward leaves them.

    Those that the loss does not depend on get zeros: the optimizer would pass them by, with their decay.
    """
    found = []
    for p in parameters:
        if hasattr(p, "whole"):
            p.grad = None if p.whole.grad is None else local(p.whole.grad)
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        found.append(p.grad)
    return found


def norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Of the whole gradient."""
    groups: dict[Any, list[torch.Tensor]] = {}
    for p in parameters:
        if p.grad is not None:
            w = getattr(p, "whole", None)
            key = (w.device_mesh, tuple(x.is_replicate() for x in w.placements)) if w is not None else None
            groups.setdefault(key, []).append(p.grad)
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


def _whole_moment(p: nn.Parameter, value: torch.Tensor) -> torch.Tensor:
    w = p.whole
    if value.ndim != w.ndim:  # a count
        return value
    form = {"shape": w.shape, "stride": w.stride()}
    return whole(DTensor.from_local(value, w.device_mesh, w.placements, run_check=False, **form))


def _each_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer, change) -> dict[str, Any]:
    """An optimizer's state dict with every tensor changed, given its parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        i: {name: change(parameters[i], v) if isinstance(v, torch.Tensor) else v for name, v in values.items()}
        for i, values in state["state"].items()
    }
    return {**state, "state": moments}
