"""What detectors compute with boxes in JAX: shapes do not depend on values."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from . import LARGEST, MIX_1, MIX_2, POOLED, SAMPLED

Weights = tuple[float, float, float, float]


def area(boxes: jax.Array) -> jax.Array:
    """float [..., 4] -> float [...]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """float [..., n, 4], float [..., m, 4] -> float [..., n, m]: intersection over union, 0 of what has no area."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    sides = jnp.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = area(a) + area(b) - shared
    return shared / jnp.where(union > 0, union, 1)


def encode(boxes: jax.Array, anchors: jax.Array, weights: Weights) -> jax.Array:
    """float [..., 4], twice -> float [..., 4]: what brings an anchor to its box (Girshick et al. 2014).

    The move of the centre in sides of the anchor, x and y, and the logarithm of the growth, each times its weight.
    Anchors and boxes have sides above 0.
    """
    (x, y, w, h), (ax, ay, aw, ah) = centred(boxes), centred(anchors)
    found = [(x - ax) / aw, (y - ay) / ah, jnp.log(w / aw), jnp.log(h / ah)]
    return jnp.stack([value * weight for value, weight in zip(found, weights, strict=True)], -1)


def decode(deltas: jax.Array, anchors: jax.Array, weights: Weights) -> jax.Array:
    """The inverse of `encode`; in one step a side grows to 1000 / 16 of what it was, at most."""
    ax, ay, aw, ah = centred(anchors)
    dx, dy, dw, dh = (value / weight for value, weight in zip(jnp.moveaxis(deltas, -1, 0), weights, strict=True))
    x, y = ax + dx * aw, ay + dy * ah
    w, h = aw * jnp.exp(jnp.minimum(dw, LARGEST)) / 2, ah * jnp.exp(jnp.minimum(dh, LARGEST)) / 2
    return jnp.stack([x - w, y - h, x + w, y + h], -1)


def centred(boxes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """float [..., 4] -> the centre's x and y, width and height."""
    left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
    w, h = right - left, bottom - top
    return left + w / 2, top + h / 2, w, h


def clip(boxes: jax.Array, size: jax.Array) -> jax.Array:
    """float [batch, ..., 4], [batch, 2]: height and width of each image -> the part of each box that lies in it."""
    most = jnp.tile(size[:, ::-1].astype(boxes.dtype), 2)
    most = most.reshape(len(most), *[1] * (boxes.ndim - 2), 4)
    return jnp.minimum(jnp.maximum(boxes, 0), most)


