"""PyTorch Lightning: what the shared rooms must know of it. Imports nothing of it."""

from dataclasses import dataclass

from ..config import Config, option
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
    from .trainer import Engine

    return Engine


def build(config: Config, **options):
    from .trainer import build

    return build(config, **options)


def hardware():
    from . import devices

    return devices
