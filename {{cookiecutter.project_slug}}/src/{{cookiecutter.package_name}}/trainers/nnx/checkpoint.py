"""Checkpoints of the train state, by Orbax. The only file that calls it."""

from pathlib import Path

import orbax.checkpoint as ocp

from .train_state import TrainState


def save(path: Path, state: TrainState) -> None:
    with ocp.StandardCheckpointer() as checkpointer:  # waits for the write on leaving
        checkpointer.save(path.absolute(), state)


def restore(path: Path, like: TrainState) -> TrainState:
    """like: a state of the same structure, shapes and placement."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute(), like)
