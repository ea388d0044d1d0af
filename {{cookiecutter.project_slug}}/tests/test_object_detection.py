"""Object detection: the scenes, how pictures are seen, precision by hand, and pictures of one's own."""

import json

import numpy as np
import pytest
from conftest import everything, metrics_of, steps, values_of
from PIL import Image

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.tasks.object_detection import check_options, describe, examples, task
from {{cookiecutter.package_name}}.tasks.object_detection.scores import scores

COLOURS = {"blue": (40, 60, 220), "red": (220, 40, 40)}
IDS = {"blue": 3, "red": 7}  # which are not consecutive
MODEL = {"width": 16, "hidden": 32, "anchor": 8, "proposals": 40, "test_proposals": 20}
MODEL |= {"sampled_anchors": 32, "sampled_boxes": 16, "candidates": 40, "detections": 10}
SMALL = ["--model.name=faster_rcnn_small", *(f"--model.{name}={value}" for name, value in MODEL.items())]
SMALL += ["--data.height=48", "--data.width=64", "--data.batch_size=4", "--data.workers=0"]


def draw(path, rng, size=(64, 48), count=2):
    """An image file with rectangles on noise, and what they are: (name, [left, top, width, height])."""
    pixels, boxes = rng.integers(90, 160, (size[1], size[0], 3)), []
    for i in range(count):
        name = list(COLOURS)[int(rng.integers(2))]
        width, height = (int(n) for n in rng.integers(10, 20, 2))
        left = i * size[0] // max(count, 1) + int(rng.integers(0, size[0] // max(count, 1) - width))
        top = int(rng.integers(0, size[1] - height))
        pixels[top : top + height, left : left + width] = COLOURS[name]
        boxes.append((name, [left, top, width, height]))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return boxes


