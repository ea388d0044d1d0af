"""Faster R-CNN in PyTorch."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from ..boxes import LOW, POOLED, RATIOS, anchors, sizes
from ..boxes.torch import (
    best_first,
    clip,
    decode,
    encode,
    iou,
    match,
    priorities,
    roi_align,
    sample,
    suppress,
    take,
)
from ..layers import EPSILON
from ..layers.torch import BatchNorm, max_pool
from ..resnet import VARIANTS as RESNETS
from ..resnet import ResNetConfig
from ..resnet.torch import ResNet
from . import (
    ANCHOR_HIGH,
    ANCHOR_LOW,
    BACKBONES,
    BETA,
    BOX_OVERLAP,
    BOX_WEIGHTS,
    CHANNELS_OF_GROUP,
    DETECTION_OVERLAP,
    LEAST_SCORE,
    POSITIVE_ANCHORS,
    POSITIVE_BOXES,
    PROPOSAL_OVERLAP,
    PROPOSAL_WEIGHTS,
    SMALLEST_DETECTION,
    SMALLEST_PROPOSAL,
    STAGES,
    FasterRcnnConfig,
)

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Truth(NamedTuple):
    """What there is in images.

    Attributes:
        boxes: float [batch, boxes, 4], in pixels.
        labels: int [batch, boxes], -1 for none.
        seed: int [batch], which samples are taken; see `priorities`.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    seed: torch.Tensor


