"""Clicks as NumPy: fields int32 [n, fields], integers first; labels int32 [n], 1 for a click.

A field's values are numbered as the training rows have them: a row of a file is first made codes (of integers) and
hashes (of categories), its raw values, and these are looked up. What training rows lack has the number after the last.
"""

import contextlib
import functools
import hashlib
import mmap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Batch,
    Config,
    DataConfig,
    Dataset,
    InputError,
    PositiveInt,
    Probability,
    Source,
    Spec,
    option,
    say_once,
)
from ...engine.data.columns import advice, listed, look_at
from ...engine.data.conversions import convert_once
from ...engine.data.files import find_own
from ...engine.data.sources import MOST_COMPARED
from ...engine.data.tables import OwnTableConfig, column_names, find_table, no_column, split_names, to_format
from ...models.deepfm import DeepFMConfig
from .cells import (
    INTEGER_CODES,
    Cells,
    categories,
    codes,
    hashes,
    integers,
    keys,
    labels,
    make_cells,
    read_cells,
    readable,
)


@dataclass(frozen=True)
class ClicksConfig(DataConfig):
    """What every dataset of clicks has."""

    buckets: PositiveInt = option(2**14, "values that the model tells apart in each category; others share one")
    val_fraction: Probability = option(0.1, "share of the rows for validation: those before the test rows")
    test_fraction: Probability = option(0.1, "share of the rows for the test: the last ones")


@dataclass(frozen=True)
class GeneratedConfig(ClicksConfig):
    """Clicks drawn from a model that is known, and so the best possible AUC, too."""

    examples: PositiveInt = option(200_000, "rows to draw")


@dataclass(frozen=True)
class FileConfig(ClicksConfig):
    """What datasets in a file have."""

    cache: str = option("", "folder for the file's numbers, which are memory-mapped; empty: the file's own")


@dataclass(frozen=True)
class CriteoConfig(FileConfig):
    """Criteo's Display Advertising Challenge (Kaggle 2014): label, 13 integers, 26 categories, in order of time."""

    path: str = option("criteo/train.txt", "the file, in the working folder or in root")


@dataclass(frozen=True)
class CsvConfig(FileConfig, OwnTableConfig):
    """A CSV file whose first row names the columns."""

    path: str = option("clicks.csv", "the file, in the working folder or in root")
    test_path: str = option("", "a file to test on, in place of test_fraction of the rows")
    label: str = option("click", "its column of 1 for a click and 0 for none")
    integers: str = option("", "its columns of whole numbers, separated by commas")
    categories: str = option("", "its other columns to use; without both: all, by what stands in the first rows")


PLAIN = OwnTableConfig().format()
CRITEO = {
    "layout": "criteo",
    "format": {**PLAIN, "delimiter": "\t", "quotes": False},
    "label": "label",
    "integers": [f"I{i}" for i in range(1, 14)],
    "categories": [f"C{i}" for i in range(1, 27)],
}
GENERATED = {
    "layout": "csv",
    "format": PLAIN,
    "label": "click",
    "integers": ["visits", "age", "price"],
    "categories": ["weekday", "hour", "device", "format", "country", "segment", "advertiser", "site"],
}
VALUES = (7, 24, 4, 6, 20, 12, 16, 30)  # of each of these categories
CONVERSION = 3  # raise it where the numbers made of a file change
MADE = {"fields": np.int32, "label": np.int32, "keys": np.int64}  # files of a conversion
PIECE = 1024  # examples that are read from mapped files before their pages are given back: each holds some 64 KB


class Mapped(Arrays):
    """Rows of a file whose raw values and labels are mapped into memory, of which little is there at a time, whatever
    the file's size: the system would keep what was read in this process for as long as it has room.

    known: what numbers the raw values.
    """

    def __init__(self, file: "Converted", rows: slice, known: "Known"):
        self.maps, self.raw, self.label, self.known = file.maps, file.raw[rows], file.label[rows], known
        self._keys, self._digest = file.keys[rows], f"{file.digest} {rows.indices(len(file.label))[:2]}"

    @functools.cached_property
    def arrays(self) -> Batch:
        """All at once."""
        return self[np.arange(len(self))]

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        pieces = []
        for start in range(0, len(indices), PIECE):
            some = indices[start : start + PIECE]
            pieces.append({"fields": self.known.numbers(self.raw[some]), "label": self.label[some]})
            for mapped in self.maps if hasattr(mmap, "MADV_DONTNEED") else ():  # not on Windows
                mapped.madvise(mmap.MADV_DONTNEED)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in ("fields", "label")}

    def digest(self) -> str:
        known = hashlib.blake2b(np.ascontiguousarray(self.known.seen).data, digest_size=16).hexdigest()
        return f"{self._digest} {known}"

    def common(self, other: Source) -> int:
        """By what stands in the file: rows that the model cannot tell apart are many."""
        if not isinstance(other, Mapped) or len(self) > MOST_COMPARED:
            return 0
        return int(np.isin(other._keys, self._keys).sum())


