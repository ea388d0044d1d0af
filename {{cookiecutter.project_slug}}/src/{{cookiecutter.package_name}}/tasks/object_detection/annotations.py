"""What is known of pictures before they are opened: where each lies, how large it is, and which boxes are in it."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...engine.api import Bad, Batch, InputError

OUTSIDE = 1.0  # pixels that a box may reach over its image, as many do that were rounded
LARGEST = 2**31 - 1  # pixels of a side
SKIP = "correct it, or leave it out with --data.skip_bad true"

Numbers = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Box(NamedTuple):
    """label: the number of its class. crowd: whether it holds many that nobody told apart, or need not be found."""

    corners: Numbers
    label: int
    crowd: bool


class Picture(NamedTuple):
    """size: height and width in pixels, as they are said to be."""

    file: str
    size: tuple[int, int]
    boxes: list[Box]


def checked(corners: Sequence[float], size: tuple[int, int], where: str) -> Numbers:
    """A box without what it has outside of its image.

    Raises InputError, beginning with `where` it stands, for one that is none, lies outside or has no area.
    """
    left, top, right, bottom = map(float, corners)
    said = f"{where}: the box {', '.join(f'{value:g}' for value in (left, top, right, bottom))}"
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise InputError(f"{said} has a number that is none: {SKIP}")
    height, width = size
    if min(left, top) < -OUTSIDE or right > width + OUTSIDE or bottom > height + OUTSIDE:
        raise InputError(f"{said} lies outside of its image of {width} x {height} pixels: {SKIP}")
    found = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if not (found[2] > found[0] and found[3] > found[1]):
        raise InputError(f"{said} has no area: {SKIP}")
    return found


def counted(splits: Iterable[Sequence[Picture]]) -> int:
    """The most boxes of a picture, at least 1."""
    return max((len(picture.boxes) for pictures in splits for picture in pictures), default=1) or 1


def arrays(pictures: Sequence[Picture], most: int) -> Batch:
    """`original`: int32 [n, 2], height and width; `boxes`: float32 [n, most, 4]; `labels`: int32 [n, most], -1 for
    none; `crowd`: bool [n, most]."""
    boxes = np.zeros((len(pictures), most, 4), np.float32)
    labels, crowd = np.full(boxes.shape[:2], -1, np.int32), np.zeros(boxes.shape[:2], bool)
    for i, picture in enumerate(pictures):
        for j, box in enumerate(picture.boxes):
            boxes[i, j], labels[i, j], crowd[i, j] = box
    sizes = np.array([picture.size for picture in pictures], np.int32).reshape(-1, 2)
    return {"original": sizes, "boxes": boxes, "labels": labels, "crowd": crowd}


def say(bad: Bad, pictures: Sequence[Picture]) -> None:
    """How many annotations are left out, if any are."""
    bad.say(sum(len(picture.boxes) for picture in pictures))
