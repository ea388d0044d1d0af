"""Images that cannot be read, and files of images that may not be."""

import gzip
import shutil

import numpy as np
import pytest
from conftest import history
from hostile import unreadable
from PIL import Image

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data import image_sets
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config

SKIP = "--data.skip_bad=true"
DAMAGED = ["train/cat/03.jpg", "train/dog/00.jpg", "val/dog/01.jpg"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


@pytest.fixture
def photos(project):
    """`photos`, with three images that are cut in half, and `clean`, without them."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 12, "val": 4}.items():
        for name in ("cat", "dog"):
            folder = project / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(folder / f"{i:02}.jpg")
    shutil.copytree(project / "photos", project / "clean")
    for path in DAMAGED:
        (project / "clean" / path).unlink()
        damaged = project / "photos" / path
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    return project / "photos"


def words(folder, *options):
    options = ["--data.size=8", "--data.resize=10", "--data.batch_size=7", "--model.name=mlp", *options]
    return ["image_classification/folder", f"--data.path={folder}", "--accelerator=cpu", *options]


def load(folder, *options):
    target, *rest = words(folder, *options)
    return tasks.find("image_classification").load(load_config(target, rest), None)


def test_images_that_are_cut_in_half_are_left_out_counted_and_named(photos, capsys):
    found, clean = load(photos, SKIP), load(photos.with_name("clean"))
    for split in ("train", "val", "test"):
        some, other = getattr(found, split), getattr(clean, split)
        if split != "train":  # those of evaluation are decoded
            some, other = some.files, other.files
        assert [file.replace("photos", "clean") for file in some.files] == list(other.files)
        assert some.arrays["label"].tolist() == other.arrays["label"].tolist()
    err = capsys.readouterr().err
    assert f"data.skip_bad leaves out 2 of 24: {photos / DAMAGED[0]}: " in err
    assert f"data.skip_bad leaves out 1 of 8: {photos / DAMAGED[2]}: " in err


def test_a_run_without_bad_images_is_that_of_images_that_never_had_them(photos, cli, framework):
    ends = []
    for folder in (photos, photos.with_name("clean")):
        options = ["--framework", framework, f"--name={folder.name}", "--trainer.max_steps=4", "--trainer.log_every=1"]
        outcome = cli("train", *words(folder, *options, "--optimizer.warmup_steps=0", SKIP))
        assert outcome.code == 0, outcome.err
        ends.append(history(next(photos.parent.glob(f"runs/*/*/{framework}/{folder.name}"))))
    assert ends[0] == ends[1] != []


def test_what_can_be_read_is_asked_of_every_file_once(photos, monkeypatch):
    load(photos, SKIP)
    monkeypatch.setattr(image_sets, "read_image", lambda *args, **options: pytest.fail("an image was read again"))
    assert len(load(photos, SKIP).train) == 22


def test_an_image_that_is_mended_is_taken_in_again(photos):
    load(photos, SKIP)
    shutil.copy(photos / "train/cat/00.jpg", photos / DAMAGED[0])
    assert len(load(photos, SKIP).train) == 23


def test_what_can_be_read_may_be_kept_in_another_folder(photos, project):
    load(photos, SKIP, f"--data.cache={project / 'cache'}")
    assert sorted(path.name for path in photos.iterdir()) == ["train", "val"]


def test_links_to_nothing_are_errors_or_counted_with_the_bad_ones(photos, capsys):
    for name in ("train/dog/11.jpg", "val/cat/03.jpg"):
        (photos / name).unlink()
        (photos / name).symlink_to("../../gone.jpg")
    with pytest.raises(InputError, match="train/dog/11.jpg is a link to nothing, ../../gone.jpg"):
        load(photos)
    for _ in range(2):  # what is kept of the first time knows of no links
        found = load(photos, SKIP)
        assert [len(split) for split in (found.train, found.val, found.test)] == [21, 6, 6]
        err = capsys.readouterr().err
        assert f"data.skip_bad leaves out 3 of 24: {photos / 'train/dog/11.jpg'} is a link to nothing" in err
        assert f"data.skip_bad leaves out 2 of 8: {photos / 'val/cat/03.jpg'} is a link to nothing" in err
        data_files._said.clear()


def test_what_can_be_read_is_asked_again_where_images_are_rotated(photos):
    """One may have the size that is asked for in one position alone."""
    for rotation in ("false", "true"):
        assert len(load(photos, SKIP, f"--data.exif_rotation={rotation}").train) == 22
    assert len(list(photos.glob("converted-*"))) == 4


def test_bad_images_alone_are_one_line(photos):
    for path in (photos / "val").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="data.skip_bad leaves nothing, as all 8 are bad"):
        load(photos, SKIP)


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ((2**32 - 1, 2**32 - 1, 9), "but its header says 4294967295 x 4294967295 x 9"),  # no -1 times -1
        ((2**31, 2**31, 4), "but its header says 2147483648 x 2147483648 x 4"),  # which is 0 in 64 bits
        ((9, 9, 9), "holds 9 values, but its header says 9 x 9 x 9"),
    ],
)
def test_sizes_in_a_header_that_are_not_those_of_the_file_are_one_line(tmp_path, sizes, what):
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    (tmp_path / "a.gz").write_bytes(gzip.compress(header + bytes(9)))
    with pytest.raises(InputError, match=what):
        image_sets.read_idx(tmp_path / "a.gz", 3)


def test_images_without_pixels_are_one_line(project):
    (project / "data" / "mnist").mkdir(parents=True)
    for remote in image_sets.MNIST_FILES:
        sizes = (4, 0, 28) if "images" in remote.name else (4,)
        header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
        (project / "data" / "mnist" / remote.name).write_bytes(gzip.compress(header + bytes(4 * (len(sizes) == 1))))
    with pytest.raises(InputError, match="train-images-idx3-ubyte.gz has no images"):
        load_arrays("--data.verify=false")


def load_arrays(*options):
    return tasks.find("image_classification").load(load_config("image_classification/mnist", list(options)), None)


READERS = {"idx": lambda path: image_sets.read_idx(path, 1), "cifar": image_sets.read_cifar}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_bytes(b"something")
    unreadable(monkeypatch, tmp_path / "file")
    with pytest.raises(InputError, match="file: Permission denied"):
        READERS[name](tmp_path / "file")
