"""A model as a file that needs nothing of the project."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax import export

Batch = dict[str, jax.Array]
PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    format: str,
    model: nnx.Module,
    predict_step: Callable[[nnx.Module, Batch], Batch],
    batch: dict[str, np.ndarray],
    path: Path,
) -> None:
    """One program for each platform, that holds the weights."""
    model.eval()
    graphdef, state = nnx.split(model)

    def predict(batch: Batch) -> Batch:
        return predict_step(nnx.merge(graphdef, state, copy=True), batch)

    [size] = export.symbolic_shape("batch")
    shapes = {name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for name, x in batch.items()}
    frames = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)  # they name the folders of this machine
    try:
        exported = export.export(jax.jit(predict), platforms=PLATFORMS)(shapes)
    finally:
        jax.config.update("jax_traceback_in_locations_limit", frames)
    path.write_bytes(exported.serialize())
