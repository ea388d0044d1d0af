"""Draws curves.svg from the runs of `make demo`: the curves that TensorBoard shows of them, as a small file of text.

make demo
python docs/images/make.py build/demo/runs
"""

import json
import math
import sys
from pathlib import Path

COLORS = {"lightning": "#7b3fe4", "nnx": "#e06c00"}
PANELS = {"train/loss": [0.01, 0.1, 1], "val/accuracy": [0.2, 0.4, 0.6, 0.8, 1]}  # and the ticks of their axes
WIDTH, HEIGHT, LEFT, TOP, APART = 340, 170, 45, 28, 420  # of a panel's frame, and from one panel to the next


def curve(run: Path, tag: str) -> list[tuple[int, float]]:
    """(step, value) of a tag, which the event files have, too."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row[tag]) for row in rows if tag in row]


def panel(number: int, tag: str, ticks: list[float], curves: dict[str, list[tuple[int, float]]]) -> list[str]:
    """The elements of one chart; an axis of losses is logarithmic."""
    scale = math.log10 if tag.endswith("loss") else float
    low, high = scale(ticks[0]), scale(ticks[-1] * (3 if scale is math.log10 else 1))
    last = max(step for points in curves.values() for step, _ in points)
    left = LEFT + number * APART

    def at(step: float, value: float) -> tuple[float, float]:
        share = min(max((scale(value) - low) / (high - low), 0), 1)
        return round(left + WIDTH * step / last, 1), round(TOP + HEIGHT * (1 - share), 1)

    parts = [f'<text x="{left}" y="{TOP - 12}" font-weight="bold">{tag}</text>']
    for tick in ticks:
        y = at(0, tick)[1]
        parts.append(f'<path d="M{left} {y}h{WIDTH}" stroke="#8884"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for step in range(0, last + 1, 200):
        parts.append(f'<text x="{at(step, 1)[0]}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{step}</text>')
    for name, points in curves.items():
        line = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLORS[name]}" stroke-width="1.8"/>')
    return parts


def main(runs: Path) -> None:
    found = {name: sorted((runs / "image_classification/default" / name).glob("*/metrics.jsonl")) for name in COLORS}
    if missing := [name for name, files in found.items() if not files]:
        raise SystemExit(f"{runs} has no run of {missing[0]}: make demo, then docs/images/make.py build/demo/runs")
    size = f'width="{LEFT + APART + WIDTH + 15}" height="{TOP + HEIGHT + 28}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#777">']
    for number, (tag, ticks) in enumerate(PANELS.items()):
        curves = {name: curve(files[-1].parent, tag) for name, files in found.items()}
        parts += panel(number, tag, ticks, curves)
    for number, (name, color) in enumerate(COLORS.items()):
        x, y = LEFT + APART + WIDTH - 75, TOP + HEIGHT - 40 + 18 * number
        parts.append(f'<text x="{x}" y="{y}" fill="{color}" font-weight="bold">{name}</text>')
    Path(__file__).with_name("curves.svg").write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo/runs"))
