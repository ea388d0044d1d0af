"""The run as a Lightning Logger."""

from typing import Any

from lightning.pytorch.loggers.logger import Logger

from ..session import TAGS, Session


class SessionLogger(Logger):
    """Takes what a LightningModule or a foreign callback logs by `self.log` into the run's own events."""

    def __init__(self, session: Session):
        super().__init__()
        self.session = session

    @property
    def save_dir(self) -> str:
        return str(self.session.run.folder)

    @property
    def name(self) -> str:
        return "callbacks"  # where in the folder a ModelCheckpoint writes: the run removes from its own what it misses

    version = ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run has written its config already."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning adds the epoch to everything; and its step is not the task's.
        own = {f"train/{name}" for name in TAGS}  # which the run logs, where a module does as well
        values = {tag: value for tag, value in metrics.items() if tag != "epoch" and tag not in own}
        if values:
            self.session.run.log(self.session.step, values, self.session.progress.seconds)
