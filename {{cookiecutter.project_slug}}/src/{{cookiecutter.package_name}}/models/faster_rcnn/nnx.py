"""Faster R-CNN in Flax NNX."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..boxes import LOW, POOLED, RATIOS, anchors, sizes
from ..boxes.nnx import (
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
from ..layers.nnx import BatchNorm, max_pool
from ..resnet import VARIANTS as RESNETS
from ..resnet import ResNetConfig
from ..resnet.nnx import ResNet
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


class Truth(NamedTuple):
    """What there is in images.

    Attributes:
        boxes: float [batch, boxes, 4], in pixels.
        labels: int [batch, boxes], -1 for none.
        seed: int [batch], which samples are taken; see `priorities`.
    """

    boxes: jax.Array
    labels: jax.Array
    seed: jax.Array


class Detections(NamedTuple):
    """What is found, the likeliest first.

    Attributes:
        boxes: float [batch, detections, 4], in pixels.
        scores: float [batch, detections], 0 for none.
        labels: int [batch, detections], -1 for none.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array


class FasterRCNN(nnx.Module):
    """float [batch, height, width, channel], sides multiples of 32, and [batch, 2] -> losses, and what is found.

    The second are the height and width of what is the image: what is right of it and below is no part of it, so an
    anchor whose cell begins there is left out, unlike in torchvision. Losses are of each image, float [batch], each
    divided by the number of its own samples, positive and negative, as those of torchvision are of a batch of one: so
    an image's losses are the same in any batch. Detections are the best of the `candidates` likeliest ones, which are
    those of all where some `detections` of them stay.

    Initialised as in Detectron2: normal of deviation 0.01, of boxes 0.001; in the pyramid and the hidden layers uniform
    to keep the variance; biases of 0.
    """

    def __init__(self, config: FasterRcnnConfig, classes: int, *, rngs: nnx.Rngs, **dtypes):
        options = {"rngs": rngs, **dtypes}
        self.config, self.classes = config, classes
        self.backbone = Backbone(config, **options)
        self.fpn = Pyramid(self.backbone.channels, config.width, **options)
        self.rpn = ProposalHead(config.width, **options)
        self.heads = BoxHeads(config, classes, **options)

    def __call__(
        self, images: jax.Array, size: jax.Array, truth: Truth | None = None, detect: bool = True
    ) -> tuple[dict[str, jax.Array], Detections | None]:
        """Losses by name where there is a truth, and detections where they are wanted."""
        shape = (images.shape[1], images.shape[2])
        features = self.fpn(self.backbone(images))
        objectness, deltas = self.rpn(features)
        grids = tuple((f.shape[1], f.shape[2]) for f in features)
        anchor = jnp.asarray(anchors(shape, grids, self.config.anchor), deltas.dtype)
        inside = ((anchor[:, :2] + anchor[:, 2:]) / 2 < size[:, None, ::-1]).all(-1)
        offered = decode(jax.lax.stop_gradient(deltas), anchor, PROPOSAL_WEIGHTS)
        scores = jnp.where(inside, jax.lax.stop_gradient(objectness), -math.inf)
        offers = clip(offered, size), scores, sizes(grids)
        losses, found = {}, None
        if truth is not None:
            truth = truth._replace(boxes=truth.boxes.astype(deltas.dtype))
            losses = proposal_losses(self.config, objectness, deltas, anchor, inside, truth)
            losses |= self.box_losses(features, shape, truth, *propose(*offers, self.config.proposals))
        if detect:
            found = self.detect(features, shape, size, *propose(*offers, self.config.test_proposals)[:2])
        return losses, found

    def box_losses(
        self,
        features: Sequence[jax.Array],
        shape: tuple[int, int],
        truth: Truth,
        boxes: jax.Array,
        real: jax.Array,
        index: jax.Array,
    ) -> dict[str, jax.Array]:
        """`class` and `box`, of some of the proposals and the true boxes. index: of each proposal's anchor."""
        there = truth.labels >= 0
        boxes, real = jnp.concatenate([boxes, truth.boxes], 1), jnp.concatenate([real, there], 1)
        others = np.uint32(LOW) - jnp.arange(truth.labels.shape[1], dtype=jnp.uint32)  # a true box is of no anchor
        others = jnp.broadcast_to(others, (len(index), len(others)))
        index = jnp.concatenate([index.astype(jnp.uint32), others], 1)
        owner, positive, negative = match(iou(boxes, truth.boxes), there, BOX_OVERLAP, BOX_OVERLAP, best=False)
        count = self.config.sampled_boxes
        priority = priorities(truth.seed, index, 1)
        chosen, is_real = sample(positive & real, negative & real, priority, count, int(count * POSITIVE_BOXES))
        positive, owner = (take(positive, chosen) & is_real), take(owner, chosen)
        boxes, target = take(boxes, chosen), take(truth.boxes, owner)
        labels = jnp.where(positive, take(truth.labels, owner) + 1, 0)
        logits, deltas = self.look(features, shape, boxes)
        entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], 2)[..., 0]
        deltas = jnp.take_along_axis(deltas, labels[..., None, None], 2)[:, :, 0]
        moves = box_loss(deltas, target, boxes, positive, BOX_WEIGHTS)
        samples = jnp.maximum(is_real.sum(1), 1)
        return {"class": (entropy * is_real).sum(1) / samples, "box": moves.sum(1) / samples}

    def detect(
        self,
        features: Sequence[jax.Array],
        shape: tuple[int, int],
        size: jax.Array,
        boxes: jax.Array,
        real: jax.Array,
    ) -> Detections:
        """Of each proposal and class, the boxes that are likely and not near a likelier one of the class."""
        logits, deltas = self.look(features, shape, boxes)
        scores = jax.nn.softmax(logits)[..., 1:] * real[..., None]
        scores, index = best_first(scores.reshape(len(scores), -1), self.config.candidates)
        boxes, deltas = take(boxes, index // self.classes), take(deltas[:, :, 1:].reshape(len(deltas), -1, 4), index)
        boxes, labels = clip(decode(deltas, boxes, BOX_WEIGHTS), size), index % self.classes
        real = (scores > LEAST_SCORE) & is_large(boxes, SMALLEST_DETECTION)
        stays = suppress(boxes, real, DETECTION_OVERLAP, labels)
        scores, index = best_first(jnp.where(stays, scores, 0), self.config.detections)
        boxes, labels, stays = take(boxes, index), take(labels, index), take(stays, index)
        return Detections(boxes * stays[..., None], scores, jnp.where(stays, labels, -1).astype(jnp.int32))

    def look(
        self, features: Sequence[jax.Array], shape: tuple[int, int], boxes: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Of each box, float [batch, n, 1 + classes] and [batch, n, 1 + classes, 4]: logits, the first of nothing."""
        levels = level_of(boxes, 7 * self.config.anchor)
        return self.heads(roi_align(features[:4], boxes, levels, shape[0]))


class Backbone(ResNet):
    """float [batch, height, width, channel] -> what each stage gives, as float [batch, height, width, channel].

    A residual network without its last layer.
    """

    def __init__(self, config: FasterRcnnConfig, **options):
        net = BACKBONES[config.name]
        super().__init__(ResNetConfig(net, "imagenet"), (0, 0, 3), 1, **options)
        del self.fc
        replace_norms(self, functools.partial(GroupNorm if config.norm == "group" else FrozenBatchNorm, **options))
        first = RESNETS[net].channels * (4 if RESNETS[net].bottleneck else 1)
        self.channels = tuple(first * 2**i for i in range(4))

    def __call__(self, x: jax.Array) -> list[jax.Array]:  # type: ignore[override]  # of each stage
        x = max_pool(nnx.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        found = []
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x)
            found.append(x)
        return found


def replace_norms(net: nnx.Module, kind: Callable[[int], nnx.Module]) -> None:
    """Each batch norm becomes another norm, of scale 1 and shift 0."""
    nodes: Any = list(nnx.iter_graph(net))
    for path, part in nodes:
        if isinstance(part, BatchNorm):
            *owners, name = path
            owner: Any = functools.reduce(lambda o, n: o[n] if isinstance(o, nnx.List) else getattr(o, n), owners, net)
            norm = kind(part.num_features)
            if isinstance(owner, nnx.List):
                owner[name] = norm
            else:
                setattr(owner, name, norm)


class GroupNorm(nnx.GroupNorm):
    """Group normalization (Wu and He 2018): the same in any batch."""

    def __init__(self, channels: int, **options):
        groups = channels // CHANNELS_OF_GROUP
        super().__init__(channels, groups, epsilon=EPSILON, use_fast_variance=False, **options)


class FrozenBatchNorm(nnx.Module):
    """Batch normalization by statistics, scale and shift of published weights, none of which is trained."""

    def __init__(self, channels: int, *, param_dtype: jax.typing.DTypeLike = jnp.float32, **_):
        dtype = jnp.promote_types(param_dtype, jnp.float32)
        self.weight = nnx.BatchStat(jnp.ones(channels, dtype))
        self.bias = nnx.BatchStat(jnp.zeros(channels, dtype))
        self.running_mean = nnx.BatchStat(jnp.zeros(channels, dtype))
        self.running_var = nnx.BatchStat(jnp.ones(channels, dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.weight[...] * jax.lax.rsqrt(self.running_var[...] + EPSILON)
        shift = self.bias[...] - self.running_mean[...] * scale
        return x * scale.astype(x.dtype) + shift.astype(x.dtype)


class Pyramid(nnx.Module):
    """What each stage gives -> as much of each, with what the coarser ones see, and one level more of every 2nd cell.

    float [batch, height, width, width].
    """

    def __init__(self, channels: Sequence[int], width: int, **options):
        self.inner_blocks = nnx.List([convolution(inputs, width, 1, keeping, **options) for inputs in channels])
        self.layer_blocks = nnx.List([convolution(width, width, 3, keeping, **options) for _ in channels])

    def __call__(self, stages: Sequence[jax.Array]) -> list[jax.Array]:
        inner = [block(x) for block, x in zip(self.inner_blocks, stages, strict=True)]
        for i in reversed(range(len(inner) - 1)):
            inner[i] = inner[i] + inner[i + 1].repeat(2, 1).repeat(2, 2)
        found = [block(x) for block, x in zip(self.layer_blocks, inner, strict=True)]
        return [*found, found[-1][:, ::2, ::2]]


class ProposalHead(nnx.Module):
    """Of each level -> of all anchors, how likely each holds something, and where that is.

    float [batch, anchors] and [batch, anchors, 4], at least in float32.
    """

    def __init__(self, width: int, **options):
        self.conv = convolution(width, width, 3, normal(), **options)
        self.cls_logits = convolution(width, len(RATIOS), 1, normal(), **options)
        self.bbox_pred = convolution(width, 4 * len(RATIOS), 1, normal(), **options)

    def __call__(self, features: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
        hidden = [nnx.relu(self.conv(x)) for x in features]
        objectness = [self.cls_logits(x).reshape(len(x), -1) for x in hidden]
        deltas = [self.bbox_pred(x).reshape(len(x), -1, 4) for x in hidden]
        return at_least_float32(jnp.concatenate(objectness, 1)), at_least_float32(jnp.concatenate(deltas, 1))


class BoxHeads(nnx.Module):
    """float [batch, n, bins, channel] -> what `look` gives, at least in float32."""

    def __init__(self, config: FasterRcnnConfig, classes: int, **options):
        self.fc6 = nnx.Linear(config.width * POOLED**2, config.hidden, kernel_init=keeping, **options)
        self.fc7 = nnx.Linear(config.hidden, config.hidden, kernel_init=keeping, **options)
        self.cls_score = nnx.Linear(config.hidden, 1 + classes, kernel_init=normal(), **options)
        self.bbox_pred = nnx.Linear(config.hidden, 4 * (1 + classes), kernel_init=normal(0.001), **options)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = x.swapaxes(2, 3).reshape(*x.shape[:2], -1)  # the channel first, as in published weights
        x = nnx.relu(self.fc7(nnx.relu(self.fc6(x))))
        return at_least_float32(self.cls_score(x)), at_least_float32(self.bbox_pred(x).reshape(*x.shape[:2], -1, 4))


def propose(
    boxes: jax.Array, scores: jax.Array, levels: Sequence[int], count: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
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
        found.append((near, jnp.where(stays, values, -math.inf), start + index))
        start += length
    boxes, scores, anchor = (jnp.concatenate(each, 1) for each in zip(*found, strict=True))
    scores, index = best_first(scores, count)
    real = scores > -math.inf
    return jnp.where(real[..., None], take(boxes, index), 0), real, take(anchor, index)


def proposal_losses(
    config: FasterRcnnConfig,
    objectness: jax.Array,
    deltas: jax.Array,
    anchor: jax.Array,
    inside: jax.Array,
    truth: Truth,
) -> dict[str, jax.Array]:
    """`rpn_objectness` and `rpn_box`, of some of the anchors."""
    overlap = iou(anchor[None], truth.boxes)
    overlap = jnp.where(inside[..., None], overlap, 0)
    owner, positive, negative = match(overlap, truth.labels >= 0, ANCHOR_LOW, ANCHOR_HIGH, best=True)
    priority = priorities(truth.seed, jnp.arange(len(anchor)), 0)
    count = config.sampled_anchors
    chosen, real = sample(positive & inside, negative & inside, priority, count, int(count * POSITIVE_ANCHORS))
    positive, target = take(positive, chosen) & real, take(truth.boxes, take(owner, chosen))
    logits = take(objectness, chosen)
    entropy = jax.nn.softplus(logits) - logits * positive
    moves = box_loss(take(deltas, chosen), target, anchor[chosen], positive, PROPOSAL_WEIGHTS)
    samples = jnp.maximum(real.sum(1), 1)
    return {"rpn_objectness": (entropy * real).sum(1) / samples, "rpn_box": moves.sum(1) / samples}


def box_loss(
    deltas: jax.Array,
    target: jax.Array,
    boxes: jax.Array,
    positive: jax.Array,
    weights: tuple[float, float, float, float],
) -> jax.Array:
    """Smooth L1 of what brings a box to its target, float [batch, n]; 0 of what has none."""
    some = jnp.array([0, 0, 1, 1], boxes.dtype)  # a box that can be divided by
    target, boxes = (jnp.where(positive[..., None], each, some) for each in (target, boxes))
    far = jnp.abs(deltas - encode(target, boxes, weights))
    moves = jnp.where(far < BETA, far**2 / (2 * BETA), far - BETA / 2)
    return moves.sum(-1) * positive


def level_of(boxes: jax.Array, canonical: int) -> jax.Array:
    """int [...], from 0 to 3: a box of side `canonical` is taken from the third level (Lin et al. 2017)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    side = jnp.sqrt(jnp.maximum(sides[..., 0] * sides[..., 1], 1e-9))
    return jnp.clip(jnp.floor(4 + jnp.log2(side / canonical) + 1e-6), 2, 5).astype(jnp.int32) - 2


def is_large(boxes: jax.Array, side: float) -> jax.Array:
    """float [..., 4] -> bool [...]."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= side).all(-1)


def trained(config: FasterRcnnConfig) -> Any:
    """What the loss moves: all but the `frozen_stages`."""
    if not config.frozen_stages:
        return ""
    frozen = {name for stage in STAGES[: config.frozen_stages] for name in stage}

    def moved(path: tuple, value: Any) -> bool:
        return isinstance(value, nnx.Param) and not (path[0] == "backbone" and path[1] in frozen)

    return moved


def at_least_float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def normal(deviation: float = 0.01) -> nnx.Initializer:
    return nnx.initializers.normal(deviation)


keeping = nnx.initializers.variance_scaling(1.0, "fan_in", "uniform")


def convolution(inputs: int, outputs: int, size: int, kernel_init: nnx.Initializer, **options) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (size, size), padding=size // 2, kernel_init=kernel_init, **options)
