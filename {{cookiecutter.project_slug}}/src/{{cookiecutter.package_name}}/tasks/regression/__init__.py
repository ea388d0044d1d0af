"""Regression: which number belongs to a row of a table?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Batch,
    Field,
    InputError,
    Inputs,
    Overfit,
    Signature,
    Spec,
    Task,
    listed,
)
from ...engine.data.tables import Format, Table, read_table, to_cell, to_format
from ...models.tabular import TabularConfig
from .charts import examples, in_unit
from .columns import Columns
from .data import CsvConfig, DiabetesConfig, RegressionConfig, load

Row = Mapping[str, Any]
FILE = "columns.json"  # in a run's `fitted/`


def inputs(given: Sequence[str | Path] | str | Path | Sequence[Row] | Row, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`numeric` and `categorical` of every row of files in the form of the training data, or of rows as mappings.

    Columns that the model does not take may be there or not, the target too. Raises InputError for others.
    """
    every = [given] if isinstance(given, str | Path | Mapping) else given
    wanted = "paths of CSV files are wanted, or rows that map columns to values"
    if not isinstance(every, Sequence):
        raise InputError(f"inputs of type {type(given).__name__}: {wanted}")
    rows = [row for row in every if isinstance(row, Mapping)]
    paths = [Path(path) for path in every if isinstance(path, str | Path)]
    format, columns = to_format(spec["format"], own=False), Columns.from_text(spec[FILE])
    numeric = {column.name: True for column in columns.numeric}
    if rows and len(rows) == len(every):
        tables = [_table(rows, format)]
    elif paths and len(paths) == len(every):
        tables = [read_table(path, format, numbers=numeric.__contains__, bad=bad) for path in paths]
    else:
        raise InputError(f"{'inputs of other types' if every else 'no inputs'}: {wanted}")
    if bad.skip:
        tables = [table.readable(numeric, bad) for table in tables]
    found = [columns.inputs(table) for table in tables]
    arrays = {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}
    return Inputs(Arrays(**arrays), [f"{table.path}, row {line}" for table in tables for line in table.lines])


def _table(rows: Sequence[Row], format: Format) -> Table:
    """Of rows that have the same columns as the first. Numbers are Python's own, whatever the format of files."""
    names = list(rows[0])
    for i, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise InputError(f"inputs, row {i}: columns {', '.join(row)}, but row 0 has {', '.join(names)}")
    cells = ([to_cell(value, format) for value in row.values()] for row in rows)
    return Table.of(Path("inputs"), names, enumerate(cells), format)


def describe(names: Sequence[str], outputs: Batch, spec: Spec) -> list[dict[str, Any]]:
    """standardised: float [n] -> the prediction in the data's unit."""
    predictions = in_unit(outputs["standardised"], spec)
    return [{"input": name, "prediction": float(value)} for name, value in zip(names, predictions, strict=True)]


def signature(spec: Spec) -> Signature:
    columns = Columns.from_text(spec[FILE])
    names = [f"({column.name} - {column.mean:.6g}) / {column.scale:.6g}" for column in columns.numeric]
    names += [f"1 where {column.name} is missing, else 0" for column in columns.numeric if column.gaps]
    known = [f"{column.name} of {len(column.known)}" for column in columns.categorical]
    found = {
        "numeric": Field("float32", (len(names),), f"0 where a value is missing: {listed(names, FILE)}"),
        "categorical": Field(
            "int32", (len(known),), f"1 for the first name in `{FILE}`, 0 for what is not known: {listed(known, FILE)}"
        ),
    }
    about = f"{spec['target']} = {spec['mean']!r} + {spec['scale']!r} * this, in the unit of the data"
    return Signature(
        {name: field for name, field in found.items() if field.shape != (0,)},
        {"standardised": Field("float32", (), about)},
    )


def check(config: RegressionConfig) -> None:
    """A table of one's own is named."""
    for key in ("path", "target") if isinstance(config.data, CsvConfig) else ():
        if not getattr(config.data, key):
            what = {"path": "a CSV file", "target": "the column to predict"}[key]
            raise InputError(f"data.{key} = '': name {what} with --data.{key}")


task = Task(
    name="regression",
    title="Regression",
    models={"mlp": TabularConfig},
    datasets={"diabetes": DiabetesConfig, "csv": CsvConfig},
    monitor="val/mse",
    mode="min",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    check=check,
    signature=signature,
    overfit=Overfit(steps=200, loss=0.01),
)
