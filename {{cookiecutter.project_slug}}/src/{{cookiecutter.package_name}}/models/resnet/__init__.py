"""Residual networks (He et al. 2015), as the field trains them today: in a bottleneck the 3 x 3 convolution strides.

Attributes are named as timm names them, so weights go by path.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from ...engine.api import ModelConfig, option


@dataclass(frozen=True)
class ResNetConfig(ModelConfig):
    stem: Literal["imagenet", "small"] = option(
        "imagenet", "7 x 7 with stride 2 and pooling; small: 3 x 3 with neither, for images of some 32 pixels"
    )


@dataclass(frozen=True)
class SmallResNetConfig(ResNetConfig):
    stem: Literal["imagenet", "small"] = option(
        "small", "3 x 3; imagenet: 7 x 7 with stride 2 and pooling, for images of some 100 pixels and more"
    )


class Variant(NamedTuple):
    """Residual blocks of each of the four stages, channels of the first (each stage doubles them), and the block."""

    blocks: tuple[int, int, int, int]
    channels: int
    bottleneck: bool


VARIANTS = {
    "resnet_small": Variant((1, 1, 1, 1), 16, bottleneck=False),
    "resnet18": Variant((2, 2, 2, 2), 64, bottleneck=False),
    "resnet34": Variant((3, 4, 6, 3), 64, bottleneck=False),
    "resnet50": Variant((3, 4, 6, 3), 64, bottleneck=True),
}
