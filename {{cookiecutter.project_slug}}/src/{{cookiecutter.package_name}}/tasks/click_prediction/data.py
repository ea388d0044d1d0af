"""Clicks as NumPy: fields int32 [n, fields], integers first, as codes and hashes; labels int32 [n], 1 for a click."""

import copy
import mmap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...config import Config, DataConfig, PositiveInt, Probability, closest, option
from ...data.bad import STRICT, Bad
from ...data.files import convert_once, say_once
from ...data.sources import Arrays, Batch, Dataset, Spec
from ...errors import InputError
from .cells import INTEGER_CODES, Cells, codes, hashes, integers, labels, make_cells, read_cells, readable


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

    path: str = option("criteo/train.txt", "file in root, or an absolute path")


@dataclass(frozen=True)
class CsvConfig(FileConfig):
    """A CSV file whose first row names the columns."""

    path: str = option("clicks.csv", "file in root, or an absolute path")
    label: str = option("click", "its column of 1 for a click and 0 for none")
    integers: str = option("", "its columns of whole numbers, separated by commas")
    categories: str = option("", "its other columns to use; without both: all, by what stands in the first rows")


CRITEO = {
    "layout": "criteo",
    "label": "label",
    "integers": [f"I{i}" for i in range(1, 14)],
    "categories": [f"C{i}" for i in range(1, 27)],
}
GENERATED = {
    "layout": "csv",
    "label": "click",
    "integers": ["visits", "age", "price"],
    "categories": ["weekday", "hour", "device", "format", "country", "segment", "advertiser", "site"],
}
VALUES = (7, 24, 4, 6, 20, 12, 16, 30)  # of each of these categories
CONVERSION = 1  # raise it where the numbers made of a file change
PIECE = 1024  # examples that are read from mapped files before their pages are given back: each holds some 64 KB


class Mapped(Arrays):
    """Examples in files that are mapped into memory, of which little is there at a time, whatever the files' size.

    The system would keep what was read in this process for as long as it has room.
    """

    def __init__(self, maps: Collection[mmap.mmap], **arrays: np.ndarray):
        super().__init__(**arrays)
        self.maps = maps

    def __getitem__(self, indices: np.ndarray) -> Batch:
        pieces = []
        for start in range(0, len(indices), PIECE):
            pieces.append(super().__getitem__(indices[start : start + PIECE]))
            for mapped in self.maps if hasattr(mmap, "MADV_DONTNEED") else ():  # not on Windows
                mapped.madvise(mmap.MADV_DONTNEED)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self.arrays}


def load(config: Config, spec: Spec | None = None) -> Dataset:
    """`fields`: int32 [n, fields], `label`: int32 [n], in memory or mapped into it; split in the order of the rows.

    spec: a run's, which says what columns there are and what they are taken as.
    """
    data = config.data
    if isinstance(data, GeneratedConfig):
        columns, (arrays, _) = GENERATED, generate(data.examples)
        where = "the generated data"
    else:
        where = _find(data)
        if isinstance(data, CriteoConfig):
            columns = CRITEO
        else:
            columns = {name: spec[name] for name in GENERATED} if spec else _csv_columns(where, data)
        arrays = _converted(where, columns, Path(data.cache) if data.cache else where.parent, data.skip_bad)
    sizes = [INTEGER_CODES] * len(columns["integers"]) + [data.buckets] * len(columns["categories"])
    return Dataset(*_split(arrays, data, where), {**columns, "sizes": sizes})


def generate(examples: int) -> tuple[Arrays, np.ndarray]:
    """(the generated data, float64 [n]: the true probability of each click).

    Their logit is a factorization machine's: linear terms, and dot products of vectors for all pairs of fields. No sum
    over fields can reproduce these.
    """
    model, rng = (np.random.Generator(np.random.PCG64(seed)) for seed in (0, 1))
    rank, logit, total, squares = 4, -1.8, 0.0, 0.0
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
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """(int [n], int32 [n, fields], int32 [n]): the lines, fields and labels of a file, block by block.

    labelled: whether labels are asked for; without, they may be missing, and are None. bad: takes bad rows.

    Raises:
        InputError: for what is wrong with the file, with its row and column.
    """
    criteo = columns["layout"] == "criteo"
    names = [columns["label"], *columns["integers"], *columns["categories"]]
    delimiter, width = ("\t", len(names)) if criteo else (",", 0)
    header = None

    def check(cells: Cells) -> None:
        integers(cells.columns(columns["integers"]))
        labels(cells.columns(names[:1]))

    for cells in read_cells(path, delimiter, width if labelled else 0, progress, bad):
        if header is None and criteo:
            found = cells.starts.shape[1]
            if found not in (width, width - 1):
                expected = f"expected {width}, or {width - 1} without the label"
                raise InputError(f"{path}, row {cells.lines[0]}: {found} columns, {expected}")
            header = names[width - found :]
        elif header is None:
            header, cells = _header(cells), cells.rows(slice(1, None))
            _check_names(path, header, names if labelled else names[1:])
        cells = replace(cells, names=header)
        if bad.skip:
            cells = readable(cells, check, bad)
        yield cells.lines, encode(cells, columns), labels(cells.columns(names[:1])) if labelled else None


