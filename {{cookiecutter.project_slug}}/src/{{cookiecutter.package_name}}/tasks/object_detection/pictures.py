"""What is drawn of object detection: pictures with boxes, and tables of classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ...engine.api import Batch, Spec
from .scores import OVERLAP_50, mean, precisions

SHOWN = 0.5  # the least score of a box that is drawn
TRUE = "white"
COLOURS = ("red", "deepskyblue", "lime", "orange", "magenta", "yellow", "cyan", "violet", "tomato", "springgreen")


def examples(batch: Batch, outputs: Batch, spec: Spec, count: int = 9) -> dict[str, np.ndarray]:
    """The first images: true boxes in white, those that are found, above a score of 0.5, in their class's colour."""
    images, side = batch["image"][:count], 320
    columns = min(3, len(images))
    height, width = images.shape[1:3]
    zoom = min(side / width, side / height)
    tile = round(width * zoom), round(height * zoom)
    grid = Image.new("RGB", (columns * (tile[0] + 4), -(-len(images) // columns) * (tile[1] + 4)), "white")
    for i, image in enumerate(images):
        picture = Image.fromarray(image).resize(tile)
        scale = zoom * batch["size"][i][::-1] / batch["original"][i][::-1]
        there = batch["labels"][i] >= 0
        boxes(picture, batch["boxes"][i][there] * zoom, [spec["classes"][k] for k in batch["labels"][i][there]])
        sure = (outputs["labels"][i] >= 0) & (outputs["scores"][i] >= SHOWN)
        found = [(outputs["labels"][i][j], outputs["scores"][i][j]) for j in np.flatnonzero(sure)]
        names = [f"{spec['classes'][label]} {score:.2f}" for label, score in found]
        boxes(picture, outputs["boxes"][i][sure] * np.tile(scale, 2), names, [colour(label) for label, _ in found])
        grid.paste(picture, (i % columns * (tile[0] + 4), i // columns * (tile[1] + 4)))
    return {"examples": np.asarray(grid)}


def boxes(
    picture: Image.Image, corners: np.ndarray, names: Sequence[str], colours: Sequence[str] | None = None
) -> None:
    """Draws them, with their names: of those without a colour, which are true ones, below the box."""
    draw = ImageDraw.Draw(picture)
    for i, ((left, top, right, bottom), name) in enumerate(zip(corners.tolist(), names, strict=True)):
        draw.rectangle([left, top, max(left, right - 1), max(top, bottom - 1)], outline=colours[i] if colours else TRUE)
        if colours is None:
            draw.text((left + 1, min(bottom, picture.height - 11)), name, fill=TRUE)
        else:
            draw.text((left + 1, max(top - 11, 0)), name, fill=colours[i])


def colour(label: int) -> str:
    return COLOURS[label % len(COLOURS)]


def charts(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, str]:
    """Of `found` and `truth`: average precision of each class, the worst first."""
    found = precisions(arrays, len(spec["classes"]))
    labels = arrays["truth"][..., 4]
    rows = [
        (mean(found[:, :, k]), name, mean(found[OVERLAP_50, :, k]), number)
        for k, name in enumerate(spec["classes"])
        if (number := int((labels == k).sum()))
    ]
    rows.sort(key=lambda row: row[0])
    lines = [f"| {name} | {ap:.4f} | {ap50:.4f} | {number} |" for ap, name, ap50, number in rows]
    return {"per_class_ap": "\n".join(["| class | ap | ap50 | boxes |", "|---|---|---|---|", *lines])}
