"""Ratings as NumPy: user and item int32, rating float32."""

import io
import json
import math
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Config,
    DataConfig,
    Dataset,
    InputError,
    NonNegativeFloat,
    PositiveInt,
    Probability,
    Spec,
    option,
    say_once,
)
from ...engine.data.download import Remote, locate_unpacked
from ...engine.data.files import read_bytes
from ...engine.data.tables import (
    HUGE,
    NUMBER,
    PLAIN,
    Format,
    OwnTableConfig,
    column_names,
    find_table,
    no_column,
    read_rows,
    read_table,
    to_format,
)
from ...models.matrix_factorization import MatrixFactorizationConfig
from .times import read_date


@dataclass(frozen=True)
class RatingDataConfig(DataConfig):
    """What every dataset of ratings has."""

    split: Literal["random", "time"] = option(
        "random", "which ratings are kept for validation and test: random ones, or the latest"
    )
    val_fraction: Probability = option(0.1, "share of the ratings that is kept for validation")
    test_fraction: Probability = option(0.1, "share of the ratings that is kept for the test")


@dataclass(frozen=True)
class GeneratedConfig(RatingDataConfig):
    """Ratings that a model of this kind has made, with noise: no other predicts them better."""

    users: PositiveInt = option(1000, "users")
    items: PositiveInt = option(800, "items")
    ratings: PositiveInt = option(200_000, "ratings; at most a quarter of users times items")
    rank: PositiveInt = option(3, "numbers in a user's and in an item's true vector")
    noise: NonNegativeFloat = option(0.5, "standard deviation of the noise in a rating")


@dataclass(frozen=True)
class MovieLensConfig(RatingDataConfig):
    """A release of MovieLens (Harper and Konstan 2015), in `<root>/ml-100k/` and the like."""

    verify: bool = option(True, "check the archive's md5")


@dataclass(frozen=True)
class CsvConfig(RatingDataConfig, OwnTableConfig):
    """A table with a rating in each row; users and items are any text."""

    path: str = option("ratings.csv", "the file, in the working folder or in root, whose first row names the columns")
    user: str = option("user", "column of the users")
    item: str = option("item", "column of the items")
    rating: str = option("rating", "column of the ratings")
    time: str = option(
        "", "column of the times, for data.split time: numbers, or dates as 2026-01-31 or 2026-01-31 18:30"
    )
    titles: str = option("", "a file as path, with the items' column, `title` and maybe `genres`, as a|b")
    test_path: str = option("", "a file to test on, in place of test_fraction of the ratings")


Titles = Mapping[str, tuple[str, str]]  # by item: its title, and its genres, as "Crime|Drama"


