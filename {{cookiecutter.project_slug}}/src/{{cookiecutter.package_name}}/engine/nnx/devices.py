"""What JAX can compute on."""

import importlib.util

import jax

from ..errors import InputError

ORDER = ("tpu", "gpu", "cpu")  # best first
# With one of these packages, which the extra of that name brings, jax finds a platform.
PLUGINS = {"tpu": ("libtpu",), "gpu": ("jax_cuda12_plugin", "jax_cuda13_plugin")}


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
    return jax.config.jax_compilation_cache_dir or ""


def _plugged(platform: str) -> bool:
    return any(importlib.util.find_spec(name) for name in PLUGINS[platform])


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
        extra = "" if _plugged(platform) else f", or install the extra [{platform}]: jax has no plugin for it"
        raise InputError(f"accelerator.platform = {platform!r}: no {platform.upper()} here: --accelerator cpu{extra}")
    wanted = devices * nodes or found[platform]
    if wanted > found[platform] or (jax.process_count() > 1 and wanted != found[platform]):
        asked = f"accelerator.devices = {devices} on accelerator.nodes = {nodes}"
        raise InputError(
            f"{asked}, but jax finds {found[platform]} of {platform} in {jax.process_count()} processes: give the "
            "number that there is, or 0 for all"
        )
    return jax.devices(platform)[:wanted]
