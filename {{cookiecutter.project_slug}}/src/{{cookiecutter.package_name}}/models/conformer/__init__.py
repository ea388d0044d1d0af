"""Conformer (Gulati et al. 2020): a Transformer with convolutions that gives, frame by frame, logits for CTC.

Unlike in the paper its convolution modules normalize each frame by itself (layer norm) and not over the batch: what is
padded can then change nothing, and an example is the same in every batch and on any number of devices.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from ...engine.api import InputError, PositiveInt, Probability, option
from ..speech_rnn import SpeechModelConfig


@dataclass(frozen=True)
class ConformerConfig(SpeechModelConfig):
    """The smallest; the others have other defaults of the same keys."""

    layers: PositiveInt = option(4, "blocks")
    heads: PositiveInt = option(4, "attention heads of a block")
    width: PositiveInt = option(96, "numbers that stand for a frame; a multiple of heads")
    kernel: PositiveInt = option(15, "frames that a convolution sees; odd")
    dropout: Probability = option(0.1, "of what each module adds, and within feed-forward modules", overfit=0.0)

    TENSOR = {
        **{f"{name}.expand": "columns" for name in ("first", "last")},
        **{f"{name}.reduce": "rows" for name in ("first", "last")},
    }


def variant(layers: int, heads: int, width: int, kernel: int) -> type[ConformerConfig]:
    """A ConformerConfig with these defaults, and as many channels as its width."""
    sizes = {"layers": layers, "heads": heads, "width": width, "kernel": kernel, "channels": width}
    fields = [
        (item.name, item.type, option(sizes[item.name], item.metadata["help"]))
        for item in dataclasses.fields(ConformerConfig)
        if item.name in sizes
    ]
    return dataclasses.make_dataclass("ConformerConfig", fields, bases=(ConformerConfig,), frozen=True)


VARIANTS: dict[str, type[ConformerConfig]] = {
    "conformer_tiny": ConformerConfig,
    "conformer_s": variant(layers=16, heads=4, width=144, kernel=31),
    "conformer_m": variant(layers=16, heads=4, width=256, kernel=31),
}


def check_sizes(config: ConformerConfig) -> None:
    """Raises InputError for what no block can have."""
    if config.width % config.heads or config.width % 2:
        raise InputError(f"model.width = {config.width} is no even multiple of model.heads = {config.heads}")
    if not config.kernel % 2:
        raise InputError(f"model.kernel = {config.kernel}: a convolution with a middle has an odd number")


def distances(frames: int, width: int) -> np.ndarray:
    """float64 [2 * frames - 1, width]: sines and cosines that stand for how far a key lies before a query, from
    frames - 1 down to 1 - frames (Dai et al. 2019)."""
    distance = np.arange(frames - 1, -frames, -1)[:, None]
    angles = distance / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], 1)
