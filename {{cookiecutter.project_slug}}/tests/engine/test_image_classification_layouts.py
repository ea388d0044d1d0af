"""Image classification on a miniature of every layout of files: Fashion-MNIST, CIFAR-10, folders of images."""

import gzip
import hashlib
import json
import re
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data import image_sets
from {{cookiecutter.package_name}}.engine.data.download import Remote
from {{cookiecutter.package_name}}.engine.data.image_sets import CIFAR10_ARCHIVE, FASHION_MNIST_FILES, MNIST_FILES
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result, read_spec
from {{cookiecutter.package_name}}.engine.registry import frameworks, load_config

FRAMEWORKS = list(frameworks())
TASK = tasks.find("image_classification")


def load(preset, *options):
    """The dataset of a preset."""
    return TASK.load(load_config(f"image_classification/{preset}", list(options)), None)


def everything(source):
    return source[np.arange(len(source))]


def training_batch(dataset, n, seed=0):
    drawn = dataset.draw(np.random.default_rng(seed), n)
    return dataset.augment({**dataset.train[np.arange(n)], **drawn})


def refused(*words):
    with pytest.raises(InputError) as caught:
        load(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Fashion-MNIST: 200 training and 40 test images, a stripe for each label.


def idx(array):
    """An array of bytes as an IDX file, zipped."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


def stripes(labels, shape):
    images = np.zeros((len(labels), *shape), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 2 : 2 * label + 4] = 200
    return images


@pytest.fixture(scope="session")
def fashion(tmp_path_factory):
    """The folder that holds `fashion_mnist/`; to be read only."""
    root = tmp_path_factory.mktemp("fashion")
    (root / "fashion_mnist").mkdir()
    arrays = [stripes(np.arange(200) % 10, (28, 28)), np.arange(200) % 10]
    arrays += [stripes(np.arange(40) % 10, (28, 28)), np.arange(40) % 10]
    for file, array in zip(FASHION_MNIST_FILES, arrays, strict=True):
        (root / "fashion_mnist" / file.name).write_bytes(idx(array))
    return root


def test_fashion_mnist_is_read_as_mnist_is(fashion):
    found = load("fashion_mnist", f"--data.root={fashion}", "--data.verify=false")
    test = everything(found.test)
    assert np.array_equal(test["image"][..., 0], stripes(np.arange(40) % 10, (28, 28)))
    assert np.array_equal(test["label"], np.arange(40) % 10)
    assert (len(found.train), len(found.val)) == (180, 20)


def test_fashion_mnist_has_classes_with_names(fashion):
    spec = load("fashion_mnist", f"--data.root={fashion}", "--data.verify=false").spec
    assert spec["shape"] == [28, 28, 1] and len(spec["classes"]) == 10 and spec["classes"][9] == "Ankle boot"


def test_fashion_mnist_is_not_mnist(fashion):
    """Files of the same names, in another folder and with other checksums."""
    assert [file.name for file in FASHION_MNIST_FILES] == [file.name for file in MNIST_FILES]
    assert not {file.md5 for file in FASHION_MNIST_FILES} & {file.md5 for file in MNIST_FILES}
    assert "has md5" in refused("fashion_mnist", f"--data.root={fashion}")


def test_fashion_mnist_that_is_missing_names_its_files_place_and_source(tmp_path):
    line = refused("fashion_mnist", f"--data.root={tmp_path}")
    assert str(tmp_path / "fashion_mnist") in line and "fashion-mnist.s3" in line and "--data.download true" in line


# CIFAR-10: 40 images in each of the six files.

NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def record(label, number):
    """An image with its label, as bytes: a stripe in red, another number in green, rows in blue."""
    planes = np.zeros((3, 32, 32), np.uint8)
    planes[0, 2 * label + 2 : 2 * label + 4] = 200
    planes[1] = number
    planes[2] = np.arange(32)[:, None]
    return bytes([label]) + planes.tobytes()


def write_cifar(folder):
    folder.mkdir(parents=True)
    for k, name in enumerate(NAMES):
        (folder / name).write_bytes(b"".join(record(i % 10, 40 * k + i) for i in range(40)))


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """The folder that holds `cifar10/`; to be read only."""
    root = tmp_path_factory.mktemp("cifar")
    write_cifar(root / "cifar10" / "cifar-10-batches-bin")
    return root


@pytest.fixture(scope="session")
def archive(cifar, tmp_path_factory):
    """The same as it is downloaded."""
    path = tmp_path_factory.mktemp("archive") / CIFAR10_ARCHIVE.name
    with tarfile.open(path, "w:gz") as tar:
        tar.add(cifar / "cifar10" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    return path


@pytest.fixture
def published(archive, monkeypatch):
    """The archive stands where CIFAR-10 is fetched from."""
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(image_sets, "CIFAR10_ARCHIVE", Remote(archive.name, archive.as_uri(), md5))


def test_cifar_is_read_in_its_colours(cifar):
    test = everything(load("cifar10", f"--data.root={cifar}").test)
    assert (test["image"].shape, test["image"].dtype) == ((40, 32, 32, 3), np.uint8)
    assert np.array_equal(test["image"][..., 0], stripes(np.arange(40) % 10, (32, 32)))
    assert np.array_equal(test["image"][:, 5, 7, 1], 200 + np.arange(40))
    assert np.array_equal(test["image"][3, :, 0, 2], np.arange(32))
    assert np.array_equal(test["label"], np.arange(40) % 10) and test["label"].dtype == np.int32


def test_cifar_trains_on_all_five_files(cifar):
    found = load("cifar10", f"--data.root={cifar}")
    numbers = [everything(split)["image"][:, 0, 0, 1] for split in (found.train, found.val)]
    assert [len(part) for part in numbers] == [180, 20]
    assert sorted(np.concatenate(numbers)) == list(range(200))


def test_cifar_has_classes_with_names(cifar):
    assert load("cifar10", f"--data.root={cifar}").spec["classes"][:3] == ["airplane", "automobile", "bird"]


def test_cifar_is_downloaded_and_unpacked_where_that_is_asked_for(cifar, published, tmp_path):
    found = load("cifar10", f"--data.root={tmp_path}", "--data.download=true")
    expected = load("cifar10", f"--data.root={cifar}")
    assert np.array_equal(everything(found.test)["image"], everything(expected.test)["image"])
    left = {path.name for path in (tmp_path / "cifar10").iterdir()}
    assert left == {CIFAR10_ARCHIVE.name, "cifar-10-batches-bin"}


def test_an_archive_that_is_there_is_unpacked_without_a_download(archive, published, tmp_path):
    (tmp_path / "cifar10").mkdir()
    shutil.copy(archive, tmp_path / "cifar10")
    assert len(load("cifar10", f"--data.root={tmp_path}").test) == 40


def test_an_archive_with_another_checksum_is_not_unpacked(archive, tmp_path):
    (tmp_path / "cifar10").mkdir()
    shutil.copy(archive, tmp_path / "cifar10")
    assert f"{archive.name} has md5" in refused("cifar10", f"--data.root={tmp_path}")
    assert len(list((tmp_path / "cifar10").iterdir())) == 1


def test_cifar_that_is_missing_names_its_files_place_and_source(tmp_path):
    line = refused("cifar10", f"--data.root={tmp_path}")
    assert all(name in line for name in NAMES) and str(tmp_path / "cifar10") in line
    assert CIFAR10_ARCHIVE.url in line and "--data.download true" in line


def drop(path):
    path.unlink()


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def mislabel(path):
    path.write_bytes(record(9, 1) + bytes([10]) + record(0, 1)[1:])


@pytest.mark.parametrize(
    ("name", "damage", "parts"),
    [
        ("data_batch_3.bin", drop, ["lacks cifar-10-batches-bin/data_batch_3.bin:"]),
        ("data_batch_5.bin", shorten, ["data_batch_5.bin has 122919 bytes", "3073"]),
        ("test_batch.bin", empty, ["test_batch.bin has 0 bytes"]),
        ("test_batch.bin", mislabel, ["test_batch.bin has label 10", "0 to 9"]),
    ],
)
def test_damaged_files_of_cifar_are_one_line(complaint, project, name, damage, parts):
    write_cifar(project / "data" / "cifar10" / "cifar-10-batches-bin")
    damage(project / "data" / "cifar10" / "cifar-10-batches-bin" / name)
    line = complaint("train", "image_classification/cifar10", "--framework", FRAMEWORKS[0], "--accelerator=cpu")
    assert [part for part in parts if part not in line] == [], line


# Folders of images: three classes, 20 training, 4 validation and 5 test images of each, none of which are square.

CLASSES = ["cat", "dog", "owl"]
COUNTS = {"train": 20, "val": 4, "test": 5}
SMALL = ["--data.size=12", "--data.resize=14"]


def photo(path, label, size=(24, 18)):
    """A colour for each class."""
    pixels = np.full((size[1], size[0], 3), 30, np.uint8)
    pixels[..., label] = 220
    Image.fromarray(pixels).save(path)


def write_folder(folder, size=None):
    for split, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                photo(place / f"{i:02}.{('jpg', 'PNG', 'jpeg')[i % 3]}", label, size or (24 + i, 18))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """The folder that holds train/, val/ and test/; to be read only."""
    folder = tmp_path_factory.mktemp("photos")
    write_folder(folder)
    return folder


@pytest.fixture
def own(project):
    """The same, to be changed: `data/images` in the current folder."""
    write_folder(project / "data" / "images")
    return project / "data" / "images"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


def test_the_splits_of_a_folder_are_its_folders(photos):
    found = load("folder", f"--data.path={photos}", *SMALL)
    assert [len(split) for split in (found.train, found.val, found.test)] == [60, 12, 15]


def test_the_classes_of_a_folder_are_its_folders(photos):
    found = load("folder", f"--data.path={photos}", *SMALL)
    assert found.spec == {"shape": [12, 12, 3], "classes": CLASSES, "resize": 14}


def test_a_folder_is_looked_for_below_root(photos):
    found = load("folder", f"--data.root={photos.parent}", f"--data.path={photos.name}", *SMALL)
    assert len(found.train) == 60


def test_a_folder_is_looked_for_in_the_working_folder_first(photos, project):
    shutil.copytree(photos, project / "here" / "images")
    (project / "here" / "images" / "val" / "cat" / "00.jpg").unlink()
    write_folder(project / "data" / "here" / "images")
    for path in ("here/images", "./here/images/"):
        assert len(load("folder", f"--data.path={path}", *SMALL).val) == 11
    shutil.rmtree(project / "here" / "images" / "train")  # a folder that holds something else
    assert len(load("folder", "--data.path=here/images", *SMALL).val) == 12


def test_what_lies_beside_the_splits_and_their_classes_is_told(own, capsys):
    (own / "tests").mkdir()
    (own / "train" / "labels.csv").touch()
    (own / "val" / "cat" / "scan.tif").touch()
    load("folder", *SMALL)
    assert capsys.readouterr().err.splitlines() == [
        "data/images: 1 of 4 entries is left out: 1 folder",
        "data/images/train: 1 of 4 entries is left out: 1 .csv",
        "data/images/val/cat: 1 of 5 entries is left out: 1 .tif",
    ]


def turned(folder):
    """Every image with a rotation in its EXIF data; and the same images rotated, in another folder."""
    exif, upright = Image.Exif(), folder.with_name("upright")
    exif[0x0112] = 6
    shutil.copytree(folder, upright)
    for path in folder.rglob("*.*"):
        image = Image.fromarray(np.random.default_rng(len(str(path))).integers(0, 256, (30, 44, 3)).astype(np.uint8))
        place = path.with_suffix(".png")
        image.save(place, exif=exif)
        (upright / path.relative_to(folder)).unlink()
        image.transpose(Image.Transpose.ROTATE_270).save(upright / place.relative_to(folder))
        if place != path:
            path.unlink()
    return upright


@pytest.mark.parametrize("crop", [0.0, 0.25])
def test_rotations_in_exif_data_are_applied_where_that_is_asked_for(own, capsys, crop):
    upright, options = turned(own), [*SMALL, f"--data.crop={crop}"]
    found, expected = (
        load("folder", *options, "--data.exif_rotation=true"),
        load("folder", *options, f"--data.path={upright}"),
    )
    for name in ("val", "test"):
        assert np.array_equal(everything(getattr(found, name))["image"], everything(getattr(expected, name))["image"])
    assert np.array_equal(training_batch(found, 30)["image"], training_batch(expected, 30)["image"])
    assert found.spec == expected.spec | {"exif_rotation": True}
    [path] = sorted((own / "val" / "owl").iterdir())[:1]
    assert np.array_equal(
        everything(TASK.inputs([path], found.spec).source)["image"][0], everything(found.val)["image"][8]
    )
    assert "rotated" not in capsys.readouterr().err


def test_rotations_in_exif_data_that_are_not_applied_are_said_once(own, capsys):
    turned(own)
    found = load("folder", *SMALL)
    training_batch(found, 30)
    everything(found.val)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--data.exif_rotation true" in said and said.startswith("data/images/train/cat/")


def test_images_of_a_folder_have_the_size_that_the_model_takes(photos):
    val = everything(load("folder", f"--data.path={photos}", *SMALL).val)
    assert (val["image"].shape, val["image"].dtype) == ((12, 12, 12, 3), np.uint8)
    assert np.array_equal(val["image"][:, 6, 6].argmax(-1), val["label"]) and val["label"].dtype == np.int32


@pytest.mark.parametrize("crop", [0.0, 0.25])
def test_training_images_of_a_folder_have_the_size_that_the_model_takes(photos, crop):
    found = load(
        "folder", f"--data.path={photos}", *SMALL, f"--data.crop={crop}", "--data.mixup=0.2", "--data.cutout=3"
    )
    batch = training_batch(found, 60)
    assert set(batch) == {"image", "label", "mix"}
    assert (batch["image"].shape, batch["image"].dtype) == ((60, 12, 12, 3), np.uint8)
    assert np.array_equal(batch["image"].sum((1, 2)).argmax(-1), batch["label"])


def test_training_images_of_a_folder_depend_on_what_is_drawn_alone(own):
    for path in own.rglob("*.*"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(path)
    found = load("folder", *SMALL)
    a, b, other = (training_batch(found, 9, seed)["image"] for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, other)
    assert len({image.tobytes() for image in a}) == 9


def test_without_augmentation_training_images_are_seen_as_in_evaluation(own):
    shutil.rmtree(own / "val")
    shutil.copytree(own / "train", own / "val")
    found = load("folder", *SMALL, "--data.crop=0", "--data.flip=false")
    assert np.array_equal(training_batch(found, 60)["image"], everything(found.val)["image"])


def test_a_folder_may_be_read_in_grey(photos):
    found = load("folder", f"--data.path={photos}", *SMALL, "--data.channels=1")
    assert everything(found.val)["image"].shape == training_batch(found, 12)["image"].shape == (12, 12, 12, 1)


def test_without_test_images_those_of_validation_are_tested_on_and_that_is_said(own, capsys):
    shutil.rmtree(own / "test")
    found = load("folder", *SMALL)
    load("folder", *SMALL)
    assert np.array_equal(everything(found.test)["image"], everything(found.val)["image"])
    assert capsys.readouterr().err == "data/images has no test/: val/ is the test split\n"


def test_nothing_is_decoded_before_it_is_asked_for(own):
    for path in own.rglob("*.*"):
        path.write_bytes(b"")
    assert len(load("folder", *SMALL).train) == 60


def test_images_may_be_taken_as_they_are(project):
    write_folder(project / "data" / "images", size=(12, 12))
    found = load("folder", "--data.size=12", "--data.resize=0", "--data.crop=0")
    assert found.spec == {"shape": [12, 12, 3], "classes": CLASSES, "resize": 0}
    assert (everything(found.val)["image"].max((1, 2, 3)) > 200).all()


def test_images_that_are_taken_as_they_are_must_have_the_size(photos):
    found = load("folder", f"--data.path={photos}", "--data.size=18", "--data.resize=0", "--data.crop=0")
    for read in (lambda: training_batch(found, 1), lambda: found.val[np.arange(1)]):
        with pytest.raises(InputError, match=r"cat/00.jpg has 24 x 18 pixels, but .* 18 x 18: set data.resize"):
            read()


def test_a_damaged_image_is_named(own):
    (own / "train" / "dog" / "00.jpg").write_bytes((own / "train" / "dog" / "00.jpg").read_bytes()[:200])
    found = load("folder", *SMALL)
    training_batch(found, 20)
    with pytest.raises(InputError, match=r"train/dog/00.jpg"):
        training_batch(found, 21)


def test_a_grey_image_among_others_becomes_one_of_colours_and_that_is_said_once(own, capsys):
    for name in ("00.jpg", "01.PNG"):
        Image.new("L", (20, 20), 150).save(own / "train" / "cat" / name)
    batch = training_batch(load("folder", *SMALL), 2)
    assert (abs(batch["image"].astype(int) - 150) <= 2).all()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "train/cat/00.jpg is grey" in said


def move_a_class(folder):
    (folder / "train" / "owl").rename(folder / "val" / "eel")


FAULTS = {
    "no training images": (
        lambda folder: shutil.rmtree(folder / "train"),
        [],
        ["data.path = 'images': there is neither images nor data/images with train/ in it", "train/CLASS/"],
    ),
    "no validation images": (lambda folder: shutil.rmtree(folder / "val"), [], ["data/images/val is no folder"]),
    "nothing at all": (shutil.rmtree, [], ["there is neither images nor data/images", "train/CLASS/"]),
    "an empty class": (lambda folder: (folder / "train" / "eel").mkdir(), [], ["train/eel has no images"]),
    "an empty class in val": (
        lambda folder: [path.unlink() for path in (folder / "val" / "cat").iterdir()],
        [],
        ["val/cat has no images"],
    ),
    "a class in val alone": (move_a_class, [], ["val/eel", "no class 'eel' in train/"]),
    "a class in test alone": (
        lambda folder: (folder / "test" / "owl").rename(folder / "test" / "eel"),
        [],
        ["test/eel"],
    ),
    "images without classes": (
        lambda folder: [shutil.rmtree(path) for path in (folder / "train").iterdir()],
        [],
        ["train has no folders"],
    ),
    "one class": (
        lambda folder: [shutil.rmtree(path) for path in folder.glob("*/*") if path.name != "cat"],
        [],
        ["only the class 'cat'"],
    ),
    "a folder that is called like an image, in a class of its own": (
        lambda folder: (folder / "train" / "eel" / "00.png").mkdir(parents=True),
        [],
        ["train/eel has no images"],
    ),
    "a view larger than its image": (lambda folder: None, ["--data.resize=10"], ["data.resize = 10", "data.size = 12"]),
    "a random crop of images as they are": (
        lambda folder: None,
        ["--data.resize=0"],
        ["data.crop = 0.25", "data.resize = 0"],
    ),
    "a cutout of everything": (lambda folder: None, ["--data.cutout=12"], ["data.cutout = 12", "12 x 12"]),
    "images on the device": (lambda folder: None, ["--data.on_device=true"], ["data.on_device = true"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_a_folder_is_one_line(complaint, own, case):
    fault, options, parts = FAULTS[case]
    fault(own)
    words = ["image_classification/folder", "--framework", FRAMEWORKS[0], "--accelerator=cpu", "--data.batch_size=6"]
    line = complaint("train", *words, *SMALL, *options)
    assert [part for part in parts if part not in line] == [], line


# What a prediction takes.

SPEC = {"shape": [12, 12, 3], "classes": CLASSES}
ARRAY = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3)).astype(np.uint8)


@pytest.mark.parametrize("given", [ARRAY, ARRAY[:1], ARRAY[0]])
def test_an_array_of_images_is_taken_as_it_is(given):
    assert np.array_equal(everything(TASK.inputs(given, SPEC).source)["image"], given.reshape(-1, 12, 12, 3))


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (ARRAY / 255, "float64"),
        (ARRAY[:, :11], r"\[5, 11, 12, 3\]"),
        (ARRAY[..., 0], r"\[n, 12, 12, 3\] or \[12, 12, 3\]"),
    ],
)
def test_an_array_of_something_else_is_refused(given, part):
    with pytest.raises(InputError, match=part):
        TASK.inputs(given, SPEC)


def test_an_image_of_another_size_tells_how_to_train_for_it(photos):
    path = photos / "val" / "cat" / "00.jpg"
    source, _ = TASK.inputs(path, {**SPEC, "resize": 0})
    with pytest.raises(InputError, match="24 x 18 pixels, but the model takes 12 x 12: .* --data.resize 12"):
        source[np.arange(1)]


def test_files_are_seen_as_in_evaluation(photos):
    found = load("folder", f"--data.path={photos}", *SMALL)
    paths = sorted((photos / "val" / "cat").iterdir())
    for given, count in ((paths, 4), ([str(path) for path in paths], 4), (paths[0], 1), (str(paths[0]), 1)):
        source, names = TASK.inputs(given, found.spec)
        seen = everything(source)["image"]
        assert names == [str(path) for path in paths[:count]]
        assert np.array_equal(seen, found.val[np.arange(count)]["image"])


# Training, evaluation and prediction, from each preset.

AUGMENTED = ["--data.flip=true", "--data.cutout=3", "--data.mixup=0.2", "--data.label_smoothing=0.1"]


def words(preset, root, *options):
    """The words of a command that trains four steps of a perceptron from a preset."""
    folder = [f"--data.path={root}", *SMALL] if preset in ("folder", "imagenet") else [f"--data.root={root}"]
    folder += ["--data.verify=false"] if preset == "fashion_mnist" else []
    folder += ["--model.name=mlp", "--accelerator=cpu", "--data.batch_size=20", "--optimizer.warmup_steps=1"]
    return [
        f"image_classification/{preset}",
        *folder,
        "--trainer.max_steps=4",
        "--trainer.log_every=1",
        *AUGMENTED,
        *options,
    ]


@pytest.fixture(scope="module")
def roots(fashion, cifar, photos):
    return {"fashion_mnist": fashion, "cifar10": cifar, "folder": photos, "imagenet": photos}


@pytest.fixture(scope="module", params=["fashion_mnist", "cifar10", "folder", "imagenet"])
def trained(request, roots, framework, cli, tmp_path_factory):
    """(preset, how the command ended, the run's folder)."""
    run_dir, preset = tmp_path_factory.mktemp("runs"), request.param
    options = words(preset, roots[preset], f"--run_dir={run_dir}", "--framework", framework, "--name=one")
    return preset, cli("train", *options), run_dir / "image_classification" / preset / framework / "one"


def test_every_preset_trains(trained):
    _, outcome, folder = trained
    assert outcome.code == 0, outcome.err
    assert read_result(folder)["steps"] == 4 and "test/accuracy" in read_result(folder)["metrics"]


def test_every_preset_evaluates(trained, cli):
    _, _, folder = trained
    outcome = cli("evaluate", folder)
    shown = re.search(r"test/loss +(\S+)", outcome.out)
    assert outcome.code == 0 and shown, outcome
    assert float(shown[1]) == pytest.approx(read_result(folder)["metrics"]["test/loss"], rel=1e-3, abs=5e-5)


def test_every_preset_predicts(trained, cli, tmp_path):
    preset, _, folder = trained
    spec = read_spec(folder)
    photo(tmp_path / "a.png", 1, (30, 20))
    photo(tmp_path / "b.jpg", 2, (40, 50))
    outcome = cli("predict", folder, tmp_path)
    assert outcome.code == 0 and all(name in outcome.out for name in ("a.png", "b.jpg")), outcome
    assert any(name in outcome.out for name in spec["classes"])


def losses_of(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["train/loss"] for line in map(json.loads, lines) if "train/loss" in line]


def again(trained, roots, cli, option):
    """The losses of a run, and of another one with an option."""
    preset, _, folder = trained
    options = [f"--run_dir={folder.parents[3]}", f"--framework={folder.parent.name}", "--name=two", option]
    outcome = cli("train", *words(preset, roots[preset], *options))
    assert outcome.code == 0, outcome.err
    found = losses_of(folder), losses_of(folder.parent / "two")
    assert len(found[0]) == 4
    return found


@pytest.mark.parametrize("trained", ["cifar10"], indirect=True)
def test_data_on_the_device_train_as_others_do(trained, roots, cli):
    one, two = again(trained, roots, cli, "--data.on_device=false")
    assert one == two


@pytest.mark.parametrize("trained", ["folder"], indirect=True)
def test_threads_that_read_ahead_change_nothing(trained, roots, cli):
    one, two = again(trained, roots, cli, "--data.workers=0")
    assert one == two


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_image_ends_training_with_its_name(own, framework, cli, split):
    for path in (own / split).rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-20])
    outcome = cli("train", *words("folder", own, "--framework", framework))
    assert outcome.code == 2, outcome
    assert outcome.err.splitlines()[-1].startswith(f"error: {own / split}"), outcome.err
