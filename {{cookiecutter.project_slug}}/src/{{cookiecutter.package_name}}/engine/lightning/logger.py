"""The run's event writer as a Lightning Logger."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from ..config import flatten
from ..session import TAGS, Session
from ..tensorboard import Writer


class EventLogger(Logger):
    """Writes what Lightning logs as TensorBoard events: `Trainer(logger=EventLogger("runs/mine"))`.

    TensorBoard shows it beside the runs of `train.py`. It needs neither TensorFlow nor torch.utils.tensorboard.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = Path(folder)
        self.writer = Writer(self.folder)

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nested mappings or a Namespace, as a row of the HParams table."""
        values = flatten(params if hasattr(params, "items") else vars(params))
        plain = {key: v if isinstance(v, (bool, int, float, str)) else str(v) for key, v in values.items()}
        self.writer.hparams(plain, str(self.folder))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.writer.scalars(step or 0, metrics)

    def finalize(self, status: str) -> None:
        self.writer.close()  # the same logger may serve `fit` and then `test`: it is opened again then


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
