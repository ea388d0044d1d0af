"""Image classification: which of the classes does a picture show?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from ...data.sources import Arrays, Batch
from ...errors import InputError
from ...models.convnet import ConvNetConfig
from ...models.mlp import MLPConfig
from ...task import Task
from .data import DigitsConfig, MnistConfig, load


def inputs(paths: Sequence[str], spec: Mapping[str, Any]) -> Arrays:
    """Image files as `image`: uint8 [n, *spec["shape"]], grey where the model takes grey."""
    return Arrays(image=np.stack([_image(Path(path), spec["shape"]) for path in paths]))


def describe(outputs: Batch, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """logits: float [n, classes] -> the likeliest class of each, and its probability."""
    probabilities = _softmax(outputs["logits"])
    best = probabilities.argmax(1)
    return [
        {"label": spec["classes"][k], "probability": float(row[k])} for row, k in zip(probabilities, best, strict=True)
    ]


def pictures(batch: Batch, outputs: Batch, spec: Mapping[str, Any], count: int = 16) -> dict[str, np.ndarray]:
    """A grid of the first images with their true and predicted labels; green where they agree."""
    size, caption, columns = 96, 14, 8
    images, labels = batch["image"][:count], batch["label"][:count]
    predicted = outputs["logits"][:count].argmax(1)
    rows = -(-len(images) // columns)
    grid = Image.new("RGB", (columns * size, rows * (size + caption)), "white")
    draw = ImageDraw.Draw(grid)
    for i, (image, label, guess) in enumerate(zip(images, labels, predicted, strict=True)):
        x, y = i % columns * size, i // columns * (size + caption)
        tile = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).convert("RGB")
        grid.paste(tile.resize((size - 2, size), Image.Resampling.NEAREST), (x, y + caption))
        colour = "green" if label == guess else "red"
        draw.text((x + 2, y + 1), f"{spec['classes'][label]} > {spec['classes'][guess]}", fill=colour)
    return {"val/examples": np.asarray(grid)}


def _image(path: Path, shape: Sequence[int]) -> np.ndarray:
    height, width, channels = shape
    try:
        with Image.open(path) as file:
            image = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no image that can be read") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if image.shape[:2] != (height, width):
        raise InputError(
            f"{path} has {image.shape[1]} x {image.shape[0]} pixels, but the model takes {width} x {height}: resize it"
        )
    return image.reshape(height, width, channels)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


task = Task(
    name="image_classification",
    title="Image classification",
    models={"convnet": ConvNetConfig, "mlp": MLPConfig},
    datasets={"digits": DigitsConfig, "mnist": MnistConfig},
    monitor="val/accuracy",
    mode="max",
    load=load,
    inputs=inputs,
    describe=describe,
    pictures=pictures,
)
