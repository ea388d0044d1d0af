"""Convolutions and a bidirectional recurrent network that give, frame by frame, logits for CTC, as in Deep Speech 2
(Amodei et al. 2015); before each layer there is a norm of each frame by itself."""

from dataclasses import dataclass
from typing import Literal, TypeVar

from ...engine.api import ModelConfig, PositiveInt, Probability, option

EPSILON = 1e-5
Frames = TypeVar("Frames")  # an int, or an array of them, of any framework


@dataclass(frozen=True)
class SpeechModelConfig(ModelConfig):
    """What a network of sound has, whose frames `Subsampling` makes fewer."""

    subsampling: Literal[2, 4] = option(4, "frames of the features that become one")
    channels: PositiveInt = option(32, "of the two convolutions that do so")


@dataclass(frozen=True)
class SpeechRnnConfig(SpeechModelConfig):
    cell: Literal["lstm", "gru"] = option("lstm", "the recurrent cell")
    layers: PositiveInt = option(2, "recurrent layers, each in both directions")
    width: PositiveInt = option(128, "numbers of a cell's state")
    dropout: Probability = option(0.1, "of what each recurrent layer gives", overfit=0.0)


def strides(subsampling: int) -> tuple[int, int]:
    """In time, of the two convolutions."""
    return 2, subsampling // 2


def subsampled(frames: Frames, subsampling: int) -> Frames:
    """How many frames are left of so many; an incomplete one counts."""
    for stride in strides(subsampling):
        frames = -(-frames // stride)  # type: ignore[operator, assignment]
    return frames
