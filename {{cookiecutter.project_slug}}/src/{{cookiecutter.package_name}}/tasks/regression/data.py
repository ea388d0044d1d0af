"""Tables as NumPy: of each row the numbers, the categories and what is to be predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.api import (
    Arrays,
    Bad,
    Config,
    DataConfig,
    Dataset,
    InputError,
    PositiveInt,
    Probability,
    Seed,
    Spec,
    option,
)
from ...engine.data.tables import OwnTableConfig, Table, find_table, read_table, release, split_names, to_format
from ...models.tabular import TabularConfig, bin_edges
from .columns import Columns, Roles, fit


@dataclass(frozen=True)
class TableConfig(DataConfig):
    """What every table has."""

    test_fraction: Probability = option(0.2, "share of the rows that is kept for the test")
    val_fraction: Probability = option(0.1, "share of the other rows that is kept for validation")
    split_seed: Seed = option(0, "of which rows are kept; the run's seed has no part in it")


@dataclass(frozen=True)
class DiabetesConfig(TableConfig):
    """442 patients: ten measurements and the progression of the disease (Efron et al. 2004), of scikit-learn."""


@dataclass(frozen=True)
class CsvConfig(TableConfig, OwnTableConfig):
    """A table of your own, whose first row names the columns."""

    path: str = option("", "the file, in the working folder or in root")
    target: str = option("", "the column to predict")
    categorical: str = option("", "columns of names or codes, separated by commas; the others are numbers")
    drop: str = option("", "columns to leave out, separated by commas")
    min_count: PositiveInt = option(2, "a category in fewer training rows is treated as one that was never seen")
    test_path: str = option("", "a file to test on, in place of test_fraction of the rows")


RegressionConfig = Config[TabularConfig, DiabetesConfig | CsvConfig]


def load(config: RegressionConfig, spec: Spec | None = None) -> Dataset:
    """`numeric` and `categorical` as `Columns.inputs` gives them, `target`: float32 [n], standardised."""
    data, held, format = config.data, None, OwnTableConfig().format()
    if isinstance(data, CsvConfig):
        roles, format = _roles(data), data.format()
        table = _read(data, "path", roles)
        held = _read(data, "test_path", roles) if data.test_path else None
    else:
        table, roles = _diabetes(), Roles("progression")
    train, val, test = _split(len(table), data, held is not None)
    if spec:
        columns = Columns.from_text(spec["columns.json"])
    else:
        columns = fit(table, train, roles, getattr(data, "min_count", 1))
    columns.check(roles)
    everything = _arrays(columns, table)
    del table
    release()
    trained = everything[train]
    if not spec:
        bins = config.model.bins if "numeric" in trained else 0
        spec = to_spec(columns, format, bin_edges(trained["numeric"], bins) if bins else [])
    tested = Arrays(**everything[test]) if held is None else _arrays(columns, held)
    return Dataset(Arrays(**trained), Arrays(**everything[val]), tested, spec)


def to_spec(columns: Columns, format: Mapping[str, Any], edges: Sequence[Sequence[float]] = ()) -> dict[str, Any]:
    """format: of the files to predict; edges: of the bins of each number, where the model has such."""
    return {
        "target": columns.target.name,
        "mean": columns.target.mean,
        "scale": columns.target.scale,
        "numbers": columns.numbers,
        "categories": columns.categories,
        "edges": edges,
        "format": format,
        "columns.json": columns.to_text(),
    }


def _read(config: CsvConfig, key: str, roles: Roles) -> Table:
    bad = Bad(config.skip_bad)
    others = (roles.target, *roles.categorical, *roles.drop)
    table = read_table(
        find_table(config, key), to_format(config.format()), numbers=lambda name: name not in others, bad=bad
    )
    if bad.skip:
        numbers = {name: name != roles.target for name in table.names if name not in others[1:]}
        table = table.readable(numbers, bad)
        bad.say(len(table))
    return table


def _roles(config: CsvConfig) -> Roles:
    """Raises InputError where the target has another one, too."""
    drop = split_names(config.drop)
    categorical = [name for name in split_names(config.categorical) if name not in drop]
    if config.target in (*categorical, *drop):
        raise InputError(f"data.target = {config.target!r}, which data.categorical or data.drop lists, too")
    return Roles(config.target, categorical, drop)


def _diabetes() -> Table:
    from sklearn.datasets import load_diabetes  # takes a second, so only when asked for

    found = load_diabetes(scaled=False)
    rows = ([str(value) for value in row] for row in np.column_stack([found.data, found.target]))
    return Table.of(Path("diabetes"), [*found.feature_names, "progression"], enumerate(rows))


def _split(count: int, config: TableConfig, tested_apart: bool) -> list[np.ndarray]:
    """The rows to train on, to validate on and to test on, int [n] each. Raises InputError where there are none."""
    test = 0 if tested_apart else round(count * config.test_fraction)
    val = round((count - test) * config.val_fraction)
    if not test and not tested_apart:
        raise InputError(
            f"data.test_fraction = {config.test_fraction} of {count} rows leaves none to test on: raise it"
        )
    if not val:
        raise InputError(
            f"data.val_fraction = {config.val_fraction} of {count - test} rows leaves none to validate on: raise it"
        )
    if test + val == count:
        raise InputError(
            f"data.val_fraction = {config.val_fraction} of {count - test} rows leaves none to train on: lower it"
        )
    order = np.random.Generator(np.random.PCG64(config.split_seed)).permutation(count)
    part = np.zeros(count, np.int8)
    part[order[:test]], part[order[test : test + val]] = 2, 1
    return [np.flatnonzero(part == number) for number in range(3)]


def _arrays(columns: Columns, table: Table) -> Arrays:
    return Arrays(**columns.inputs(table), target=columns.targets(table))
