"""Image generation: data and noise, the metrics by their formulas, and what is predicted."""

import numpy as np
import pytest
from conftest import everything, metrics_of, steps, values_of
from PIL import Image
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.tasks.image_generation import scores, task
from {{cookiecutter.package_name}}.tasks.image_generation.features import features, fit, frechet_distance, probabilities
from {{cookiecutter.package_name}}.tasks.image_generation.pictures import grid, to_uint8

SMALL = ["--model.width=16", "--model.latent=8", "--data.batch_size=64", "--data.samples=100"]
SMALL += ["--optimizer.learning_rate=0.002", "--optimizer.name=adam", "--optimizer.momentum=0.5"]


@pytest.fixture(scope="module")
def run(framework, trained, tmp_path_factory):
    """A run on digits; to be read only."""
    words = ["--framework", framework, *SMALL, *steps(300), "--trainer.val_every=50"]
    words += ["--model.width=8", "--optimizer.learning_rate=0.003", "--optimizer.ema_decay=0.95"]
    return trained(tmp_path_factory.mktemp("run"), "image_generation", *words)


@pytest.fixture(scope="module")
def digits():
    return task.load(load_config("image_generation", SMALL), None)


def load_folder(folder, *options):
    words = ["--data.name=folder", f"--data.path={folder}", "--data.size=8", "--data.workers=0", "--data.samples=6"]
    return task.load(load_config("image_generation", [*words, "--model.latent=8", *options]), None)


def draw(path, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8)).save(path)


# Data.


def test_digits_are_those_of_scikit_learn(digits):
    assert [len(split) for split in (digits.train, digits.val.source, digits.test.source)] == [1294, 144, 359]
    parts = [everything(split)["image"] for split in (digits.train, digits.val.source, digits.test.source)]
    images = np.concatenate(parts)
    assert images.shape[1:] == (8, 8, 1) and images.dtype == np.uint8
    assert sorted(images.sum((1, 2, 3))) == pytest.approx(sorted(load_digits().data.sum(1) * 255 / 16), abs=32)


def test_noise_is_normal_and_its_own_for_each_example(digits):
    noise = np.concatenate([everything(split)["noise"] for split in (digits.val, digits.test)])
    assert noise.shape == (200, 8) and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.05
    assert len(np.unique(noise, axis=0)) == 200
    drawn = digits.draw(np.random.default_rng(0), 50)["noise"]
    assert drawn.shape == (50, 8) and drawn.dtype == np.float32 and abs(drawn.std() - 1) < 0.1


def test_real_images_stand_for_the_first_time_once(digits):
    batch = everything(task.load(load_config("image_generation", [*SMALL, "--data.samples=300"]), None).val)
    assert batch["first"].sum() == 144
    source = everything(digits.val.source)["image"]
    assert (batch["image"][batch["first"]] == source).all() and (batch["image"][144:288] == source).all()


def test_a_folder_has_classes_where_it_has_folders(project):
    rng = np.random.default_rng(0)
    for i in range(30):
        draw(project / "flat" / f"{i}.png", rng)
        draw(project / "sorted" / ("cat", "dog")[i % 2] / f"{i}.jpg", rng)
    for name, classes in {"flat": [], "sorted": ["cat", "dog"]}.items():
        data = load_folder(name, "--data.val_fraction=0.2", "--data.test_fraction=0.2")
        assert (data.spec["classes"], data.spec["shape"]) == (classes, [8, 8, 3])
        assert [len(part) for part in (data.train, data.val.source, data.test.source)] == [19, 5, 6]
        assert everything(data.train)["image"].shape == (19, 8, 8, 3)


# Metrics.


