"""Image classification: the digits, the loss and the metrics by their formulas, and folders of one's own images."""

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, steps, values_of
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.tasks.image_classification import describe, examples, task

COLOURS = {name: np.array(rgb) for name, rgb in {"blue": (40, 60, 200), "green": (30, 180, 60)}.items()}
COLOURS |= {"grey": np.array([128, 128, 128]), "red": np.array([200, 40, 40])}
COLOURS |= {"black": np.array([9, 9, 9]), "white": np.array([245, 245, 245])}
CLASSES = sorted(COLOURS)
VIEW = ["--data.size=8", "--data.resize=8", "--data.crop=0", "--data.flip=false", "--data.workers=0"]
SMALL = ["--model.name=convnet", "--model.width=4", "--model.hidden=16", "--data.batch_size=16"]
SMALL += ["--optimizer.learning_rate=0.01", "--trainer.val_every=10"]


def draw(path, name, rng, size=(8, 8)):
    """An image file of a class: its colour with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = COLOURS[name] + rng.integers(-30, 31, (*size, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds `images/`; to be read only."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in {"train": 16, "val": 3, "test": 5}.items():
        for name in CLASSES:
            for i in range(count):
                draw(folder / "images" / split / name / f"{i}.png", name, rng)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the folders; to be read only."""
    words = ["--framework", framework, *VIEW, *SMALL, *steps(60), f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "image_classification/folder", *words)


# Data.


def test_digits_are_those_of_scikit_learn():
    data = task.load(load_config("image_classification"), None)
    splits = [everything(split) for split in (data.train, data.val, data.test)]
    assert [len(split["label"]) for split in splits] == [1294, 144, 359]
    assert {(split["image"].shape[1:], split["image"].dtype.name) for split in splits} == {((8, 8, 1), "uint8")}
    assert data.spec == {"shape": [8, 8, 1], "classes": list("0123456789")}
    images = np.concatenate([split["image"] for split in splits]).reshape(-1, 64)
    labels, expected = np.concatenate([split["label"] for split in splits]), load_digits()
    assert labels.dtype == np.int32 and (np.bincount(labels) == np.bincount(expected.target)).all()
    assert sorted(images.sum(1)) == pytest.approx(sorted(expected.data.sum(1) * 255 / 16), abs=32)


def test_folders_are_splits_and_classes(folder):
    data = task.load(load_config("image_classification/folder", [*VIEW, f"--data.root={folder}"]), None)
    assert [len(split) for split in (data.train, data.val, data.test)] == [96, 18, 30]
    assert data.spec["shape"] == [8, 8, 3] and data.spec["classes"] == CLASSES
    test = everything(data.test)
    means = test["image"].mean((1, 2))
    assert all(np.abs(means[i] - COLOURS[CLASSES[k]]).max() < 15 for i, k in enumerate(test["label"]))


@pytest.mark.parametrize("option", ["--data.shift=2", "--data.flip=true", "--data.cutout=3"])
def test_an_augmentation_changes_training_images_only(option):
    plain, found = (task.load(load_config("image_classification", [*o]), None) for o in (["--data.shift=0"], [option]))
    batch = found.train[np.arange(50)]
    after = found.augment({**batch, **found.draw(np.random.default_rng(0), 50)})
    assert (after["image"].shape, after["image"].dtype) == (batch["image"].shape, np.uint8)
    assert (after["label"] == batch["label"]).all() and (after["image"] != batch["image"]).any()
    for split in ("val", "test"):
        assert (everything(getattr(found, split))["image"] == everything(getattr(plain, split))["image"]).all()


# Loss and metrics.


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_the_loss_is_the_mean_cross_entropy_with_smoothed_labels(run, folder):
    loss, batch, outputs = first_loss(run, f"--data.root={folder}", "--data.label_smoothing=0.3")
    logs = log_softmax(outputs["logits"])
    wanted = 0.7 * np.eye(6)[batch["label"]] + 0.3 / 6
    assert loss == pytest.approx(-(wanted * logs).sum(1).mean(), rel=1e-5)


