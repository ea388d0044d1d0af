"""What PyTorch can compute on."""

import torch

from ..errors import InputError

ORDER = ("gpu", "mps", "cpu")  # best first


def count() -> dict[str, int]:
    """Devices of this machine by platform, best first."""
    return {
        "gpu": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }


def pick(platform: str, devices: int = 1, nodes: int = 1) -> list[torch.device]:
    """The devices of this node; `auto` takes the best platform there is. devices: of each node, 0: all.

    A CPU is as many devices as are asked for, for trials.

    Raises:
        InputError: where there are none, or too few.
    """
    found = count()
    if platform == "auto":
        platform = next(name for name in ORDER if found[name])
    if not found[platform]:
        built = torch.version.cuda or torch.version.hip  # for a GPU; without, it is the torch of the extra [cpu]
        extra = "" if built or platform != "gpu" else f", or install the extra [{platform}]: this torch is for CPUs"
        raise InputError(f"accelerator.platform = {platform!r}: no {platform.upper()} here: --accelerator cpu{extra}")
    wanted = devices or found[platform]
    if platform == "mps" and wanted * nodes > 1:
        raise InputError(
            f"accelerator.devices = {devices} on accelerator.nodes = {nodes}: a Mac has one GPU: set both to 1"
        )
    if platform != "cpu" and wanted > found[platform]:
        raise InputError(
            f"accelerator.devices = {devices}, but torch finds {found[platform]} of {platform} on this node: give the "
            "number that there is, or 0 for all"
        )
    if platform == "gpu":
        return [torch.device("cuda", i) for i in range(wanted)]
    return [torch.device(platform)] * wanted


def memory(platform: str) -> int:
    """Bytes of a device; 0 where it does not tell."""
    return torch.cuda.get_device_properties(0).total_memory if platform == "gpu" else 0


def seed(device: torch.device, value: int) -> None:
    """Seeds the generator that dropout draws from; torch.manual_seed seeds every kind of device, in a millisecond."""
    generator = torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator
    generator.manual_seed(value)


def seed_of(*numbers: int) -> int:
    """64 bits: each of up to four numbers is mixed by an odd constant of its own, so that neighbours share nothing."""
    odd = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
    return sum(number * factor for number, factor in zip(numbers, odd, strict=False)) % 2**63
