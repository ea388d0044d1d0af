"""What JAX can compute on."""

import jax

from ...errors import InputError

ORDER = ("tpu", "gpu", "cpu")  # best first


def count() -> dict[str, int]:
    """Devices by platform, best first."""
    found = {}
    for platform in ORDER:
        try:
            found[platform] = len(jax.devices(platform))
        except RuntimeError:  # jax's way to say that it has no such backend
            found[platform] = 0
    return found


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
        there = ", ".join(name for name, number in found.items() if number)
        raise InputError(
            f"accelerator.platform = {platform!r}, but jax finds only {there}: "
            f"--accelerator auto, or install the extra [{platform}]"
        )
    wanted = devices * nodes or found[platform]
    if wanted > found[platform] or (jax.process_count() > 1 and wanted != found[platform]):
        asked = f"accelerator.devices = {devices} on accelerator.nodes = {nodes}"
        raise InputError(
            f"{asked}, but jax finds {found[platform]} of {platform} in {jax.process_count()} processes: give the "
            "number that there is, or 0 for all"
        )
    return jax.devices(platform)[:wanted]
