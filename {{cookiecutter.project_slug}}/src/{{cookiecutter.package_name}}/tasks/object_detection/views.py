"""How a model sees a picture: as large as fits, in the corner of a canvas, with its boxes where they then are."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ...engine.api import Batch, InputError
from ...engine.data.images import Decoded, Files, decode
from ...models.faster_rcnn import STRIDE

FINE = 256  # boxes lie on such parts of a pixel, so that in float64 their areas are exact, and ties of them are ties
LEAST = 1.0  # sides of a box, in pixels, that a random part of a picture has to leave for it to be trained on


def shape_of(fit: Sequence[int]) -> tuple[int, int, int]:
    """The canvas for pictures that fit into [height, width]: what the strides of the model divide."""
    height, width = (-(-side // STRIDE) * STRIDE for side in fit)
    return height, width, 3


def place(image: Image.Image, fit: Sequence[int], growth: float = 1.0, at: tuple[float, float] = (0.5, 0.5)) -> Batch:
    """`image`: uint8 [height, width, 3], black outside of the picture, and its `size` there: int32 [2].

    Beside them `scale` and `start`: float [2], width first: a point p of the picture is at p * scale - start.

    Args:
        fit: height and width that the whole picture is made as large as.
        growth: by how much more, or less; of what is then larger only a part is shown.
        at: where that lies in the room that is left, x and y.
    """
    canvas = np.zeros(shape_of(fit), np.uint8)
    factor = min(fit[0] / image.height, fit[1] / image.width) * growth
    whole = np.array([max(1, round(image.width * factor)), max(1, round(image.height * factor))])
    width, height = (int(side) for side in np.minimum(whole, fit[::-1]))
    start = np.floor((whole - [width, height]) * np.array(at))
    scale = whole / [image.width, image.height]
    low, high = start / scale, (start + [width, height]) / scale
    part = (low[0], low[1], min(high[0], image.width), min(high[1], image.height))
    if not image.size == (width, height) == tuple(whole):
        image = image.resize((width, height), Image.Resampling.BILINEAR, part, reducing_gap=2.0)
    canvas[:height, :width] = np.asarray(image)
    return {"image": canvas, "size": np.array([height, width], np.int32), "scale": scale, "start": start}


def moved(boxes: np.ndarray, view: Batch) -> np.ndarray:
    """float32 [n, 4], of the picture -> the same of what is shown of it."""
    found = boxes * np.tile(view["scale"], 2) - np.tile(view["start"], 2)
    found = np.clip(found, 0, np.tile(view["size"][::-1], 2))
    return (np.round(found * FINE) / FINE).astype(np.float32)


def opened(file: str, original: Sequence[int] | None = None) -> Image.Image:
    """Raises InputError where a file is no image, or has another height and width than is said of it."""
    image = decode(file, channels=3, exif_rotation=None)  # boxes are those of the pixels as they are stored
    if original is not None and image.size != (original[1], original[0]):
        raise InputError(
            f"{file} has {image.width} x {image.height} pixels, but its annotation says {original[1]} x {original[0]}: "
            "correct that, or leave the image out with --data.skip_bad true"
        )
    return image


class Views(Decoded):
    """Files as they are seen in evaluation: `image`, `size` and `original` of each, and what else is known of it."""

    def __init__(self, files: Files, fit: Sequence[int]):
        self.files, self.fit = files, fit

    def __getitem__(self, indices: np.ndarray) -> Batch:
        batch = self.files[indices]
        seen = functools.cache(lambda i: seen_whole(batch, i, self.fit))
        first = {file: i for i, file in reversed(list(enumerate(batch["file"])))}  # a batch is padded with the last
        return stacked(batch, [seen(first[file]) for file in batch["file"]])


def seen_whole(batch: Batch, i: int, fit: Sequence[int]) -> Batch:
    """As in evaluation."""
    image = opened(batch["file"][i], batch["original"][i] if "original" in batch else None)
    view = place(image, fit)
    boxes = {"boxes": moved(batch["boxes"][i], view)} if "boxes" in batch else {}
    return {"image": view["image"], "size": view["size"], "original": np.array(image.size[::-1], np.int32), **boxes}


def seen_in_training(batch: Batch, i: int, fit: Sequence[int]) -> Batch:
    """As the drawn numbers say: `flip`: bool [n], `growth`: float32 [n], `at`: float32 [n, 2]. Of boxes that are then
    too small, or only seen at an edge, the label is -1."""
    image = opened(batch["file"][i], batch["original"][i])
    growth = float(batch["growth"][i]) if "growth" in batch else 1.0
    at = tuple(map(float, batch["at"][i])) if "at" in batch else (0.5, 0.5)
    view = place(image, fit, growth, (at[0], at[1]))
    pixels, boxes, width = view["image"], moved(batch["boxes"][i], view), view["size"][1]
    if "flip" in batch and batch["flip"][i]:
        pixels[:, :width] = pixels[:, :width][:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1).astype(np.float32)
    kept = (boxes[:, 2:] - boxes[:, :2] >= LEAST).all(1)
    labels = np.where(kept, batch["labels"][i], -1).astype(np.int32)
    return {"image": pixels, "size": view["size"], "boxes": boxes * kept[:, None], "labels": labels}


def stacked(batch: Batch, views: Sequence[Batch]) -> Batch:
    """A batch of files with what is seen of each in their place."""
    rest = {name: value for name, value in batch.items() if name not in ("file", "flip", "growth", "at")}
    return {**rest, **{name: np.stack([view[name] for view in views]) for name in views[0]}}


def augmented(fit: Sequence[int]) -> Callable[[Batch], Batch]:
    """What makes a training batch of files and drawn numbers."""
    return lambda batch: stacked(batch, [seen_in_training(batch, i, fit) for i in range(len(batch["file"]))])


class Pixels:
    """The same of images in memory, uint8 [n, height, width, 3]."""

    def __init__(self, images: np.ndarray, fit: Sequence[int]):
        self.images, self.fit = images, fit

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        original = np.array(self.images.shape[1:3], np.int32)
        views = [place(Image.fromarray(self.images[i]), self.fit) for i in indices]
        found = {name: np.stack([view[name] for view in views]) for name in ("image", "size")}
        return {**found, "original": np.tile(original, (len(indices), 1))}
