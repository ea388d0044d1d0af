"""Images: how they are varied, read, cut to a size and found in folders."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from {{cookiecutter.package_name}}.data import files as data_files
from {{cookiecutter.package_name}}.data import images
from {{cookiecutter.package_name}}.data.images import (
    Decoded,
    Files,
    apply_views,
    centre_crop,
    decode,
    draw_crops,
    draw_mix,
    draw_views,
    exact,
    list_folder,
    random_resized_crop,
)
from {{cookiecutter.package_name}}.errors import InputError

OFF = {"shift": 0, "flip": False, "cutout": 0}
IMAGES = np.random.default_rng(1).integers(1, 256, (200, 5, 6, 2)).astype(np.uint8)  # none is black


def views(batch=IMAGES, seed=0, **options):
    """The images as they are shown."""
    drawn = draw_views(np.random.default_rng(seed), len(batch), batch.shape[1:], **{**OFF, **options})
    return apply_views({"image": batch, **drawn})["image"]


def moved(image, down, right):
    """By hand: what leaves at an edge is lost, what comes in is black."""
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[y, x] = image[y - down, x - right]
    return result


def steps(pixels):
    return [(down, right) for down in range(-pixels, pixels + 1) for right in range(-pixels, pixels + 1)]


# Shift.


def test_a_shift_moves_each_image_as_a_whole():
    for before, after in zip(IMAGES[:20], views(IMAGES[:20], shift=2), strict=True):
        assert any(np.array_equal(after, moved(before, *step)) for step in steps(2))


def test_a_shift_moves_in_each_direction():
    batch = np.zeros((200, 5, 5, 1), np.uint8)
    batch[:, 2, 2] = 255
    places = {tuple(np.argwhere(image[..., 0])[0]) for image in views(batch, shift=1)}
    assert places == {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)}


def test_a_shift_may_leave_little():
    for before, after in zip(IMAGES[:20], views(IMAGES[:20], shift=4), strict=True):
        assert any(np.array_equal(after, moved(before, *step)) for step in steps(4))


# Flip.


def test_a_flip_mirrors_left_to_right_or_does_nothing():
    mirrored = [
        np.array_equal(after, before[:, ::-1]) or not np.array_equal(after, before)
        for before, after in zip(IMAGES, views(flip=True), strict=True)
    ]
    same = [np.array_equal(after, before) for before, after in zip(IMAGES, views(flip=True), strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 60 < sum(mirrored) < 140


def test_a_shift_comes_before_a_flip():
    for before, after in zip(IMAGES[:20], views(IMAGES[:20], shift=1, flip=True), strict=True):
        choices = [moved(before, *step) for step in steps(1)]
        assert any(np.array_equal(after, c) or np.array_equal(after, c[:, ::-1]) for c in choices)


# Cutout.


def holes(side, size=9, n=300):
    """(height, width, top, left) of what is black in each image."""
    found = []
    for image in views(np.full((n, size, size, 3), 7, np.uint8), cutout=side):
        black = np.argwhere(image.max(-1) == 0)
        top, left = black.min(0)
        height, width = black.max(0) + 1 - (top, left)
        assert len(black) == height * width
        found.append((height, width, top, left))
    return np.array(found)


@pytest.mark.parametrize("side", [1, 3, 4])
def test_a_cutout_is_a_black_square(side):
    inside = holes(side)
    inside = inside[(inside[:, 2:] > 0).all(1) & (inside[:, :2] + inside[:, 2:] < 9).all(1)]
    assert len(inside) > 50 and (inside[:, :2] == side).all()


def test_a_cutout_is_cut_at_the_edges():
    assert holes(5)[:, :2].min() == 3


@pytest.mark.parametrize("side", [1, 3, 4])
def test_every_pixel_may_be_cut_out(side):
    batch = views(np.full((2000, 5, 5, 1), 7, np.uint8), cutout=side)
    assert (batch.min(0) == 0).all()


def test_a_cutout_changes_nothing_beside_its_square():
    after = views(cutout=2)
    assert ((after == 0) | (after == IMAGES)).all()


def test_a_cutout_comes_after_a_shift():
    after = views(np.full((50, 9, 9, 1), 7, np.uint8), shift=2, cutout=3)
    assert all((image[2:7, 2:7] == 0).sum() <= 9 for image in after)
    assert ((after == 0).sum((1, 2, 3)) > 9).any()


# All of these.

SOME = {"shift": 2, "flip": True, "cutout": 2}


def test_nothing_is_drawn_for_what_is_off():
    rng = np.random.default_rng(0)
    assert draw_views(rng, 3, (5, 6, 2), **OFF) == {}
    assert rng.random() == np.random.default_rng(0).random()


def test_without_views_images_stay_as_they_are():
    assert np.array_equal(views(), IMAGES)


@pytest.mark.parametrize("options", [{"shift": 1}, {"flip": True}, {"cutout": 2}, SOME])
def test_shape_and_kind_stay(options):
    after = views(**options)
    assert (after.shape, after.dtype) == (IMAGES.shape, np.uint8)


def test_images_of_fractions_stay_so():
    after = views(IMAGES.astype(np.float32) / 256, **SOME)
    assert after.dtype == np.float32
    assert np.array_equal(after, views(**SOME).astype(np.float32) / 256)


def test_views_draw_from_their_generator_alone():
    assert np.array_equal(views(**SOME), views(**SOME))
    assert not np.array_equal(views(**SOME), views(**SOME, seed=1))


def test_views_leave_the_images_that_they_were_given():
    batch = IMAGES.copy()
    views(batch, **SOME)
    assert np.array_equal(batch, IMAGES)


def test_what_is_drawn_has_a_row_for_each_example():
    drawn = draw_views(np.random.default_rng(0), 7, (5, 6, 2), **SOME)
    assert set(drawn) == set(images.VIEWS) and {len(value) for value in drawn.values()} == {7}


def test_what_is_drawn_leaves_the_batch_and_nothing_else():
    drawn = draw_views(np.random.default_rng(0), 200, (5, 6, 2), **SOME)
    label = np.arange(200)
    after = apply_views({"image": IMAGES, "label": label, **drawn})
    assert set(after) == {"image", "label"} and after["label"] is label


def test_a_piece_of_a_batch_is_shown_as_in_the_whole():
    whole = {"image": IMAGES, **draw_views(np.random.default_rng(0), 200, (5, 6, 2), **SOME)}
    piece = apply_views({name: value[30:50] for name, value in whole.items()})["image"]
    assert np.array_equal(piece, apply_views(whole)["image"][30:50])


def test_mixing_leaves_an_example_mostly_itself():
    mix = draw_mix(np.random.default_rng(0), 1000, 0.4)["mix"]
    assert (mix.shape, mix.dtype) == ((1000,), np.float32)
    assert mix.min() >= 0.5 and mix.max() <= 1 and mix.std() > 0.1


def test_a_larger_alpha_mixes_more():
    means = [draw_mix(np.random.default_rng(0), 1000, alpha)["mix"].mean() for alpha in (0.1, 1, 10)]
    assert means == sorted(means, reverse=True)


def test_crops_are_those_of_the_recipe():
    area, ratio, *place = draw_crops(np.random.default_rng(0), 2000, 0.08)["crop"].T
    assert area.min() >= 0.08 and area.max() <= 1 and area.mean() == pytest.approx(0.54, abs=0.02)
    assert (
        0.749 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.334 and np.log(ratio).mean() == pytest.approx(0, abs=0.02)
    )
    assert all(0 <= values.min() < 0.01 and 0.99 < values.max() <= 1 for values in place)


# Image files.


def save(path, pixels, mode="RGB", **options):
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return str(path)


def scene(height, width):
    """Red tells the column, green the row: both from 0 to 255."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / (width - 1), 255 * y / (height - 1), np.full_like(x, 99)], -1)
    return pixels.round().astype(np.uint8)


