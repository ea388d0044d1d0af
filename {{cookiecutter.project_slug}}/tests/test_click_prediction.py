"""Click prediction: generated clicks, the loss and the metrics by their formulas, and a table of one's own."""

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, steps, write_csv

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.engine.api import InputError
from {{cookiecutter.package_name}}.tasks.click_prediction import cells, data, describe, metrics, task

SITES = ["a.org", "b,c.org", "Zürich", ""]
OPTIONS = ["--data.path=clicks.csv", "--data.test_path=new.csv", "--data.integers=age", "--data.categories=site"]
SMALL = ["--model.width=4", "--model.layers=2", "--model.hidden=16", "--data.batch_size=32"]
SMALL += ["--optimizer.learning_rate=0.02", "--trainer.val_every=20"]


def clicks(count, seed):
    """Rows with gaps, of which old people and one site click most."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        age, site = int(rng.integers(100)), int(rng.integers(4))
        likely = 0.1 + 0.6 * (age > 50) + 0.2 * (site == 1)
        row = {"time": i, "age": "" if age < 10 else age, "site": SITES[site]}
        rows.append(row | {"click": int(rng.random() < likely)})
    return rows


NEW = clicks(100, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the tables; to be read only, but for the numbers that are made of them."""
    folder = tmp_path_factory.mktemp("tables")
    write_csv(folder / "clicks.csv", clicks(400, 0))
    write_csv(folder / "new.csv", NEW)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the table, which is tested on the new rows; to be read only."""
    words = ["--framework", framework, *OPTIONS, *SMALL, *steps(60), f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "click_prediction/csv", *words)


def column(*texts):
    """A column of cells."""
    return cells.make_cells("some.csv", range(2, len(texts) + 2), [[text] for text in texts])


# Data.


def test_generated_clicks_follow_their_probabilities():
    arrays, probabilities = data.generate(50_000)
    assert arrays.arrays["fields"].shape == (50_000, 11) and arrays.arrays["fields"].dtype == np.int32
    assert arrays.arrays["label"].mean() == pytest.approx(probabilities.mean(), abs=0.005)


def test_the_best_possible_auc_is_what_the_preset_says():
    arrays, probabilities = data.generate(200_000)
    test = slice(180_000, None)
    logits = np.log(probabilities / (1 - probabilities))
    assert metrics.auc(histogram(logits[test], arrays.arrays["label"][test])[0]) == pytest.approx(0.8533, abs=1e-4)


def test_a_table_is_split_in_its_order_and_numbered_by_its_training_rows(folder):
    found = task.load(load_config("click_prediction/csv", [*OPTIONS, f"--data.root={folder}"]), None)
    assert [len(split) for split in (found.train, found.val, found.test)] == [360, 40, 100]
    labels = np.concatenate([everything(split)["label"] for split in (found.train, found.val, found.test)])
    assert labels.tolist() == [row["click"] for row in clicks(400, 0) + NEW]
    fields = everything(found.train)["fields"]
    sites = [row["site"] for row in clicks(400, 0)[:360]]
    assert len({*zip(sites, fields[:, 1].tolist(), strict=True)}) == 4  # a number for each
    assert found.spec["sizes"][1] == 4 and fields[:, 0].max() == found.spec["sizes"][0] - 1
    new = everything(task.inputs([{"age": 30, "site": "new.org"}, {"age": None, "site": ""}], found.spec).source)
    assert new["fields"][0, 1] == 4 and new["fields"][1].tolist() == [fields[i].tolist()[j] for i, j in gaps(sites)]


def gaps(sites):
    """Where a training row has no age, and where one has no site."""
    ages = [row["age"] for row in clicks(400, 0)[:360]]
    return (ages.index(""), 0), (sites.index(""), 1)


def test_a_hash_is_the_same_always():
    """Or a trained model's values would be others."""
    assert cells.hashes(column("", "0", "68fd1e64", "Zürich"))[:, 0].tolist() == [0, 391919404, 1245280698, 1810251175]


def test_integers_have_a_code_for_each_small_value_and_for_ranges_of_large_ones():
    values, present = cells.integers(column("-100", "-5", "0", "2", "3.0", "1e3", ""))
    shown = [cells.ranges()[code] for code in cells.codes(values, present)[:, 0]]
    assert shown[:4] == ["< -5", "-5", "0", "2"] and shown[4].startswith("3") and shown[6] == ""
    low, high = (int(number.replace(",", "")) for number in shown[5].split(" to "))
    assert low <= 1000 <= high


# Loss and metrics.


