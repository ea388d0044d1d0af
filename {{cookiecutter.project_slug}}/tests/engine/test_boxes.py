"""Loops in NumPy that detectors are held to; and what boxes have that no framework computes."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.models import boxes as facts


def random_boxes(rng, *shape, most=64, whole=False):
    """Whole ones meet each other's borders, and tie."""
    low = rng.uniform(0, most * 0.8, (*shape, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, most / 2, (*shape, 2))], -1)
    return np.round(boxes) if whole else boxes


def iou_of(a, b):
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union else 0.0


def match_of(overlap, real, low, high, best):
    index, positive, negative = [], [], []
    for row in overlap:
        candidates = [(row[j], -j) for j in range(len(row)) if real[j]]
        value, j = max(candidates, default=(-1.0, 0))
        index.append(-j)
        positive.append(value >= high)
        negative.append(value < low)
    for j in range(len(real)) if best else ():
        if real[j] and overlap[:, j].max() > 0:
            for i in np.flatnonzero(overlap[:, j] == overlap[:, j].max()):
                positive[i], negative[i] = True, False
    return index, positive, negative


def mixed(x):
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) % 2**32
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) % 2**32
    return x ^ (x >> 16)


def sample_of(positive, negative, priority, count, most):
    first = sorted(np.flatnonzero(positive), key=lambda i: -int(priority[i]))[:most]
    others = sorted(np.flatnonzero(negative), key=lambda i: -int(priority[i]))
    return [*first, *others][:count]


def suppress_of(boxes, real, threshold, labels):
    stays = np.zeros(len(boxes), bool)
    for i in range(len(boxes)):
        near = [j for j in range(i) if stays[j] and labels[j] == labels[i]]
        stays[i] = real[i] and all(iou_of(boxes[i], boxes[j]) <= threshold for j in near)
    return stays


def roi_align_of(feature, box, stride):
    """By torchvision's formula, one point after the other."""
    height, width, channels = feature.shape
    left, top, right, bottom = box / stride
    high, wide = max(bottom - top, 1) / 7, max(right - left, 1) / 7
    found = np.zeros((7, 7, channels))

    def value(y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return 0.0
        y, x = max(y, 0), max(x, 0)
        y0, x0 = int(y), int(x)
        y1, x1 = y0 + 1, x0 + 1
        if y0 >= height - 1:
            y0 = y1 = y = height - 1
        if x0 >= width - 1:
            x0 = x1 = x = width - 1
        ly, lx = y - y0, x - x0
        upper = feature[y0, x0] * (1 - lx) + feature[y0, x1] * lx
        return upper * (1 - ly) + (feature[y1, x0] * (1 - lx) + feature[y1, x1] * lx) * ly

    for row in range(7):
        for column in range(7):
            for i in range(2):
                for j in range(2):
                    y, x = top + (row + (i + 0.5) / 2) * high, left + (column + (j + 0.5) / 2) * wide
                    found[row, column] += value(y, x) / 4
    return found


def test_anchors_are_those_that_torchvision_computes():
    found = facts.anchors((64, 96), ((16, 24), (8, 12), (4, 6), (2, 3), (1, 2)), 32)
    assert len(found) == 3 * (16 * 24 + 8 * 12 + 4 * 6 + 2 * 3 + 2)
    # By its formula: round half of (-w, -h, w, h) to even, with the root of the ratio, at no half of a cell.
    assert found[:3].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert found[3 * 25].tolist() == [4 - 23, 4 - 11, 4 + 23, 4 + 11]  # second row and column, of 4 pixels
    assert found[-3].tolist() == [48 - 362, -181, 48 + 362, 181]  # 96 // 2 pixels to the right


def test_an_overlap_is_the_share_of_what_both_cover():
    assert iou_of([0, 0, 4, 4], [2, 0, 6, 4]) == pytest.approx(8 / 24)
    assert iou_of([0, 0, 4, 4], [4, 0, 8, 4]) == 0
