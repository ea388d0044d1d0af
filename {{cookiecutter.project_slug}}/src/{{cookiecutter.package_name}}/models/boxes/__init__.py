"""What detectors compute with boxes, twice as they are: the conventions of torchvision's Faster R-CNN, written out.

A box is left, top, right, bottom in pixels of the image; its width is right - left, without + 1. Corners of pixels are
whole numbers, so the first pixel is the box 0, 0, 1, 1.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

LARGEST = math.log(1000 / 16)  # of what a box grows by in one step, as a logarithm
RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors of a cell
POOLED, SAMPLED = 7, 2  # RoIAlign: bins in each direction, and points of a bin in each direction
# Of murmur3's last step (Appleby 2011), which gives each 32-bit number another one.
MIX_1, MIX_2, LOW = 0x85EBCA6B, 0xC2B2AE35, 0xFFFFFFFF


@functools.cache
def anchors(shape: tuple[int, int], grids: tuple[tuple[int, int], ...], size: int) -> np.ndarray:
    """int32 [anchors, 4]: for each level, row, column and ratio a box around the beginning of the cell.

    Args:
        shape: height and width of the image.
        grids: rows and columns of each level, from fine to coarse.
        size: the root of the area of an anchor of the first level; each level doubles it.
    """
    found = []
    for level, (rows, columns) in enumerate(grids):
        heights = size * 2**level * np.sqrt(RATIOS, dtype=np.float64)
        widths = (size * 2**level) ** 2 / heights
        cell = np.round(np.stack([-widths, -heights, widths, heights], 1) / 2)
        top, left = np.arange(rows) * (shape[0] // rows), np.arange(columns) * (shape[1] // columns)
        corner = np.stack(np.broadcast_arrays(left, top[:, None], left, top[:, None]), -1)
        found.append((corner[:, :, None] + cell).reshape(-1, 4))
    return np.concatenate(found).astype(np.int32)


def sizes(grids: Sequence[tuple[int, int]]) -> list[int]:
    """How many anchors each level has."""
    return [len(RATIOS) * rows * columns for rows, columns in grids]