class Converted(NamedTuple):
    """A file as numbers: `raw`: int32 [rows, fields], `label`: int32 [rows], `keys`: int64 [rows], the same for rows in
    which the same stands; what of it is mapped into memory; and a digest of all.
    """

    raw: np.ndarray
    label: np.ndarray
    keys: np.ndarray
    maps: Collection[mmap.mmap] = ()
    digest: str = ""


class Known:
    """The raw values that training rows have.

    Args:
        seen: bool [sum of sizes], whether they have each value of the first field, of the second and so on.
        sizes: how many values a field can have; raw ones count modulo these.
    """

    def __init__(self, seen: np.ndarray, sizes: Sequence[int]):
        self.seen, self._sizes = seen, np.array(sizes, np.int32)
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int32)
        numbers = [np.cumsum(part) - 1 for part in np.split(seen, self._offsets[1:-1])]
        self.counts = [int(part[-1]) + 1 for part in numbers]
        unseen = np.repeat(self.counts, self._sizes)
        self._numbers = np.where(seen, np.concatenate(numbers), unseen).astype(np.int32)

    @classmethod
    def of(cls, raw: np.ndarray, sizes: Sequence[int]) -> "Known":
        """raw: int32 [rows, fields], of the training rows."""
        seen, modulus, offsets = np.zeros(sum(sizes), bool), np.array(sizes, np.int32), np.cumsum([0, *sizes[:-1]])
        for start in range(0, len(raw), PIECE):
            seen[raw[start : start + PIECE] % modulus + offsets] = True
        return cls(seen, sizes)

    def numbers(self, raw: np.ndarray) -> np.ndarray:
        """int32 [rows, fields] -> int32 [rows, fields]; of what training rows lack, how many values of it there are."""
        return self._numbers[raw % self._sizes + self._offsets[:-1]]

    def values(self, field: int) -> np.ndarray:
        """int [count]: the raw value of each number of a field, modulo its size."""
        return np.flatnonzero(self.seen[self._offsets[field] : self._offsets[field + 1]])


ClickConfig = Config[DeepFMConfig, GeneratedConfig | CriteoConfig | CsvConfig]


def load(config: ClickConfig, spec: Spec | None = None) -> Dataset:
    """`fields`: int32 [n, fields], `label`: int32 [n], in memory or mapped into it; split in the order of the rows.

    spec: a run's, which says what columns there are, what they are taken as, and which values its training rows had.
    """
    data = config.data
    where: Path | str = "the generated data"
    columns: Mapping[str, Any] = GENERATED
    if isinstance(data, GeneratedConfig):
        arrays, _ = generate(data.examples)
        file = Converted(arrays.arrays["fields"], arrays.arrays["label"], np.arange(len(arrays)))
    else:
        where = path = _find(data)
        if isinstance(data, CriteoConfig):
            columns = CRITEO
        else:
            columns = {name: spec[name] for name in GENERATED} if spec else _csv_columns(path, data)
        file = _converted(path, columns, data)
    test_path = data.test_path if isinstance(data, CsvConfig) else ""
    parts = _split(file.label, data, where, tested_apart=bool(test_path))
    if spec is None:
        known = Known.of(file.raw[parts[0]], sizes_of(columns, data.buckets))
        _say_constant(where, columns, known)
        spec = {**columns, "buckets": data.buckets, "sizes": known.counts, "known.npy": known.seen}
    known = known_of(spec)
    train, val, test = (Mapped(file, part, known) for part in parts)
    if isinstance(data, GeneratedConfig):
        return Dataset(Arrays(**train.arrays), Arrays(**val.arrays), Arrays(**test.arrays), spec, drawn=True)
    if test_path:
        test = Mapped(_converted(find_table(data, "test_path"), columns, data), slice(None), known)
    return Dataset(train, val, test, spec)


def sizes_of(columns: Mapping[str, Any], buckets: int) -> list[int]:
    """How many raw values each field can have."""
    return [INTEGER_CODES] * len(columns["integers"]) + [buckets] * len(columns["categories"])


def known_of(spec: Spec) -> Known:
    return Known(spec["known.npy"], sizes_of(spec, spec["buckets"]))


