"""Where a run stands, in Lightning's counts of epochs, batches and updates."""

from typing import Any

import lightning as L

# Of the loop over an epoch's batches, in a checkpoint's `loops`.
EPOCH = "epoch_loop."
BATCHES = f"{EPOCH}batch_progress"


def as_saved(checkpoint: dict[str, Any]) -> None:
    """Makes of a state that is saved before a batch the one that Lightning saves after the batch before.

    From there it knows how to go on: every batch once, and no validation twice.
    """
    loops = checkpoint["loops"]["fit_loop"]
    total, current = (loops[BATCHES][key] for key in ("total", "current"))
    if total["ready"] > total["started"]:  # and not as a ModelCheckpoint does, after a batch or a validation
        _stand(loops, total["completed"], current["completed"])
        loops[f"{EPOCH}state_dict"]["_batches_that_stepped"] -= 1


def begin_at(step: int, checkpoint: dict[str, Any], trainer: L.Trainer, updates: int, steps_per_epoch: int) -> None:
    """Sets a checkpoint's counts as after `step` steps of this run, each of so many updates, whatever another run has
    left there.
    """
    count_updates(trainer, step * updates)
    loops = checkpoint["loops"]["fit_loop"] = trainer.fit_loop.state_dict()
    epoch, within = divmod(step, steps_per_epoch)
    for key in ("total", "current"):
        loops["epoch_progress"][key].update(ready=epoch + 1, started=epoch + 1, processed=epoch, completed=epoch)
    pieces = trainer.accumulate_grad_batches
    _stand(loops, step * pieces, within * pieces)
    loops[f"{EPOCH}state_dict"]["_batches_that_stepped"] = step - 1


def count_updates(trainer: L.Trainer, updates: int) -> None:
    """Sets a trainer's `global_step`."""
    loop = trainer.fit_loop.epoch_loop
    automatic, manual = loop.automatic_optimization, loop.manual_optimization
    for counted in (automatic.optim_progress.optimizer.step.total, manual.optim_step_progress.total):
        counted.ready = counted.completed = updates


def count_update(trainer: L.Trainer) -> None:
    """Counts an update of manual optimization, as its step does."""
    done = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    done.increment_ready()
    done.increment_completed()


def _stand(loops: dict[str, Any], total: int, current: int) -> None:
    """After so many batches, in all and of the epoch."""
    for key, count in (("total", total), ("current", current)):
        loops[BATCHES][key].update(ready=count, started=count, processed=count, completed=count - 1)
    loops[BATCHES]["is_last_batch"] = False