def match(
    overlap: jax.Array, real: jax.Array, low: float, high: float, best: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """float [batch, n, boxes], bool [batch, boxes] -> of each of n, int and bool [batch, n].

    The box that it overlaps most (of equals the first), whether it is positive, for an overlap of at least `high`, and
    whether it is negative, for one below `low`. With `best`, what overlaps a box as much as nothing else does is
    positive, too, all of equals, though it still belongs to the box that it overlaps most itself.
    """
    overlap = jnp.where(real[:, None], overlap, -1.0)
    most, index = overlap.max(2), overlap.argmax(2)
    positive, negative = most >= high, most < low
    if best:
        largest = overlap.max(1, keepdims=True)
        chosen = ((overlap == largest) & (largest > 0)).any(2)
        positive, negative = positive | chosen, negative & ~chosen
    return index, positive, negative


def priorities(seed: jax.Array, index: jax.Array, stream: int) -> jax.Array:
    """Random whole numbers from 1 to 2^32 - 1, as uint32 [batch, n], which depend on nothing but the arguments.

    Args:
        seed: int [batch], from 0 to 2^31 - 1.
        index: int [batch, n] or [n], of which each gets another number.
        stream: 0 or 1, for different numbers of the same seed.
    """
    mine = 2 * seed.astype(jnp.uint32) + np.uint32(stream)
    return jnp.maximum(mixed(mixed(index.astype(jnp.uint32)) ^ mine[:, None]), 1)


def mixed(x: jax.Array) -> jax.Array:
    """uint32 -> uint32; no two of them get the same number."""
    x = (x ^ (x >> 16)) * np.uint32(MIX_1)
    x = (x ^ (x >> 13)) * np.uint32(MIX_2)
    return x ^ (x >> 16)


def sample(
    positive: jax.Array, negative: jax.Array, priority: jax.Array, count: int, most: int
) -> tuple[jax.Array, jax.Array]:
    """Those of the highest priority: `most` positives at most, and negatives up to `count` in all.

    Of bool and int [batch, n]: which, positives first, int [batch, count], and where there is one, bool [batch, count].
    """
    count, most = min(count, positive.shape[1]), min(most, positive.shape[1])
    first, is_first = highest(positive, priority, most)
    others, is_other = highest(negative, priority, count)
    place, found = jnp.arange(count)[None], is_first.sum(1, keepdims=True)
    behind = jnp.maximum(place - found, 0)
    ahead = jnp.minimum(place, most - 1)
    index = jnp.where(place < found, take(first, ahead), take(others, behind))
    return index, (place < found) | take(is_other, behind)


def take(values: jax.Array, index: jax.Array) -> jax.Array:
    """[batch, n, ...], int [batch, k] or [1, k] -> [batch, k, ...]."""
    index = index.reshape(*index.shape, *[1] * (values.ndim - 2))
    return jnp.take_along_axis(values, index, 1)


def highest(candidate: jax.Array, priority: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The candidates of the highest priority, int [batch, count], and where there is one, bool [batch, count]."""
    values, index = jax.lax.top_k(jnp.where(candidate, priority, 0), count)
    return index, values > 0


def best_first(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The largest of float [..., n], and where they stand, int [..., count]: of equals the first."""
    values, index = jax.lax.top_k(scores, min(count, scores.shape[-1]))
    return values, index


def suppress(boxes: jax.Array, real: jax.Array, threshold: float, labels: jax.Array | None = None) -> jax.Array:
    """Non-maximum suppression: which boxes stay, bool [..., n].

    One after the other, each real box stays unless it overlaps one that has stayed by more than the threshold. It is
    what is found where nothing changes any more: after n rounds at most the first n are right, and mostly long before.

    Args:
        boxes: float [..., n, 4], the best first.
        real: bool [..., n], which there are.
        labels: int [..., n]; boxes of different ones leave each other alone.
    """
    near = jnp.tril(iou(boxes, boxes) > threshold, -1)  # of a box, in its row, those before it
    if labels is not None:
        near &= labels[..., :, None] == labels[..., None, :]

    def again(both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, stays = both
        return stays, real & ~(near & stays[..., None, :]).any(-1)

    _, stays = jax.lax.while_loop(lambda both: (both[0] != both[1]).any(), again, again((real, real)))
    return stays


def roi_align(features: Sequence[jax.Array], boxes: jax.Array, levels: jax.Array, size: int) -> jax.Array:
    """Features inside of boxes (He et al. 2017): float [batch, n, 7 * 7, channel], at least in float32.

    A bin is the mean of 2 x 2 points, each interpolated from the four cells around it. The first cell's centre is at 0
    (`aligned=False`), sides have at least one cell, and a point more than one cell outside is 0. As products of
    matrices, which every device is made for: what a bin takes of rows, and what it takes of columns. The gradient of a
    gather would be a scatter, which on a CPU took three times as long.

    Args:
        features: of each level float [batch, height, width, channel].
        boxes: float [batch, n, 4], in pixels.
        levels: int [batch, n], the level that each box is taken from.
        size: height of the image in pixels, which tells how many of them a cell has.
    """
    pooled: jax.Array | float = 0.0
    for level, cells in enumerate(features):
        cells = cells.astype(jnp.promote_types(cells.dtype, jnp.float32))
        _, height, width, channels = cells.shape
        scaled = boxes / (size // height)
        rows = along(scaled[..., 1], scaled[..., 3], height) * (levels == level)[..., None, None]
        columns = along(scaled[..., 0], scaled[..., 2], width)
        pooled += jnp.einsum("bnyh,bnxw,bhwc->bnyxc", rows.astype(cells.dtype), columns.astype(cells.dtype), cells)
    return jnp.reshape(pooled, (*boxes.shape[:2], POOLED**2, channels))


def along(low: jax.Array, high: jax.Array, length: int) -> jax.Array:
    """float [...], twice: from where to where, and how many cells there are -> float [..., bin, cell].

    What each bin takes of each cell: it has two points, and of each point what the cells before and after it are near.
    """
    points = ((np.arange(POOLED * SAMPLED) + 0.5) / SAMPLED).astype(low.dtype)  # in bins
    at = low[..., None] + points * (jnp.maximum(high - low, 1) / POOLED)[..., None]
    inside = (at >= -1) & (at <= length)
    at = jnp.clip(at, 0, length - 1)
    near = jnp.maximum(1 - jnp.abs(at[..., None] - jnp.arange(length)), 0) * inside[..., None]
    return near.reshape(*low.shape, POOLED, SAMPLED, length).mean(-2)
