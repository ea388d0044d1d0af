"""Image classification: its datasets, and training, evaluation and prediction on a miniature of MNIST."""

import csv
import gzip
import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data import image_sets
from {{cookiecutter.package_name}}.engine.data.download import Remote
from {{cookiecutter.package_name}}.engine.data.image_sets import MNIST_FILES, read_idx
from {{cookiecutter.package_name}}.engine.folder import read_config, read_result
from {{cookiecutter.package_name}}.engine.registry import frameworks, load_config

FRAMEWORKS = list(frameworks())
TASK = tasks.find("image_classification")
SPEC = {"shape": [28, 28, 1], "classes": [str(digit) for digit in range(10)]}


# A miniature of MNIST: 300 training and 40 test images. Training images are dark, test images bright.


def idx(array):
    """An array of bytes as an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def pictures_of(labels, brightness, size=28):
    """A bar for each label, in a row of its own, and a frame that no two pictures have in common."""
    images = np.zeros((len(labels), size, size), np.uint8)
    for i, label in enumerate(labels):
        images[i, 2 * label + 2 : 2 * label + 4, 4:24] = brightness
        images[i, 0, :2] = divmod(i, 100)
    return images


def write(folder, name, content, zipped=True):
    """One of the four files."""
    (folder / "mnist" / f"{name}-ubyte.gz").write_bytes(gzip.compress(content) if zipped else content)


TRAIN, TEST = np.arange(300) % 10, np.arange(40) % 10


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """The folder that holds `mnist/`; to be read only."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    write(folder, "train-images-idx3", idx(pictures_of(TRAIN, 99)))
    write(folder, "train-labels-idx1", idx(TRAIN))
    write(folder, "t10k-images-idx3", idx(pictures_of(TEST, 255)))
    write(folder, "t10k-labels-idx1", idx(TEST))
    return folder


def small(framework, root, *options):
    """The words of a command that trains four steps of a perceptron."""
    words = ["train", "image_classification/mnist_mlp", "--framework", framework, "--accelerator=cpu"]
    words += [f"--data.root={root}", "--data.verify=false", "--data.batch_size=32", "--optimizer.warmup_steps=0"]
    return [*words, "--trainer.max_steps=4", "--trainer.val_every=2", "--trainer.log_every=2", *options]


@pytest.fixture(scope="module")
def trained(miniature, cli, tmp_path_factory):
    """(how the command ended, the run's folder) by framework."""
    found = {}
    for framework in FRAMEWORKS:
        run_dir = tmp_path_factory.mktemp(framework)
        outcome = cli(*small(framework, miniature, f"--run_dir={run_dir}", "--name=one"))
        found[framework] = outcome, run_dir / "image_classification" / "mnist_mlp" / framework / "one"
    return found


@pytest.fixture
def folder(trained, framework):
    """A trained run; to be read only."""
    return trained[framework][1]


def dataset(*options):
    """The miniature as the task reads it."""
    return TASK.load(load_config("image_classification/mnist_mlp", ["--data.verify=false", *options]), None)


# Training.


def test_a_result_counts_epochs_and_parameters(folder):
    result = read_result(folder)
    assert result["epochs"] == 4 / 8  # 270 images to train on: eight batches of 32
    assert result["parameters"] == 784 * 128 + 128 + 128 * 10 + 10


def test_a_result_has_metrics_that_are_keyed_as_the_tags_are(folder):
    names = ("loss", "accuracy", "top5_accuracy")
    assert set(read_result(folder)["metrics"]) == {f"{split}/{name}" for split in ("val", "test") for name in names}


# What TensorBoard gets.


def tags(folder):
    return set(EventAccumulator(str(folder)).Reload().Tags()["tensors"])


