"""What a GAN cannot learn from is one line, or left out and counted."""

import numpy as np
import pytest
from PIL import Image

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.image_generation import features
from {{cookiecutter.package_name}}.tasks.image_generation.pictures import save

TASK = tasks.find("image_generation")


@pytest.fixture
def photos(project):
    """A folder of 24 images."""
    rng = np.random.default_rng(0)
    (project / "photos").mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(project / "photos" / f"{i:02}.png")
    return project / "photos"


def words(folder, *options):
    options = ["--data.size=8", "--data.samples=4", "--data.batch_size=4", "--data.workers=0", *options]
    return ["image_generation", "--data.name=folder", f"--data.path={folder}", *options]


def load(folder, *options):
    target, *rest = words(folder, *options)
    return TASK.load(load_config(target, rest), None)


def refused(folder, *options):
    with pytest.raises(InputError) as error:
        load(folder, *options)
    assert "\n" not in str(error.value)
    return str(error.value)


def keep(folder, count):
    for path in sorted(folder.iterdir())[count:]:
        path.unlink()


def test_one_image_is_one_line(photos, complaint, framework):
    keep(photos, 1)
    line = complaint("train", *words(photos), "--framework", framework)
    assert "photos has one image" in line and "give it some hundreds" in line


def test_too_few_to_validate_on_are_one_line(photos):
    keep(photos, 6)
    assert "there are 0 for validation, which takes 2" in refused(photos)


def test_too_few_for_a_batch_are_one_line(photos, complaint, framework):
    line = complaint("train", *words(photos, "--data.batch_size=64"), "--framework", framework)
    assert "data.batch_size = 64" in line and "training examples" in line


@pytest.mark.parametrize(("content", "what"), [("empty", "has no images"), ("missing", "there is neither")])
def test_a_folder_without_images_is_one_line(project, content, what):
    if content == "empty":
        (project / "photos" / "cat").mkdir(parents=True)
    assert what in refused("photos")


def test_images_that_are_all_the_same_are_one_line(photos):
    for path in photos.iterdir():
        Image.new("RGB", (12, 12), "red").save(path)
    assert "training images are the same" in refused(photos)


def test_one_sample_is_one_line(complaint, framework):
    line = complaint("train", "image_generation", "--framework", framework, "--data.samples=1")
    assert "data.samples = 1: frechet_distance takes 2 at least" in line


@pytest.mark.parametrize("size", [9, 22, 5])
def test_a_size_that_cannot_be_halved_is_one_line(photos, size):
    assert f"images of {size} x {size} pixels" in refused(photos, f"--data.size={size}")


def test_a_damaged_image_is_named_or_left_out_and_counted(photos, capsys):
    (photos / "03.png").write_bytes((photos / "03.png").read_bytes()[:60])
    (photos / "link.png").symlink_to(photos / "gone.png")
    assert "link.png is a link to nothing" in refused(photos)
    found = load(photos, "--data.skip_bad=true")
    assert len(found.train) + len(found.val.source) + len(found.test.source) == 23
    assert "data.skip_bad leaves out 2 of 25: " in capsys.readouterr().err


def test_a_damaged_image_ends_the_command(photos):
    (photos / "03.png").write_bytes((photos / "03.png").read_bytes()[:60])
    with pytest.raises(InputError, match="03.png"):
        found = load(photos)
        for split in (found.train, found.val, found.test):
            split[np.arange(len(split))]


def test_noise_of_another_length_is_one_line():
    spec = {"latent": 8, "shape": [8, 8, 1], "classes": []}
    for wrong in (np.zeros((3, 7), np.float32), np.zeros(8, np.float32), np.zeros((0, 8), np.float32)):
        with pytest.raises(InputError, match=r"the model takes \[n, 8\]"):
            TASK.inputs(wrong, spec)


@pytest.mark.parametrize("word", ["x", "-1", "1.5", "3-1", "0-999999", "", "1_000"])
def test_what_is_no_seed_is_one_line(word):
    with pytest.raises(InputError, match="is no seed"):
        TASK.inputs([word], {"latent": 8})


@pytest.mark.parametrize("given", [7.0, None, True, b"7"])
def test_what_is_neither_seeds_nor_noise_is_one_line(given):
    with pytest.raises(InputError, match="is no seed"):
        TASK.inputs(given, {"latent": 8})
    assert TASK.inputs(np.int64(7), {"latent": 8}).names == ["7"]


def test_a_picture_is_not_written_through_a_link(project):
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    (project / "link.png").symlink_to(project / "gone.png")
    with pytest.raises(InputError, match="--images link.png: File exists"):
        save(pixels, ["0", "1"], "link.png")
    assert save(pixels, ["0", "1"], ".png") == [".png", ".png"]  # which is a name without a suffix


def test_a_single_sample_has_no_frechet_distance():
    images = np.zeros((30, 8, 8, 1), np.uint8)
    spec = {"classifier": features.fit(images), "classes": []}
    arrays = {"generated": np.zeros((1, 8, 8, 1)), "real": images, "first": np.ones(30, bool)}
    with pytest.raises(InputError, match="two samples and two real images"):
        TASK.scores(arrays, spec)


def test_images_without_any_variation_have_features_that_are_finite():
    images = np.full((30, 8, 8, 1), 7, np.uint8)
    network = features.fit(images)
    assert np.isfinite(features.features(network, images)).all()
