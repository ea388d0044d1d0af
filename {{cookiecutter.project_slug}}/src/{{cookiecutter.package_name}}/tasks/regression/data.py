"""Tables as NumPy: of each row the numbers, the categories and what is to be predicted."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...config import Config, DataConfig, PositiveInt, Probability, Seed, option
from ...data.bad import STRICT, Bad
from ...data.sources import Arrays, Dataset, Spec
from ...data.tables import Table, read_table
from ...errors import InputError
from .columns import MISSING, Columns, Roles, fit


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
class CsvConfig(TableConfig):
    """A table of your own in `<root>/<path>`, whose first row names the columns."""

    path: str = option("", "the file, in root, or an absolute path")
    target: str = option("", "the column to predict")
    categorical: str = option("", "columns of names or codes, separated by commas; the others are numbers")
    drop: str = option("", "columns to leave out, separated by commas")
    min_count: PositiveInt = option(2, "a category in fewer training rows is treated as one that was never seen")
    test_path: str = option("", "a file to test on, in place of test_fraction of the rows")
    delimiter: Literal[",", ";", "|", "tab"] = option(",", "what stands between cells")


def load(config: Config, spec: Spec | None = None) -> Dataset:
    """`numeric` and `categorical` as `Columns.inputs` gives them, `target`: float32 [n], standardised."""
    data, held = config.data, None
    if isinstance(data, CsvConfig):
        roles = _roles(data)
        table = _read(data, "path", roles)
        held = _read(data, "test_path", roles) if data.test_path else None
    else:
        table, roles = _diabetes(), Roles("progression")
    train, val, test = _split(len(table), data, held is not None)
    if spec is None:
        spec = to_spec(fit(table, train, roles, getattr(data, "min_count", 1)), getattr(data, "delimiter", ","))
    columns = Columns.from_text(spec["columns.json"])
    columns.check(roles)
    everything = _arrays(columns, table)
    tested = Arrays(**everything[test]) if held is None else _arrays(columns, held)
    return Dataset(Arrays(**everything[train]), Arrays(**everything[val]), tested, spec)


def to_spec(columns: Columns, delimiter: str) -> dict[str, Any]:
    """delimiter: of the files to predict."""
    return {
        "target": columns.target.name,
        "mean": columns.target.mean,
        "scale": columns.target.scale,
        "numbers": columns.numbers,
        "categories": columns.categories,
        "delimiter": delimiter,
        "columns.json": columns.to_text(),
    }


def read(path: Path, delimiter: str, bad: Bad = STRICT) -> Table:
    return read_table(path, "\t" if delimiter == "tab" else delimiter, bad=bad)


def _read(config: CsvConfig, key: str, roles: Roles) -> Table:
    name = getattr(config, key)
    path = Path(config.root) / name
    if not path.is_file():
        raise InputError(f"data.{key} = {name!r}: there is no file {path}: name one in data.root, or an absolute path")
    bad = Bad(config.skip_bad)
    table = read(path, config.delimiter, bad)
    if bad.skip:
        table = _readable(table, roles, bad)
        bad.say(len(table))
    return table


def _readable(table: Table, roles: Roles, bad: Bad) -> Table:
    """Without the rows that lack a number."""
    others = (*roles.categorical, *roles.drop)
    numbers = {name: () if name == roles.target else MISSING for name in table.names if name not in others}
    return table.readable(numbers, bad)


def _roles(config: CsvConfig) -> Roles:
    """Raises InputError where the target has another one, too."""
    drop = _names(config.drop)
    categorical = [name for name in _names(config.categorical) if name not in drop]
    if config.target in (*categorical, *drop):
        raise InputError(f"data.target = {config.target!r}, which data.categorical or data.drop lists, too")
    return Roles(config.target, categorical, drop)


def _diabetes() -> Table:
    from sklearn.datasets import load_diabetes  # takes a second, so only when asked for

    found = load_diabetes(scaled=False)
    rows = [[str(value) for value in row] for row in np.column_stack([found.data, found.target])]
    return Table(Path("diabetes"), [*found.feature_names, "progression"], rows, list(range(len(rows))))


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
    return [np.sort(order[test + val :]), np.sort(order[test : test + val]), np.sort(order[:test])]


def _arrays(columns: Columns, table: Table) -> Arrays:
    return Arrays(**columns.inputs(table), target=columns.targets(table))


def _names(text: str) -> list[str]:
    """Of a list with commas, in which "..." may hold a name with a comma."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    return list(dict.fromkeys(filter(None, names)))
