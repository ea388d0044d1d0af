"""A model's graph, as TensorBoard shows it."""

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from .module import Batch


class Forward(nn.Module):
    """A network, and what is computed with it: of a whole LightningModule a trace reads every attribute."""

    def __init__(self, net: nn.Module, forward: Callable[[Batch], Batch]):
        super().__init__()
        self.net = net
        self._forward = forward

    def forward(self, batch: Batch) -> Batch:
        return self._forward(batch)


def write_graph(folder: Path, net: nn.Module, forward: Callable[[Batch], Batch], batch: Batch) -> str:
    """Beside the events of a run. Returns why there is none, "" where there is one."""
    with contextlib.closing(SummaryWriter(str(folder))) as writer, warnings.catch_warnings(), torch.no_grad():
        # A trace holds for inputs like these only, and torch would have others run models by other means: this one is
        # looked at, and TensorBoard's writer has no other.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where it prints that it fails
                writer.add_graph(Forward(net, forward), (batch,), use_strict_trace=False)  # outputs are a dict
        except Exception as error:  # of any kind, from any layer of one's own
            return f"{type(error).__name__}: {error}"
    return ""