def place(pixels):
    """(left, top, right, bottom) of what is seen of a scene, as shares of it."""
    edges = pixels.astype(float) / 255
    return [edges[:, 0, 0].mean(), edges[0, :, 1].mean(), edges[:, -1, 0].mean(), edges[-1, :, 1].mean()]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.25, 1.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5)),
        ((0.25, 1.0, 1.0, 1.0), (0.5, 0.5, 1.0, 1.0)),
        ((0.25, 1.0, 0.5, 0.0), (0.25, 0.0, 0.75, 0.5)),
        ((1.0, 1.0, 0.3, 0.3), (0.0, 0.0, 1.0, 1.0)),
        ((0.25, 4 / 3, 0.0, 1.0), (0.0, 0.567, 0.577, 1.0)),
    ],
)
def test_a_random_crop_is_the_part_that_was_drawn(tmp_path, numbers, expected):
    path = save(tmp_path / "a.png", scene(300, 300))
    pixels = random_resized_crop(path, np.array(numbers, np.float32), 100, channels=3)
    assert (pixels.shape, pixels.dtype) == ((100, 100, 3), np.uint8)
    assert place(pixels) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("shape", [(100, 400), (400, 100)])
def test_a_crop_that_does_not_fit_is_made_smaller_and_keeps_its_proportions(tmp_path, shape):
    path = save(tmp_path / "a.png", scene(*shape))
    left, top, right, bottom = place(random_resized_crop(path, np.array([1, 4 / 3, 0.5, 0.5]), 64, channels=3))
    proportions = (right - left) * shape[1] / ((bottom - top) * shape[0])
    assert proportions == pytest.approx(4 / 3, rel=0.05)
    assert max(right - left, bottom - top) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("drawn", range(5))
