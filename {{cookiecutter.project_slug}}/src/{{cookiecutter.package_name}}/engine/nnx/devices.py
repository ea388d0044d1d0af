"""What JAX can compute on, and the one device of a run."""

import importlib.util
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding, SingleDeviceSharding

from ..config import AcceleratorConfig
from ..data.batches import Share
from ..data.sources import Batch
from ..errors import InputError

ORDER = ("tpu", "gpu", "cpu")  # best first
# With one of these packages, which the extra of that name brings, jax finds a platform.
PLUGINS = {"tpu": ("libtpu",), "gpu": ("jax_cuda12_plugin", "jax_cuda13_plugin")}


class Device:
    """The device of a run, and how arrays come there. `scale.nnx.mesh` has several, with the same methods.

    Attributes:
        first: of this process's devices the first.
        local: all of them.
        whole: the place of arrays that stand whole on each device.
        one_step_at_a_time: whether steps must not queue up.
    """

    first: jax.Device
    local: list[jax.Device]
    whole: Sharding
    one_step_at_a_time = False

    def __init__(self, config: AcceleratorConfig):
        [self.first] = self.local = pick(config.platform)
        self.whole = SingleDeviceSharding(self.first)

    def share(self, batch_size: int, accumulate: int) -> Share:
        """What this process reads of a batch."""
        return Share(accumulate=accumulate)

    def cut(self, batch: Batch, axis: int = 0) -> dict[str, jax.Array]:
        """A batch, of which this process has its share, on the devices. axis: that of the examples."""
        return jax.device_put(batch, self.whole)

    def put(self, tree: Any, shardings: Any = None) -> Any:
        """Values that every process has, on the devices. shardings: a tree of the same form; else they are whole."""
        return jax.device_put(tree, self.whole if shardings is None else shardings)

    def get(self, value: jax.Array) -> np.ndarray:
        """A whole array of the devices, on every process."""
        return np.asarray(value)

    def describe(self) -> str:
        """In words."""
        return self.first.device_kind

    def shardings(self, shapes: Any) -> Any:
        """The places of a train state, from its shapes."""
        return jax.tree.map(lambda _: self.whole, shapes)

    def placed(self, shapes: Any) -> Any:
        """Shapes, with their places."""
        return jax.tree.map(lambda x, sharding: x.update(sharding=sharding), shapes, self.shardings(shapes))


def count() -> dict[str, int]:
    """Devices by platform, best first."""
    found = {}
    for platform in ORDER:
        try:
            found[platform] = len(jax.devices(platform))
        except RuntimeError:  # jax's way to say that it has no such backend
            found[platform] = 0
    return found


def compilation_cache() -> str:
    """The folder of JAX's compilation cache, "" where it has none."""
    return jax.config.values["jax_compilation_cache_dir"] or ""


def memory(platform: str) -> int:
    """Bytes of a device; 0 where it does not tell."""
    return (jax.devices(platform)[0].memory_stats() or {}).get("bytes_limit", 0)


def pick(platform: str, devices: int = 1, nodes: int = 1) -> list[jax.Device]:
    """The devices of all nodes; `auto` takes the best platform there is. devices: of each node, 0: all.

    A CPU is as many devices as are asked for, for trials.

    Raises:
        InputError: where there are none, or too few.
    """
    if platform == "cpu" and devices > 1 and not jax.distributed.is_initialized():
        try:
            jax.config.update("jax_num_cpu_devices", devices)
        except RuntimeError:  # too late: devices are in use, and what is missing is told below
            pass
    found = count()
    if platform == "auto":
        platform = next(name for name in ORDER if found[name])
    if not found[platform]:
        plugged = any(importlib.util.find_spec(name) for name in PLUGINS[platform])
        extra = "" if plugged else f", or install the extra [{platform}]: jax has no plugin for it"
        raise InputError(f"accelerator.platform = {platform!r}: no {platform.upper()} here: --accelerator cpu{extra}")
    wanted = devices * nodes or found[platform]
    if wanted > found[platform] or (jax.process_count() > 1 and wanted != found[platform]):
        asked = f"accelerator.devices = {devices} on accelerator.nodes = {nodes}"
        raise InputError(
            f"{asked}, but jax finds {found[platform]} of {platform} in {jax.process_count()} processes: give the "
            "number that there is, or 0 for all"
        )
    return jax.devices(platform)[:wanted]
