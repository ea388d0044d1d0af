"""Flax NNX: what the shared rooms must know of it. Imports nothing of it."""

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from ..config import Config, PositiveInt, option
from ..processes import ALONE, Processes, check_several

PLATFORMS = ("cpu", "gpu", "tpu")
SUFFIX = ""  # of a checkpoint's name: it is a folder
ONE_PROCESS = True  # for all devices of a machine
REFUSED = {"mps": "jax has no mps that is kept up: use --accelerator cpu"}  # platform: why not, what to use instead
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy")
BAD_VERSIONS = (
    # (package, versions, beside package, versions, what happens)
    ("flax", "<=0.12.8", "jax", ">=0.11.1", "fails at import"),
    ("flax", "==0.12.9", "jax", "==0.11.2", "fails at import"),
)


@dataclass(frozen=True)
class Section:
    """The keys under this framework's name in the config."""

    steps_per_call: PositiveInt = option(
        1, "steps in one dispatch; more is faster where steps are short, except convolutions on cpu"
    )
    remat: bool = option(False, "keep only the inputs of a model's blocks and compute the rest twice, to save memory")


def join(config: Config) -> Processes:
    """The processes of the run: several where a TPU pod, SLURM or JAX's own variables have started them."""
    several = {
        "JAX_COORDINATOR_ADDRESS": "JAX_COORDINATOR_ADDRESS" in os.environ,
        "SLURM_STEP_NUM_TASKS": int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1,
        "TPU_WORKER_HOSTNAMES": "," in os.environ.get("TPU_WORKER_HOSTNAMES", ""),
    }
    names = [name for name, so in several.items() if so]
    if not names:
        return ALONE
    check_several(f"{names[0]} = {os.environ[names[0]]!r} in the environment")
    _keep_programs()
    from ..scale.nnx.processes import join

    return join(config.accelerator.platform)


def engine():
    _keep_programs()
    from .loop import Engine

    return Engine


def _keep_programs() -> None:
    """What took a while to compile is kept for the next run.

    In a folder for each machine: what was compiled for one processor may not run on another. Where the person has
    named one in JAX's own variable, or has imported jax before, its settings are theirs.
    """
    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(caches, __package__.partition(".")[0], "jax", platform.node())
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**31))  # bytes; what was not used for longest goes


def hardware():
    _keep_programs()
    from . import devices

    return devices