def test_a_crop_keeps_within_its_image(tmp_path, drawn):
    path = save(tmp_path / "a.png", np.full((7, 5, 3), 200, np.uint8))
    numbers = draw_crops(np.random.default_rng(drawn), 1, 0.01)["crop"][0]
    assert (random_resized_crop(path, numbers, 16, channels=3) == 200).all()


def test_the_view_to_evaluate_is_the_middle(tmp_path):
    path = save(tmp_path / "a.png", scene(200, 400))
    pixels = centre_crop(path, 56, 64, channels=3)
    assert pixels.shape == (56, 56, 3)
    assert place(pixels) == pytest.approx([0.281, 0.0625, 0.719, 0.9375], abs=0.02)


def test_an_image_that_has_the_size_is_seen_as_it_is(tmp_path):
    pixels = IMAGES[0, :5, :5, [0, 1, 0]].transpose(1, 2, 0)
    path = save(tmp_path / "a.png", pixels)
    assert np.array_equal(centre_crop(path, 5, 5, channels=3), pixels)


@pytest.mark.parametrize("size", [(900, 700), (700, 900)])
def test_a_large_jpeg_is_seen_as_a_png_is(tmp_path, size):
    png, jpeg = (
        save(tmp_path / name, scene(*size), **options)
        for name, options in (("a.png", {}), ("a.jpg", {"quality": 98, "subsampling": 0}))
    )
    numbers = np.array([0.7, 0.8, 0.2, 0.9], np.float32)
    for look in (
        lambda path: centre_crop(path, 64, 72, channels=3),
        lambda path: random_resized_crop(path, numbers, 64, channels=3),
    ):
        assert abs(look(png).astype(int) - look(jpeg)).max() <= 4


def test_an_image_of_another_size_names_the_file_both_sizes_and_the_advice(tmp_path):
    path = save(tmp_path / "a.png", scene(20, 30))
    with pytest.raises(InputError) as caught:
        exact(path, [28, 28, 3], "set data.resize")
    assert str(caught.value) == f"{path} has 30 x 20 pixels, but the model takes 28 x 28: set data.resize"


@pytest.fixture
def quiet(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(data_files, "_said", set())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_usual_kind_of_pixels_is_read(tmp_path, quiet, mode, channels):
    path = str(tmp_path / f"a.{'jpg' if mode in ('CMYK', 'YCbCr') else 'png'}")
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode).save(path)
    pixels = np.asarray(decode(path, channels=channels)).reshape(8, 8, channels)
    assert pixels.min() >= 253


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path, quiet):
    path = save(tmp_path / "a.png", scene(8, 8), "P", transparency=b"\x00\x10\xff")
    assert decode(path, channels=3).mode == "RGB"


def test_colours_from_what_has_none_are_said_once(tmp_path, quiet, capsys):
    paths = [save(tmp_path / f"{i}.png", scene(8, 8), mode) for i, mode in enumerate(["RGB", "L", "RGBA"])]
    for path in paths:
        decode(path, channels=3)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{paths[1]} is grey" in said


def test_grey_from_colours_is_what_was_asked_for(tmp_path, quiet, capsys):
    decode(save(tmp_path / "a.png", scene(8, 8)), channels=1)
    assert capsys.readouterr().err == ""


def test_an_image_is_seen_as_it_is_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    path = save(tmp_path / "a.jpg", scene(8, 16), exif=exif)
    assert decode(path, channels=3).size == (16, 8)