def test_the_tags_are_those_that_are_promised(folder):
    scalars = {f"train/{name}" for name in "loss learning_rate grad_norm steps_per_second examples_per_second".split()}
    scalars |= {"train/epoch", "train/memory_bytes"}
    others = {"config", "parameters", "val/examples", "custom_scalars__config__"}
    others |= {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    for split in ("val", "test"):
        scalars |= {f"{split}/loss", f"{split}/accuracy", f"{split}/top5_accuracy"}
        others |= {f"{split}/confusion_matrix", f"{split}/per_class_accuracy"}
    assert {tag for tag in tags(folder) if not tag.startswith("weights/")} == scalars | others


# Prediction.


def draw(folder, label, size=(28, 28), mode="L"):
    """An image file of a digit."""
    path = folder / f"{label}{mode}.png"
    Image.fromarray(pictures_of([label], 255)[0]).resize(size).convert(mode).save(path)
    return path


@pytest.fixture(scope="module")
def predicted(trained, framework, cli, tmp_path_factory):
    """(the image files, how the command ended)."""
    folder = tmp_path_factory.mktemp("images")
    paths = [draw(folder, label) for label in (3, 1, 7)]
    return paths, cli("predict", trained[framework][1], *paths)


def test_prediction_is_a_line_for_each_image_in_order(predicted):
    paths, outcome = predicted
    assert outcome.code == 0, outcome.err
    lines = [r"input +label +probability", *(re.escape(str(path)) + r" +\d +[01]\.\d{4}" for path in paths)]
    assert re.fullmatch("\n".join(lines) + "\n", outcome.out), outcome.out


def test_prediction_can_be_written_as_csv(cli, folder, project, predicted):
    paths, outcome = predicted
    written = cli("predict", folder, *paths, "--output", "some.csv")
    assert written.out.startswith(outcome.out) and "3 rows in some.csv" in written.out
    with open("some.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["input", "label", "probability"]] * 3
    assert [row["input"] for row in rows] == [str(path) for path in paths]
    shown = [line.split()[1:] for line in outcome.out.splitlines()[1:]]
    assert [[row["label"], f"{float(row['probability']):.4f}"] for row in rows] == shown


def test_of_many_predictions_that_are_written_the_first_are_shown(cli, folder, project):
    written = cli("predict", folder, *[draw(project, 3)] * 40, "--output=some.csv")
    assert "... and 16 more" in written.out and "40 rows in some.csv" in written.out
    assert len(Path("some.csv").read_text().splitlines()) == 41


def test_a_csv_file_that_cannot_be_written_is_one_line(complaint, folder, project):
    image = draw(project, 3)
    assert "--output none/some.csv: no file can be" in complaint("predict", folder, image, "--output=none/some.csv")


def test_output_without_a_file_is_one_line(complaint, folder, project):
    assert "--output needs a value" in complaint("predict", folder, draw(project, 3), "--output")


def test_prediction_needs_nothing_but_the_runs_folder(cli, folder, project, predicted):
    paths, outcome = predicted
    shutil.copytree(folder, project / "moved")
    assert cli("predict", "moved", *paths).out == outcome.out


def test_prediction_of_an_image_depends_neither_on_those_beside_it_nor_on_its_mode(cli, folder, project, predicted):
    coloured = cli("predict", folder, draw(project, 3, mode="RGB")).out
    assert coloured.split()[4:] == predicted[1].out.splitlines()[1].split()[1:]


def test_an_image_of_another_size_is_its_middle_in_the_models_size(cli, folder, project, monkeypatch):
    monkeypatch.setattr(data_files, "_said", set())
    wide = draw(project, 1, size=(60, 40))
    with Image.open(wide) as image:
        image.resize((28, 28), Image.Resampling.BILINEAR, (10, 0, 50, 40), reducing_gap=2.0).save("middle.png")
    outcome = cli("predict", folder, wide, "middle.png")
    assert outcome.code == 0, outcome.err
    one, other = (line.split()[1:] for line in outcome.out.splitlines()[1:])
    assert one == other
    assert f"{wide} has 60 x 40 pixels: its middle is made 28 x 28 as the model takes it\n" in outcome.err


def test_the_images_of_a_folder_are_predicted_in_order_and_the_others_told(cli, folder, project, monkeypatch):
    monkeypatch.setattr(data_files, "_said", set())
    (project / "some" / "sevens").mkdir(parents=True)
    paths = [draw(project / "some", 3), draw(project / "some" / "sevens", 7)]
    Path("some/sevens/notes.txt").touch()
    outcome = cli("predict", folder, "some")
    assert outcome.code == 0 and outcome.err == "some/sevens: 1 of 2 entries is left out: 1 .txt\n", outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == ["some/3L.png", "some/sevens/7L.png"]
    assert [line.split()[1:] for line in cli("predict", folder, *paths).out.splitlines()] == [
        line.split()[1:] for line in outcome.out.splitlines()
    ]


def test_bad_images_among_others_are_one_line_or_left_out_and_named(cli, complaint, folder, project, monkeypatch):
    monkeypatch.setattr(data_files, "_said", set())
    (project / "some").mkdir()
    (project / "some" / "2.png").write_text("no image")
    (project / "some" / "4.png").symlink_to("gone.png")
    draw(project / "some", 3)
    assert "4.png is a link to nothing" in complaint("predict", folder, "some")
    (project / "some" / "4.png").unlink()
    assert "2.png is no image" in complaint("predict", folder, "some")
    (project / "some" / "4.png").symlink_to("gone.png")
    outcome = cli("predict", folder, "some", "none.png", "--data.skip_bad", "true")
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == ["some/3L.png"]
    [line] = [line for line in outcome.err.splitlines() if line.startswith("data.skip_bad")]
    assert line.startswith("data.skip_bad leaves out 3 of 4: ")
    assert all(name in line for name in ("2.png", "4.png", "none.png"))


def test_bad_images_alone_are_one_line(complaint, folder, project):
    Path("a.png").write_text("no image")
    line = complaint("predict", folder, "a.png", "--data.skip_bad", "true")
    assert "a.png is no image" in line and "data.skip_bad leaves nothing" in line


@pytest.mark.parametrize("damage", [lambda png: png[:-30], lambda png: png.replace(b"IDAT", b"IDAX"), lambda png: b""])
def test_a_damaged_image_is_one_line(complaint, folder, project, damage):
    path = draw(project, 1)
    path.write_bytes(damage(path.read_bytes()))
    assert path.name in complaint("predict", folder, path)


def test_an_image_that_is_missing_is_one_line(complaint, folder):
    assert "none.png: No such file or directory" in complaint("predict", folder, "none.png")


def test_a_folder_for_an_image_is_one_line(complaint, folder, project):
    (project / "images").mkdir()
    assert "images" in complaint("predict", folder, "images")


def test_prediction_of_nothing_is_one_line(complaint, folder):
    assert "predict RUN INPUT..." in complaint("predict", folder)


def test_a_checkpoint_that_is_none_is_one_line(complaint, folder, project):
    line = complaint("predict", folder, draw(project, 1), "--checkpoint", "first")
    assert "--checkpoint first: choose best, last or one of the steps [4]" in line


# What is wrong is told before anything is written.


@pytest.fixture
def broken(miniature, project):
    """A copy of the miniature that may be damaged, and its place in the current folder."""
    shutil.copytree(miniature, project / "data")
    return project / "data"


def cut_gzip(folder):
    path = folder / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES = {
    "images cut short": (cut_gzip, ["train-images-idx3-ubyte.gz", "gzip"]),
    "images not zipped": (
        lambda folder: write(folder, "train-images-idx3", idx(pictures_of(TRAIN, 99)), zipped=False),
        ["train-images-idx3-ubyte.gz", "gzip"],
    ),
    "an empty file": (
        lambda folder: write(folder, "t10k-labels-idx1", b"", zipped=False),
        ["t10k-labels-idx1-ubyte.gz"],
    ),
    "nothing but a gzip head": (
        lambda folder: write(folder, "t10k-labels-idx1", b""),
        ["t10k-labels-idx1-ubyte.gz", "IDX"],
    ),
    "labels where images belong": (
        lambda folder: write(folder, "train-images-idx3", idx(TRAIN)),
        ["train-images-idx3-ubyte.gz", "IDX", "00 00 08 01"],
    ),
    "a file of another kind": (
        lambda folder: write(folder, "train-labels-idx1", b"label\n3\n"),
        ["train-labels-idx1-ubyte.gz", "IDX"],
    ),
    "fewer images than the file says": (
        lambda folder: write(folder, "train-images-idx3", idx(pictures_of(TRAIN, 99))[:-1]),
        ["train-images-idx3-ubyte.gz", "300 x 28 x 28"],
    ),
    "more images than the file says": (
        lambda folder: write(folder, "train-images-idx3", idx(pictures_of(TRAIN, 99)) + b"1"),
        ["train-images-idx3-ubyte.gz", "300 x 28 x 28"],
    ),
    "more images than labels": (
        lambda folder: write(folder, "train-labels-idx1", idx(TRAIN[:-1])),
        ["train-images-idx3-ubyte.gz", "300 images", "train-labels-idx1-ubyte.gz", "299 labels"],
    ),
    "a label of 10": (
        lambda folder: write(folder, "t10k-labels-idx1", idx(TEST + 1)),
        ["t10k-labels-idx1-ubyte.gz", "label 10", "0 to 9"],
    ),
    "test images of another size": (
        lambda folder: write(folder, "t10k-images-idx3", idx(pictures_of(TEST, 255, size=32))),
        ["t10k-images-idx3-ubyte.gz", "32"],
    ),
    "no test images": (
        lambda folder: (
            write(folder, "t10k-images-idx3", idx(pictures_of([], 255))),
            write(folder, "t10k-labels-idx1", idx(TEST[:0])),
        ),
        ["t10k-images-idx3-ubyte.gz"],
    ),
    "a missing file": (
        lambda folder: (folder / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink(),
        ["lacks t10k-labels-idx1-ubyte.gz:", "data/mnist", "--data.download true", "https://"],
    ),
    "no files at all": (
        lambda folder: shutil.rmtree(folder / "mnist"),
        ["train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images", "t10k-labels-idx1-ubyte.gz:"],
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_data_are_one_line(complaint, broken, case):
    damage, parts = DAMAGES[case]
    damage(broken)
    line = complaint(*small(FRAMEWORKS[0], "data"))
    assert [part for part in parts if part not in line] == [], line


def test_files_with_another_checksum_are_one_line(complaint, broken):
    line = complaint(*small(FRAMEWORKS[0], "data", "--data.verify=true"))
    assert "train-images-idx3-ubyte.gz has md5" in line and "--data.verify false" in line


WRONG = {
    "no images to validate on": (["--data.val_fraction=0.001"], ["data.val_fraction = 0.001"]),
    "fewer images than a batch": (["--data.batch_size=271"], ["data.batch_size = 271", "270"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_fit_the_data_are_one_line(complaint, miniature, framework, case):
    options, parts = WRONG[case]
    line = complaint(*small(framework, miniature, *options))
    assert [part for part in parts if part not in line] == [], line


# The datasets.


def test_mnist_is_read_as_it_was_written(miniature):
    test = dataset(f"--data.root={miniature}").test[np.arange(40)]
    assert np.array_equal(test["image"][..., 0], pictures_of(TEST, 255))
    assert np.array_equal(test["label"], TEST) and test["label"].dtype == np.int32


def test_the_test_split_is_only_tested_on(miniature):
    found = dataset(f"--data.root={miniature}")
    brightest = [split[np.arange(len(split))]["image"].max((1, 2, 3)) for split in (found.train, found.val, found.test)]
    assert [set(values.tolist()) for values in brightest] == [{99}, {99}, {255}]


def test_validation_is_cut_from_training(miniature):
    found = dataset(f"--data.root={miniature}", "--data.val_fraction=0.2")
    assert (len(found.train), len(found.val)) == (240, 60)
    marks = [split[np.arange(len(split))]["image"][:, 0, :2, 0] for split in (found.train, found.val)]
    assert {tuple(mark) for mark in np.concatenate(marks).tolist()} == {divmod(i, 100) for i in range(300)}


def test_validation_is_the_same_for_every_seed(miniature):
    sets = [dataset(f"--data.root={miniature}", f"--seed={seed}").val.arrays["image"] for seed in (0, 1)]
    assert np.array_equal(*sets)


def test_mnist_is_downloaded_where_that_is_asked_for(miniature, tmp_path, monkeypatch):
    files = [miniature / "mnist" / file.name for file in MNIST_FILES]
    remotes = [Remote(path.name, path.as_uri(), hashlib.md5(path.read_bytes()).hexdigest()) for path in files]
    monkeypatch.setattr(image_sets, "MNIST_FILES", remotes)
    dataset(f"--data.root={tmp_path}", "--data.download=true", "--data.verify=true")
    assert [(tmp_path / "mnist" / path.name).read_bytes() for path in files] == [path.read_bytes() for path in files]


def test_idx_files_are_read_in_their_shape(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(read_idx(tmp_path / "a.gz", 3), array)


# Augmentation.

AUGMENTATIONS = ["--data.shift=3", "--data.flip=true", "--data.cutout=5", "--data.mixup=0.2"]


def test_without_augmentation_nothing_is_drawn(miniature):
    found = dataset(f"--data.root={miniature}")
    assert found.draw is None and found.augment is None


def test_mixup_gives_the_loss_a_share_of_each_example(miniature):
    found = dataset(f"--data.root={miniature}", AUGMENTATIONS[3])
    batch = found.train[np.arange(50)]
    after = found.augment({**batch, **found.draw(np.random.default_rng(0), 50)})
    assert after.keys() == {"image", "label", "mix"} and after["mix"].shape == (50,)
    assert np.array_equal(after["image"], batch["image"])


@pytest.mark.parametrize("key", ["shift", "cutout"])
def test_an_augmentation_that_leaves_nothing_of_an_image_is_one_line(complaint, miniature, key):
    line = complaint(*small(FRAMEWORKS[0], miniature, f"--data.{key}=28"))
    assert f"data.{key} = 28" in line and "28 x 28 pixels" in line


def test_a_model_that_overfits_sees_its_images_as_they_are():
    config = load_config("image_classification", [*AUGMENTATIONS, "--data.label_smoothing=0.1", "--debug=overfit"]).data
    found = (config.shift, config.flip, config.cutout, config.mixup, config.label_smoothing)
    assert found == (0, False, 0, 0, 0)


# What people see.


def shown(count, channels=1):
    labels = np.arange(count, dtype=np.int32) % 10
    batch = {"image": np.zeros((count, 28, 28, channels), np.uint8), "label": labels}
    [(name, pixels)] = TASK.examples(batch, {"logits": np.eye(10, dtype=np.float32)[labels]}, SPEC).items()
    return name, pixels


@pytest.mark.parametrize(("count", "height"), [(1, 192), (8, 384), (9, 576), (16, 768), (40, 768)])
def test_pictures_are_a_grid_of_at_most_sixteen(count, height):
    name, pixels = shown(count)
    assert (name, pixels.shape, pixels.dtype) == ("examples", (height, 576, 3), np.uint8)


def test_pictures_may_have_colours():
    assert shown(3, channels=3)[1].shape == (192, 576, 3)


COUNTS = np.array([[8, 2, 0], [0, 10, 0], [3, 3, 0]])  # of the third class, all are taken for others
ANIMALS = {"classes": ["cat", "dog", "owl"]}


def test_a_class_without_examples_has_no_accuracy():
    counts = np.diag([3, 0, 2])
    assert "dog" not in TASK.charts({"confusion": counts}, ANIMALS)["per_class_accuracy"]


def test_a_confusion_matrix_is_darkest_where_a_class_is_predicted_most():
    pixels = TASK.charts({"confusion": COUNTS}, ANIMALS)["confusion_matrix"]
    cell = 520 // 3
    inside = slice(len(pixels) - 8 - 3 * cell + 4, -8, cell)  # in the corner of each cell, beside its number
    corners = pixels[inside, inside, 0].astype(int)
    assert corners.tolist() == [[34, 145, 255], [255, 8, 255], [80, 80, 255]]  # by the root of the share


@pytest.mark.parametrize("classes", [1, 2, 26, 27, 100, 1000])
def test_a_confusion_matrix_may_have_any_number_of_classes(classes):
    spec = {"classes": [f"class {i}" for i in range(classes)]}
    pixels = TASK.charts({"confusion": np.eye(classes, dtype=np.int64)}, spec)["confusion_matrix"]
    assert pixels.dtype == np.uint8 and 400 <= max(pixels.shape) <= 1300


def test_the_metrics_count_every_example_once_and_know_the_five_likeliest(cli, framework, folder, miniature):
    metrics, charts = workflow.evaluate(folder, load_config(saved=read_config(folder)))
    outputs = workflow.Predictor(folder, load_config(saved=read_config(folder))).outputs(
        dataset(f"--data.root={miniature}").test.arrays["image"]
    )
    five = np.argsort(-outputs["logits"], 1)[:, :5]
    assert metrics["test/top5_accuracy"] == pytest.approx((five == TEST[:, None]).any(1).mean())
    assert metrics["test/accuracy"] == pytest.approx((five[:, 0] == TEST).mean())
    counted = [int(row.split("|")[3]) for row in charts["per_class_accuracy"].splitlines()[2:]]
    assert sum(counted) == len(TEST)


def test_mixup_in_micro_batches_of_odd_size_is_one_line(complaint, miniature, framework):
    line = complaint(*small(framework, miniature, "--data.mixup=0.2", "--trainer.accumulate=32"))
    assert "data.mixup = 0.2 mixes pairs" in line and "trainer.accumulate = 32" in line


def test_a_prediction_does_not_overflow():
    [row] = TASK.describe(["a"], {"logits": np.array([[1e4, -1e4]], np.float32)}, {"classes": ["cat", "dog"]})
    assert row == {"input": "a", "label": "cat", "probability": 1.0}
