"""Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017), by the conventions of torchvision's.

A network looks for boxes that may hold something, and a second one says of each what that is, and where it ends.
Attributes are named as torchvision names them. What differs is said in the docstrings of the halves.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...engine.api import ModelConfig, NonNegativeInt, PositiveInt, option

STRIDE = 32  # of the coarsest features of the backbone: sides of images are multiples of it
CHANNELS_OF_GROUP = 16  # of group normalization
STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))  # of the backbone, by their attributes

PROPOSAL_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the box coder
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
BETA = 1 / 9  # where the loss of a box goes over from a square to a line
ANCHOR_LOW, ANCHOR_HIGH = 0.3, 0.7  # overlaps of an anchor that is negative, and of one that is positive
BOX_OVERLAP = 0.5  # of a proposal that is positive
PROPOSAL_OVERLAP, DETECTION_OVERLAP = 0.7, 0.5  # of what is suppressed
SMALLEST_PROPOSAL, SMALLEST_DETECTION = 1e-3, 1e-2  # sides, in pixels
LEAST_SCORE = 0.05  # of a detection
POSITIVE_ANCHORS, POSITIVE_BOXES = 0.5, 0.25  # most of those that are sampled

PARTS = ("rpn_objectness", "rpn_box", "class", "box")  # of the loss

# Names in files of torchvision's detectors, and here.
TORCHVISION = {
    "backbone.body.": "backbone.",
    "backbone.fpn.": "fpn.",
    "rpn.head.conv.0.0.": "rpn.conv.",
    "rpn.head.conv.": "rpn.conv.",
    "rpn.head.": "rpn.",
    "roi_heads.box_head.": "heads.",
    "roi_heads.box_predictor.": "heads.",
}


@dataclass(frozen=True)
class FasterRcnnConfig(ModelConfig):
    """As in torchvision; the small one has other defaults of the same keys."""

    width: PositiveInt = option(256, "channels of the feature pyramid")
    hidden: PositiveInt = option(1024, "width of the two layers that look at each box")
    anchor: PositiveInt = option(32, "side of the smallest anchors, in pixels; each of five levels doubles it")
    norm: Literal["group", "frozen"] = option(
        "group", "normalization of the backbone: group, to begin from nothing; frozen, batch norm of published weights"
    )
    frozen_stages: NonNegativeInt = option(
        0, "parts of the backbone that are not trained, of 5; 2, of published weights: the stem and the first stage"
    )
    proposals: PositiveInt = option(2000, "most boxes of a level, and then of an image, that are looked at in training")
    test_proposals: PositiveInt = option(1000, "the same in evaluation")
    sampled_anchors: PositiveInt = option(256, "anchors of an image that the loss of proposals takes")
    sampled_boxes: PositiveInt = option(512, "proposals of an image that the loss of boxes takes")
    candidates: PositiveInt = option(1000, "most boxes of an image, the likeliest, of which near ones are suppressed")
    detections: PositiveInt = option(100, "most boxes that are found in an image")

    def adopt(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a residual network of timm or torchvision, as the backbone; or of a detector of torchvision."""
        if any(name.startswith("backbone.body.") for name in weights):
            return {_here(name): value for name, value in weights.items()}
        if any(name.startswith("backbone.") for name in weights):  # of this model
            return dict(weights)
        return {f"backbone.{name}": value for name, value in weights.items() if not name.startswith("fc.")}


def _here(name: str) -> str:
    """What a detector of torchvision calls by a name."""
    there = next((there for there in TORCHVISION if name.startswith(there)), "")
    here = TORCHVISION.get(there, "") + name.removeprefix(there)
    if here.startswith("fpn."):  # a convolution in a sequence of one
        return here.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
    return here


SMALL = {
    "width": 64,
    "hidden": 256,
    "anchor": 16,
    "proposals": 200,
    "test_proposals": 100,
    "sampled_anchors": 128,
    "sampled_boxes": 64,
    "candidates": 300,
}


def variant(**defaults: Any) -> type[FasterRcnnConfig]:
    """A FasterRcnnConfig with these defaults."""
    fields = [
        (item.name, item.type, option(defaults[item.name], item.metadata["help"]))
        for item in dataclasses.fields(FasterRcnnConfig)
        if item.name in defaults
    ]
    return dataclasses.make_dataclass("FasterRcnnConfig", fields, bases=(FasterRcnnConfig,), frozen=True)


VARIANTS: dict[str, type[FasterRcnnConfig]] = {
    "faster_rcnn_small": variant(**SMALL),
    "faster_rcnn_resnet18": FasterRcnnConfig,
    "faster_rcnn_resnet50": FasterRcnnConfig,
}
# Of each, the residual network that it stands on.
BACKBONES = {name: name.replace("faster_rcnn_small", "resnet_small").removeprefix("faster_rcnn_") for name in VARIANTS}
