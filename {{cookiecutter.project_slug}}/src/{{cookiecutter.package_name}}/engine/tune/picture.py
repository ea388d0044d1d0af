"""A picture of a search: what the values of each key have reached, the most important key first."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ..runs import short_names
from ..task import Task

COLUMNS = 4
LEAST = 5  # trials that the importance of keys is told of


def draw(path: Path, study: Study, task: Task, keys: Sequence[str], title: str) -> None:
    """A panel for each key: a dot for each trial, the darker the later, a star for the best; for those that were pruned
    a cross, at their best so far."""
    done, cut = _trials(study, TrialState.COMPLETE), _trials(study, TrialState.PRUNED)
    weights = optuna.importance.get_param_importances(study) if len(done) >= LEAST else {}
    names, best = short_names(keys), study.best_trial
    keys = sorted(keys, key=lambda key: -weights.get(key, 0.0))
    columns = min(COLUMNS, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure((4 * columns, 3.4 * rows + 0.4), layout="constrained", dpi=120)
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    heights = {trial.number: _height(trial, task) for trial in [*done, *cut]}
    for axes, key in zip_longest(panels.flat, keys):
        if key is None:
            axes.remove()
            continue
        of = best.distributions[key]
        places = [str(choice) for choice in of.choices] if isinstance(of, CategoricalDistribution) else []

        def x(trial: FrozenTrial, key: str = key, places: list[str] = places) -> float:
            return places.index(str(trial.params[key])) if places else trial.params[key]

        crosses = {"c": "#b04a5a", "marker": "x", "linewidth": 1, "label": "pruned, at its best so far"}
        axes.scatter(list(map(x, cut)), [heights[trial.number] for trial in cut], **crosses)
        numbers, values = [trial.number for trial in done], [heights[trial.number] for trial in done]
        colors = {"c": numbers, "cmap": "Blues", "vmin": -max(numbers, default=1) / 2, "edgecolor": "#345", "s": 36}
        colors["label"] = "to its end, the darker the later"
        axes.scatter(list(map(x, done)), values, **colors)
        axes.scatter(
            [x(best)], [heights[best.number]], marker="*", s=260, c="#dd6b10", edgecolor="white", zorder=3, label="best"
        )
        if places:
            axes.set_xticks(range(len(places)), places)
            axes.set_xlim(-0.5, len(places) - 0.5)
        elif getattr(of, "log", False):
            axes.set_xscale("log")
        elif isinstance(of, IntDistribution):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(names[key] + (f" (importance {round(100 * weights[key])} %)" if key in weights else ""))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    if min(heights.values()) > 0 and max(heights.values()) > 30 * min(heights.values()):
        panels[0][0].set_yscale("log")
    for row in panels:
        row[0].set_ylabel(task.monitor)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)


def _trials(study: Study, state: TrialState) -> list[FrozenTrial]:
    return [
        trial for trial in study.get_trials() if trial.state == state and (trial.intermediate_values or trial.values)
    ]


def _height(trial: FrozenTrial, task: Task) -> float:
    best = max if task.mode == "max" else min
    return best(trial.intermediate_values.values()) if trial.value is None else trial.value
