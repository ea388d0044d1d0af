"""Regression: the diabetes data, the loss and the metrics by their formulas, and a table of one's own."""

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, steps, values_of, write_csv
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.tasks.regression import describe, examples, task

CITIES = {"Bern": 3.0, "Genève": 6.0, "Chur": 1.0}
OPTIONS = ["--data.path=houses.csv", "--data.target=price", "--data.categorical=city,kind", "--data.drop=id"]
SMALL = ["--model.hidden=16", "--data.batch_size=16", "--optimizer.learning_rate=0.01", "--trainer.val_every=10"]


def houses(count, seed):
    """Rows with names, codes, gaps, and a column to drop."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        city, kind, rooms, size = rng.choice(list(CITIES)), rng.integers(2), rng.integers(1, 7), rng.uniform(20, 200)
        price = 100 * CITIES[city] + 50 * kind + 30 * rooms + size + rng.normal()
        row = {"id": f"house {i}", "city": city, "kind": kind, "rooms": "NA" if i % 7 == 0 else rooms}
        rows.append(row | {"size": f"{size:.1f}", "price": f"{price:.2f}"})
    return rows


NEW = houses(30, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the tables; to be read only."""
    folder = tmp_path_factory.mktemp("tables")
    write_csv(folder / "houses.csv", houses(150, 0))
    write_csv(folder / "new.csv", NEW)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the houses, which is tested on the new ones; to be read only."""
    words = [*OPTIONS, *SMALL, *steps(40), "--data.test_path=new.csv", f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "regression/csv", "--framework", framework, *words)


# Data.


def test_diabetes_has_all_patients_in_its_splits():
    data = task.load(load_config("regression"), None)
    splits = [everything(split) for split in (data.train, data.val, data.test)]
    assert [len(split["target"]) for split in splits] == [319, 35, 88]
    assert {(name, array.shape[1:], array.dtype.name) for split in splits for name, array in split.items()} == {
        ("numeric", (10,), "float32"),
        ("target", (), "float32"),
    }
    targets = data.spec["mean"] + data.spec["scale"] * np.concatenate([split["target"] for split in splits])
    assert np.sort(targets) == pytest.approx(np.sort(load_diabetes().target), rel=1e-5)


def test_numbers_and_targets_are_standardised_by_the_training_rows():
    train = everything(task.load(load_config("regression"), None).train)
    assert train["numeric"].mean(0) == pytest.approx(np.zeros(10), abs=1e-5)
    assert train["numeric"].std(0) == pytest.approx(np.ones(10), rel=1e-5)
    assert (train["target"].mean(), train["target"].std()) == pytest.approx((0, 1), abs=1e-5)


def test_of_a_table_gaps_are_flagged_and_categories_numbered_by_name(folder):
    rows = [{**row, "city": city, "rooms": "NA"} for row, city in zip(NEW, ["Chur", "Genève", "Basel"], strict=False)]
    spec = task.load(load_config("regression/csv", [*OPTIONS, f"--data.root={folder}"]), None).spec
    batch = everything(task.inputs(rows, spec).source)
    assert (spec["numbers"], spec["categories"]) == (3, [4, 3])  # rooms, size, whether rooms are missing
    assert batch["numeric"][:, 0].tolist() == [0, 0, 0] and batch["numeric"][:, 2].tolist() == [1, 1, 1]
    assert batch["categorical"][:, 0].tolist() == [2, 3, 4]  # of three that are known; what is not, after the last


# Loss and metrics.


def test_the_loss_is_the_mean_of_squared_errors_in_the_targets_deviation(run):
    loss, batch, outputs = first_loss(run)
    assert np.std(outputs["standardised"]) > 0.1
    assert loss == pytest.approx(np.mean((outputs["standardised"] - batch["target"]) ** 2), rel=1e-5)


def test_metrics_are_those_of_scikit_learn(run, folder):
    truth = [float(row["price"]) for row in NEW]
    found = [row["prediction"] for row in load(run).predict(folder / "new.csv")]
    expected = {"mse": mean_squared_error(truth, found), "mae": mean_absolute_error(truth, found)}
    expected["r2"] = r2_score(truth, found)
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_it_learns_what_makes_a_price(run):
    first, *_, last = values_of(run, "val/mse").values()
    assert last < first and metrics_of(run)["test/r2"] > 0.5


# Predictions.


def test_a_prediction_is_in_the_unit_of_the_data():
    rows = describe(["a", "b"], {"standardised": np.array([0.0, -2.0])}, {"mean": 10.0, "scale": 3.0})
    assert rows == [{"input": "a", "prediction": 10.0}, {"input": "b", "prediction": 4.0}]


def test_a_table_is_predicted_row_by_row_whatever_the_order_of_its_columns(run, folder, cli, project):
    write_csv(project / "turned.csv", [dict(reversed(row.items())) for row in NEW])
    one, other = (cli("predict", run, path).out.splitlines() for path in (folder / "new.csv", "turned.csv"))
    assert one[0].split() == ["input", "prediction"] and one[1].startswith(f"{folder / 'new.csv'}, row 2 ")
    assert len(one) == 31 and [line.split()[-1] for line in one] == [line.split()[-1] for line in other]


def test_what_was_never_seen_is_the_mean_of_what_is_known(run):
    model, row = load(run), {"city": "Bern", "kind": 1, "rooms": 3, "size": 80}
    bern, basel, none = (model.predict({**row, "city": city})[0]["prediction"] for city in ("Bern", "Basel", None))
    assert bern != basel == none


def test_evaluation_on_the_same_table_gives_the_same(run, cli):
    outcome = cli("evaluate", run, "--data.batch_size=7")
    found = {line.split()[0]: float(line.split()[1]) for line in outcome.out.splitlines()}
    expected = {tag: value for tag, value in metrics_of(run).items() if tag.startswith("test/")}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


# What is wrong, and what is shown.


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--data.target=prize", "houses.csv has no column 'prize': did you mean 'price'?"),
        ("--data.categorical=kind", "--data.categorical kind,city"),
        ("--data.path=none.csv", "data.path = 'none.csv': there is neither none.csv nor"),
    ],
)
def test_options_that_do_not_fit_the_table_are_one_line(complaint, framework, folder, option, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", *OPTIONS, option)
    assert part in complaint("train", "regression/csv", *words)


def test_a_picture_shows_truth_and_prediction_of_a_batch():
    targets, spec = np.linspace(-1, 1, 9), {"mean": 0.0, "scale": 1.0, "target": "price"}
    picture = examples({"target": targets}, {"standardised": targets}, spec)["scatter"]
    places = np.argwhere((picture != picture[..., :1]).any(-1))  # of what is neither grey nor black
    assert picture.dtype == np.uint8 and np.abs(places.sum(1) - len(picture)).max() < 8  # row + column: the diagonal
