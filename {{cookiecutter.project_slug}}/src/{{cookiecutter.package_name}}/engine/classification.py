"""What tasks that tell classes apart share: readable predictions, and what TensorBoard shows beside numbers."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .data.sources import Batch, Spec
from .task import Charts, Field, PrecisionRecall, listed


def describe(names: Sequence[str], outputs: Batch, spec: Spec) -> list[dict[str, Any]]:
    """logits: float [n, classes] -> the likeliest class of each, and its probability."""
    probabilities = _softmax(outputs["logits"])
    best = probabilities.argmax(1)
    return [
        {"input": name, "label": spec["classes"][k], "probability": float(row[k])}
        for name, row, k in zip(names, probabilities, best, strict=True)
    ]


def logits(spec: Spec) -> Field:
    """What models of classes give."""
    classes = spec["classes"]
    return Field("float32", (len(classes),), f"their softmax is the probability of {listed(classes, 'spec.json')}")


def charts(arrays: Mapping[str, np.ndarray], spec: Spec) -> Charts:
    """`confusion`: [class, predicted class], how many examples -> the matrix as a picture, and a table of classes.

    `second_class`, of two classes: as `PrecisionRecall` has it -> that curve.
    """
    counts = arrays["confusion"].astype(np.int64)
    found: dict[str, Any] = {
        "confusion_matrix": confusion_matrix(counts, spec["classes"]),
        "per_class_accuracy": per_class_accuracy(counts, spec["classes"]),
    }
    if "second_class" in arrays:
        found["precision_recall"] = PrecisionRecall(arrays["second_class"])
    return found


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """uint8 [height, width, 3]. A row is a true class: the darker, the larger the share that is predicted so.

    To be read at half its size, too. As many classes are named as there is room for.
    """
    n = len(classes)
    cell = max(1, 520 // n)
    side = n * cell
    size = side // 24
    font: Any = ImageFont.load_default(size)
    turned: Any = ImageFont.TransposedFont(font, Image.Transpose.ROTATE_90)
    line = size + 4
    names = {i: fitted(classes[i], font, side / 4) for i in range(0, n, -(-line // cell))}
    margin = 2 * line + int(max(map(font.getlength, names.values())))
    picture = Image.new("RGB", (margin + side + 8, margin + side + 8), "white")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    darkness = np.sqrt(shares)[..., None]  # so that few mistakes are seen
    shades = (255 - darkness * (255 - np.array([8, 48, 107]))).round().astype(np.uint8)
    picture.paste(Image.fromarray(shades.repeat(cell, 0).repeat(cell, 1)), (margin, margin))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([margin - 1, margin - 1, margin + side, margin + side], outline="grey", width=2)
    draw.text((margin + side / 2, 2), "predicted", "black", font, "ma")
    draw.text((size / 4, margin + (side - font.getlength("true")) / 2), "true", "black", turned)
    for i, name in names.items():
        middle = margin + (i + 0.5) * cell
        draw.text((margin - 6, middle), name, "black", font, "rm")
        draw.text((middle - size / 2, margin - 6 - font.getlength(name)), name, "black", turned)
    for i, j in np.argwhere(counts).tolist():
        if font.getlength(number := str(counts[i, j])) < cell and line <= cell:
            place = margin + (j + 0.5) * cell, margin + (i + 0.5) * cell
            draw.text(place, number, "white" if darkness[i, j] > 0.5 else "black", font, "mm")
    return np.asarray(picture)


def fitted(text: str, font: Any, most: float) -> str:
    """The beginning of a text, as wide as there is room; without accents, which Pillow's own font does not have."""
    text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    while font.getlength(text) > most:
        text = f"{text[:-2]}…"
    return text


def per_class_accuracy(counts: np.ndarray, classes: list[str]) -> str:
    """A table in Markdown, the worst class first, with what it is taken for most often."""
    rows = ["| class | accuracy | examples | most often taken for |", "|---|---|---|---|"]
    totals = counts.sum(1)
    accuracies = np.diag(counts) / np.maximum(totals, 1)
    wrong = counts - np.diag(np.diag(counts))
    for i in np.argsort(accuracies, kind="stable"):
        if totals[i]:
            j = wrong[i].argmax()
            taken = f"{classes[j]} ({wrong[i, j]})" if wrong[i, j] else ""
            rows.append(f"| {classes[i]} | {accuracies[i]:.4f} | {totals[i]} | {taken} |")
    return "\n".join(rows)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)