def generate(examples: int) -> tuple[Arrays, np.ndarray]:
    """(the generated data, float64 [n]: the true probability of each click).

    Their logit is a factorization machine's: linear terms, and dot products of vectors for all pairs of fields. No sum
    over fields can reproduce these.
    """
    model, rng = (np.random.Generator(np.random.PCG64(seed)) for seed in (0, 1))
    rank, logit = 4, np.full(examples, -1.8)
    total, squares = np.zeros((2, examples, rank))
    fields = []
    for _ in GENERATED["integers"]:
        values = np.floor(np.exp(rng.normal(1.5, 1.2, examples)))
        present = rng.random(examples) > 0.1
        x = np.where(present, (np.log1p(values) - 1.7) / 1.1, 0.0)
        logit = logit + x * model.normal(0.0, 0.4)
        vectors = x[:, None] * model.normal(0.0, 0.3, rank)
        total, squares = total + vectors, squares + vectors**2
        fields.append(codes(values, present))
    for count in VALUES:
        share = 1 / np.arange(2, count + 2)
        values = rng.choice(count, examples, p=share / share.sum())
        logit = logit + model.normal(0.0, 0.4, count)[values]
        vectors = model.normal(0.0, 0.3, (count, rank))[values]
        total, squares = total + vectors, squares + vectors**2
        texts = make_cells("", range(count), [[str(value)] for value in range(count)])
        fields.append(hashes(texts)[values, 0])
    logit = logit + (total**2 - squares).sum(1) / 2
    probabilities = 1 / (1 + np.exp(-logit))
    clicks = rng.random(examples) < probabilities
    return Arrays(fields=np.stack(fields, 1), label=clicks.astype(np.int32)), probabilities


def read_fields(
    path: Path, columns: Mapping[str, Any], *, labelled: bool, progress=int, bad: Bad = STRICT
) -> Iterator[tuple[Cells, np.ndarray, np.ndarray | None]]:
    """(those that are asked for, int32 [n, fields], int32 [n]): cells, raw values and labels of a file, block by block.

    labelled: whether labels are asked for; without, they may be missing, and are None. bad: takes bad rows.

    Raises:
        InputError: for what is wrong with the file, with its row and column.
    """
    criteo = columns["layout"] == "criteo"
    format = to_format(columns["format"], own=labelled and not criteo)
    names = [columns["label"], *columns["integers"], *columns["categories"]]
    width = len(names) if criteo else 0
    header = None

    def check(cells: Cells) -> None:
        integers(cells.columns(columns["integers"]))
        if labelled:
            labels(cells.columns(names[:1]))

    for cells in read_cells(path, format, width if labelled else 0, progress, bad):
        if header is None and criteo:
            found = cells.starts.shape[1]
            if found not in (width, width - 1):
                expected = f"expected {width}, or {width - 1} without the label"
                raise InputError(f"{path}, row {cells.lines[0]}: {found} columns, {expected}")
            header = names[width - found :]
        elif header is None:
            header, cells = _header(cells), cells.rows(slice(1, None))
            _check_names(path, header, names if labelled else names[1:], columns)
        cells = replace(cells, names=header)
        if bad.skip:
            cells = readable(cells, check, bad)
        asked = cells.columns(names if labelled else names[1:])
        yield asked, encode(cells, columns), labels(cells.columns(names[:1])) if labelled else None


def encode(cells: Cells, columns: Mapping[str, Any]) -> np.ndarray:
    """int32 [rows, fields]: the codes of the integers, the hashes of the categories."""
    numbers = codes(*integers(cells.columns(columns["integers"])))
    return np.concatenate([numbers, categories(cells.columns(columns["categories"]))], 1)


def _find(config: CriteoConfig | CsvConfig) -> Path:
    try:
        return find_own(config.root, config.path, "data.path")
    except InputError as error:
        if not isinstance(config, CriteoConfig):
            raise
        name, source = Path(config.path).name, "https://www.kaggle.com/c/criteo-display-ad-challenge"
        raise InputError(f"{error}: put {name} of {source} there, which asks for an account") from error


def _csv_columns(path: Path, config: CsvConfig) -> dict[str, Any]:
    """What the columns are taken as: those that are named, or else all, by what stands in the first rows."""
    form = config.format()
    columns = {"layout": "csv", "format": form, "label": config.label}
    given = [split_names(config.integers), split_names(config.categories)]
    names = [config.label, *given[0], *given[1]]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"data.label, data.integers and data.categories name the column {twice[0]!r} {names.count(twice[0])} times"
        )
    first = next(read_cells(path, to_format(form), bad=Bad(config.skip_bad)))
    header = _header(first)
    _check_names(path, header, names, columns)
    if len(names) == 1:
        given = _guessed(replace(first.rows(slice(1, None)), names=header), config.label)
    return {**columns, "integers": given[0], "categories": given[1]}


