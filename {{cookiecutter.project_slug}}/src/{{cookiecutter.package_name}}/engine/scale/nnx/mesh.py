"""Several devices of a run as JAX's mesh, and what each of them holds: of a batch, and of the train state."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import Mesh as JaxMesh
from jax.sharding import PartitionSpec as P

from ...config import AcceleratorConfig, ModelConfig
from ...data.batches import Share
from ...data.sources import Batch
from ...errors import InputError
from ...nnx.devices import Device, pick
from ..mesh import Mesh

SMALL = 2**10  # numbers: what has no more stays whole on every device
AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the axes that cut a batch


class Devices(Device):
    """Those of a run.

    Args:
        config: the run's.
        model: the run's, too.
    """

    def __init__(self, config: AcceleratorConfig, model: ModelConfig):
        found = pick(config.platform, config.devices, config.nodes)
        self.sizes, self.tensor = Mesh.of(config, len(found)), model.TENSOR
        self.sizes.check(model)
        shape = (self.sizes.data, self.sizes.fsdp, self.sizes.tensor)
        # Auto: the compiler cuts what is in between.
        self.mesh: JaxMesh = jax.make_mesh(shape, AXES, (AxisType.Auto,) * 3, devices=found)
        self.local = [device for device in found if device.process_index == jax.process_index()]
        self.first = self.local[0]
        self.whole = NamedSharding(self.mesh, P())
        # Fake devices of one CPU wait for each other; where steps queue up, they do so for ever.
        self.one_step_at_a_time = self.first.platform == "cpu" and len(self.local) > 1

    def share(self, batch_size: int, accumulate: int) -> Share:
        parts = self.mesh.devices.reshape(self.sizes.parts, self.sizes.tensor)
        mine = [i for i, part in enumerate(parts) if any(device in self.local for device in part)]
        return self.sizes.share(batch_size, accumulate, mine)

    def cut(self, batch: Batch, axis: int = 0) -> dict[str, jax.Array]:
        sharding = NamedSharding(self.mesh, P(*[None] * axis, BATCH))
        return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}

    def put(self, tree: Any, shardings: Any = None) -> Any:
        shardings = self.whole if shardings is None else shardings
        if self.mesh.size == len(self.local):
            return jax.device_put(tree, shardings)

        def place(x: Any, sharding: NamedSharding) -> jax.Array:
            if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                data = place(jax.random.key_data(x), sharding)
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
            return jax.make_array_from_callback(x.shape, sharding, np.asarray(x).__getitem__)

        return jax.tree.map(
            lambda sharding, part: jax.tree.map(functools.partial(place, sharding=sharding), part), shardings, tree
        )

    def get(self, value: jax.Array) -> np.ndarray:
        if self.mesh.size > len(self.local):
            return np.asarray(multihost_utils.process_allgather(value, tiled=True))
        return np.asarray(value)

    def describe(self) -> str:
        """In words, as `4 x NVIDIA H200 (data 2, fsdp 2)`."""
        if self.mesh.size == 1:
            return super().describe()
        cut = ", ".join(f"{name} {size}" for name, size in self.mesh.shape.items() if size > 1)
        return f"{self.mesh.size} x {super().describe()} ({cut})"

    def shardings(self, shapes: Any) -> Any:
        """`tensor` by the model's table, `fsdp` on the largest axis that is left.

        Paths end alike in parameters, moments and averages, so one rule is for all.
        """
        return jax.tree_util.tree_map_with_path(self._sharding, shapes)

    def _sharding(self, path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        names = jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value").split(".")
        module, leaf_name = ".".join(names[:-1]), names[-1]
        axes: list[str | None] = [None] * leaf.ndim
        if leaf.size > SMALL:
            cut = next((how for end, how in self.tensor.items() if f".{module}".endswith(f".{end}")), None)
            if self.sizes.tensor > 1 and cut and leaf_name == "kernel":
                axis = 1 if cut == "columns" else 0  # [inputs, outputs]
                if leaf.shape[axis] % self.sizes.tensor:
                    raise InputError(
                        f"accelerator.mesh.tensor = {self.sizes.tensor} does not divide the {leaf.shape[axis]} {cut} "
                        f"of {module}"
                    )
                axes[axis] = "tensor"
            if self.sizes.fsdp > 1:
                free = [i for i in range(leaf.ndim) if not axes[i] and leaf.shape[i] % self.sizes.fsdp == 0]
                if free:
                    axes[max(free, key=lambda i: leaf.shape[i])] = "fsdp"
        return NamedSharding(self.mesh, P(*axes))
