"""What TensorBoard shows of click prediction beside numbers."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...engine.api import THRESHOLDS, Batch, Charts, PrecisionRecall, Spec
from .cells import ranges
from .data import known_of
from .metrics import Group, by_probability, reliability


def examples(batch: Batch, outputs: Batch, spec: Spec, count: int = 16, fields: int = 12) -> dict[str, str]:
    """The first rows with their probabilities, as a table: integers as the ranges, categories as the buckets seen."""
    names, found = [*spec["integers"], *spec["categories"]][:fields], probabilities(outputs["logit"])
    of_code, known = ranges(), known_of(spec)
    integers = len(spec["integers"])
    shown = [[of_code[v] if i < integers else f"#{v}" for v in known.values(i)] + ["?"] for i in range(len(names))]
    lines = [f"| probability | click | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for row, label, p in zip(batch["fields"][:count], batch["label"], found, strict=False):
        values = [of_field[number] for of_field, number in zip(shown, row, strict=False)]
        lines.append(f"| {p:.4f} | {label} | {' | '.join(values)} |")
    return {"examples": "\n".join(lines)}


def charts(arrays: Mapping[str, np.ndarray], spec: Spec) -> Charts:
    """`scores`: [3, bins], rows without and with a click, and the sum of their probabilities -> are these right?"""
    scores = arrays["scores"]
    return {
        "reliability_diagram": reliability_diagram(reliability(scores[:2], scores[2], 20)),
        "reliability": reliability_table(reliability(scores[:2], scores[2], 10)),
        "precision_recall": PrecisionRecall(by_probability(scores[:2], THRESHOLDS)),
    }


def reliability_table(groups: list[Group]) -> str:
    """In Markdown, the lowest scores first."""
    rows = [f"| {group.predicted:.4f} | {group.observed:.4f} | {group.examples} |" for group in groups]
    return "\n".join(["| predicted | clicked | rows |", "|---|---|---|", *rows])


def reliability_diagram(groups: list[Group]) -> np.ndarray:
    """uint8 [height, width, 3]: a dot for each group, at its mean probability and its share of clicks.

    Dots on the diagonal are right; the bars are two standard errors of the share.
    """
    size, left, top, bottom = 480, 64, 36, 60
    font = ImageFont.load_default(20)
    groups = [group for group in groups if np.isfinite(group.predicted)]  # others have no place
    largest = max((max(group.predicted, group.observed) for group in groups), default=1.0)
    most = min(part / 10**i for i in range(4) for part in (1.0, 0.5, 0.2) if part / 10**i >= largest)
    picture = Image.new("RGB", (left + size + 32, top + size + bottom), "white")
    draw = ImageDraw.Draw(picture)

    def place(predicted: float, observed: float) -> tuple[float, float]:
        return left + size * predicted / most, top + size * (1 - observed / most)

    for i in range(6):
        value = most * i / 5
        draw.line([place(value, 0), place(value, most)], fill="lightgrey", width=2)
        draw.line([place(0, value), place(most, value)], fill="lightgrey", width=2)
        draw.text((place(value, 0)[0], top + size + 4), f"{value:.3f}", "black", font, "ma")
        draw.text((left - 4, place(0, value)[1]), f"{value:.3f}", "black", font, "rm")
    draw.line([place(0, 0), place(most, most)], fill="grey", width=2)
    draw.text((left + size // 2, top + size + 30), "predicted", "black", font, "ma")
    draw.text((4, 2), "clicked", "black", font)
    for group in groups:
        x, y = place(group.predicted, group.observed)
        error = 2 * np.sqrt(group.observed * (1 - group.observed) / group.examples) / most * size
        draw.line([(x, max(y - error, top)), (x, min(y + error, top + size))], fill="steelblue", width=2)
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill="steelblue")
    return np.asarray(picture)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """float [n] -> float [n]."""
    with np.errstate(invalid="ignore"):  # what is no number stays none
        return np.exp(-np.logaddexp(0, -logits))
