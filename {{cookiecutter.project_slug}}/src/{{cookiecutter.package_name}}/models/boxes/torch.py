"""What detectors compute with boxes in PyTorch: shapes do not depend on values."""

from collections.abc import Sequence

import torch

from . import LARGEST, LOW, MIX_1, MIX_2, POOLED, SAMPLED

Weights = tuple[float, float, float, float]


def area(boxes: torch.Tensor) -> torch.Tensor:
    """float [..., 4] -> float [...]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """float [..., n, 4], float [..., m, 4] -> float [..., n, m]: intersection over union, 0 of what has no area."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    sides = (high - low).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = area(a) + area(b) - shared
    return shared / torch.where(union > 0, union, 1)


def encode(boxes: torch.Tensor, anchors: torch.Tensor, weights: Weights) -> torch.Tensor:
    """float [..., 4], twice -> float [..., 4]: what brings an anchor to its box (Girshick et al. 2014).

    The move of the centre in sides of the anchor, x and y, and the logarithm of the growth, each times its weight.
    Anchors and boxes have sides above 0.
    """
    (x, y, w, h), (ax, ay, aw, ah) = centred(boxes), centred(anchors)
    found = [(x - ax) / aw, (y - ay) / ah, (w / aw).log(), (h / ah).log()]
    return torch.stack([value * weight for value, weight in zip(found, weights, strict=True)], -1)


