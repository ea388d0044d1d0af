"""What TensorBoard shows of image classification beside numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...engine.api import Batch
from ...engine.classification import fitted


def examples(batch: Batch, outputs: Batch, spec: Mapping[str, Any], count: int = 16) -> dict[str, np.ndarray]:
    """A grid of the first images below their true and their predicted label, which is green where they agree."""
    size, line, columns = 144, 24, 4
    font = ImageFont.load_default(line - 4)
    images, labels = batch["image"][:count], batch["label"][:count]
    predicted = outputs["logits"][:count].argmax(1)
    rows = -(-len(images) // columns)
    grid = Image.new("RGB", (columns * size, rows * (size + 2 * line)), "white")
    draw = ImageDraw.Draw(grid)
    for i, (image, label, guess) in enumerate(zip(images, labels, predicted, strict=True)):
        x, y = i % columns * size, i // columns * (size + 2 * line)
        tile = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).convert("RGB")
        grid.paste(tile.resize((size - 2, size), Image.Resampling.NEAREST), (x, y + 2 * line))
        true, found = (fitted(spec["classes"][k], font, size - 8) for k in (label, guess))
        draw.text((x + 2, y), true, "black", font)
        draw.text((x + 2, y + line), found, "green" if label == guess else "red", font)
    return {"examples": np.asarray(grid)}
