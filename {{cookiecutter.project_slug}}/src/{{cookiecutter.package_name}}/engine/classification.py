"""What tasks that tell classes apart share: readable predictions, and what TensorBoard shows beside numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .data.sources import Batch, Spec
from .task import Field, listed


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


def charts(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray | str]:
    """`confusion`: [class, predicted class], how many examples -> the matrix as a picture, and a table of classes."""
    counts = arrays["confusion"].astype(np.int64)
    return {
        "confusion_matrix": confusion_matrix(counts, spec["classes"]),
        "per_class_accuracy": per_class_accuracy(counts, spec["classes"]),
    }


def confusion_matrix(counts: np.ndarray, classes: list[str]) -> np.ndarray:
    """uint8 [height, width, 3]. A row is a true class: the darker, the larger the share that is predicted so."""
    n = len(classes)
    cell = max(1, 640 // n)
    labelled = cell >= 24  # room for names and numbers
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shades = np.round(255 * (1 - shares)).astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    matrix = Image.fromarray(np.stack([shades, shades, np.full_like(shades, 255)], -1))
    left, top = (96, 32) if labelled else (16, 16)
    picture = Image.new("RGB", (left + matrix.width, top + matrix.height), "white")
    picture.paste(matrix, (left, top))
    draw = ImageDraw.Draw(picture)
    draw.text((2, 2), "true / predicted", fill="black")
    for i in range(n * labelled):
        y = top + i * cell + cell // 2 - 5
        draw.text((4, y), classes[i][:14], fill="black")
        draw.text((left + i * cell + 2, top - 14), classes[i][: cell // 6], fill="black")
        for j in np.flatnonzero(counts[i]).tolist():
            colour = "white" if shares[i, j] > 0.5 else "black"
            draw.text((left + j * cell + 3, y), str(counts[i, j]), fill=colour)
    return np.asarray(picture)


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