def test_mixup_mixes_each_image_and_its_label_with_its_neighbours(framework, run, folder):
    loss, batch, _ = first_loss(run, f"--data.root={folder}", "--data.label_smoothing=0", "--data.mixup=0.5")
    mix, pairs = batch["mix"].astype(np.float64), np.arange(16) ^ 1  # 0 with 1, 2 with 3 and so on
    share = mix[:, None, None, None]
    images = share * batch["image"] + (1 - share) * batch["image"][pairs]
    # The model sees whole bytes when it predicts: what that rounds away is small.
    logs = log_softmax(load(run).outputs(np.round(images).astype(np.uint8))["logits"])
    rows, label = np.arange(16), batch["label"]
    expected = -(mix * logs[rows, label] + (1 - mix) * logs[rows, label[pairs]]).mean()
    assert 0 < mix.min() < mix.max() < 1 and loss == pytest.approx(expected, rel=0.02)


def test_metrics_are_those_of_scikit_learn(run, folder):
    logits = load(run).outputs([folder / "images" / "test"])["logits"]
    truth = np.repeat(np.arange(6), 5)
    expected = {
        "accuracy": accuracy_score(truth, logits.argmax(1)),
        "loss": log_loss(truth, np.exp(log_softmax(logits))),
    }
    expected["top5_accuracy"] = top_k_accuracy_score(truth, logits, k=5)
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_it_learns_colours(run):
    first, *_, last = values_of(run, "val/loss").values()
    assert last < first and metrics_of(run)["test/accuracy"] > 0.8


# Predictions.


def test_a_prediction_names_the_likeliest_class_and_its_probability():
    logits = np.log(np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32))
    rows = describe(["a.png", "b.png"], {"logits": logits}, {"classes": ["cat", "dog", "owl"]})
    assert [(row["input"], row["label"]) for row in rows] == [("a.png", "dog"), ("b.png", "cat")]
    assert [row["probability"] for row in rows] == pytest.approx([0.7, 0.5])


def test_images_of_any_size_and_folders_of_them_are_predicted(run, cli, project):
    rng = np.random.default_rng(1)
    draw(project / "some" / "a.png", "red", rng)
    draw(project / "large.png", "blue", rng, size=(40, 60))
    outcome = cli("predict", run, "some", "large.png")
    assert outcome.code == 0, outcome.err
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [
        ["input", "label"],
        ["some/a.png", "red"],
        ["large.png", "blue"],
    ]


def test_a_file_that_is_no_image_is_one_line(run, complaint, project):
    (project / "a.png").write_text("no image")
    assert "a.png is no image" in complaint("predict", run, "a.png")


# What is shown.


def test_pictures_tell_right_from_wrong_by_colour():
    spec = {"shape": [28, 28, 1], "classes": ["a", "b"]}
    batch = {"image": np.zeros((1, 28, 28, 1), np.uint8), "label": np.zeros(1, np.int32)}
    right, wrong = (
        examples(batch, {"logits": np.eye(2, dtype=np.float32)[[guess]]}, spec)["examples"].astype(int)
        for guess in (0, 1)
    )
    greener = [int((pixels[:48, :, 1] - pixels[:48, :, 0]).sum()) for pixels in (right, wrong)]
    assert greener[0] > 0 > greener[1]


def test_classes_are_listed_with_their_accuracy_the_worst_first():
    counts = np.array([[8, 2, 0], [0, 10, 0], [3, 3, 0]])  # of the third class, all are taken for others
    _, _, *rows = task.charts({"confusion": counts}, {"classes": ["cat", "dog", "owl"]})[
        "per_class_accuracy"
    ].splitlines()
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        ["owl", "0.0000", "6", "cat (3)"],
        ["cat", "0.8000", "10", "dog (2)"],
        ["dog", "1.0000", "10", ""],
    ]
