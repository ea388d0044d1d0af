"""Several devices of a run, and what each of them holds: of a batch, of the model, of the optimizer's state."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy, Strategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout  # a mesh takes none
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from ...config import Config
from ...errors import InputError
from ...lightning.devices import Device
from ...lightning.weights import local, whole
from ..mesh import Mesh
from .processes import SILENCE, Copies, ask_nobody, environment, joined, together


class Devices(Device):
    """Those of a run, on all nodes.

    Args:
        config: the run's.
        found: the devices of this node.

    Raises:
        InputError: where they cannot be arranged as `accelerator.mesh` asks for, or a batch cannot be cut so.
    """

    def __init__(self, config: Config, found: Sequence[torch.device]):
        self.sizes = Mesh.of(config.accelerator, len(found) * config.accelerator.nodes)
        self.sizes.check(config.model)
        self.tensor = config.model.TENSOR
        local_rank, rank = (joined[0].local_rank, joined[0].rank) if joined else (0, 0)
        parts = [rank // self.sizes.tensor]
        share = self.sizes.share(config.data.batch_size, config.trainer.accumulate, parts)
        super().__init__(found[local_rank], share)
        self.count = len(found)

    def describe(self) -> str:
        cut = ", ".join(f"{name} {size}" for name, size in dataclasses.asdict(self.sizes).items() if size > 1)
        return f"{self.sizes.devices} x {super().describe()} ({cut})"

    def strategy(self, several_losses: bool) -> Strategy:
        if self.sizes.devices == self.sizes.data:
            return Copies(find_unused_parameters=several_losses)  # each moves parameters of its own
        return Cut(self.sizes, self.tensor)

    def environment(self) -> list[ClusterEnvironment]:
        return environment()

    def check(self, create_model: Callable[[], nn.Module]) -> None:
        if self.sizes.tensor > 1:
            with torch.device("meta"):
                check_tensor(create_model(), self.sizes, self.tensor)

    def together(self) -> contextlib.AbstractContextManager:
        return together()


class Cut(ModelParallelStrategy):
    """FSDP2 and tensor parallelism. A checkpoint is the one file that a single device would write.

    torch's format of a file for each process is not used: its index is a pickle, which can execute code.

    Args:
        table: by the end of a layer's name, whether `tensor` cuts its columns or its rows.
    """

    lightning_restore_optimizer = True

    def __init__(self, found: Mesh, table: Mapping[str, str]):
        super().__init__(found.parts, found.tensor, save_distributed_checkpoint=False, timeout=SILENCE)
        self.found, self.table = found, table

    barrier = Copies.barrier

    def setup(self, trainer: Trainer) -> None:
        super().setup(trainer)
        ask_nobody(trainer)

    def setup_environment(self) -> None:
        super().setup_environment()
        found = self.found
        # Of the processes that have a part of a batch each: their metrics are one.
        ranks = [list(range(i, found.devices, found.tensor)) for i in range(found.tensor)]
        self.metrics_group = dist.new_subgroups_by_enumeration(ranks, timeout=SILENCE)[0] if found.tensor > 1 else None

    def cut(self, nets: Iterable[nn.Module]) -> None:
        """Once, leaves this process its part of them."""
        nets = [net for net in nets if not any(isinstance(p, DTensor) for p in net.parameters())]
        cut(nets, self.found, self.table, self.root_device.type)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {name: whole(value) for name, value in self._state_dict().items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return _each_state(optimizer.state_dict(), optimizer, lambda p, value: whole(value))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only=True)

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        for name, value in self._state_dict().items():
            local(value).copy_(local(_cut_like(value, checkpoint["state_dict"][name])))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_each_state(state, optimizer, _cut_like))

    def _state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()


def cut(nets: Iterable[nn.Module], found: Mesh, table: Mapping[str, str], device: str) -> None:
    """Leaves each process its part of the parameters: `tensor` by the model's table, `fsdp` of every block and of the
    rest.

    `data` copies of those are in step, as a part's gradients are summed over them.
    """
    names = ("data", "fsdp", "tensor")
    mesh = init_device_mesh(device, (found.data, found.fsdp, found.tensor), mesh_dim_names=names)
    for group in mesh.get_all_groups():
        _set_pg_timeout(SILENCE, group)
    parts = mesh["data", "fsdp"] if found.data > 1 else mesh["fsdp"]
    for net in nets:
        if found.tensor > 1:
            parallelize_module(net, mesh["tensor"], _styles(net, table), src_data_rank=None)
        for block in list(net.modules()):
            if isinstance(block, nn.ModuleList | nn.Sequential):
                for part in block:
                    if any(part.children()):
                        fully_shard(part, mesh=parts)
        # Outside of a step all is in parts. Of a model in training that is so by itself, with less to send.
        trained = any(p.requires_grad for p in net.parameters())
        fully_shard(net, mesh=parts, reshard_after_forward=None if trained else True)


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
    def _prepare_output_fn(
        output_layouts: Any, use_local_output: bool, layer: nn.Module, outputs: DTensor, mesh: DeviceMesh
    ) -> torch.Tensor:
        parts = getattr(layer, "parts", 1)
        if parts == 1:
            return outputs.to_local()
        # What each process does with its heads says only its part of the gradient.
        gathered = outputs.redistribute(placements=[Replicate()]).to_local(grad_placements=[Partial()])
        return gathered.unflatten(-1, (parts, mesh.size(), -1))[..., mesh.get_local_rank(), :].flatten(-2)


def norm(grads: Iterable[torch.Tensor]) -> torch.Tensor:
    """Of all gradients together, of which each process has a part, or some of them all."""
    groups: dict[Any, list[torch.Tensor]] = {}
    for grad in grads:
        key = None
        if isinstance(grad, DTensor):
            key = (grad.device_mesh, tuple(x.is_replicate() for x in grad.placements))
        groups.setdefault(key, []).append(local(grad))
    squares = [torch.nn.utils.get_total_norm(groups.pop(None)) ** 2] if None in groups else []
    for (mesh, replicated), parts in groups.items():
        square = torch.nn.utils.get_total_norm(parts) ** 2
        placements = [Replicate() if same else Partial() for same in replicated]
        squares.append(DTensor.from_local(square, mesh, placements, run_check=False).full_tensor())
    return torch.stack(squares).sum().sqrt()


def _kernels(net: nn.Module, table: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, columns or rows) of every layer that is cut."""
    names = [name for name, _ in net.named_modules()]
    return [(name, how) for name in names for end, how in table.items() if f".{name}".endswith(f".{end}")]


def _styles(net: nn.Module, table: Mapping[str, str]) -> dict[str, ParallelStyle]:
    return {name: Columns() if how == "columns" else RowwiseParallel() for name, how in _kernels(net, table)}


def _cut_like(like: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A whole tensor in parts, as another one is. What has another form, as a count, stays."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _each_state(
    state: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> dict[str, Any]:
    """An optimizer's state dict with every tensor changed, given its parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        i: {name: change(parameters[i], v) if isinstance(v, torch.Tensor) else v for name, v in values.items()}
        for i, values in state["state"].items()
    }
    return {**state, "state": moments}
