"""Checkpoints of the train state, by Orbax. The only file that calls it."""

import errno
import os
import re
import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from ...errors import InputError
from ...weights import match
from .train_state import TrainState


def save(path: Path, state: TrainState) -> None:
    """Raises OSError where the disk does not take it."""
    # Asked before: on a full disk, Orbax leaves tracebacks of its threads.
    if shutil.disk_usage(path.parent).free < sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(path.absolute(), args=ocp.args.StandardSave(state))
    except ValueError as error:  # as it passes on what the operating system said
        if code := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
        raise


def restore(path: Path, like: TrainState) -> TrainState:
    """like: a state of the same structure, shapes and placement. Raises InputError where the checkpoint has another."""
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            found, wanted = _shapes(checkpointer.metadata(path.absolute()).item_metadata.tree), _shapes(like)
            match(_weights(found), _weights(wanted), str(path))  # the first to be told, if not all that differs
            match(found, wanted, str(path))
            return checkpointer.restore(path.absolute(), like)
    except (InputError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # what Orbax raises of a folder that is no whole checkpoint has no class of its own
        raise InputError(f"{path} is no whole checkpoint: {' '.join(str(error).split())[:300]}") from error


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """By path, as `params/loss/hidden/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value") for path, _ in leaves)
    return {name: tuple(leaf.shape) for name, (_, leaf) in zip(names, leaves, strict=True)}


def _weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if name.startswith(("params/", "rest/"))}