def refused(path):
    with pytest.raises(InputError) as caught:
        decode(str(path), channels=3)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    assert "is no image that can be read" in refused(tmp_path / "a.jpg")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    refused(tmp_path / "a.jpg")


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "none.jpg")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_that_is_cut_short_is_refused(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    save(path, noise)
    path.write_bytes(path.read_bytes()[:-500])
    assert "truncated" in refused(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_damaged_image_is_read_or_refused(tmp_path, name):
    path, rng = tmp_path / name, np.random.default_rng(0)
    save(path, scene(30, 30))
    whole, lines = path.read_bytes(), set()
    for _ in range(300):
        content = bytearray(whole)
        for at in rng.integers(2, len(content), 5):
            content[at] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            decode(str(path), channels=3)
            continue
        lines.add(refused(path))
    assert len(lines) > 2


def test_pixels_of_more_than_eight_bits_are_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(path)
    assert "8 bits" in refused(path)


def test_a_kind_of_image_that_another_program_would_open_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    assert refused(path) == f"{path} is no image that can be read: remove or replace it"


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", scene(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    refused(path)


# Sources.


def test_files_are_given_with_their_labels_unread():
    found = Files(["a.png", "b.png", "c.png"], label=np.array([3, 1, 2], np.int32))
    batch = found[np.array([2, 0])]
    assert len(found) == 3 and batch["file"].tolist() == ["c.png", "a.png"] and batch["label"].tolist() == [2, 3]
    assert batch["label"].dtype == np.int32


def test_decoded_files_are_images():
    found = Decoded(
        Files(["1", "2"], label=np.array([3, 4], np.int32)), lambda file: np.full((2, 3, 1), int(file), "u1")
    )
    batch = found[np.array([1, 0, 1])]
    assert set(batch) == {"image", "label"} and len(found) == 2
    assert batch["image"].shape == (3, 2, 3, 1) and batch["image"][:, 0, 0, 0].tolist() == [2, 1, 2]


def test_a_file_that_fills_a_batch_is_read_once():
    asked = []
    found = Decoded(Files(["1", "2"]), lambda file: asked.append(file) or np.zeros((2, 2, 1), np.uint8))
    assert found[np.array([0, 1, 1, 1])]["image"].shape == (4, 2, 2, 1)
    assert asked == ["1", "2"]


@pytest.fixture
def folder(tmp_path):
    """Classes `cat` and `dog`; what looks like images holds nothing, since nothing is read."""
    for name in ("dog/b.PNG", "dog/a.jpeg", "cat/c.JPG", "cat/notes.txt", "cat/.hidden.jpg", ".cache/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_images_of_a_folder_are_listed_in_order(folder):
    found, classes = list_folder(folder)
    batch = found[np.arange(3)]
    assert classes == ["cat", "dog"] and batch["label"].tolist() == [0, 1, 1] and batch["label"].dtype == np.int32
    assert batch["file"].tolist() == [str(folder / name) for name in ("cat/c.JPG", "dog/a.jpeg", "dog/b.PNG")]


def test_labels_count_in_the_classes_that_are_given(folder):
    found, classes = list_folder(folder, ["ant", "cat", "dog"])
    assert classes == ["ant", "cat", "dog"] and found[np.arange(3)]["label"].tolist() == [1, 2, 2]


def test_links_to_folders_of_images_are_followed(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a.png").touch()
    (folder / "owl").symlink_to(elsewhere)
    assert list_folder(folder)[1] == ["cat", "dog", "owl"]


def not_listed(folder, *classes):
    with pytest.raises(InputError) as caught:
        list_folder(folder, *classes)
    return str(caught.value)


def test_a_class_without_images_is_named(folder):
    (folder / "eel").mkdir()
    (folder / "eel" / "a.tif").touch()
    (folder / "eel" / "2021").mkdir()
    line = not_listed(folder)
    assert f"{folder / 'eel'} has no images (.jpg, .jpeg, .png, .webp, .bmp, .gif), only 1 .tif, 1 folder: " in line


def test_a_class_that_there_is_not_is_named(folder):
    line = not_listed(folder, ["dog"])
    assert str(folder / "cat") in line and "'cat'" in line


def test_images_beside_the_classes_are_no_classes(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert f"{tmp_path} has no folders" in not_listed(tmp_path)


def test_a_folder_that_is_missing_is_named(tmp_path):
    assert f"{tmp_path / 'none'}: No such file" in not_listed(tmp_path / "none")
