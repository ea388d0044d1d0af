"""What PyTorch can compute on."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..data.batches import Share
from ..errors import InputError

if TYPE_CHECKING:  # who only asks which devices there are does not wait for Lightning
    from lightning.pytorch.plugins.environments import ClusterEnvironment
    from lightning.pytorch.strategies import Strategy

ORDER = ("gpu", "mps", "cpu")  # best first


class Device:
    """The device of a run. Several are in `scale/lightning/mesh.py`.

    Attributes:
        count: how many of this machine.
        device: that of this process.
        share: what this process reads of every batch.
    """

    count = 1

    def __init__(self, device: torch.device, share: Share):
        self.device, self.share = device, share

    def describe(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def strategy(self, several_losses: bool) -> Strategy | str:
        """What Lightning does with it."""
        return "auto"

    def environment(self) -> list[ClusterEnvironment]:
        """What Lightning would not find out by itself: this process is alone, whatever it runs in."""
        from lightning.pytorch.plugins.environments import LightningEnvironment

        return [LightningEnvironment()]

    def check(self, create_model: Callable[[], nn.Module]) -> None:
        """Raises InputError where a model cannot be cut as it is asked for."""

    def together(self) -> contextlib.AbstractContextManager:
        """Around what several processes do together."""
        return contextlib.nullcontext()


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


def peak_memory(device: torch.device) -> int:
    """Bytes that were held at once; 0 where the device does not tell."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def quiet() -> None:
    """Lightning says what has been asked for."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.callbacks").setLevel(logging.INFO)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many within, where it is not 0 and the environment does not say how many; after it what the caller had."""
    before = torch.get_num_threads()
    if count and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed(device: torch.device, value: int) -> None:
    """Seeds the generator that dropout draws from; torch.manual_seed seeds every kind of device, in a millisecond."""
    generator = torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator
    generator.manual_seed(value)


def seed_of(*numbers: int) -> int:
    """64 bits: each of up to four numbers is mixed by an odd constant of its own, so that neighbours share nothing."""
    odd = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
    return sum(number * factor for number, factor in zip(numbers, odd, strict=False)) % 2**63
