"""PyTorch Lightning: what the shared rooms must know of it. Imports nothing of it."""

from dataclasses import dataclass

from ..config import Config, option
from ..processes import ALONE, Processes

TITLE = "PyTorch Lightning"
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

FORMATS = {
    # format: (file, packages that writing takes beside, how it is loaded); see `export.Format`
    "onnx": (
        "model.onnx",
        ("onnx", "onnxscript"),
        """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("FILE")
batch = BATCH
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, batch)))
""",
    ),
    "torch-export": (
        "model.pt2",
        (),
        """
import numpy as np
import torch

model = torch.export.load("FILE").module()
batch = BATCH
outputs = model({name: torch.from_numpy(value) for name, value in batch.items()})
""",
    ),
}


@dataclass(frozen=True)
class Section:
    """The keys under this framework's name in the config."""

    compile: bool = option(False, "torch.compile the model: a slow first step, then faster ones, on gpu above all")


def join(config: Config) -> Processes:
    """The processes of the run: one for each device."""
    if config.accelerator.devices == config.accelerator.nodes == 1:
        return ALONE
    from .processes import join

    return join(config.accelerator)


def engine():
    from .trainer import Engine

    return Engine


def build(config: Config, **options):
    from .trainer import build

    return build(config, **options)


def hardware():
    from . import devices

    return devices


def rehearse(*settings):
    from .rehearsal import rehearse

    return rehearse(*settings)
