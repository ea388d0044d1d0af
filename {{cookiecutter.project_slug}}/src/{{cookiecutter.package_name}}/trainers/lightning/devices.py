"""What PyTorch can compute on."""

import torch

from ...errors import InputError

ORDER = ("gpu", "cpu")  # best first


def count() -> dict[str, int]:
    """Devices by platform, best first."""
    return {"gpu": torch.cuda.device_count() if torch.cuda.is_available() else 0, "cpu": 1}


def pick(platform: str) -> torch.device:
    """The device of a platform; `auto` takes the best there is. Raises InputError where there is none."""
    found = count()
    if platform == "auto":
        platform = next(name for name in ORDER if found[name])
    if not found[platform]:
        there = ", ".join(name for name, number in found.items() if number)
        raise InputError(
            f"accelerator.platform = {platform!r}, but torch finds only {there}: "
            f"--accelerator auto, or install the extra [{platform}]"
        )
    return torch.device("cuda:0" if platform == "gpu" else platform)
