"""Rating prediction: generated ratings, the loss and the metrics by their formulas, and a table of one's own."""

import json

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, steps, values_of, write_csv

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.tasks.rating_prediction import data, describe, embeddings, examples, task

SMALL = ["--model.width=4", "--model.l2=0.01", "--data.batch_size=16", "--optimizer.learning_rate=0.05"]
OPTIONS = ["--data.path=ratings.csv", "--data.titles=titles.csv", "--data.test_path=new.csv"]


def stars(user, item):
    return 1 + (7 * user + 3 * item + user * item) % 5


# Of user 0 there are none for half of the items, and item 9 has no title.
RATINGS = [{"user": f"u{u}", "item": f"i{i}", "rating": stars(u, i)} for u in range(12) for i in range(10) if u + i > 4]
NEW = [{"user": "u0", "item": "i0", "rating": 2}, {"user": "u1", "item": "i2", "rating": 5}]
NEW += [{"user": "somebody", "item": "i2", "rating": 4}, {"user": "u3", "item": "something", "rating": 1}]
TITLES = [{"item": f"i{i}", "title": f"Film {i}", "genres": "Crime|Drama"} for i in range(9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the tables; to be read only."""
    folder = tmp_path_factory.mktemp("tables")
    for name, rows in {"ratings": RATINGS, "new": NEW, "titles": TITLES}.items():
        write_csv(folder / f"{name}.csv", rows)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the table, which is tested on the new ratings; to be read only."""
    words = ["--framework", framework, *OPTIONS, *SMALL, *steps(60), "--trainer.val_every=20", f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "rating_prediction/csv", *words)


@pytest.fixture(scope="module")
def own(folder):
    """The table as the task reads it."""
    return task.load(load_config("rating_prediction/csv", [*OPTIONS, f"--data.root={folder}"]), None)


# Data.


def test_generated_ratings_have_the_noise_that_the_preset_says():
    config = load_config("rating_prediction").data
    ratings, truth = data.generate(config)
    found = task.load(load_config("rating_prediction"), None)
    assert sum(map(len, (found.train, found.val, found.test))) == config.ratings
    assert {(name, array.dtype.name) for name, array in found.train[np.arange(5)].items()} == {
        ("user", "int32"),
        ("item", "int32"),
        ("rating", "float32"),
    }
    test = data.split(ratings, config)[2]
    assert np.sqrt(np.mean((ratings.rating[test] - truth[test]) ** 2)) == pytest.approx(0.5007, abs=5e-5)


def test_numbers_and_names_belong_together(own):
    users, items = json.loads(own.spec["users.json"]), json.loads(own.spec["items.json"])["item"]
    found = [everything(split) for split in (own.train, own.val)]
    rows = {
        (users[user], items[item], int(rating))
        for batch in found
        for user, item, rating in zip(batch["user"], batch["item"], batch["rating"], strict=True)
    }
    assert rows == {tuple(row.values()) for row in RATINGS}


def test_users_and_items_without_training_ratings_have_the_number_after_the_last(own):
    test, spec = everything(own.test), own.spec
    assert test["rating"].tolist() == [2, 5, 4, 1]
    assert (test["user"] == spec["users"]).tolist() == [False, False, True, False]
    assert (test["item"] == spec["items"]).tolist() == [False, False, False, True]


# Loss and metrics.


def formula(weights, spec, user, item):
    """(ratings, the squares of what they are made of), by a model's weights."""
    p, q = weights["user_vectors.weight"][user], weights["item_vectors.weight"][item]
    b, c = weights["user_bias"][user], weights["item_bias"][item]
    return spec["mean"] + spec["unit"] * (b + c + (p * q).sum(1)), (p**2).sum(1) + (q**2).sum(1) + b**2 + c**2


def test_the_loss_is_the_squared_error_in_the_ratings_deviation_and_the_squares_of_what_made_it(run, own, folder):
    loss, batch, outputs = first_loss(run, f"--data.root={folder}", "--model.l2=0.01")
    rating, squares = formula(load(run).weights(), own.spec, batch["user"], batch["item"])
    assert outputs["rating"] == pytest.approx(rating, rel=1e-4)
    errors = (rating - batch["rating"]) / own.spec["unit"]
    assert loss == pytest.approx(np.mean(errors**2 + 0.01 * squares), rel=1e-4)


def test_metrics_are_those_of_ratings_in_their_range(run, own):
    test, spec = everything(own.test), own.spec
    rating, _ = formula(load(run).weights(), spec, test["user"], test["item"])
    errors = rating.clip(1, 5) - test["rating"]
    expected = {"loss": np.mean(((rating - test["rating"]) / spec["unit"]) ** 2)}
    expected |= {"rmse": np.sqrt(np.mean(errors**2)), "mae": np.abs(errors).mean()}
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_what_is_not_known_of_a_user_or_an_item_is_0(run):
    tables = load(run).weights().values()
    assert all((table[-1] == 0).all() and (table[:-1] != 0).any() for table in tables)


def test_it_learns_who_likes_what(run):
    losses = list(values_of(run, "train/loss").values())
    assert losses[-1] < losses[0]


# Predictions.


def test_the_best_items_that_a_user_has_not_rated_are_listed_by_their_titles(run, own, cli):
    spec, weights = own.spec, load(run).weights()
    items, user = json.loads(spec["items.json"]), json.loads(spec["users.json"]).index("u0")
    left = [number for number, name in enumerate(items["item"]) if int(name[1:]) < 5]
    rating, _ = formula(weights, spec, np.full(len(left), user), np.array(left))
    best = np.argsort(-rating)[:3]
    outcome = cli("predict", run, "u0", "--top=3")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[0] == ["user", "rank", "item", "title", "rating"]
    assert [row[:3] for row in rows[1:]] == [["u0", str(i + 1), items["item"][left[k]]] for i, k in enumerate(best)]
    assert [row[3:5] for row in rows[1:]] == [["Film", row[2][1:]] for row in rows[1:]]
    assert [float(row[5]) for row in rows[1:]] == pytest.approx(rating[best].clip(1, 5), abs=1e-3)


def test_rows_in_python_are_those_of_the_command(run):
    rows = load(run).predict(["u0", "u1"], top=2)
    assert [(row["user"], row["rank"]) for row in rows] == [("u0", 1), ("u0", 2), ("u1", 1), ("u1", 2)]


def test_a_user_without_ratings_is_one_line(run, complaint):
    assert "user 'nobody' has no ratings in the training data" in complaint("predict", run, "u1", "nobody")


def test_a_rating_is_shown_within_the_range_of_the_data(own):
    spec = {**own.spec, "rated_items.npy": np.array([], int), "rated_offsets.npy": np.zeros(13, int)}
    [row] = describe(["u1"], {"rating": np.full((1, spec["items"]), 99.0)}, spec, top=1)
    assert row["rating"] == 5


# What is wrong, and what is shown.


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--data.rating=stars"], "has no column 'stars'"),
        (["--data.item=user"], "data.user = 'user', data.item = 'user'"),
        (["--data.split=time"], "data.time"),
    ],
)
def test_options_that_do_not_fit_the_table_are_one_line(complaint, framework, folder, options, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", "--data.path=ratings.csv")
    assert part in complaint("train", "rating_prediction/csv", *words, *options)


def test_examples_and_the_projector_name_items_by_their_titles(own):
    items = json.loads(own.spec["items.json"])
    header, rows = embeddings(own.spec)["item_vectors/embedding"]
    assert header == ["item", "title", "genres", "first genre", "training ratings"]
    assert [row[:2] for row in rows] == [list(pair) for pair in zip(items["item"], items["title"], strict=True)]
    batch = {"user": np.array([0]), "item": np.array([own.spec["items"]]), "rating": np.array([4.5], np.float32)}
    shown = examples(batch, {"rating": np.array([9.0])}, own.spec)["examples"].splitlines()[2]
    assert shown == f"| {json.loads(own.spec['users.json'])[0]} | (not in training) | 4.5 | 5.00 |"
