"""Click prediction: how likely is it that what is shown is clicked?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.api import STRICT, Arrays, Bad, Batch, Field, InputError, Inputs, Overfit, Signature, Spec, Task, listed
from ...engine.data.tables import to_cell, to_format
from ...models.deepfm import DeepFMConfig
from .cells import make_cells, readable
from .charts import charts, examples, probabilities
from .data import CriteoConfig, CsvConfig, GeneratedConfig, encode, known_of, load, read_fields


def inputs(given: Sequence[str | Path | Mapping[str, Any]] | str | Path, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`fields`: int32 [n, fields], of files like the one trained on, with or without labels, or of rows as mappings.

    Raises InputError for others.
    """
    every = [given] if isinstance(given, str | Path | Mapping) else given
    if not isinstance(every, Sequence) or not every:
        raise InputError("no inputs: paths of tables are wanted, or rows as mappings of columns to values")
    rows = [row for row in every if isinstance(row, Mapping)]
    paths = [path for path in every if isinstance(path, str | Path)]
    if len(rows) == len(every):
        return _rows(rows, spec, bad)
    if len(paths) < len(every):
        raise InputError("inputs are paths of tables, or rows as mappings of columns to values, not a mixture")
    names, fields = [], []
    for path in paths:
        found = 0
        for cells, block, _ in read_fields(Path(path), spec, labelled=False, bad=bad):
            names += [f"{path}:{line}" for line in cells.lines]
            fields.append(block)
            found += len(block)
        if not found and not bad.count:
            raise InputError(f"{path} has no rows below the names of its columns")
    return Inputs(Arrays(fields=known_of(spec).numbers(np.concatenate(fields))), names)


def _rows(given: Sequence[Mapping[str, Any]], spec: Spec, bad: Bad) -> Inputs:
    columns = [*spec["integers"], *spec["categories"]]
    for i, row in enumerate(given):
        if lacking := [name for name in columns if name not in row]:
            raise InputError(f"inputs, row {i}: no value of {', '.join(lacking)}: None says that there is none")
    format = to_format(spec["format"], own=False)
    texts = [[to_cell(row[name], format) for name in columns] for row in given]
    cells = replace(make_cells("inputs", range(len(given)), texts, format), names=columns)
    if bad.skip:
        cells = readable(cells, lambda cells: encode(cells, spec), bad)
    return Inputs(Arrays(fields=known_of(spec).numbers(encode(cells, spec))), [str(i) for i in cells.lines])


def signature(spec: Spec) -> Signature:
    columns = [*spec["integers"], *spec["categories"]]
    about = "the number of each column's value, as the task makes it by `known.npy`: "
    return Signature(
        {"fields": Field("int32", (len(columns),), about + listed(columns, "spec.json"))},
        {"logit": Field("float32", (), "of a click, whose probability is 1 / (1 + exp(-logit))")},
    )


def describe(names: Sequence[str], outputs: Batch, spec: Spec) -> list[dict[str, Any]]:
    """logit: float [n] -> the probability of a click in each row."""
    found = probabilities(outputs["logit"])
    return [{"input": name, "probability": float(p)} for name, p in zip(names, found, strict=True)]


task = Task(
    name="click_prediction",
    title="Click prediction",
    models={"deepfm": DeepFMConfig},
    datasets={"generated": GeneratedConfig, "criteo": CriteoConfig, "csv": CsvConfig},
    monitor="val/auc",
    mode="max",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    charts=charts,
    signature=signature,
    overfit=Overfit(steps=200, loss=0.05),
)