@dataclass(frozen=True)
class Ratings:
    """All ratings of a dataset.

    Attributes:
        user, item: int32 [n], indices into `users` and `items`.
        rating: float32 [n].
        time: [n - held], of any unit; None where it is not asked for.
        users, items: names.
        titles: of items, where the dataset has any.
        held: how many, the last, are to test on; 0: some of all.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray | None
    users: Sequence[str]
    items: Sequence[str]
    titles: Titles = field(default_factory=dict)
    held: int = 0

    def __len__(self) -> int:
        return len(self.rating)


RatingConfig = Config[MatrixFactorizationConfig, GeneratedConfig | MovieLensConfig | CsvConfig]


def load(config: RatingConfig, spec: Spec | None = None) -> Dataset:
    """`user`, `item`: int32 [n], `rating`: float32 [n].

    Users and items are numbered by how many training ratings they have, from the most on; whoever has none gets the
    number that follows. The spec:

        users, items              how many have training ratings
        mean, lowest, highest     of the training ratings
        unit                      their standard deviation
        format                    how the users of `predict` are written, as in the table
        users.json, items.json    names; for items with titles and genres, where there are any: see `_names`
        rated_items.npy           int32, the items that the first user has rated in training, then those of the second
        rated_offsets.npy         int64 [users + 1], where each user's begin
    """
    readers: dict[type, Callable[[Any], Ratings]] = {
        GeneratedConfig: lambda config: generate(config)[0],
        MovieLensConfig: read_movielens,
        CsvConfig: read_csv,
    }
    ratings = readers[type(config.data)](config.data)
    parts = split(ratings, config.data)
    names = spec or _names(ratings, parts[0])
    if spec is None:
        _check_ratings(config.data, ratings.rating[parts[0]])
    user = _numbers(ratings.users, json.loads(names["users.json"]))[ratings.user]
    item = _numbers(ratings.items, json.loads(names["items.json"])["item"])[ratings.item]
    train, val, test = (Arrays(user=user[part], item=item[part], rating=ratings.rating[part]) for part in parts)
    if spec is None:
        format = config.data if isinstance(config.data, OwnTableConfig) else OwnTableConfig()
        spec = {**_statistics(**train.arrays), "format": format.format(), **names}
    return Dataset(train, val, test, spec, drawn=isinstance(config.data, GeneratedConfig))


def split(ratings: Ratings, config: RatingDataConfig) -> list[np.ndarray]:
    """Indices of the ratings in train, val and test. By time, val is later than train, and test than val.

    Raises:
        InputError: where one of them is empty.
    """
    n = len(ratings) - ratings.held
    if config.split == "time":
        assert ratings.time is not None  # as it was asked for
        order = np.argsort(ratings.time, kind="stable")
    else:  # a property of the data, not of the run's seed
        order = np.random.Generator(np.random.PCG64(0)).permutation(n)
    test = 0 if ratings.held else round(n * config.test_fraction)
    val = round(n * config.val_fraction)
    if min(n - val - test, val, test or ratings.held) < 1:
        raise InputError(
            f"data.val_fraction = {config.val_fraction} and data.test_fraction = {config.test_fraction} of {n} ratings "
            f"make {val} for validation, {test or ratings.held} for the test and {n - val - test} for training: each "
            "needs some"
        )
    order = np.concatenate([order, np.arange(n, len(ratings))])
    return np.split(order, [n - val - test, n - test])


GENRES = ["Comedy", "Crime", "Drama", "Fantasy", "Horror", "Romance"]


def generate(config: GeneratedConfig) -> tuple[Ratings, np.ndarray]:
    """(the ratings, what each of them is without noise: float64 [n]).

    Some users rate more than others, some items are rated more. The vectors of a genre's items lie together.

    Raises:
        InputError: where there are not pairs enough.
    """
    users, items, n = config.users, config.items, config.ratings
    if n > users * items / 4:
        raise InputError(
            f"data.ratings = {n} is more than a quarter of data.users = {users} times data.items = {items}"
        )
    rng = np.random.Generator(np.random.PCG64(0))
    genre, centres = rng.integers(len(GENRES), size=items), rng.normal(size=(len(GENRES), config.rank))
    p = rng.normal(size=(users, config.rank))
    q = 0.9 * centres[genre] + 0.4 * rng.normal(size=(items, config.rank))
    b, c = rng.normal(0, 0.3, users), rng.normal(0, 0.5, items)
    activity, popularity = rng.lognormal(0, 0.5, users), rng.lognormal(0, 1, items)
    pairs = np.empty(0, np.int64)
    while len(pairs) < n:  # nobody rates an item twice
        user = rng.choice(users, n, p=activity / activity.sum())
        item = rng.choice(items, n, p=popularity / popularity.sum())
        pairs = np.unique(np.concatenate([pairs, user * items + item]))
    user, item = np.divmod(rng.permutation(pairs)[:n], items)
    truth = 3.5 + b[user] + c[item] + 0.6 * (p[user] * q[item]).sum(1) / config.rank**0.5
    rating = truth + rng.normal(0, config.noise, n)
    names = [str(i) for i in range(1, max(users, items) + 1)]
    titles = {name: (f"Film {name}", GENRES[k]) for name, k in zip(names, genre, strict=False)}
    user, item, rating = user.astype(np.int32), item.astype(np.int32), rating.astype(np.float32)
    return Ratings(user, item, rating, np.arange(n), names[:users], names[:items], titles), truth


class Release(NamedTuple):
    """Of MovieLens: its archive, the ratings in there and their format, the movies in there and what reads them."""

    archive: Remote
    ratings: str
    delimiter: str
    header: bool
    movies: str
    read_movies: Callable[[Path], Titles]


def read_movielens(config: MovieLensConfig) -> Ratings:
    """Raises InputError for files that are missing or broken."""
    release = RELEASES[config.name]
    ratings, movies = locate_unpacked(
        Path(config.root),
        release.archive,
        [release.ratings, release.movies],
        download=config.download,
        verify=config.verify,
    )
    user, item, rating, time = read_numbers(ratings, release.delimiter, release.header)
    (users, user), (items, item) = _factorized(user), _factorized(item)
    titles = release.read_movies(movies)
    _check_titles(movies, titles, ratings, items)
    return Ratings(user, item, rating, time if config.split == "time" else None, users, items, titles)


MOVIES = Format(own=False)


def read_item_table(path: Path) -> Titles:
    """Of MovieLens 100K: number, title, two dates, address, and a 0 or 1 for each genre."""
    found = {}
    format = Format("|", quotes=False, own=False)
    for line, cells in read_rows(path, format, columns=5 + len(GENRES_100K), encoding="latin-1"):
        if wrong := {*cells[5:]} - {"0", "1"}:
            raise InputError(f"{path}, row {line}: a genre is {min(wrong)!r}, expected 0 or 1")
        genres = [genre for genre, flag in zip(GENRES_100K, cells[5:], strict=True) if flag == "1"]
        found[format.code(cells[0].strip())] = cells[1], "|".join(genres)
    return found


def read_movies_dat(path: Path) -> Titles:
    """Of MovieLens 1M: number, title and genres."""
    found = {}
    for line, row in enumerate(read_bytes(path).splitlines(), 1):  # of text, it would split at other characters, too
        cells = row.decode("latin-1").split("::")
        if len(cells) != 3:
            raise InputError(f"{path}, row {line}: {len(cells)} columns, expected 3")
        found[PLAIN.code(cells[0].strip())] = cells[1], cells[2]
    return found


def read_titles(path: Path, item: str = "movieId", format: Format = MOVIES, bad: Bad = STRICT) -> Titles:
    """Of the later releases, and of one's own: a table with the columns `item`, `title` and maybe `genres`.

    Raises:
        InputError: as `read_table`, and for an item that has two titles.
    """
    table = read_table(path, format, bad=bad)
    found: dict[str, tuple[str, str]] = {}
    genres = table.column("genres") if "genres" in table.names else [""] * len(table)
    for i, (name, *row) in enumerate(zip(table.codes(item), table.column("title"), genres, strict=True)):
        title = row[0], row[1].replace("(no genres listed)", "")
        if found.setdefault(name, title) != title:
            bad.add(InputError(f"{table.where(i, item)}: {name!r} has another title or genres in a row before"))
    bad.say(len(found))
    return found


GENRES_100K = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()


def _archive(name: str, md5: str) -> Remote:
    return Remote(name, f"https://files.grouplens.org/datasets/movielens/{name}", md5)


def _csv_release(name: str, md5: str) -> Release:
    return Release(_archive(f"{name}.zip", md5), f"{name}/ratings.csv", ",", True, f"{name}/movies.csv", read_titles)


RELEASES = {
    "ml_100k": Release(
        _archive("ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"),
        *("ml-100k/u.data", "\t", False, "ml-100k/u.item", read_item_table),
    ),
    "ml_1m": Release(
        _archive("ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),
        *("ml-1m/ratings.dat", "::", False, "ml-1m/movies.dat", read_movies_dat),
    ),
    "ml_25m": _csv_release("ml-25m", "6b51fb2759a8657d3bfcbfc42b592ada"),
    "ml_32m": _csv_release("ml-32m", "d472be332d4daa821edc399621853b57"),
}

COLUMNS = {"userId": np.int32, "movieId": np.int32, "rating": np.float32, "timestamp": np.int64}
BLOCK = 2**24  # bytes that are parsed at once


def read_numbers(path: Path, delimiter: str, header: bool) -> list[np.ndarray]:
    """The columns user, item, rating and time of a file of numbers; 25 million rows in ten seconds.

    Raises:
        InputError: for a file that is empty or has something else in it, naming row and column.
    """
    blocks, line = [], 1
    try:
        with path.open("rb") as file:
            if header:
                found, expected = file.readline().decode("latin-1").strip(), delimiter.join(COLUMNS)
                if found != expected:
                    raise InputError(f"{path}, row 1: {found!r}, expected {expected!r}")
                line = 2
            while block := file.read(BLOCK) + file.readline():
                if block.strip():
                    blocks.append(_parse(path, block, delimiter, line))
                line += block.count(b"\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not blocks:
        raise InputError(f"{path} has no ratings")
    return [np.concatenate([block[name] for block in blocks]) for name in COLUMNS]


def _parse(path: Path, block: bytes, delimiter: str, first: int) -> np.ndarray:
    """The rows of whole lines, of which the first is line `first` of the file."""
    try:
        lines = io.BytesIO(block.replace(delimiter.encode(), b"\t"))
        rows = np.loadtxt(lines, list(COLUMNS.items()), comments=None, delimiter="\t", ndmin=1)
        if (np.abs(rows["rating"]) < HUGE).all():
            return rows
        fault = "a rating is no number"
    except ValueError as error:
        fault = str(error)
    for line, row in enumerate(block.splitlines(), first):
        cells = row.decode("latin-1").split(delimiter) if row.strip() else []
        if len(cells) not in (0, len(COLUMNS)):
            raise InputError(f"{path}, row {line}: {len(cells)} columns, expected {len(COLUMNS)}")
        for cell, (name, kind) in zip(cells, COLUMNS.items(), strict=False):
            if not _is_number(cell, kind):
                raise InputError(f"{path}, row {line}, column {name}: {cell!r} is no number")
    raise InputError(f"{path}, from row {first} on: {fault}")


def _is_number(cell: str, kind: type) -> bool:
    """Whether `np.loadtxt` takes it, too."""
    if kind is np.float32:
        return not math.isnan(PLAIN.number(cell.strip()))
    whole, bounds = NUMBER.fullmatch(cell.strip()), np.iinfo(kind)
    return bool(whole and not {*".eE"} & {*cell}) and bounds.min <= float(cell) <= bounds.max


def read_csv(config: CsvConfig) -> Ratings:
    """Raises InputError for a file that is missing or broken, naming row and column."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    path, format = find_table(config), to_format(config.format())
    columns, time = _read_ratings(path, config, config.time if config.split == "time" else "", users, items)
    held = 0
    if config.test_path:
        tested, _ = _read_ratings(find_table(config, "test_path"), config, "", users, items)
        held = len(tested[-1])
        columns = [np.concatenate(both) for both in zip(columns, tested, strict=True)]
    titles: Titles = {}
    if config.titles:
        place = find_table(config, "titles")
        titles = read_titles(place, config.item, format, Bad(config.skip_bad))
        _check_titles(place, titles, path, items)
        strange, without = len(titles.keys() - items), len(items.keys() - titles)
        if strange or without:
            line = f"{place}: {strange:,} of its {len(titles):,} items have no ratings in {path}"
            say_once(line, f"{line}, and {without:,} of the {len(items):,} there no title")
    user, item, rating = columns
    return Ratings(user, item, rating, time, list(users), list(items), titles, held)