def _guessed(cells: Cells, label: str) -> list[list[str]]:
    """The columns that look like integers, and the others but the label and those without a name. Says so."""
    path, looks, unnamed = cells.path, {}, []
    given: list[list[str]] = [[], []]
    for i, name in enumerate(cells.names):
        if name == f"Unnamed: {i}":
            unnamed.append(name)
        elif name != label:
            column = [cells.cell(row, i) for row in range(len(cells))]
            look = look_at(column, cells.format)
            has_numbers = look.kind == "numbers" and not all(map(cells.format.is_gap, column))
            if has_numbers:
                integers(cells.columns([name]))  # or it has fractions
            elif look.kind in ("written", "words"):
                looks[name] = look
            given[not has_numbers].append(name)
    if not any(given):
        raise InputError(f"{path} has no column but {label!r}: there is nothing to predict from")
    kinds = zip(("integers", "categories"), given, strict=True)
    taken = "; ".join(f"{kind}: {', '.join(found) or 'none'}" for kind, found in kinds)
    taken += f"; left out: {listed(unnamed)}, which has no name" if unnamed else ""
    taken += f"; if integers are meant, {advice(looks, cells.format, [], [])}" if looks else ""
    say_once(f"columns of {path}", f"{path}: {taken} (others with --data.integers, --data.categories)")
    return given


def _say_constant(where: Path | str, columns: Mapping[str, Any], known: Known) -> None:
    names = [*columns["integers"], *columns["categories"]]
    if constant := [name for name, count in zip(names, known.counts, strict=True) if count == 1]:
        say_once(
            f"constant columns of {where}",
            f"{where}: {', '.join(constant)}: one value in every training row, as the model sees it: nothing is learnt "
            "by it",
        )


def _header(cells: Cells) -> list[str]:
    """The names in the first row."""
    return column_names(cells.path, [cells.cell(0, i) for i in range(cells.starts.shape[1])])


def _check_names(path: Path, header: Sequence[str], wanted: Sequence[str], columns: Mapping[str, Any]) -> None:
    for name in wanted:
        if name not in header:
            raise no_column(path, name, header, to_format(columns["format"]))


def _converted(path: Path, columns: Mapping[str, Any], config: FileConfig) -> Converted:
    """A file's numbers, mapped from files that are made of it the first time."""

    def convert(folder: Path) -> None:
        bad, digest = Bad(config.skip_bad), hashlib.blake2b(digest_size=16)
        bar = tqdm(desc=path.name, total=path.stat().st_size, unit="B", unit_scale=True, leave=False, delay=1)
        with bar, contextlib.ExitStack() as stack:
            files = [stack.enter_context((folder / name).open("wb")) for name in MADE]
            for cells, fields, clicks in read_fields(path, columns, labelled=True, progress=bar.update, bad=bad):
                assert clicks is not None  # as they are asked for
                for values, file in zip((fields, clicks, keys(cells)), files, strict=True):
                    file.write(values.tobytes())
                    digest.update(values.tobytes())
            if not files[0].tell():
                bad.say(0)
                raise InputError(f"{path} has no rows below the names of its columns")
        (folder / "bad.json").write_text(bad.to_text())
        (folder / "digest").write_text(digest.hexdigest())

    cache = Path(config.cache) if config.cache else path.parent
    folder = convert_once(cache, [path], repr((CONVERSION, sorted(columns.items()), config.skip_bad)), convert)
    maps = []
    for name in MADE:
        with (folder / name).open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    raw, label, rows = map(np.frombuffer, maps, MADE.values())
    Bad.from_text((folder / "bad.json").read_text(encoding="utf-8")).say(len(label))
    return Converted(raw.reshape(len(label), -1), label, rows, maps, (folder / "digest").read_text(encoding="utf-8"))


def _split(label: np.ndarray, config: ClicksConfig, where: Path | str, tested_apart: bool) -> list[slice]:
    """Training, validation and test, one after the other. Raises InputError where one has no click, or only clicks."""
    n = len(label)
    test = n - (0 if tested_apart else round(n * config.test_fraction))
    val = max(test - round(n * config.val_fraction), 0)
    parts = {"training": slice(0, val), "validation": slice(val, test), "test": slice(test, n)}
    for name, part in parts.items():
        if not (name == "test" and tested_apart) and len(found := _outcomes(label[part])) < 2:
            what = "no rows" if not found else "only clicks" if 1 in found else "no click"
            raise InputError(
                f"{where}: the {name} split has {what}: splits are taken in the order of the {n:,} rows, see "
                "data.val_fraction and data.test_fraction; shuffle the rows if they have no order of time"
            )
    return list(parts.values())


def _outcomes(labels: np.ndarray) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(labels), 2**20):  # in pieces, so that little of a large file is read
        piece = labels[start : start + 2**20]
        found |= {int(piece.min()), int(piece.max())}
        if len(found) == 2:
            break
    return found
