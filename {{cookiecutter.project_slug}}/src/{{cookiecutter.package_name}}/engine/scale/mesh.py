"""How the devices of a run share the work."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import AcceleratorConfig, ModelConfig
from ..data.batches import Share
from ..errors import InputError


@dataclass(frozen=True)
class Mesh:
    """Devices in three directions. `data` x `fsdp` parts of a batch, and `tensor` devices that work on each of them."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @classmethod
    def of(cls, config: AcceleratorConfig, devices: int) -> "Mesh":
        """devices: of all nodes.

        Raises:
            InputError: where these cannot be arranged as `accelerator.mesh` asks for.
        """
        asked = {"data": config.mesh.data, "fsdp": config.mesh.fsdp, "tensor": config.mesh.tensor}
        open_ones = [name for name, size in asked.items() if not size]
        if len(open_ones) > 1:
            raise InputError("accelerator.mesh.data = 0 and accelerator.mesh.fsdp = 0: give the number of one of them")
        product = 1
        for size in asked.values():
            product *= size or 1
        if devices % product or (not open_ones and product != devices):
            sizes = " x ".join(f"{name} {size or 'any'}" for name, size in asked.items())
            raise InputError(
                f"accelerator.mesh: {sizes} needs {'a multiple of ' * bool(open_ones)}{product} devices, but there are "
                f"{devices}: change the mesh, accelerator.devices or accelerator.nodes"
            )
        return cls(**{name: size or devices // product for name, size in asked.items()})

    def check(self, model: ModelConfig) -> None:
        """Raises InputError where there is nothing in the model that `tensor` cuts."""
        if self.tensor > 1 and not model.TENSOR:
            raise InputError(
                f"accelerator.mesh.tensor = {self.tensor} is for transformers, but model.name = {model.name!r}"
            )

    @property
    def devices(self) -> int:
        return self.data * self.fsdp * self.tensor

    @property
    def parts(self) -> int:
        """Of a batch."""
        return self.data * self.fsdp

    def share(self, batch_size: int, accumulate: int, mine: Sequence[int]) -> Share:
        """What a process reads whose devices have these parts of a batch.

        Raises:
            InputError: where a batch cannot be cut so.
        """
        if batch_size % (accumulate * self.parts):
            raise InputError(
                f"data.batch_size = {batch_size} is not divisible by trainer.accumulate = {accumulate} x {self.parts} "
                f"parts on {self.devices} devices"
            )
        return Share(self.parts, tuple(mine), accumulate)