def histogram(logits, labels):
    """(counts, predicted) of scores; see `metrics.py`."""
    bins = ((logits + metrics.EXTENT) * metrics.BINS / (2 * metrics.EXTENT)).clip(0, metrics.BINS - 1).astype(int)
    counts, predicted = np.zeros((2, metrics.BINS), int), np.zeros(metrics.BINS)
    np.add.at(counts, (labels, bins), 1)
    np.add.at(predicted, bins, 1 / (1 + np.exp(-logits)))
    return counts, predicted


def share_of_pairs(scores, labels):
    """The area under the curve by its definition."""
    a, b = scores[labels == 1, None], scores[labels == 0]
    return ((a > b) + (a == b) / 2).mean()


def log_loss(p, labels):
    return -np.log(np.where(labels, p, 1 - p)).mean()


def test_the_loss_is_the_mean_cross_entropy(run):
    loss, batch, outputs = first_loss(run)
    p = 1 / (1 + np.exp(-outputs["logit"].astype(float)))
    assert np.std(p) > 0.01 and loss == pytest.approx(log_loss(p, batch["label"]), rel=1e-5)


def test_metrics_are_those_of_the_predictions(run, folder):
    labels = np.array([row["click"] for row in NEW])
    p = np.array([row["probability"] for row in load(run).predict(folder / "new.csv")])
    expected = {"loss": log_loss(p, labels), "log_loss": log_loss(p, labels), "calibration": p.sum() / labels.sum()}
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)
    bins = np.floor(np.log(p / (1 - p)) * metrics.BINS / (2 * metrics.EXTENT))
    assert metrics_of(run)["test/auc"] == pytest.approx(share_of_pairs(bins, labels), abs=1e-3)


def test_reliability_cuts_the_examples_into_groups_of_about_one_size():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1.5, 2.0, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(int)
    groups = metrics.reliability(*histogram(logits, labels), 10)
    assert len(groups) == 10 and sum(group.examples for group in groups) == 20_000
    assert all(1800 < group.examples < 2200 and abs(group.predicted - group.observed) < 0.05 for group in groups)


def test_it_learns_who_clicks(run):
    assert metrics_of(run)["test/auc"] > 0.75  # by chance: 0.5


# Predictions.


def test_a_prediction_is_the_probability_of_a_click():
    assert describe(["a", "b"], {"logit": np.array([0.0, np.log(3)])}, {}) == [
        {"input": "a", "probability": 0.5},
        {"input": "b", "probability": pytest.approx(0.75)},
    ]


def test_a_table_is_predicted_by_the_names_of_its_columns_with_or_without_labels(run, folder, cli, project):
    write_csv(project / "few.csv", [{"site": row["site"], "note": "x", "age": row["age"]} for row in NEW])
    one, other = (cli("predict", run, path).out.splitlines() for path in (folder / "new.csv", "few.csv"))
    assert one[0].split() == ["input", "probability"] and one[1].startswith(f"{folder / 'new.csv'}:2 ")
    assert len(one) == 101 and [line.split()[-1] for line in one] == [line.split()[-1] for line in other]


def test_rows_in_python_need_every_column(run):
    model = load(run)
    [row] = model.predict({"age": 70, "site": "b,c.org"})
    assert 0 < row["probability"] < 1
    with pytest.raises(InputError, match="no value of site: None says that there is none"):
        model.predict({"age": 70})


# What is wrong, and what is shown.


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--data.label=clik", "has no column 'clik': did you mean 'click'?"),
        ("--data.categories=sites", "has no column 'sites': did you mean 'site'?"),
        ("--data.integers=site", "name the column 'site' 2 times"),
    ],
)
def test_options_that_do_not_fit_the_table_are_one_line(complaint, framework, folder, option, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", f"--data.cache={folder}")
    assert part in complaint("train", "click_prediction/csv", *words, *OPTIONS, option)


def test_charts_draw_how_reliable_probabilities_are():
    counts, predicted = histogram(np.array([0.0, 1.0]), np.array([1, 0]))
    picture = task.charts({"scores": np.stack([*counts, predicted])}, {})["reliability_diagram"]
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3


def test_precision_and_recall_go_by_the_probability():
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=1000), rng.integers(0, 2, 1000)
    counts, predicted = histogram(logits, labels)
    found = task.charts({"scores": np.stack([*counts, predicted])}, {})["precision_recall"].counts
    for i in (0, 50, 100, 199):
        above = 1 / (1 + np.exp(-logits)) >= i / 200
        wanted = [(above & (labels == label)).sum() for label in (0, 1)]
        assert found[:, i:].sum(1) == pytest.approx(wanted, abs=2)  # within the width of a bin