class Detections(NamedTuple):
    """What is found, the likeliest first.

    Attributes:
        boxes: float [batch, detections, 4], in pixels.
        scores: float [batch, detections], 0 for none.
        labels: int [batch, detections], -1 for none.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


class FasterRCNN(nn.Module):
    """float [batch, height, width, channel], sides multiples of 32, and [batch, 2] -> losses, and what is found.

    The second are the height and width of what is the image: what is right of it and below is no part of it, so an
    anchor whose cell begins there is left out, unlike in torchvision. Losses are of each image, float [batch], each
    divided by the number of its own samples, positive and negative, as those of torchvision are of a batch of one: so
    an image's losses are the same in any batch. Detections are the best of the `candidates` likeliest ones, which are
    those of all where some `detections` of them stay.

    Initialised as in Detectron2: normal of deviation 0.01, of boxes 0.001; in the pyramid and the hidden layers uniform
    to keep the variance; biases of 0.
    """

    def __init__(self, config: FasterRcnnConfig, classes: int):
        super().__init__()
        self.config, self.classes = config, classes
        self.backbone = Backbone(config)
        self.fpn = Pyramid(self.backbone.channels, config.width)
        self.rpn = ProposalHead(config.width)
        self.heads = BoxHeads(config, classes)

    def forward(
        self, images: torch.Tensor, size: torch.Tensor, truth: Truth | None = None, detect: bool = True
    ) -> tuple[dict[str, torch.Tensor], Detections | None]:
        """Losses by name where there is a truth, and detections where they are wanted."""
        shape = (images.shape[1], images.shape[2])
        features = self.fpn(self.backbone(images))
        objectness, deltas = self.rpn(features)
        grids = tuple((f.shape[2], f.shape[3]) for f in features)
        anchor = torch.as_tensor(anchors(shape, grids, self.config.anchor), device=size.device).to(deltas.dtype)
        inside = ((anchor[:, :2] + anchor[:, 2:]) / 2 < size.flip(-1)[:, None]).all(-1)
        offered = decode(deltas.detach(), anchor, PROPOSAL_WEIGHTS)
        offers = clip(offered, size), objectness.detach().masked_fill(~inside, -math.inf), sizes(grids)
        losses, found = {}, None
        if truth is not None:
            truth = truth._replace(boxes=truth.boxes.to(deltas.dtype))
            losses = proposal_losses(self.config, objectness, deltas, anchor, inside, truth)
            losses |= self.box_losses(features, shape, truth, *propose(*offers, self.config.proposals))
        if detect:
            found = self.detect(features, shape, size, *propose(*offers, self.config.test_proposals)[:2])
        return losses, found

    def box_losses(
        self,
        features: Sequence[torch.Tensor],
        shape: tuple[int, int],
        truth: Truth,
        boxes: torch.Tensor,
        real: torch.Tensor,
        index: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """`class` and `box`, of some of the proposals and the true boxes. index: of each proposal's anchor."""
        there = truth.labels >= 0
        boxes, real = torch.cat([boxes, truth.boxes], 1), torch.cat([real, there], 1)
        others = LOW - torch.arange(truth.labels.shape[1], device=index.device)  # a true box is of no anchor
        index = torch.cat([index, others.expand(len(index), -1)], 1)
        owner, positive, negative = match(iou(boxes, truth.boxes), there, BOX_OVERLAP, BOX_OVERLAP, best=False)
        count = self.config.sampled_boxes
        priority = priorities(truth.seed, index, 1)
        chosen, is_real = sample(positive & real, negative & real, priority, count, int(count * POSITIVE_BOXES))
        positive, owner = (take(positive, chosen) & is_real), take(owner, chosen)
        boxes, target = take(boxes, chosen), take(truth.boxes, owner)
        labels = torch.where(positive, take(truth.labels.long(), owner) + 1, 0)
        logits, deltas = self.look(features, shape, boxes)
        entropy = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        deltas = deltas.gather(2, labels[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
        moves = box_loss(deltas, target, boxes, positive, BOX_WEIGHTS)
        samples = is_real.sum(1).clamp(min=1)
        return {"class": (entropy * is_real).sum(1) / samples, "box": moves.sum(1) / samples}

    def detect(
        self,
        features: Sequence[torch.Tensor],
        shape: tuple[int, int],
        size: torch.Tensor,
        boxes: torch.Tensor,
        real: torch.Tensor,
    ) -> Detections:
        """Of each proposal and class, the boxes that are likely and not near a likelier one of the class."""
        with torch.no_grad():
            logits, deltas = self.look(features, shape, boxes)
            scores = logits.softmax(-1)[..., 1:] * real[..., None]
            scores, index = best_first(scores.flatten(1), self.config.candidates)
            boxes, deltas = take(boxes, index // self.classes), take(deltas[:, :, 1:].flatten(1, 2), index)
            boxes, labels = clip(decode(deltas, boxes, BOX_WEIGHTS), size), index % self.classes
            real = (scores > LEAST_SCORE) & is_large(boxes, SMALLEST_DETECTION)
            stays = suppress(boxes, real, DETECTION_OVERLAP, labels)
            scores, index = best_first(torch.where(stays, scores, 0), self.config.detections)
            boxes, labels, stays = take(boxes, index), take(labels, index), take(stays, index)
        return Detections(boxes * stays[..., None], scores, torch.where(stays, labels, -1).int())

    def look(
        self, features: Sequence[torch.Tensor], shape: tuple[int, int], boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each box, float [batch, n, 1 + classes] and [batch, n, 1 + classes, 4]: logits, the first of nothing."""
        levels = level_of(boxes, 7 * self.config.anchor)
        return self.heads(roi_align(features[:4], boxes, levels, shape[0]))


class Backbone(ResNet):
    """float [batch, height, width, channel] -> what each stage gives, as float [batch, channel, height, width].

    A residual network without its last layer.
    """

    def __init__(self, config: FasterRcnnConfig):
        net = BACKBONES[config.name]
        super().__init__(ResNetConfig(net, "imagenet"), (0, 0, 3), 1)
        del self.fc
        replace_norms(self, GroupNorm if config.norm == "group" else FrozenBatchNorm)
        first = RESNETS[net].channels * (4 if RESNETS[net].bottleneck else 1)
        self.channels = [first * 2**i for i in range(4)]
        for stage in STAGES[: config.frozen_stages]:
            for name in stage:
                getattr(self, name).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]  # of each stage
        x = x.permute(0, 3, 1, 2)  # a view: NHWC memory is the fast `channels_last`
        x = max_pool(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        found = []
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x)
            found.append(x)
        return found


def replace_norms(net: nn.Module, kind: type[nn.Module]) -> None:
    """Each batch norm becomes another norm, of scale 1 and shift 0."""
    for name, part in net.named_children():
        if isinstance(part, BatchNorm):
            setattr(net, name, kind(part.num_features))
        else:
            replace_norms(part, kind)


class GroupNorm(nn.GroupNorm):
    """Group normalization (Wu and He 2018): the same in any batch."""

    def __init__(self, channels: int):
        super().__init__(channels // CHANNELS_OF_GROUP, channels, EPSILON)


class FrozenBatchNorm(nn.Module):
    """Batch normalization by statistics, scale and shift of published weights, none of which is trained."""

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight * torch.rsqrt(self.running_var + EPSILON)
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)


class Pyramid(nn.Module):
    """What each stage gives -> as much of each, with what the coarser ones see, and one level more of every 2nd cell.

    float [batch, width, height, width].
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.inner_blocks = nn.ModuleList([keeping(nn.Conv2d(inputs, width, 1)) for inputs in channels])
        self.layer_blocks = nn.ModuleList([keeping(nn.Conv2d(width, width, 3, padding=1)) for _ in channels])

    def forward(self, stages: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        inner = [block(x) for block, x in zip(self.inner_blocks, stages, strict=True)]
        for i in reversed(range(len(inner) - 1)):
            inner[i] = inner[i] + nn.functional.interpolate(inner[i + 1], scale_factor=2.0)
        found = [block(x) for block, x in zip(self.layer_blocks, inner, strict=True)]
        return [*found, found[-1][:, :, ::2, ::2]]


class ProposalHead(nn.Module):
    """Of each level -> of all anchors, how likely each holds something, and where that is.

    float [batch, anchors] and [batch, anchors, 4], at least in float32.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv = normal(nn.Conv2d(width, width, 3, padding=1))
        self.cls_logits = normal(nn.Conv2d(width, len(RATIOS), 1))
        self.bbox_pred = normal(nn.Conv2d(width, 4 * len(RATIOS), 1))

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = [torch.relu(self.conv(x)) for x in features]
        objectness = [self.cls_logits(x).permute(0, 2, 3, 1).flatten(1) for x in hidden]
        deltas = [self.bbox_pred(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for x in hidden]
        return at_least_float32(torch.cat(objectness, 1)), at_least_float32(torch.cat(deltas, 1))


class BoxHeads(nn.Module):
    """float [batch, n, bins, channel] -> what `look` gives, at least in float32."""

    def __init__(self, config: FasterRcnnConfig, classes: int):
        super().__init__()
        self.fc6 = keeping(nn.Linear(config.width * POOLED**2, config.hidden))
        self.fc7 = keeping(nn.Linear(config.hidden, config.hidden))
        self.cls_score = normal(nn.Linear(config.hidden, 1 + classes))
        self.bbox_pred = normal(nn.Linear(config.hidden, 4 * (1 + classes)), 0.001)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.transpose(2, 3).flatten(2)  # the channel first, as in published weights
        x = torch.relu(self.fc7(torch.relu(self.fc6(x))))
        return at_least_float32(self.cls_score(x)), at_least_float32(self.bbox_pred(x).unflatten(2, (-1, 4)))


def propose(
    boxes: torch.Tensor, scores: torch.Tensor, levels: Sequence[int], count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best of each level, without those near a better one there, and then the best of all.

    Args:
        boxes: float [batch, anchors, 4].
        scores: float [batch, anchors], -inf for what is none.
        levels: how many anchors each has.
        count: most of a level, and then of all.

    Returns:
        float [batch, count, 4], bool [batch, count]: which there are, and int [batch, count]: of which anchor each is.
    """
    start, found = 0, []
    for length in levels:
        values, index = best_first(scores[:, start : start + length], count)
        near = take(boxes[:, start : start + length], index)
        stays = suppress(near, (values > -math.inf) & is_large(near, SMALLEST_PROPOSAL), PROPOSAL_OVERLAP)
        found.append((near, torch.where(stays, values, -math.inf), start + index))
        start += length
    boxes, scores, anchor = (torch.cat(each, 1) for each in zip(*found, strict=True))
    scores, index = best_first(scores, count)
    real = scores > -math.inf
    return torch.where(real[..., None], take(boxes, index), 0), real, take(anchor, index)


def proposal_losses(
    config: FasterRcnnConfig,
    objectness: torch.Tensor,
    deltas: torch.Tensor,
    anchor: torch.Tensor,
    inside: torch.Tensor,
    truth: Truth,
) -> dict[str, torch.Tensor]:
    """`rpn_objectness` and `rpn_box`, of some of the anchors."""
    overlap = iou(anchor[None], truth.boxes)
    overlap = torch.where(inside[..., None], overlap, 0)
    owner, positive, negative = match(overlap, truth.labels >= 0, ANCHOR_LOW, ANCHOR_HIGH, best=True)
    priority = priorities(truth.seed, torch.arange(len(anchor), device=anchor.device), 0)
    count = config.sampled_anchors
    chosen, real = sample(positive & inside, negative & inside, priority, count, int(count * POSITIVE_ANCHORS))
    positive, target = take(positive, chosen) & real, take(truth.boxes, take(owner, chosen))
    logits = take(objectness, chosen)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    moves = box_loss(take(deltas, chosen), target, anchor[chosen], positive, PROPOSAL_WEIGHTS)
    samples = real.sum(1).clamp(min=1)
    return {"rpn_objectness": (entropy * real).sum(1) / samples, "rpn_box": moves.sum(1) / samples}


def box_loss(
    deltas: torch.Tensor,
    target: torch.Tensor,
    boxes: torch.Tensor,
    positive: torch.Tensor,
    weights: tuple[float, float, float, float],
) -> torch.Tensor:
    """Smooth L1 of what brings a box to its target, float [batch, n]; 0 of what has none."""
    some = torch.arange(4, device=boxes.device).ge(2).to(boxes.dtype)  # a box that can be divided by
    target, boxes = (torch.where(positive[..., None], each, some) for each in (target, boxes))
    moves = nn.functional.smooth_l1_loss(deltas, encode(target, boxes, weights), reduction="none", beta=BETA)
    return moves.sum(-1) * positive


def level_of(boxes: torch.Tensor, canonical: int) -> torch.Tensor:
    """int [...], from 0 to 3: a box of side `canonical` is taken from the third level (Lin et al. 2017)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    side = (sides[..., 0] * sides[..., 1]).clamp(min=1e-9).sqrt()
    return (4 + (side / canonical).log2() + 1e-6).floor().clamp(2, 5).long() - 2


def is_large(boxes: torch.Tensor, side: float) -> torch.Tensor:
    """float [..., 4] -> bool [...]."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= side).all(-1)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normal(layer: Layer, deviation: float = 0.01) -> Layer:
    nn.init.normal_(layer.weight, std=deviation)
    return without_bias(layer)


def keeping(layer: Layer) -> Layer:
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    return without_bias(layer)


def without_bias(layer: Layer) -> Layer:
    """At first."""
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
