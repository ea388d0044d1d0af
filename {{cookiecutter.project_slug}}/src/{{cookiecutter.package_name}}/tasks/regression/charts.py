"""What TensorBoard shows of regression beside numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...engine.api import Batch

SIZE, MARGIN = 448, 40  # pixels, of the square that holds the points, and of the room for labels around it


def in_unit(standardised: np.ndarray, spec: Mapping[str, Any]) -> np.ndarray:
    """float [n], standardised as the training targets are -> float64 [n] in the data's unit."""
    return spec["mean"] + spec["scale"] * standardised.astype(np.float64)


def examples(batch: Batch, outputs: Batch, spec: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Truth and prediction of each example as a point; where both agree is the diagonal."""
    truth, prediction = in_unit(batch["target"], spec), in_unit(outputs["standardised"], spec)
    return {"scatter": scatter(truth, prediction, spec["target"])}


def scatter(truth: np.ndarray, prediction: np.ndarray, name: str) -> np.ndarray:
    """float [n], float [n] -> uint8 [height, width, 3], with one range for both axes. Leaves out what is not finite."""
    shown = np.isfinite(truth) & np.isfinite(prediction)
    points = np.stack([truth[shown], prediction[shown]])
    low, high = (points.min(), points.max()) if shown.any() else (0.0, 1.0)
    room = 0.03 * (high - low) or abs(high) or 1.0
    low, high = low - room, high + room
    picture = Image.new("RGB", (SIZE + 2 * MARGIN, SIZE + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(picture, "RGBA")  # points show through others
    left, top, right, bottom = MARGIN, MARGIN, MARGIN + SIZE, MARGIN + SIZE
    draw.rectangle((left, top, right, bottom), outline="gray", width=2)
    draw.line((left, bottom, right, top), fill="gray", width=2)
    for x, y in ((points - low) / (high - low) * SIZE).T:
        draw.ellipse((left + x - 3, bottom - y - 3, left + x + 3, bottom - y + 3), fill=(31, 119, 180, 128))
    font = ImageFont.load_default(20)
    draw.text((left, bottom + 6), f"{low:.4g}", "black", font)
    draw.text((right, bottom + 6), f"{high:.4g}", "black", font, "ra")
    name = " ".join(name.split())
    draw.text(((left + right) / 2, bottom + 6), f"{name}, truth", "black", font, "ma")
    draw.text((left, top - 6), f"{name}, prediction, {low:.4g} to {high:.4g}", "black", font, "ls")
    return np.asarray(picture)
