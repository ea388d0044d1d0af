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


def pick(platform: str) -> jax.Device:
    """The device of a platform; `auto` takes the best there is. Raises InputError where there is none."""
    found = count()
    if platform == "auto":
        platform = next(name for name in ORDER if found[name])
    if not found[platform]:
        there = ", ".join(name for name, number in found.items() if number)
        raise InputError(
            f"accelerator.platform = {platform!r}, but jax finds only {there}: "
            f"--accelerator auto, or install the extra [{platform}]"
        )
    return jax.devices(platform)[0]