def test_the_frechet_distance_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 6)), rng.normal(1, 2, (80, 6)) @ rng.normal(size=(6, 6))
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_the_classifier_tells_digits_apart_that_it_has_not_seen(digits):
    labels = load_digits()
    pixels = np.round(labels.images * (255 / 16)).astype(np.uint8)[..., None]
    network = fit(pixels[:1000], labels.target[:1000], 10)
    assert fit(pixels[:1000], labels.target[:1000], 10) == network
    found = probabilities(network, pixels[1000:])
    assert found.sum(1) == pytest.approx(np.ones(797))
    assert (found.argmax(1) == labels.target[1000:]).mean() > 0.9
    assert features(network, pixels[:1000]).var(0).sum() == pytest.approx(1, rel=0.01)


def test_scores_are_of_samples_and_of_each_real_image_once(digits, capsys):
    real = everything(digits.test.source)["image"]
    looks = probabilities(digits.spec["classifier"], real)
    twos = real[looks.argmax(1) == 2]
    first = np.arange(len(real)) < 200

    def of(images):
        generated = images.astype(np.float32) / 127.5 - 1
        return scores({"generated": generated, "real": real, "first": first}, digits.spec)

    same, one = of(real[:200]), of(twos)
    assert "200 samples and 200 real images" in capsys.readouterr().err
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-6) and one["frechet_distance"] > 0.1
    assert (same["class_coverage"], one["class_coverage"]) == (1.0, 0.1)
    assert same["confidence"] == pytest.approx((looks[:200].max(1) >= 0.9).mean())


def test_it_learns_digits(run):
    found = values_of(run, "val/frechet_distance")
    assert min(found.values()) < 0.8 * found[50]
    assert metrics_of(run)["test/class_coverage"] > 0.1


def test_a_penalty_on_gradients_takes_no_batch_normalization(complaint, framework):
    words = ["image_generation", "--framework", framework, "--model.r1=1"]
    assert "set model.norm = none" in complaint("train", *words)
    task.check(load_config("image_generation", ["--model.r1=1", "--model.norm=none"]))
    task.check(load_config("image_generation", ["--model.r1=1", "--model.name=resnet_gan"]))


# Predictions.


def test_a_seed_always_gives_the_same_image(run):
    model = load(run)
    some, one = (model.outputs(inputs)["image"] for inputs in (["3-6", "9"], 5))
    assert some.shape == (5, 8, 8, 1) and one.shape == (1, 8, 8, 1)
    assert some[2] == pytest.approx(one[0], abs=1e-5)
    assert np.abs(some[0] - some[1]).max() > 1e-3


def test_images_are_written_as_a_grid_or_each_by_its_seed(run, cli, project):
    one, many = (cli("predict", run, "0-4", "--images", path) for path in ("grid.png", "samples"))
    assert one.code == many.code == 0, one.err + many.err
    pixels = to_uint8(load(run).outputs("0-4")["image"])
    assert (np.asarray(Image.open("grid.png")) == grid(pixels)).all()
    assert [line.split()[1] for line in many.out.splitlines()[1:]] == [f"samples/{seed}.png" for seed in range(5)]
    assert all((np.asarray(Image.open(f"samples/{i}.png")) == pixels[i, :, :, 0]).all() for i in range(5))


def test_no_seed_and_files_that_are_there_are_one_line(run, complaint, project):
    assert "'seven' is no seed" in complaint("predict", run, "seven")
    assert "'9-3' is no seed" in complaint("predict", run, "9-3")
    (project / "samples.png").write_text("mine")
    assert "--images samples.png is there" in complaint("predict", run, "0-3")


# What is shown.


def test_a_grid_puts_images_beside_each_other():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2) * 50
    picture = grid(images)
    assert picture.shape == (66, 66, 3)
    shown = picture[[10, 10, 50, 50, 32], [10, 50, 10, 50, 10], 0]
    assert shown.tolist() == [0, 50, 100, 255, 255]  # the fourth place is empty, and so is what lies between


def test_pictures_are_of_samples_and_of_real_images(digits):
    batch = digits.val[np.arange(10)]
    shown = task.examples(batch, {"image": np.zeros((10, 8, 8, 1), np.float32)}, digits.spec)
    assert (shown["real"] == grid(batch["image"])).all() and (shown["samples"][0, 0] == 128).all()
