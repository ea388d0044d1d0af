"""What `doctor TASK` tells: a step as the accelerator would take it, on the CPU, so that it need not be here."""

import dataclasses
import math

from .. import registry
from ..apart import apart
from ..config import Config, to_dict
from ..errors import InputError
from .rehearsal import rehearse


def rehearsed(config: Config, memory: float | None) -> list[str]:
    """Prints what a device would hold. Returns what is wrong with that.

    memory: of a device, in GiB; None: as that has which is here.

    The step is taken in a process of its own, as a CPU is one device or several from its start.
    """
    name, accelerator = config.framework, config.accelerator
    hardware = registry.frameworks()[name].hardware()
    here = hardware.count()
    platform = next(kind for kind in here if here[kind]) if accelerator.platform == "auto" else accelerator.platform
    number = (accelerator.devices or here.get(platform, 0)) * accelerator.nodes
    if not number:
        raise InputError(f"accelerator.devices = 0 means all, but no {platform} is here: give --accelerator.devices")
    there = memory * 2**30 if memory else hardware.memory(platform) if here.get(platform) else 0
    fake = dataclasses.replace(accelerator, platform="cpu", devices=number, nodes=1)
    held = apart(rehearse, to_dict(dataclasses.replace(config, accelerator=fake)))
    print(f"{name}: one step of {config.task} as {number} x {platform} would take it, each of which would hold")
    total = sum(held.values())
    for what, size in {**held, "together": total}.items():
        print(f"{name}:   {what:28} {_size(size)}")
    if not there:
        print(f"{name}:   no {platform} is here to compare that with: --memory GIB says what it has")
    elif total > there:
        ways = "raise trainer.accumulate, cut the model with --accelerator gpu-fsdp, or take more devices"
        return [f"{name}: a {platform} would hold {_size(total)}, but has {_size(there)}: {ways}"]
    else:
        print(f"{name}:   that fits into the {_size(there)} of a {platform}")
    return []


def _size(count: float) -> str:
    """Bytes, in the largest unit of which there is one at least."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    power = max(0, min(int(math.log(max(count, 1), 1024)), len(units) - 1))
    return f"{count / 1024**power:.4g} {units[power]}"
