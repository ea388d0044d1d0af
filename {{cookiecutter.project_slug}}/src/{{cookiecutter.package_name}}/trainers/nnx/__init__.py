"""Flax NNX: what the shared rooms must know of it. Imports nothing of it."""

from dataclasses import dataclass

from ...config import PositiveInt, option

TITLE = "JAX with Flax NNX"
PLATFORMS = ("cpu", "gpu", "tpu")
REFUSED: dict[str, str] = {}  # platform: why not, and what to use instead
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


def engine():
    from .loop import Engine

    return Engine


def hardware():
    from . import devices

    return devices
