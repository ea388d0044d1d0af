"""Rating prediction: how will a user rate an item?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
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
    PositiveInt,
    Signature,
    Spec,
    Task,
    option,
    say_once,
)
from ...engine.data.tables import to_cell, to_format
from ...models.matrix_factorization import MatrixFactorizationConfig
from .data import CsvConfig, GeneratedConfig, MovieLensConfig, RatingConfig, load

MOST_EMBEDDINGS = 10_000  # items in the projector, which is slow with more


@dataclass(frozen=True)
class Options:
    top: PositiveInt = option(10, "items for each user, the best first")


def check(config: RatingConfig) -> None:
    """To split by time, there must be times; and no column has two meanings."""
    data = config.data
    if not isinstance(data, CsvConfig):
        return
    if data.split == "time" and not data.time:
        raise InputError("data.split = 'time' needs data.time, the column of the times")
    columns = {key: getattr(data, key) for key in ("user", "item", "rating")}
    if len({*columns.values()}) < 3:
        given = ", ".join(f"data.{key} = {name!r}" for key, name in columns.items())
        raise InputError(f"{given}: these are three columns")


def inputs(given: Sequence[str | float] | str | float, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`user`: int32 [n], of users by the names that they have in the data; 5.0 is the user 5. `bad` takes unknown ones.

    Raises:
        InputError: for users who are unknown, and where there are none.
    """
    format = to_format(spec["format"])
    given = [given] if isinstance(given, str) or not np.iterable(given) else given
    names = [format.code(to_cell(name, format)) for name in given]
    if not names:
        raise InputError("no inputs: users are wanted, by the names that they have in the data")
    users = json.loads(spec["users.json"])
    index = {name: i for i, name in enumerate(users)}
    for name in names:
        if name not in index:
            about = f"user {name!r} has no ratings in the training data: it has {len(users)} users, as {users[0]!r}; "
            bad.add(InputError(f"{about}fitted/users.json in the run's folder lists them"))
    names = [name for name in names if name in index]
    return Inputs(Arrays(user=np.array([index[name] for name in names], np.int32)), names)


def signature(spec: Spec) -> Signature:
    rating = f"of each item of `items.json`, in the data's unit, {spec['lowest']:g} to {spec['highest']:g}, not clipped"
    return Signature(
        {"user": Field("int32", (), f"the user's place in `users.json`, 0 to {spec['users'] - 1}")},
        {"rating": Field("float32", (spec["items"],), rating)},
    )


def describe(names: Sequence[str], outputs: Batch, spec: Spec, top: int) -> list[dict[str, Any]]:
    """rating: float [n, items] -> for each user the items with the highest ratings, without those rated in training."""
    users, items = json.loads(spec["users.json"]), json.loads(spec["items.json"])
    index, offsets = {name: i for i, name in enumerate(users)}, spec["rated_offsets.npy"]
    rows, full = [], []
    for name, rating in zip(names, outputs["rating"], strict=True):
        user = index[name]
        rated = spec["rated_items.npy"][offsets[user] : offsets[user + 1]]
        order = np.argsort(-rating, kind="stable")
        if len(np.unique(rated)) == len(rating):
            full.append(f"user {name!r} has rated all {len(rating)} items: none is left to predict")
        for rank, item in enumerate(order[~np.isin(order, rated)][:top], 1):
            row = {"user": name, "rank": rank, **{key: items[key][item] for key in ("item", "title") if key in items}}
            rows.append({**row, "rating": float(rating[item].clip(spec["lowest"], spec["highest"]))})
    if not rows:
        raise InputError(full[0])
    for line in full:
        say_once(line, line)
    return rows


def examples(batch: Batch, outputs: Batch, spec: Spec, count: int = 20) -> dict[str, str]:
    """A table of the first ratings with what was predicted."""
    users, items = json.loads(spec["users.json"]), json.loads(spec["items.json"])
    users, items = ([*found, "(not in training)"] for found in (users, items.get("title", items["item"])))
    rows = ["| user | item | rating | predicted |", "|---|---|---|---|"]
    for i in range(min(count, len(batch["rating"]))):
        user, item = (found[batch[key][i]].replace("|", "\\|") for found, key in ((users, "user"), (items, "item")))
        predicted = outputs["rating"][i].clip(spec["lowest"], spec["highest"])
        rows.append(f"| {user} | {item} | {batch['rating'][i]:.3g} | {predicted:.2f} |")
    return {"examples": "\n".join(rows)}


def embeddings(spec: Spec) -> dict[str, tuple[list[str], list[list[str]]]]:
    """The items with the most ratings: items are numbered in that order."""
    items = json.loads(spec["items.json"])
    shown = min(MOST_EMBEDDINGS, spec["items"])
    columns = {"item": items["item"][:shown]}
    if "title" in items:
        genres = items["genres"][:shown]
        first = [each.partition("|")[0] for each in genres]  # few different ones, so that it can be the colour
        columns |= {"title": items["title"][:shown], "genres": genres, "first genre": first}
    counts = np.bincount(spec["rated_items.npy"], minlength=shown)[:shown]
    columns["training ratings"] = list(map(str, counts))
    return {"item_vectors/embedding": (list(columns), [list(row) for row in zip(*columns.values(), strict=True)])}


task = Task(
    name="rating_prediction",
    title="Rating prediction",
    models={"matrix_factorization": MatrixFactorizationConfig},
    datasets={
        "generated": GeneratedConfig,
        "ml_100k": MovieLensConfig,
        "ml_1m": MovieLensConfig,
        "ml_25m": MovieLensConfig,
        "ml_32m": MovieLensConfig,
        "csv": CsvConfig,
    },
    monitor="val/rmse",
    mode="min",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    check=check,
    options=Options,
    signature=signature,
    embeddings=embeddings,
    overfit=Overfit(steps=200, loss=0.01),
)