def decode(deltas: torch.Tensor, anchors: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The inverse of `encode`; in one step a side grows to 1000 / 16 of what it was, at most."""
    ax, ay, aw, ah = centred(anchors)
    dx, dy, dw, dh = (value / weight for value, weight in zip(deltas.unbind(-1), weights, strict=True))
    x, y = ax + dx * aw, ay + dy * ah
    w, h = aw * dw.clamp(max=LARGEST).exp() / 2, ah * dh.clamp(max=LARGEST).exp() / 2
    return torch.stack([x - w, y - h, x + w, y + h], -1)


def centred(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """float [..., 4] -> the centre's x and y, width and height."""
    left, top, right, bottom = boxes.unbind(-1)
    w, h = right - left, bottom - top
    return left + w / 2, top + h / 2, w, h


def clip(boxes: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """float [batch, ..., 4], [batch, 2]: height and width of each image -> the part of each box that lies in it."""
    most = size.flip(-1).to(boxes.dtype).tile(2)
    most = most.reshape(len(most), *[1] * (boxes.ndim - 2), 4)
    return torch.minimum(boxes.clamp(min=0), most)


def match(
    overlap: torch.Tensor, real: torch.Tensor, low: float, high: float, best: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """float [batch, n, boxes], bool [batch, boxes] -> of each of n, int and bool [batch, n].

    The box that it overlaps most (of equals the first), whether it is positive, for an overlap of at least `high`, and
    whether it is negative, for one below `low`. With `best`, what overlaps a box as much as nothing else does is
    positive, too, all of equals, though it still belongs to the box that it overlaps most itself.
    """
    overlap = torch.where(real[:, None], overlap, -1.0)
    most, index = overlap.max(2)
    positive, negative = most >= high, most < low
    if best:
        largest = overlap.amax(1, keepdim=True)
        chosen = ((overlap == largest) & (largest > 0)).any(2)
        positive, negative = positive | chosen, negative & ~chosen
    return index, positive, negative


def priorities(seed: torch.Tensor, index: torch.Tensor, stream: int) -> torch.Tensor:
    """Random whole numbers from 1 to 2^32 - 1, as int64 [batch, n], which depend on nothing but the arguments.

    Args:
        seed: int [batch], from 0 to 2^31 - 1.
        index: int [batch, n] or [n], of which each gets another number.
        stream: 0 or 1, for different numbers of the same seed.
    """
    return mixed(mixed(index.long()) ^ (2 * seed.long() + stream)[:, None]).clamp(min=1)


def mixed(x: torch.Tensor) -> torch.Tensor:
    """int64 from 0 to 2^32 - 1 -> the same; no two of them get the same number."""
    x = ((x ^ (x >> 16)) * MIX_1) & LOW
    x = ((x ^ (x >> 13)) * MIX_2) & LOW
    return x ^ (x >> 16)


def sample(
    positive: torch.Tensor, negative: torch.Tensor, priority: torch.Tensor, count: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Those of the highest priority: `most` positives at most, and negatives up to `count` in all.

    Of bool and int [batch, n]: which, positives first, int [batch, count], and where there is one, bool [batch, count].
    """
    count, most = min(count, positive.shape[1]), min(most, positive.shape[1])
    first, is_first = highest(positive, priority, most)
    others, is_other = highest(negative, priority, count)
    place, found = torch.arange(count, device=first.device)[None], is_first.sum(1, keepdim=True)
    behind = (place - found).clamp(min=0)
    ahead = place.clamp(max=most - 1).expand(len(first), -1)
    index = torch.where(place < found, take(first, ahead), take(others, behind))
    return index, (place < found) | take(is_other, behind)


def take(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """[batch, n, ...], int [batch, k] -> [batch, k, ...]."""
    index = index.reshape(*index.shape, *[1] * (values.ndim - 2))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def highest(candidate: torch.Tensor, priority: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The candidates of the highest priority, int [batch, count], and where there is one, bool [batch, count]."""
    values, index = torch.where(candidate, priority, 0).topk(count)
    return index, values > 0


def best_first(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of float [..., n], and where they stand, int [..., count]: of equals the first."""
    values, index = scores.sort(dim=-1, descending=True, stable=True)
    return values[..., :count], index[..., :count]


def suppress(
    boxes: torch.Tensor, real: torch.Tensor, threshold: float, labels: torch.Tensor | None = None
) -> torch.Tensor:
    """Non-maximum suppression: which boxes stay, bool [..., n].

    One after the other, each real box stays unless it overlaps one that has stayed by more than the threshold. It is
    what is found where nothing changes any more: after n rounds at most the first n are right, and mostly long before.

    Args:
        boxes: float [..., n, 4], the best first.
        real: bool [..., n], which there are.
        labels: int [..., n]; boxes of different ones leave each other alone.
    """
    near = (iou(boxes, boxes) > threshold).tril(-1)  # of a box, in its row, those before it
    if labels is not None:
        near &= labels[..., :, None] == labels[..., None, :]
    before, stays = real, real & ~(near & real[..., None, :]).any(-1)
    # A tensor without values, as of a model that is only measured, has nothing to wait for.
    while not (stays.is_meta or torch.equal(before, stays)):
        before, stays = stays, real & ~(near & stays[..., None, :]).any(-1)
    return stays


def roi_align(features: Sequence[torch.Tensor], boxes: torch.Tensor, levels: torch.Tensor, size: int) -> torch.Tensor:
    """Features inside of boxes (He et al. 2017): float [batch, n, 7 * 7, channel], at least in float32.

    A bin is the mean of 2 x 2 points, each interpolated from the four cells around it. The first cell's centre is at 0
    (`aligned=False`), sides have at least one cell, and a point more than one cell outside is 0.

    Args:
        features: of each level float [batch, channel, height, width].
        boxes: float [batch, n, 4], in pixels.
        levels: int [batch, n], the level that each box is taken from.
        size: height of the image in pixels, which tells how many of them a cell has.
    """
    heights, widths = ([f.shape[axis] for f in features] for axis in (2, 3))
    cells = torch.cat([f.flatten(2) for f in features], 2).transpose(1, 2)
    cells = cells.to(torch.promote_types(cells.dtype, torch.float32))
    starts = [sum(h * w for h, w in zip(heights[:i], widths, strict=False)) for i in range(len(features))]
    height, width, start, stride = (
        torch.tensor(values, device=levels.device)[levels]
        for values in (heights, widths, starts, [size // h for h in heights])
    )
    scaled = boxes / stride[..., None]
    y, y_weight = along(scaled[..., 1], scaled[..., 3], height)  # [batch, n, bins, 4]
    x, x_weight = along(scaled[..., 0], scaled[..., 2], width)
    index = start[..., None, None, None, None] + y[..., :, None, :, None] * width[..., None, None, None, None]
    index = index + x[..., None, :, None, :]  # [batch, n, row, column, 4, 4]
    weight = y_weight[..., :, None, :, None] * x_weight[..., None, :, None, :]
    batch, total, channels = cells.shape
    index = index + total * torch.arange(batch, device=index.device).reshape(-1, 1, 1, 1, 1, 1)
    pooled = torch.nn.functional.embedding_bag(
        index.reshape(-1, 16),
        cells.reshape(-1, channels),
        per_sample_weights=weight.to(cells.dtype).reshape(-1, 16),
        mode="sum",
    )
    return pooled.reshape(batch, -1, POOLED**2, channels)


def along(low: torch.Tensor, high: torch.Tensor, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float [...], twice, int [...]: from where to where, and how many cells there are -> cells and their weights.

    int and float [..., bin, 4]: of each bin two points, and of each of these the cells before and after it.
    """
    points = (torch.arange(POOLED * SAMPLED, device=low.device) + 0.5) / SAMPLED  # in bins
    at = low[..., None] + points * ((high - low).clamp(min=1) / POOLED)[..., None]
    last = (length - 1)[..., None]
    inside = (at >= -1) & (at <= last + 1)
    at = torch.minimum(at.clamp(min=0), last.to(at.dtype))
    before = at.floor()
    share = at - before
    index = torch.stack([before.long(), torch.minimum(before.long() + 1, last)], -1)
    weight = torch.stack([1 - share, share], -1) * inside[..., None] / SAMPLED
    return index.unflatten(-2, (POOLED, SAMPLED)).flatten(-2), weight.unflatten(-2, (POOLED, SAMPLED)).flatten(-2)
