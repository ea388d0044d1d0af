"""PyTorch Lightning: what the shared rooms must know of it. Imports nothing of it."""

import os
import sys
from dataclasses import dataclass

from ..config import Config, NonNegativeInt, option
from ..processes import ALONE, Processes, check_several

PLATFORMS = ("cpu", "gpu", "mps")
ONE_PROCESS = False  # for all devices of a machine
SUFFIX = ".ckpt"  # of a checkpoint's name
REFUSED = {
    "tpu": "torch_xla ends at torch 2.9, so Lightning has no TPU today: use --accelerator gpu or cpu"
}  # platform: why not
PACKAGES = ("torch", "lightning", "torchmetrics", "numpy")
BAD_VERSIONS = (
    # (package, versions, beside package, versions, what happens)
    ("lightning", "<2.6.6", "", "", "CVE-2026-58659: a checkpoint can execute code; 2.6.2 and 2.6.3 were malware"),
)


@dataclass(frozen=True)
class Section:
    """The keys under this framework's name in the config."""

    compile: bool = option(False, "torch.compile the model: a slow first step, then faster ones, on gpu above all")
    threads: NonNegativeInt = option(
        0, "of torch on the CPU: 1 is faster where steps are short; 0: one a core; OMP_NUM_THREADS wins over it"
    )


def join(config: Config) -> Processes:
    """The processes of the run: one for each device."""
    settings = config.accelerator
    if settings.devices == settings.nodes == 1:
        return ALONE
    found = hardware().pick(settings.platform, settings.devices, settings.nodes)
    if len(found) * settings.nodes == 1:
        return ALONE
    check_several(f"accelerator.devices = {len(found)} on accelerator.nodes = {settings.nodes}")
    from ..scale.lightning.processes import join

    return join(settings, found)


def engine():
    _wait_briefly()
    from .trainer import Engine

    return Engine


def build(config: Config, **options):
    _wait_briefly()
    from .trainer import build

    return build(config, **options)


def hardware():
    _wait_briefly()
    from . import devices

    return devices


def _wait_briefly() -> None:
    """A thread of torch that waits for the others spins a hundredth of the time that it would, and then sleeps.

    Where other processes take the cores, those that it waits for may get none before it sleeps. To sleep at once would
    be slower on an idle machine. The variable is that of GNU's OpenMP, torch's on Linux, which reads it once: where the
    person has said how to wait, or has imported torch before, it is theirs. What is computed stays the same.
    """
    if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "3000"