def encode(cells: Cells, columns: Mapping[str, Any]) -> np.ndarray:
    """int32 [rows, fields]: the codes of the integers, the hashes of the categories."""
    numbers = codes(*integers(cells.columns(columns["integers"])))
    return np.concatenate([numbers, hashes(cells.columns(columns["categories"]))], 1)


def _find(config: FileConfig) -> Path:
    path = Path(config.root) / config.path
    if path.is_file():
        return path
    place = "another place is named by --data.root and --data.path"
    if isinstance(config, CriteoConfig):
        source = "https://www.kaggle.com/c/criteo-display-ad-challenge"
        raise InputError(f"{path} is missing: put {path.name} of {source} there, which asks for an account; {place}")
    raise InputError(f"{path} is missing: {place}")


def _csv_columns(path: Path, config: CsvConfig) -> dict[str, Any]:
    """What the columns are taken as: those that are named, or else all, by what stands in the first rows."""
    given = [
        [name.strip() for name in text.split(",") if name.strip()] for text in (config.integers, config.categories)
    ]
    names = [config.label, *given[0], *given[1]]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"data.label, data.integers and data.categories name the column {twice[0]!r} {names.count(twice[0])} times"
        )
    first = next(read_cells(path, ",", bad=Bad(config.skip_bad)))
    header = _header(first)
    _check_names(path, header, names)
    if len(names) == 1:
        first = replace(first.rows(slice(1, None)), names=header)
        for name in header:
            if name != config.label:
                given[not _holds_numbers(first.columns([name]))].append(name)
        if not any(given):
            raise InputError(f"{path} has no column but {config.label!r}: there is nothing to predict from")
        taken = [
            f"{kind}: {', '.join(found) or 'none'}"
            for kind, found in zip(("integers", "categories"), given, strict=True)
        ]
        say_once(f"columns of {path}", f"{path}: {'; '.join(taken)} (others with --data.integers, --data.categories)")
    return {"layout": "csv", "label": config.label, "integers": given[0], "categories": given[1]}


def _holds_numbers(cells: Cells) -> bool:
    """Whether all that stands in the cells are numbers."""
    try:
        return bool(integers(cells)[1].any())
    except InputError:
        return False


def _header(cells: Cells) -> list[str]:
    """The names in the first row."""
    names = [cells.cell(0, i) for i in range(cells.starts.shape[1])]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{cells.path} has {names.count(twice[0])} columns {twice[0]!r}: give each its own name")
    if "" in names:
        raise InputError(f"{cells.path}, row 1: column {names.index('') + 1} has no name: give it one")
    return names


def _check_names(path: Path, header: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in header:
            raise InputError(f"{path} has no column {name!r}: {closest(name, header)}")


def _converted(path: Path, columns: Mapping[str, Any], cache: Path, skip_bad: bool) -> Arrays:
    """The file's numbers, mapped from files that are made of it the first time."""

    def convert(folder: Path) -> None:
        bad = Bad(skip_bad)
        bar = tqdm(desc=path.name, total=path.stat().st_size, unit="B", unit_scale=True, leave=False, delay=1)
        with bar, (folder / "fields").open("wb") as fields_file, (folder / "label").open("wb") as label_file:
            for _, fields, clicks in read_fields(path, columns, labelled=True, progress=bar.update, bad=bad):
                fields_file.write(fields.tobytes())
                label_file.write(clicks.tobytes())
            if not label_file.tell():
                bad.say(0)
                raise InputError(f"{path} has no rows below the names of its columns")
        (folder / "bad.json").write_text(bad.to_text())

    folder = convert_once(cache, [path], repr((CONVERSION, sorted(columns.items()), skip_bad)), convert)
    maps = {}
    for name in ("fields", "label"):
        with (folder / name).open("rb") as file:
            maps[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    label = np.frombuffer(maps["label"], np.int32)
    Bad.from_text((folder / "bad.json").read_text()).say(len(label))
    return Mapped(maps.values(), fields=np.frombuffer(maps["fields"], np.int32).reshape(len(label), -1), label=label)


def _split(arrays: Arrays, config: ClicksConfig, where: Path | str) -> list[Arrays]:
    """Training, validation and test, one after the other. Raises InputError where one has no click, or only clicks."""
    n = len(arrays)
    test = n - round(n * config.test_fraction)
    val = max(test - round(n * config.val_fraction), 0)
    splits = []
    for name, part in {"training": slice(val), "validation": slice(val, test), "test": slice(test, n)}.items():
        split = copy.copy(arrays)
        split.arrays = {key: array[part] for key, array in arrays.arrays.items()}
        if len(found := _outcomes(split.arrays["label"])) < 2:
            what = "no rows" if not found else "only clicks" if 1 in found else "no click"
            raise InputError(
                f"{where}: the {name} split has {what}: splits are taken in the order of the {n:,} rows, see "
                "data.val_fraction and data.test_fraction; shuffle the rows if they have no order of time"
            )
        splits.append(split)
    return splits


def _outcomes(labels: np.ndarray) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(labels), 2**20):  # in pieces, so that little of a large file is read
        piece = labels[start : start + 2**20]
        found |= {int(piece.min()), int(piece.max())}
        if len(found) == 2:
            break
    return found
