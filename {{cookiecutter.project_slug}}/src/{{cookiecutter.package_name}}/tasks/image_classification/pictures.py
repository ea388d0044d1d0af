"""What TensorBoard shows of image classification beside numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...engine.api import Batch


def examples(batch: Batch, outputs: Batch, spec: Mapping[str, Any], count: int = 16) -> dict[str, np.ndarray]:
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
    return {"examples": np.asarray(grid)}
