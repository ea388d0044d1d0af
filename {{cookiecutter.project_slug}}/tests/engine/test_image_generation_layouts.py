"""Images for a GAN, as they are published and as people have them: through training, evaluation and predictions."""

import gzip
import hashlib
import json
import tarfile

import numpy as np
import pytest
from helpers import with_one_framework
from PIL import Image

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import image_sets
from {{cookiecutter.package_name}}.engine.data.download import Remote
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.image_generation import features

CLASSES = ("cat", "dog", "owl")
TINY = ["--model.width=4", "--model.latent=6", "--data.samples=20", "--data.batch_size=16", "--optimizer.ema_decay=0"]
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def picture(label, size, rng):
    """uint8 [size, size, 3]: a class is a bright stripe in a row of its own."""
    pixels = rng.integers(0, 60, (size, size, 3), np.uint8)
    pixels[2 * label + 2 : 2 * label + 4] += 180
    return pixels


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def write_mnist(folder, rng):
    folder.mkdir()
    for prefix, count in {"train": 80, "t10k": 20}.items():
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.stack([picture(label, 28, rng)[..., 0] for label in labels])
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))


def write_cifar(folder, rng):
    folder.mkdir(parents=True)
    for name in NAMES:
        records = [bytes([i % 10]) + picture(i % 10, 32, rng).transpose(2, 0, 1).tobytes() for i in range(20)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))


def write_folder(folder, rng, sorted_=False):
    folder.mkdir()
    for i in range(60):
        place = folder / CLASSES[i % 3] if sorted_ else folder
        place.mkdir(exist_ok=True)
        suffix = (".png", ".jpg", ".webp", ".bmp", ".gif")[i % 5]
        Image.fromarray(picture(i % 3, 20, rng)[:, : 16 + i % 5]).save(place / f"{i:02}{suffix}")


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The folder that holds them all; to be read only."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    write_mnist(folder / "mnist", rng)
    write_mnist(folder / "fashion_mnist", rng)
    write_cifar(folder / "cifar10" / "cifar-10-batches-bin", rng)
    write_folder(folder / "flat", rng)
    write_folder(folder / "sorted", rng, sorted_=True)
    return folder


PRESETS = {
    "mnist": ["mnist", "--data.verify=false"],
    "fashion_mnist": ["fashion_mnist", "--data.verify=false"],
    "cifar10": ["cifar10", "--data.verify=false"],
    "flat": ["folder", "--data.path=flat", "--data.size=16"],
    "sorted": ["folder", "--data.path=sorted", "--data.size=16", "--data.channels=1"],
}
SHAPES = {"mnist": [28, 28, 1], "fashion_mnist": [28, 28, 1], "cifar10": [32, 32, 3]}
SHAPES |= {"flat": [16, 16, 3], "sorted": [16, 16, 1]}


def load(name, root, *options):
    preset, *rest = PRESETS[name]
    return tasks.find("image_generation").load(
        load_config(f"image_generation/{preset}", [f"--data.root={root}", *TINY, *rest, *options]), None
    )


@with_one_framework
@pytest.mark.parametrize("name", ["mnist", "flat", "sorted"])  # the others have such shapes and classes, too
def test_it_is_trained_evaluated_and_predicted(root, project, cli, framework, monkeypatch, name):
    preset, *options = PRESETS[name]
    words = ["--framework", framework, "--accelerator=cpu", f"--data.root={root}", *TINY, *options]
    words += ["--trainer.max_steps=2", "--trainer.val_every=2", "--trainer.log_every=1", "--optimizer.warmup_steps=0"]
    outcome = cli("train", f"image_generation/{preset}", *words)
    assert outcome.code == 0, outcome.err
    [run] = [path.parent for path in project.rglob("config.yaml")]
    found = json.loads((run / "result.json").read_text())["metrics"]
    judged = {"test/class_coverage", "test/confidence"} & {*found}
    assert np.isfinite(found["test/frechet_distance"]) and bool(judged) == (name != "flat")
    monkeypatch.setattr(features, "fit", lambda *_: pytest.fail("a run keeps its classifier, and none is fitted again"))
    assert cli("evaluate", run).code == 0
    outcome = cli("predict", run, "0-4", "--images", "samples")
    assert outcome.code == 0, outcome.err
    assert [np.asarray(Image.open(f"samples/{i}.png")).shape for i in range(5)] == [
        tuple(size for size in SHAPES[name] if size != 1)
    ] * 5


@pytest.mark.parametrize("name", PRESETS)
def test_shapes_and_classes_are_those_of_the_data(root, name):
    data = load(name, root)
    assert data.spec["shape"] == SHAPES[name] == list(data.train[np.arange(2)]["image"].shape[1:])
    assert len(data.spec["classes"]) == {"flat": 0, "sorted": 3}.get(name, 10)
    assert data.train[np.arange(2)]["image"].dtype == np.uint8
    assert data.train[np.arange(2)].keys() == {"image"}


def test_images_are_made_as_large_as_asked_and_cut_square(root):
    data = load("flat", root)
    image = data.train[np.arange(1)]["image"][0].astype(float)
    stripe = image.mean((1, 2)).argmax()
    assert image.shape == (16, 16, 3) and image.mean((1, 2)).max() > 150 and stripe < 9


def test_splits_of_a_folder_have_nothing_in_common(root):
    data = load("flat", root, "--data.val_fraction=0.25", "--data.test_fraction=0.2")
    parts = [list(part.files.files) for part in (data.train, data.val.source, data.test.source)]
    assert [len(part) for part in parts] == [36, 12, 12]
    assert len({file for part in parts for file in part}) == 60


def test_a_flip_mirrors_some_of_the_training_images(root):
    data = load("mnist", root, "--data.flip=true")
    batch = data.train[np.arange(40)]
    after = data.augment({**batch, **data.draw(np.random.default_rng(0), 40)})
    same, mirrored = (
        (after["image"] == image).all((1, 2, 3)) for image in (batch["image"], batch["image"][:, :, ::-1])
    )
    assert (same | mirrored).all() and 5 < mirrored.sum() < 35 and after["noise"].shape == (40, 6)


def test_cifar_is_unpacked_from_its_archive(root, tmp_path, monkeypatch):
    archive = tmp_path / "there" / image_sets.CIFAR10_ARCHIVE.name
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "cifar10" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(image_sets, "CIFAR10_ARCHIVE", Remote(archive.name, archive.as_uri(), md5))
    found = load("cifar10", tmp_path / "here", "--data.download=true")
    assert (found.train[np.arange(9)]["image"] == load("cifar10", root).train[np.arange(9)]["image"]).all()
