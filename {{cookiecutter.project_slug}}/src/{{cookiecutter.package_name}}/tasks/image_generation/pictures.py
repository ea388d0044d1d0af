"""Generated images as pictures: bytes, grids, files."""

from pathlib import Path

import numpy as np
from PIL import Image

from ...engine.api import InputError

SIDE = 32  # pixels of an image in a grid, at least


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float in [-1, 1] -> uint8."""
    return np.nan_to_num(np.round((images.astype(np.float32) + 1) * 127.5)).clip(0, 255).astype(np.uint8)


def grid(images: np.ndarray) -> np.ndarray:
    """uint8 [n, height, width, channel] -> uint8 [height, width, 3]: rows of about the square root of n, two pixels
    apart; small images are enlarged by a whole factor."""
    n, height, width, _ = images.shape
    scale = -(-SIDE // max(height, width))
    columns = int(np.ceil(np.sqrt(n)))
    height, width = scale * height + 2, scale * width + 2
    picture = np.full((-(-n // columns) * height - 2, columns * width - 2, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        picture[y : y + height - 2, x : x + width - 2] = image.repeat(scale, 0).repeat(scale, 1)
    return picture


def save(images: np.ndarray, names: list[str], path: str) -> list[str]:
    """Writes uint8 [n, height, width, channel] as one grid, where the path ends with .png, else each by its name into a
    new folder. Returns the file of each. Raises InputError where they cannot be written."""
    one = path.lower().endswith(".png")
    files = [Path(path) if one else Path(path, f"{name}.png") for name in names]
    try:
        if one:
            with open(path, "xb") as file:
                Image.fromarray(grid(images)).save(file, format="PNG")
        else:
            Path(path).mkdir(parents=True)
            for target, image in zip(files, images, strict=True):
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(target)
    except OSError as error:
        raise InputError(f"--images {path}: {error.strerror or error}") from error
    return list(map(str, files))
