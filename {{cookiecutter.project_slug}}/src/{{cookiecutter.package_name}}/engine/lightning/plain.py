"""Checkpoints hold plain data, and so can be read with `weights_only=True`, which executes nothing."""

from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..errors import RunError


class PlainCheckpointIO(TorchCheckpointIO):
    """Lightning's own, of what callbacks, schedules, optimizers and modules have put into a checkpoint made plain."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        weights = {"state_dict": checkpoint["state_dict"]}
        rest = {key: plain(value, key) for key, value in checkpoint.items() if key not in weights}
        super().save_checkpoint(weights | rest, path, storage_options)


def plain(value: Any, where: str) -> Any:
    """A state as plain data, which is all that a checkpoint is read with: NumPy's numbers and arrays become torch's.

    What is part of the code, as a function, is left out. Raises RunError for anything else.
    """
    if isinstance(value, dict):
        found = {plain(key, where): (item, f"{where}[{key!r}]") for key, item in value.items()}
        return {key: plain(*item) for key, item in found.items() if not isinstance(item[0], FunctionType | MethodType)}
    if isinstance(value, list | tuple):
        return type(value)([plain(item, f"{where}[{i}]") for i, item in enumerate(value)])
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(value)
    if type(value) in (type(None), bool, int, float, complex, str, bytes, torch.Tensor, torch.nn.Parameter):
        return value
    raise RunError(
        f"the checkpoint's {where} is of {type(value).__name__}: give numbers, texts, lists, dicts and tensors in a "
        "state_dict, as a checkpoint is read as plain data"
    )