def write_coco(folder, counts, places=None, names=None, sizes=None):
    """Pictures and their annotations: `counts` of each split, as in COCO's files, whose names a year may end."""
    rng, places, names, sizes = np.random.default_rng(0), places or {}, names or {}, sizes or {}
    for split, count in counts.items():
        images, annotations, size = [], [], sizes.get(split, (64, 48))
        for i in range(count):
            name = f"{100 * len(images) + 7}.png"
            boxes = draw(folder / places.get(split, "images") / name, rng, size, count=i % 3)  # also one without any
            images.append({"id": 10 * i + 3, "file_name": name, "width": size[0], "height": size[1]})
            for name, box in boxes:
                annotation = {"id": len(annotations) + 1, "image_id": 10 * i + 3, "category_id": IDS[name]}
                annotations.append({**annotation, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        categories = [{"id": id, "name": name, "supercategory": "thing"} for name, id in reversed(IDS.items())]
        path = folder / "annotations" / f"instances_{names.get(split, split)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds `coco/`, with test images that are larger than they are seen; to be read only."""
    folder = tmp_path_factory.mktemp("data")
    places = {"train": "images/train", "val": "images/val", "test": "images/test"}
    write_coco(folder / "coco", {"train": 24, "val": 6, "test": 6}, places=places, sizes={"test": (96, 72)})
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the pictures; to be read only. What it takes is compiling, so all tests of training share it."""
    options = ["--data.name=coco", "--data.flip=true", "--data.jitter=1.2", "--optimizer.learning_rate=0.003"]
    options += ["--trainer.val_every=20", "--trainer.log_every=10", f"--data.root={folder}"]
    words = ["--framework", framework, *SMALL, *steps(60), *options]
    return trained(tmp_path_factory.mktemp("run"), "object_detection", *words)


def load_coco(folder, *options):
    words = ["--data.name=coco", *SMALL, f"--data.root={folder}", *options]
    return task.load(load_config("object_detection", words), None)


# Data.


def test_scenes_have_each_digit_in_its_box_and_digits_of_their_own_in_each_split():
    data = task.load(load_config("object_detection", ["--data.scenes=60"]), None)
    assert (len(data.train), len(data.val), len(data.test)) == (60, 10, 15)
    batch = everything(data.train)
    assert batch["image"].shape == (60, 96, 96, 3) and batch["image"].dtype == np.uint8
    there = batch["labels"] >= 0
    assert set(there.sum(1)) <= set(range(1, 7)) and set(np.unique(batch["labels"])) == set(range(-1, 10))
    for image, boxes, real in zip(batch["image"], batch["boxes"], there, strict=True):
        ink = np.zeros((96, 96), bool)
        for left, top, right, bottom in boxes[real].astype(int):
            ink[top:bottom, left:right] = True
            assert image[top:bottom, left:right].max() > 100
        # Around boxes there is noise, and the soft ends of strokes.
        assert image[~ink].mean() < 40 < image[ink].mean()


def test_a_category_keeps_its_name_whatever_its_id(folder):
    data = load_coco(folder)
    assert (data.spec["classes"], data.spec["ids"]) == (["blue", "red"], [3, 7])
    assert data.spec["shape"] == [64, 64, 3] and [len(s) for s in (data.train, data.val, data.test)] == [24, 6, 6]
    batch = everything(data.val)
    assert (batch["size"] == [48, 64]).all() and not batch["image"][:, 48:].any()
    for image, boxes, labels in zip(batch["image"], batch["boxes"].astype(int), batch["labels"], strict=True):
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            if label >= 0:
                assert (image[top:bottom, left:right] == list(COLOURS.values())[label]).all()
    assert (batch["labels"][0] == -1).all()  # an image without boxes is one with nothing in it


def test_a_picture_is_made_as_large_as_fits_and_its_boxes_move_along(folder):
    small = everything(load_coco(folder).val)
    large = everything(load_coco(folder, "--data.height=96", "--data.width=200").val)
    assert large["image"].shape[1:] == (96, 224, 3) and (large["size"] == [96, 128]).all()
    assert large["boxes"] == pytest.approx(2 * small["boxes"]) and (large["original"] == [48, 64]).all()


def test_training_pictures_are_flipped_and_sized_and_their_boxes_with_them(folder):
    data = load_coco(folder, "--data.flip=true", "--data.jitter=1.5")
    batch, drawn = data.train[np.arange(24)], data.draw(np.random.default_rng(0), 24)
    found = data.augment({**batch, **drawn})
    assert set(found) == {"image", "size", "original", "boxes", "labels", "crowd", "seed"}
    assert set(np.unique(drawn["flip"])) == {False, True} and len(np.unique(found["size"][:, 0])) > 8
    assert (found["boxes"].min(), found["boxes"][..., 2:].max((0, 1)) <= [64, 48]) and (found["boxes"] >= 0).all()
    several = 0
    for image, boxes, labels in zip(found["image"], found["boxes"], found["labels"], strict=True):
        for box, label in zip(boxes, labels, strict=True):
            left, top, right, bottom = np.round(box).astype(int) + [2, 2, -2, -2]  # not what is mixed at the edges
            if label >= 0 and right > left and bottom > top:
                several += 1
                colour = np.array(list(COLOURS.values())[label])
                assert np.abs(image[top:bottom, left:right].astype(int) - colour).max() < 12
    assert several > 12


def test_what_is_drawn_for_a_batch_says_everything_of_it(folder):
    data = load_coco(folder, "--data.jitter=1.5")
    batch = data.train[np.arange(6)]
    a, b, c = (data.augment({**batch, **data.draw(np.random.default_rng(seed), 6)}) for seed in (0, 0, 1))
    assert all((a[name] == b[name]).all() for name in a) and (a["image"] != c["image"]).any()


# Metrics.


def boxes(*rows):
    return np.array([[*rows, *[[0, 0, 0, 0, 0, -1]] * (4 - len(rows))]], np.float32)


def test_precision_is_what_one_finds_by_hand():
    """Of two boxes one is found exactly, then comes a mistake, then the other with an overlap of 0.62."""
    truth = boxes([0, 0, 10, 10, 0, 0], [20, 0, 30, 100, 0, 0])
    truth[0, 2:, 4] = -1
    found = boxes([0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0], [20, 0, 30, 62, 0.7, 0])
    # Recalls 0 to 0.5 with precision 1, and 0.51 to 1 with 2/3; above an overlap of 0.6 the latter are not reached.
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    expected = {"ap": (3 * both + 7 * one) / 10, "ap50": both, "ap75": one}
    assert scores({"truth": truth, "found": found}, {"classes": ["a", "b"]}) == pytest.approx(expected)


def test_what_lies_in_a_crowd_is_no_mistake_and_a_crowd_is_not_missed():
    truth = boxes([0, 0, 10, 10, 0, 0], [20, 0, 90, 90, 0, 1])
    truth[0, 2:, 4] = -1
    found = boxes([30, 10, 40, 20, 0.9, 0], [0, 0, 10, 10, 0.8, 0], [60, 60, 70, 70, 0.7, 0])
    expected = {"ap": 1, "ap50": 1, "ap75": 1}
    assert scores({"truth": truth, "found": found}, {"classes": ["a"]}) == pytest.approx(expected)


def test_of_nothing_the_precision_is_zero():
    nothing = boxes()
    nothing[..., 4] = -1
    assert scores({"truth": nothing, "found": boxes()}, {"classes": ["a"]}) == {"ap": 0, "ap50": 0, "ap75": 0}


@pytest.fixture(scope="module")
def predicted(run, folder, cli, tmp_path_factory):
    """What `predict` writes of the test images: `found.json`, and `drawn/`."""
    place, images = tmp_path_factory.mktemp("predicted"), folder / "coco" / "images" / "test"
    words = ["--json", place / "found.json", "--images", place / "drawn", "--score", 0.01]
    outcome = cli("predict", run, images, *words)
    assert outcome.code == 0, outcome.err
    return place


def test_a_runs_precision_is_that_of_its_predictions(run, folder, predicted):
    """Over the files, from the JSON that `predict` writes."""
    annotations = json.loads((folder / "coco" / "annotations" / "instances_test.json").read_text())
    results = json.loads((predicted / "found.json").read_text())
    files = sorted({image["file_name"] for image in annotations["images"]})
    ids = {image["id"]: image["file_name"] for image in annotations["images"]}
    truth, found = np.zeros((len(files), 10, 6)), np.zeros((len(files), 10, 6))
    truth[..., 4], found[..., 5] = -1, -1

    def row(box):
        x, y, w, h = box
        return [x, y, x + w, y + h]

    for i, file in enumerate(files):
        here = [each for each in annotations["annotations"] if ids[each["image_id"]] == file]
        for j, each in enumerate(here):
            truth[i, j] = [*row(each["bbox"]), [3, 7].index(each["category_id"]), 0]
        for j, each in enumerate([each for each in results if each["file_name"].endswith(f"/{file}")]):
            found[i, j] = [*row(each["bbox"]), each["score"], [3, 7].index(each["category_id"])]
    expected = scores({"truth": truth, "found": found}, {"classes": ["blue", "red"]})
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, abs=0.01)


def test_the_loss_is_the_sum_of_its_parts(run):
    loss, *parts = (values_of(run, f"train/{name}") for name in ("loss", "rpn_objectness", "rpn_box", "class", "box"))
    assert len(loss) == 6
    for step, value in loss.items():
        assert min(part[step] for part in parts) >= 0
        assert sum(part[step] for part in parts) == pytest.approx(value, rel=1e-5)


def test_it_learns(run):
    first, *_, last = values_of(run, "train/rpn_objectness").values()  # the others grow when boxes are first found
    assert last < 0.8 * first


# Predictions.

SPEC = {"classes": ["blue", "red"], "ids": [3, 7], "fit": [48, 64], "shape": [64, 64, 3]}
OUTPUTS = {
    "boxes": np.array([[[1, 2, 11, 22], [5, 5, 9, 9], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 3], np.float32),
    "scores": np.array([[0.9, 0.3, 0], [0, 0, 0]], np.float32),
    "labels": np.array([[1, 0, -1], [-1, -1, -1]], np.int32),
}


def test_a_row_is_a_box_and_an_image_with_nothing_has_one_too():
    sides = {"left": 1.0, "top": 2.0, "right": 11.0, "bottom": 22.0}
    rows = describe(["a.png", "b.png"], OUTPUTS, SPEC)
    assert [(row["input"], row["label"]) for row in rows] == [("a.png", "red"), ("b.png", "nothing")]
    assert {name: rows[0][name] for name in sides} == sides and rows[0]["score"] == pytest.approx(0.9)
    assert [row["label"] for row in describe(["a.png", "b.png"], OUTPUTS, SPEC, score=0.2)] == [
        "red",
        "blue",
        "nothing",
    ]


def test_what_is_found_is_written_in_cocos_form(tmp_path):
    describe(["x/000017.jpg", "x/4.jpg"], OUTPUTS, SPEC, json=str(tmp_path / "found.json"))
    first, second = json.loads((tmp_path / "found.json").read_text())
    assert first == {
        "image_id": 17,
        "file_name": "x/000017.jpg",
        "category_id": 7,
        "bbox": [1, 2, 10, 20],
        "score": 0.9,
    }
    assert (second["image_id"], second["category_id"]) == (17, 3)


def test_images_are_written_with_what_is_found(folder, predicted):
    files = sorted((folder / "coco" / "images" / "test").iterdir())
    assert sorted(path.name for path in (predicted / "drawn").iterdir()) == sorted(path.name for path in files)
    before, after = (np.asarray(Image.open(place / files[0].name)) for place in (files[0].parent, predicted / "drawn"))
    assert before.shape == after.shape


@pytest.mark.parametrize("options", [{"json": "out/7.png"}, {"images": "out"}])
def test_nothing_is_written_over(project, options):
    (project / "out").mkdir()
    (project / "out" / "7.png").write_text("mine")
    with pytest.raises(InputError, match="7.png is there: choose another"):
        check_options(["images/7.png", "images/8.png"], SPEC, **options)
    assert (project / "out" / "7.png").read_text() == "mine"


# What is shown.


def test_pictures_have_true_boxes_in_white_and_found_ones_in_colour():
    sides = np.array([[48, 64]])
    batch = {"image": np.zeros((1, 64, 64, 3), np.uint8), "size": sides, "original": sides}
    batch |= {"boxes": np.array([[[10, 10, 30, 30]]], np.float32), "labels": np.array([[0]])}
    outputs = {"boxes": np.array([[[40, 20, 60, 40]]], np.float32), "scores": np.array([[0.9]])}
    outputs["labels"] = np.array([[1]])
    shown = examples(batch, outputs, SPEC)["examples"]
    zoom = 5
    assert (shown[20 * zoom, 10 * zoom] == 255).all()  # the left side of the true box
    assert (shown[30 * zoom, 40 * zoom] == [0, 191, 255]).all()  # and that of the other one


def test_classes_are_listed_with_their_precision_the_worst_first():
    truth = boxes([0, 0, 10, 10, 0, 0], [20, 0, 30, 30, 1, 0])
    truth[0, 2:, 4] = -1
    found = boxes([0, 0, 10, 10, 0.9, 0])
    _, _, *rows = task.charts({"truth": truth, "found": found}, {"classes": ["cat", "dog", "owl"]})[
        "per_class_ap"
    ].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [["dog", "0.0000", "0.0000", "1"], ["cat", "1.0000", "1.0000", "1"]]
