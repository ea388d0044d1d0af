"""A step without the hardware: what would each device hold?"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...config import Config
from ...data.batches import TrainBatches
from ...data.sources import Dataset
from ...nnx import engine
from ...task import Task


def rehearse(config: Config, task: Task, spec: Mapping[str, Any], data: Dataset) -> dict[str, int]:
    """Bytes that each device holds, by what they are, after one step on devices that a CPU is taken for.

    Gradients and activations are those of the program for a CPU; that for another device may keep less or more, and
    `nnx.remat` spares none of them on a CPU.
    """
    made = engine()(config, task, spec)
    batches = TrainBatches(data, config.data.batch_size, config.seed, config.data.on_device, made.share)
    with made.settings():
        state, step = made.init(), made.train_step(data.augment)
        batch, resident = made.devices.cut(batches.stack(batches.largest(), 1), 1), made.devices.put(batches.resident)
        arguments = (state, batch, np.zeros(1, jnp.result_type(float)), True, resident)
        program = step.lower(*arguments).compile()
        held = {
            "parameters": _held([state.params, state.rest]),
            "moving average": _held(state.ema),
            "optimizer's state": _held(state.opt_state),
            "data": _held(resident),
            "gradients and activations": program.memory_analysis().temp_size_in_bytes,
        }
        jax.block_until_ready(program(*arguments))
    return {what: size for what, size in held.items() if size}


def _held(tree: Any) -> int:
    """Bytes on the first device."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))