def _read_ratings(
    path: Path, config: CsvConfig, time: str, users: dict[str, int], items: dict[str, int]
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """(user, item and rating, the times of the column `time` where it is asked for); new users and items are added."""
    format, bad = to_format(config.format()), Bad(config.skip_bad)
    rows = read_rows(path, format, bad=bad)
    header = column_names(path, next(rows)[1])
    wanted = [config.user, config.item, config.rating, *([time] if time else [])]
    for name in wanted:
        if name not in header:
            raise no_column(path, name, header, format)
    places = [header.index(name) for name in wanted]
    user, item, rating, times = array("i"), array("i"), array("f"), array("d")
    first = "", ""  # what kind the first time is, and its cell
    for line, cells in rows:
        who, what, value, *when = (cells[place].strip() for place in places)
        place = f"{path}, row {line}, column"
        try:
            who, what = (_code(cell, f"{place} {name}", format) for cell, name in ((who, wanted[0]), (what, wanted[1])))
            number = _rating(value, f"{place} {config.rating}", format)
            if when:
                kind, moment = _moment(when[0], f"{place} {time}", format, *first)
        except InputError as error:
            bad.add(error)
            continue
        if when:
            first = first if first[0] else (kind, when[0])
            times.append(moment)
        user.append(users.setdefault(who, len(users)))
        item.append(items.setdefault(what, len(items)))
        rating.append(number)
    bad.say(len(rating))
    if not rating:
        raise InputError(f"{path} has no rows below the names of its columns")
    return [np.array(user), np.array(item), np.array(rating)], np.array(times) if time else None


def _code(cell: str, place: str, format: Format) -> str:
    """Of a user or an item."""
    if not (code := format.code(cell)):
        raise InputError(f"{place}: no value")
    return code


def _rating(cell: str, place: str, format: Format) -> float:
    value = format.number(cell)
    if math.isnan(value):
        raise InputError(f"{place}: {f'{cell!r} is no number' if cell else 'no value'}")
    return value


def _moment(cell: str, place: str, format: Format, first: str, shown: str) -> tuple[str, float]:
    """(what kind of time it is, its value). first: the kind of the first row's, `shown` its cell; "" for none yet."""
    kind, value = read_date(cell, format)
    if not kind:
        raise InputError(f"{place}: {f'{cell!r} is no number or date' if cell else 'no value'}")
    if first and kind != first:
        raise InputError(f"{place}: {cell!r} is {kind}, but {shown!r} in the first row {first}: make them alike")
    return kind, value


def _check_titles(place: Path, titles: Titles, ratings: Path, items: Collection[str]) -> None:
    """Raises InputError where none of them belongs to an item."""
    if titles.keys().isdisjoint(items):
        one, other = next(iter(titles), ""), next(iter(items), "")
        raise InputError(f"{place}: none of its items, as {one!r}, is one of those in {ratings}, as {other!r}")


def _check_ratings(config: RatingDataConfig, training: np.ndarray) -> None:
    """Raises InputError where they do not vary."""
    if training.min() == training.max():
        what = f"{config.path}: {config.rating}" if isinstance(config, CsvConfig) else f"{config.name}: the rating"
        raise InputError(f"{what} is {training[0]:g} in every training row: there is nothing to learn")


def _factorized(ids: np.ndarray) -> tuple[list[str], np.ndarray]:
    """(distinct ids as text, int32 indices into them)."""
    distinct = np.unique(ids)
    return distinct.astype(str).tolist(), np.searchsorted(distinct, ids).astype(np.int32)


def _names(ratings: Ratings, train: np.ndarray) -> dict[str, str]:
    """Of those with training ratings, from the most on, as JSON.

    users.json is a list, items.json has lists under `item` and, where there are titles, `title` and `genres`.
    """
    users, items = (
        [names[i] for i in _most_frequent(found[train])]
        for names, found in ((ratings.users, ratings.user), (ratings.items, ratings.item))
    )
    table = {"item": items}
    if ratings.titles:
        titles = [ratings.titles.get(name, ("", "")) for name in items]
        table |= {"title": [title for title, _ in titles], "genres": [genres for _, genres in titles]}
    return {"users.json": _json(users), "items.json": _json(table)}


def _most_frequent(numbers: np.ndarray) -> np.ndarray:
    counts = np.bincount(numbers)
    return np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]


def _numbers(names: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """int32 [names]: the index of each in `known`, and that after the last for others."""
    index = {name: i for i, name in enumerate(known)}
    return np.array([index.get(name, len(known)) for name in names], np.int32)


def _statistics(user: np.ndarray, item: np.ndarray, rating: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(user)
    return {
        "users": len(counts),
        "items": int(item.max()) + 1,
        "mean": float(rating.mean(dtype=np.float64)),
        "unit": float(rating.std(dtype=np.float64)),
        "lowest": float(rating.min()),
        "highest": float(rating.max()),
        "rated_items.npy": item[np.argsort(user, kind="stable")],
        "rated_offsets.npy": np.concatenate([[0], np.cumsum(counts)]),
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
