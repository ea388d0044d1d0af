"""Images: how they are varied, read, cut to a size and found in folders."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.data import folders, images
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.data.images import (
    Decoded,
    Files,
    apply_views,
    centre_crop,
    decode,
    draw_crops,
    draw_mix,
    draw_views,
    exact,
    fitted,
    list_folder,
    list_images,
    random_resized_crop,
)
from {{cookiecutter.package_name}}.engine.errors import InputError

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


def test_grey_without_transparency_is_said_once(tmp_path, quiet, capsys):
    for name in "ab":
        decode(save(tmp_path / f"{name}.png", scene(8, 8), "RGBA"), channels=1)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a.png is colour with transparency" in said and "grey without it" in said


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_that_a_file_has_more_than_one_picture_is_said_once(tmp_path, quiet, capsys, suffix):
    first, *more = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (250, 0, 99))
    path = str(tmp_path / f"a.{suffix}")
    first.save(path, save_all=True, append_images=more)
    first.save(tmp_path / f"b.{suffix}")
    decode(str(tmp_path / f"b.{suffix}"), channels=1)
    assert capsys.readouterr().err == ""
    assert (np.asarray(decode(path, channels=1)) >= 248).all()
    assert "a." + suffix + " has more than one picture" in capsys.readouterr().err


def test_a_file_whose_second_picture_is_damaged_is_refused_or_read(tmp_path):
    path, rng = tmp_path / "a.gif", np.random.default_rng(0)
    first, second = (Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)) for _ in range(2))
    first.save(path, save_all=True, append_images=[second])
    whole, lines = path.read_bytes(), set()
    for end in range(len(whole) // 2, len(whole), 5):
        path.write_bytes(whole[:end])
        with contextlib.suppress(InputError):
            decode(str(path), channels=3)
            continue
        lines.add(refused(path))
    assert lines


# Of another size than the model's.


@pytest.mark.parametrize(
    ("size", "shape"), [((64, 48), (8, 8)), ((48, 64), (8, 8)), ((5, 9), (8, 8)), ((64, 48), (8, 20))]
)
def test_a_picture_of_another_size_is_its_middle_as_pillow_resizes_it(tmp_path, quiet, size, shape):
    rng, (height, width) = np.random.default_rng(0), shape
    path = save(tmp_path / "a.png", rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    scale = min(size[0] / width, size[1] / height)
    left, top = (size[0] - width * scale) / 2, (size[1] - height * scale) / 2
    box = (left, top, size[0] - left, size[1] - top)
    with Image.open(path) as image:
        expected = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=2.0))
    assert np.array_equal(fitted(path, [height, width, 3]), expected)
    if height == width:
        assert np.array_equal(centre_crop(path, height, height, channels=3), expected)


def test_a_picture_that_fits_is_taken_exactly_and_without_a_word(tmp_path, quiet, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    assert np.array_equal(fitted(save(tmp_path / "a.png", pixels), [6, 9, 3]), pixels)
    assert capsys.readouterr().err == ""


def test_that_a_picture_is_resized_is_said_once(tmp_path, quiet, capsys):
    paths = [save(tmp_path / f"{name}.png", scene(480, 640)) for name in "ab"]
    assert {fitted(path, [8, 8, 1]).shape for path in paths} == {(8, 8, 1)}
    line = f"{paths[0]} has 640 x 480 pixels: its middle is made 8 x 8 as the model takes it\n"
    assert capsys.readouterr().err == line


# Rotations in EXIF data.

ORIENTATIONS = range(1, 9)


def oriented(path, orientation, pixels, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(path, pixels, exif=exif, **options)


def upright(path):
    """As Pillow turns it, without EXIF data: in a file of its own."""
    with Image.open(path) as image:
        turned = ImageOps.exif_transpose(image)
    return save(f"{path}.upright.png", np.asarray(turned))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_image_is_rotated_as_its_exif_data_say(tmp_path, orientation):
    path = oriented(tmp_path / "a.png", orientation, scene(30, 50))
    found = np.asarray(decode(path, channels=3, exif_rotation=True))
    with Image.open(path) as image:
        assert np.array_equal(found, np.asarray(ImageOps.exif_transpose(image)))


CROP = np.array([0.4, 0.8, 0.2, 0.9], np.float32)
LOOKS = {
    "middle": lambda path, **options: centre_crop(path, 20, 25, channels=3, **options),
    "random": lambda path, **options: random_resized_crop(path, CROP, 20, channels=3, **options),
    "fitted": lambda path, exif_rotation=True: fitted(path, [20, 24, 3]),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_crop_is_that_of_the_rotated_image(tmp_path, look, orientation):
    path = oriented(tmp_path / "a.png", orientation, scene(40, 90))
    assert np.array_equal(LOOKS[look](path, exif_rotation=True), LOOKS[look](upright(path)))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_large_jpeg_that_is_reduced_while_it_is_decoded_is_rotated_too(tmp_path, look, orientation):
    path = oriented(tmp_path / "a.jpg", orientation, scene(400, 900), quality=98, subsampling=0)
    assert abs(LOOKS[look](path, exif_rotation=True).astype(int) - LOOKS[look](upright(path))).max() <= 4


def test_an_image_that_has_the_size_when_it_is_rotated_is_taken(tmp_path):
    path = oriented(tmp_path / "a.png", 6, scene(8, 16))
    assert np.array_equal(exact(path, [16, 8, 3], exif_rotation=True), np.rot90(scene(8, 16), -1))
    with pytest.raises(InputError, match="has 16 x 8 pixels"):
        exact(path, [16, 8, 3])


def test_a_rotation_that_is_not_applied_is_said_once(tmp_path, quiet, capsys):
    paths = [oriented(tmp_path / f"{i}.jpg", orientation, scene(8, 16)) for i, orientation in enumerate((1, 6, 3))]
    assert {decode(path, channels=3).size for path in paths} == {(16, 8)}
    line = f"{paths[1]} is to be shown rotated, by its EXIF data: training with --data.exif_rotation true does so\n"
    assert capsys.readouterr().err == line


def test_a_rotation_that_no_task_asks_about_is_neither_applied_nor_said(tmp_path, quiet, capsys):
    path = oriented(tmp_path / "a.jpg", 6, scene(8, 16))
    assert decode(path, channels=3, exif_rotation=None).size == (16, 8)
    assert capsys.readouterr().err == ""


def test_exif_data_that_cannot_be_read_are_said_where_they_are_asked_for(tmp_path, quiet, capsys):
    path = save(tmp_path / "a.png", scene(8, 16), exif=b"Exif\0\0no header")
    assert decode(path, channels=3).size == (16, 8)
    assert capsys.readouterr().err == ""
    assert decode(path, channels=3, exif_rotation=True).size == (16, 8)
    assert capsys.readouterr().err == f"{path}: its EXIF data cannot be read: it is taken as it is stored\n"


@pytest.mark.parametrize("exif_rotation", [False, True])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_rotated_image_that_is_cut_short_is_refused(tmp_path, name, exif_rotation):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    path = oriented(tmp_path / name, 6, noise)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-500])
    with pytest.raises(InputError, match="truncated"):
        decode(path, channels=3, exif_rotation=exif_rotation)


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


@pytest.mark.parametrize("name", ["a.webp", "a.BMP", "a.gif", "a.Png", "a.JPEG"])
def test_every_kind_of_file_that_can_be_decoded_is_listed(folder, name):
    save(folder / "cat" / name, scene(8, 8))
    found, _ = list_folder(folder)
    assert str(folder / "cat" / name) in found.files
    assert decode(str(folder / "cat" / name), channels=3).size == (8, 8)


def test_what_is_left_out_is_told_in_one_line_for_each_folder(folder, quiet, capsys):
    for name in ("cat/a.tif", "cat/b.TIF", "cat/README", "labels.csv", "loose.jpg", "cat/converted-0123456789abcdef/x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "cat" / "2021").mkdir()
    for _ in range(2):
        list_folder(folder)
    assert capsys.readouterr().err.splitlines() == [
        f"{folder}: 2 of 4 entries are left out: 1 .csv, 1 .jpg",
        f"{folder / 'cat'}: 5 of 6 entries are left out: 2 .tif, 1 without a suffix, 1 .txt, 1 folder",
    ]


def test_what_is_hidden_needs_no_word(tmp_path, quiet, capsys):
    for name in ("cat/a.png", "cat/.DS_Store", "cat/._a.png", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(list_folder(tmp_path)[0]) == 1 and capsys.readouterr().err == ""


def test_of_many_folders_with_something_left_out_the_first_are_told_and_the_others_counted(tmp_path, quiet, capsys):
    for i in range(25):
        (tmp_path / f"{i:02}").mkdir()
        for name in ("a.png", "boxes.txt"):
            (tmp_path / f"{i:02}" / name).touch()
    list_folder(tmp_path)
    *_, last = lines = capsys.readouterr().err.splitlines()
    assert len(lines) == folders.SHOWN == 10
    assert last == f"{tmp_path / '09'}: 1 of 2 entries is left out: 1 .txt; and so of 15 more folders"


LINKS = {"an image": "cat/x.png", "another file": "cat/x.dat", "a class": "owl"}


@pytest.mark.parametrize("case", LINKS)
@pytest.mark.parametrize("target", ["gone/x.png", "x.png"])  # the second one, in its own place, to itself
def test_a_link_to_nothing_is_an_error_or_counted(folder, case, target):
    link = folder / LINKS[case]
    link.symlink_to(link if target == "x.png" else target)
    assert f"{link} is a link to nothing" in not_listed(folder)
    bad = Bad(skip=True)
    assert len(list_folder(folder, bad=bad)[0]) == 3
    assert bad.count == 1 and str(link) in bad.first[0]


def test_the_images_of_a_folder_come_before_those_in_its_folders(folder, quiet, capsys):
    (folder / "b.png").touch()
    (folder / "dog" / "inner").mkdir()
    found = list_images(str(folder))
    assert found == [str(folder / name) for name in ("b.png", "cat/c.JPG", "dog/a.jpeg", "dog/b.PNG")]
    assert capsys.readouterr().err.splitlines() == [
        f"{folder / 'cat'}: 1 of 2 entries is left out: 1 .txt",
        f"{folder / 'dog'}: 1 of 3 entries is left out: 1 folder",
    ]


def test_a_folder_without_images_to_predict_is_named(tmp_path):
    (tmp_path / "a.tif").touch()
    with pytest.raises(InputError, match="has no images"):
        list_images(str(tmp_path))


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


# Digests.


def write_images(folder):
    for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 3)
    return folder


def digest(folder):
    files, _ = list_folder(folder)
    assert Decoded(files, np.zeros).digest() == files.digest()
    return files.digest()


def test_the_same_files_elsewhere_and_later_have_the_same_digest(tmp_path, monkeypatch):
    one, two = (write_images(tmp_path / name) for name in ("one", "deep/er"))
    os.utime(one / "cat" / "a.png", (1, 1))
    assert digest(one) == digest(two)
    monkeypatch.chdir(tmp_path)
    assert digest(Path("one")) == digest(two)


CHANGES = {
    "another file": lambda folder: (folder / "cat" / "c.png").touch(),
    "a file less": lambda folder: (folder / "cat" / "b.png").unlink(),
    "another name": lambda folder: (folder / "cat" / "b.png").rename(folder / "cat" / "c.png"),
    "another class": lambda folder: (folder / "cat" / "b.png").rename(folder / "dog" / "b.png"),
    "another size": lambda folder: (folder / "cat" / "b.png").write_bytes(b"other"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_other_files_have_another_digest(tmp_path, case):
    before = digest(write_images(tmp_path))
    CHANGES[case](tmp_path)
    assert digest(tmp_path) != before


def test_files_in_another_order_or_with_other_labels_have_another_digest(tmp_path):
    found, _ = list_folder(write_images(tmp_path))
    order = np.array([1, 0, 2])
    assert Files(found.files[order], label=found.arrays["label"][order]).digest() != found.digest()
    assert Files(found.files, label=found.arrays["label"][::-1]).digest() != found.digest()


def test_a_file_that_is_gone_is_named_by_its_digest(tmp_path):
    found, _ = list_folder(write_images(tmp_path))
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(InputError, match="a.png: No such file"):
        found.digest()
