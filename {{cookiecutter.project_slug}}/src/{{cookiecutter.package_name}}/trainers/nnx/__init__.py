"""Flax NNX: what the shared rooms must know of it. Imports nothing of it."""

import os
from dataclasses import dataclass

from ...config import Config, PositiveInt, option
from ...processes import Alone, Processes

TITLE = "JAX with Flax NNX"
PLATFORMS = ("cpu", "gpu", "tpu")
SUFFIX = ""  # of a checkpoint's name: it is a folder
REFUSED = {"mps": "jax has no mps that is kept up: use --accelerator cpu"}  # platform: why not, what to use instead
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy")
BAD_VERSIONS = (
    # (package, versions, beside package, versions, what happens)
    ("flax", "<=0.12.8", "jax", ">=0.11.1", "fails at import"),
    ("flax", "==0.12.9", "jax", "==0.11.2", "fails at import"),
)

FORMATS = {
    # format: (file, packages that writing takes beside, how it is loaded); see `export.Format`
    "stablehlo": (
        "model.stablehlo",
        ("flatbuffers",),
        """
from pathlib import Path

import numpy as np
from jax import export  # which needs flatbuffers, too

model = export.deserialize(bytearray(Path("FILE").read_bytes()))
batch = BATCH
outputs = model.call(batch)
""",
    ),
}


@dataclass(frozen=True)
class Section:
    """The keys under this framework's name in the config."""

    steps_per_call: PositiveInt = option(
        1, "steps in one dispatch; more is faster where steps are short, except convolutions on cpu"
    )
    remat: bool = option(False, "keep only the inputs of a model's blocks and compute the rest twice, to save memory")


def join(config: Config) -> Processes:
    """The processes of the run: several where a TPU pod, SLURM or JAX's own variables have started them."""
    several = (
        "JAX_COORDINATOR_ADDRESS" in os.environ
        or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1
        or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    )
    if not several:
        return Alone()
    from .processes import join

    return join(config.accelerator.platform)


def engine():
    from .loop import Engine

    return Engine


def hardware():
    from . import devices

    return devices


def rehearse(*settings):
    from .rehearsal import rehearse

    return rehearse(*settings)
