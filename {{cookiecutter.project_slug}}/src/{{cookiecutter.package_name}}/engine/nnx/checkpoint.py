"""Checkpoints, by Orbax. The only file that calls it.

One has three items, as its CheckpointManager names the parts of a step: `model`, arrays by their paths; `average`, the
moving averages of its parameters, where there are any; `train`, all else that training goes on from. To list them:

    step_names = ocp.step.standard_name_format(step_format_fixed_length=8)
    ocp.CheckpointManager(checkpoints, options=ocp.CheckpointManagerOptions(step_name_format=step_names)).all_steps()
"""

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax import nnx, traverse_util

from ..errors import InputError
from ..weights import OTHER_MODEL, match
from .train_state import TrainState

ITEMS = ("model", "average", "train")
OTHER_TRAINING = "the optimizer or the losses are others now (go back to those, or begin with --init RUN)"
Leaves = dict[str, jax.Array]  # by path, as `hidden/kernel`


def save(path: Path, state: TrainState) -> None:
    """Raises OSError where the disk does not take it."""
    # Asked before: on a full disk, Orbax leaves tracebacks of its threads.
    if shutil.disk_usage(path.parent).free < sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    try:
        with _checkpointer() as checkpointer:
            arguments = {name: ocp.args.StandardSave(_nested(item)) for name, item in _items(state).items()}
            checkpointer.save(path.absolute(), args=ocp.args.Composite(**arguments))
    except ValueError as error:  # as it passes on what the operating system said
        if code := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
        raise


def restore(path: Path, like: TrainState) -> TrainState:
    """like: a state of the same structure, shapes and placement. Raises InputError where the checkpoint has another."""
    found = _read(path, _items(like))
    leaves = found["model"]
    ema = _filled(like.ema, found["average"]) if like.ema is not None else None
    train = _filled(_train(like), found["train"])
    return like.replace(params=_filled(like.params, leaves), rest=_filled(like.rest, leaves), ema=ema, **train)


def restore_evaluated(path: Path, like: tuple[nnx.State, nnx.State]) -> tuple[nnx.State, nnx.State]:
    """The model to evaluate, as `TrainState.evaluated` gives it, and nothing else of a checkpoint.

    Raises InputError where it is another model's.
    """
    leaves = _leaves(*like)
    found = _read(path, {"model": leaves, "average": leaves})
    leaves = found["model"] | found.get("average", {})
    return tuple(_filled(part, leaves) for part in like)


def _read(path: Path, wanted: dict[str, Leaves]) -> dict[str, Leaves]:
    """Items of a checkpoint. wanted: their arrays' shapes, types and places; of averages it may name too many.

    Raises InputError where the checkpoint is broken, or has others.
    """
    if (path / "_METADATA").is_file():  # everything in one
        raise InputError(
            f"{path} is of an earlier version of this project: write its weights with that one, by python train.py "
            "export RUN --format safetensors, and begin with --init FILE"
        )
    try:
        with _checkpointer() as checkpointer:
            there = checkpointer.metadata(path.absolute()).item_metadata
            shapes = {name: _shapes(_leaves(there[name].tree)) for name in wanted if there.get(name)}
            evaluates = "train" not in wanted
            if missing := sorted(wanted.keys() - shapes.keys() - ({"average"} if evaluates else set())):
                raise InputError(f"{path} is no whole checkpoint: it has no {' and no '.join(missing)}")
            if "average" in shapes and evaluates:
                averaged = {name: leaf for name, leaf in wanted["model"].items() if name in shapes["average"]}
                wanted = {**wanted, "average": averaged}
            for name in shapes:
                what = OTHER_TRAINING if name == "train" else OTHER_MODEL
                match(shapes[name], _shapes(wanted[name]), str(path), what)
            arguments = {name: ocp.args.StandardRestore(_nested(wanted[name])) for name in shapes}
            found = checkpointer.restore(path.absolute(), args=ocp.args.Composite(**arguments))
            return {name: _leaves(found[name]) for name in shapes}
    except (InputError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # what Orbax raises of a folder that is no whole checkpoint has no class of its own
        raise InputError(f"{path} is no whole checkpoint: {' '.join(str(error).split())[:300]}") from error


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(**{name: ocp.StandardCheckpointHandler() for name in ITEMS}))


def _items(state: TrainState) -> dict[str, Leaves]:
    averages = {} if state.ema is None else {"average": _leaves(state.ema)}
    return {"model": _leaves(state.params, state.rest), **averages, "train": _leaves(_train(state))}


def _train(state: TrainState) -> dict[str, Any]:
    """What is not the model."""
    return {name: getattr(state, name) for name in ("step", "opt_state", "loss_scale", "skipped")}


def _leaves(*trees: Any) -> Leaves:
    found = [pair for tree in trees for pair in jax.tree_util.tree_flatten_with_path(tree)[0]]
    names = (jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value") for path, _ in found)
    return dict(zip(names, (leaf for _, leaf in found), strict=True))


def _filled(tree: Any, leaves: Leaves) -> Any:
    return jax.tree.unflatten(jax.tree.structure(tree), [leaves[name] for name in _leaves(tree)])


def _nested(leaves: Leaves) -> dict[str, Any]:
    return traverse_util.unflatten_dict(leaves, sep="/")


def _shapes(leaves: Leaves) -> dict[str, tuple[int, ...]]:
    """Of a key of random numbers, those of its data."""
    return {name: _data(leaf).shape for name, leaf in leaves.items()}


def _data(leaf: Any) -> Any:
    return jax.eval_shape(jax.random.key_data, leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
