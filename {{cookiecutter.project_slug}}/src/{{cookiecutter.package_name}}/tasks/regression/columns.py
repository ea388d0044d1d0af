"""What is fitted on a table's columns before training, and rows of text -> the arrays that the model takes."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...engine.api import Batch, InputError, say_once
from ...engine.data.columns import advice, listed, look_at
from ...engine.data.tables import Table, no_column

SHOWN = 5  # columns that are named


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
        varies: whether its values differ in the training rows: else nothing can be learnt of them, and it is always 0.
    """

    name: str
    mean: float
    scale: float
    gaps: bool
    varies: bool = True

    def standardised(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.scale if self.varies else np.zeros(len(values))


@dataclass(frozen=True)
class Category:
    """A column of names or codes: `known[i]` is number i + 1. What is missing is number 0, where training rows lack
    some; what is not known, the number after the last, of which the model takes the mean of the known ones.
    """

    name: str
    known: list[str]
    gaps: bool = True

    def numbers(self, codes: Sequence[str], which: np.ndarray) -> np.ndarray:
        """int [rows], of rows that have codes[which]."""
        found = {name: i for i, name in enumerate(self.known, 1)} | ({"": 0} if self.gaps else {})
        return np.array([found.get(code, len(self.known) + 1) for code in codes], np.int32)[which]


@dataclass(frozen=True)
class Columns:
    """The columns of a table, fitted on its training rows."""

    numeric: list[Number]
    categorical: list[Category]
    target: Number
    left_out: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def from_text(cls, text: str) -> "Columns":
        """What `to_text` has written."""
        saved = json.loads(text)
        numeric = [Number(**column) for column in saved["numeric"]]
        categorical = [Category(**column) for column in saved["categorical"]]
        return cls(numeric, categorical, Number(**saved["target"]), saved.get("left_out", []))

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
        numeric = np.empty((len(table), self.numbers), np.float32)  # filled column by column: a table may be large
        categorical = np.empty((len(table), len(self.categorical)), np.int32)
        flag = len(self.numeric)
        for i, column in enumerate(self.numeric):
            values = table.numbers(column.name, gaps=True)
            missing = np.isnan(values)
            numeric[:, i] = column.standardised(values)
            numeric[missing, i] = 0
            if column.gaps:
                numeric[:, flag] = missing
                flag += 1
        for i, named in enumerate(self.categorical):
            categorical[:, i] = named.numbers(*table.categories(named.name))
        found = {"numeric": numeric, "categorical": categorical}
        return {name: columns for name, columns in found.items() if columns.shape[1]}

    def check(self, roles: Roles) -> None:
        """Raises InputError where the columns have other roles than those that they were fitted in."""
        categorical = [column.name for column in self.categorical]
        names = [*categorical, *(column.name for column in self.numeric)]
        for key, then, now in (
            ("target", [self.target.name], [roles.target]),
            ("categorical", categorical, [name for name in roles.categorical if name not in self.left_out]),
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
    """Learns from the rows `train`, int [n], of a table. Says once which columns teach nothing.

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
                raise InputError(f"data.{key}: {no_column(table.path, name, table.names, table.format)}")
    numeric = [name for name in table.names if name not in (target, *categorical, *drop)]
    if not numeric and not categorical:
        raise InputError(f"{table.path} has no column left to predict {target} from: take some out of data.drop")
    targets = table.numbers(target)[train]
    if not _varies(targets):
        raise InputError(f"{table.path}: {target} is {targets[0]:g} in every training row: there is nothing to learn")
    numbers, categories, left_out, wrong, nameless, counting = [], [], {}, {}, [], []
    for name in numeric:  # one after the other: a table may be large
        try:
            values = table.numbers(name, gaps=True)
        except InputError as error:
            wrong[name] = error
            continue
        number = _fit_number(name, values[train])
        if table.is_unnamed(name):
            if not _is_index(values):
                nameless.append(name)
            left_out[name] = "an index without a name"
        elif number.varies or 0 < np.isnan(values[train]).sum() < len(train):
            numbers.append(number)
        else:
            left_out[name] = "no value" if number.gaps else f"always {number.mean:g}"
        if not table.is_unnamed(name) and len(values) > 20 and _counts(values[:21]) and _counts(values):
            counting.append(name)
    if wrong:
        looks = {name: look_at(table.column(name), table.format) for name in wrong}
        raise InputError(f"{next(iter(wrong.values()))}: {advice(looks, table.format, categorical, drop)}")
    for name in nameless:
        way = f"give it a name in the first row, or --data.drop {listed([*drop, name])}"
        raise InputError(f"{table.path}: column {table.names.index(name) + 1} has no name: {way}")
    for name in counting:
        way = f"if it is no measurement, --data.drop {listed([*drop, name])}"
        say_once(f"{name} of {table.path}", f"{table.path}: {name} counts the rows: {way}")
    for name in categorical:
        codes, which = table.categories(name)
        category = _fit_category(name, codes, np.bincount(which[train], minlength=len(codes)), min_count)
        if len(category.known) + category.gaps > 1:
            categories.append(category)
        else:
            left_out[name] = f"always {category.known[0]}" if category.known else "nothing that training rows share"
    if not numbers and not categories:
        raise InputError(f"{table.path}: no column varies in the training rows: there is nothing to predict from")
    if left_out:
        named = [f"{name} ({why})" for name, why in left_out.items()]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        say_once(
            f"columns of {table.path}",
            f"{table.path}: left out, as training rows tell nothing by them: {', '.join(named[:SHOWN])}{more}",
        )
    return Columns(numbers, categories, _fit_number(target, targets), list(left_out))


def _counts(values: np.ndarray) -> bool:
    """Whether each number is the one before and 1."""
    return bool((np.diff(values) == 1).all())


def _is_index(values: np.ndarray) -> bool:
    """Whether a column looks as pandas writes a table's index: whole numbers, another in each row."""
    return bool((values == np.floor(values)).all()) and len(np.unique(values)) == len(values)


def _varies(values: np.ndarray) -> bool:
    """By more than rounding, as of 0.1 + 0.2 beside 0.3, would have it."""
    return bool(np.ptp(values) > 8 * np.finfo(float).eps * np.abs(values).max())


def _fit_number(name: str, values: np.ndarray) -> Number:
    """values: float64 [training rows], nan where one is missing."""
    there = values[~np.isnan(values)]
    gaps = len(there) < len(values)
    if not len(there):
        return Number(name, 0.0, 1.0, gaps, varies=False)
    varies = _varies(there)
    return Number(name, float(there.mean()), float(there.std()) if varies else 1.0, gaps, varies)


def _fit_category(name: str, codes: Sequence[str], counts: np.ndarray, min_count: int) -> Category:
    """counts: int [codes], training rows that have each."""
    total: Counter[str] = Counter()
    for code, n in zip(codes, counts.tolist(), strict=True):
        total[code] += n
    return Category(name, sorted(code for code, n in total.items() if code and n >= min_count), total[""] > 0)
