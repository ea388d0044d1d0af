"""What is fitted on a table's columns before training, and rows of text -> the arrays that the model takes."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...config import closest
from ...data.sources import Batch
from ...data.tables import Table
from ...errors import InputError

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL")


class Roles(NamedTuple):
    """Columns by name: what to predict, what is a name or a code, what to leave out. The others are numbers."""

    target: str
    categorical: Sequence[str] = ()
    drop: Sequence[str] = ()


@dataclass(frozen=True)
class Number:
    """A column that is standardised: (value - mean) / scale, and 0 where the value is missing.

    Attributes:
        scale: the standard deviation; 1 of a column that does not vary.
        gaps: whether training rows lack values. Then there is a second input, 1 where one is missing and else 0.
    """

    name: str
    mean: float
    scale: float
    gaps: bool

    def standardised(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.scale


@dataclass(frozen=True)
class Category:
    """A column of names or codes: `known[i]` is number i + 1. What is missing or not known is number 0."""

    name: str
    known: list[str]


@dataclass(frozen=True)
class Columns:
    """The columns of a table, fitted on its training rows."""

    numeric: list[Number]
    categorical: list[Category]
    target: Number

    @classmethod
    def from_text(cls, text: str) -> "Columns":
        """What `to_text` has written."""
        saved = json.loads(text)
        numeric = [Number(**column) for column in saved["numeric"]]
        categorical = [Category(**column) for column in saved["categorical"]]
        return cls(numeric, categorical, Number(**saved["target"]))

    def to_text(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @property
    def numbers(self) -> int:
        """How many numeric inputs there are."""
        return len(self.numeric) + sum(column.gaps for column in self.numeric)

    @property
    def categories(self) -> list[int]:
        """How many categories each categorical column has, number 0 among them."""
        return [len(column.known) + 1 for column in self.categorical]

    def inputs(self, table: Table) -> Batch:
        """`numeric`: float32 [rows, numbers], `categorical`: int32 [rows, columns]; each only where there are such.

        Raises:
            InputError: for a column that is missing, and a cell that is no number.
        """
        numeric, flags, categorical = [], [], []
        for column in self.numeric:
            values = table.numbers(column.name, MISSING)
            numeric.append(np.nan_to_num(column.standardised(values)))
            flags += [np.isnan(values)] if column.gaps else []
        for column in self.categorical:
            numbers = {name: i for i, name in enumerate(column.known, 1)}
            categorical.append([numbers.get(code, 0) for code in _codes(table, column.name)])
        found = {"numeric": [*numeric, *flags], "categorical": categorical}
        dtypes = {"numeric": np.float32, "categorical": np.int32}
        return {name: np.stack(columns, 1).astype(dtypes[name]) for name, columns in found.items() if columns}

    def check(self, roles: Roles) -> None:
        """Raises InputError where the columns have other roles than those that they were fitted in."""
        categorical = [column.name for column in self.categorical]
        names = [*categorical, *(column.name for column in self.numeric)]
        for key, then, now in (
            ("target", [self.target.name], [roles.target]),
            ("categorical", categorical, roles.categorical),
            ("drop", [], [name for name in roles.drop if name in names]),
        ):
            if set(then) != set(now):
                raise InputError(
                    f"data.{key} = {','.join(now)!r}, but the run was trained with {','.join(then)!r}: begin a new run"
                )

    def targets(self, table: Table) -> np.ndarray:
        """float32 [rows], standardised. Raises InputError where one is missing."""
        return self.target.standardised(table.numbers(self.target.name)).astype(np.float32)


def fit(table: Table, train: np.ndarray, roles: Roles, min_count: int = 1) -> Columns:
    """Learns from the rows `train`, int [n], of a table.

    Args:
        min_count: categories that fewer training rows have are not known.

    Raises:
        InputError: for a name that the table lacks; for a cell, in any row, that should be a number and is none; and
            for a target that does not vary.
    """
    target, categorical, drop = roles
    for key, names in {"target": [target], "categorical": categorical, "drop": drop}.items():
        for name in names:
            if name not in table.names:
                raise InputError(
                    f"data.{key} = {name!r}: {table.path} has no such column: {closest(name, table.names)}"
                )
    numeric = [name for name in table.names if name not in (target, *categorical, *drop)]
    if not numeric and not categorical:
        raise InputError(f"{table.path} has no column left to predict {target} from: take some out of data.drop")
    if "" in numeric:
        raise InputError(f"{table.path}: column {table.names.index('') + 1} has no name: give it one in the first row")
    targets = table.numbers(target)[train]
    if targets.min() == targets.max():
        raise InputError(f"{table.path}: {target} is {targets[0]:g} in every training row: there is nothing to learn")
    values, wrong = {}, {}
    for name in numeric:
        try:
            values[name] = table.numbers(name, MISSING)
        except InputError as error:
            wrong[name] = error
    if wrong:
        raise InputError(
            f"{next(iter(wrong.values()))}: list columns of names or codes in --data.categorical, and what is no input "
            f"in --data.drop (text is in {','.join(wrong)})"
        )
    return Columns(
        [_fit_number(name, column[train]) for name, column in values.items()],
        [_fit_category(name, np.array(_codes(table, name))[train].tolist(), min_count) for name in categorical],
        _fit_number(target, targets),
    )


def _fit_number(name: str, values: np.ndarray) -> Number:
    """values: float64 [training rows], nan where one is missing."""
    there = values[~np.isnan(values)]
    gaps = len(there) < len(values)
    if not len(there):
        return Number(name, 0.0, 1.0, gaps)
    varies = there.min() < there.max()  # rounding gives a constant column a deviation, too
    return Number(name, float(there.mean()), float(there.std()) if varies else 1.0, gaps)


def _fit_category(name: str, codes: Sequence[str], min_count: int) -> Category:
    """codes: of the training rows."""
    return Category(name, sorted(code for code, count in Counter(codes).items() if code and count >= min_count))


def _codes(table: Table, name: str) -> list[str]:
    """A column's categories, "" where one is missing; 3.0, as a column of codes with gaps is often written, is 3."""
    cells = table.column(name)
    return ["" if cell in MISSING else re.sub(r"^(-?\d+)\.0+$", r"\1", cell) for cell in cells]
