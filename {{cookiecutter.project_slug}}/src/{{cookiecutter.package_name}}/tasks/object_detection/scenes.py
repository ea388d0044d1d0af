"""Scenes of several handwritten digits, drawn when they are asked for: the same ones always."""

import numpy as np
from PIL import Image

from ...engine.api import Arrays
from .annotations import Box, Picture, arrays, counted

CLASSES = [str(digit) for digit in range(10)]
SMALLEST, LARGEST = 14, 34  # sides of a digit's picture, in pixels
FEWEST, MOST = 2, 6  # digits of a scene
NEAR = 2  # pixels, at least, between two boxes
TRIES = 30  # places that are tried for a digit


def digit_scenes(scenes: tuple[int, int, int], side: int) -> list[Arrays]:
    """So many scenes to train on, to validate and to test on, each with digits of its own.

    scikit-learn's digits (UCI, Alpaydin and Kaynak 1998), in a colour and a size of their own, on noise.
    """
    from sklearn.datasets import load_digits  # takes a second, so only when asked for

    digits = load_digits()
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(digits.target))
    parts = np.split(order, [len(order) * 6 // 10, len(order) * 8 // 10])
    found = []
    for i, (part, count) in enumerate(zip(parts, scenes, strict=True)):
        rng = np.random.Generator(np.random.PCG64([1, i]))
        found.append([_scene(rng, digits.images[part] / 16, digits.target[part], side) for _ in range(count)])
    most = counted([[picture for _, picture in drawn] for drawn in found])
    return [
        Arrays(image=np.stack([image for image, _ in drawn]), size=known["original"], **known)
        for drawn in found
        for known in [arrays([picture for _, picture in drawn], most)]
    ]


def _scene(rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray, side: int) -> tuple[np.ndarray, Picture]:
    """uint8 [side, side, 3], and where which digit stands."""
    canvas = rng.integers(0, 64, (side, side, 3)).astype(np.float32)
    boxes: list[Box] = []
    for _ in range(rng.integers(FEWEST, MOST + 1)):
        chosen, size, colour = rng.integers(len(digits)), int(rng.integers(SMALLEST, LARGEST + 1)), rng.random(3)
        ink = np.asarray(Image.fromarray(digits[chosen].astype(np.float32)).resize((size, size)))
        ink = ink.clip(0, 1)
        rows, columns = (np.flatnonzero((ink > 0.25).any(axis)) for axis in (1, 0))
        low = np.array([columns[0], rows[0]])
        high = np.array([columns[-1], rows[-1]]) + 1
        for _ in range(TRIES):
            corner = rng.integers(0, side - size + 1, 2)
            box = np.concatenate([corner + low, corner + high]).astype(float)
            if all(_apart(box, np.array(other.corners)) for other in boxes):
                boxes.append(Box(tuple(box.tolist()), int(labels[chosen]), False))
                part = canvas[corner[1] : corner[1] + size, corner[0] : corner[0] + size]
                part += ink[..., None] * (128 + 127 * colour - part)
                break
    return canvas.round().astype(np.uint8), Picture("", (side, side), boxes)


def _apart(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[:2] >= b[2:] + NEAR).any() or (b[:2] >= a[2:] + NEAR).any())
