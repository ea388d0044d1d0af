"""Object detection: what is wrong with annotations and images is one line, or counted and left out."""

import json

import numpy as np
import pytest
from conftest import FRAMEWORKS, everything
from PIL import Image
from test_object_detection import SMALL, load_coco, write_coco
from test_object_detection_layouts import write_voc

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.tasks.object_detection import task

SKIP = "--data.skip_bad=true"


@pytest.fixture
def own(project):
    """`data/coco/`, to be broken."""
    write_coco(project / "data" / "coco", {"train": 6, "val": 3, "test": 3})
    return project / "data" / "coco"


def change(folder, change, split="train"):
    path = folder / "annotations" / f"instances_{split}.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def boxed(*box):
    """A first annotation with another box."""
    return lambda found: found["annotations"][0].update(bbox=list(box))


# What is wrong -> (how it comes about, parts of the line).
ANNOTATIONS = {
    "a box to the right of its image": (boxed(60, 10, 10, 10), ["annotation 1 of 107.png", "60, 10, 70, 20"]),
    "a box above it": (boxed(10, -5, 10, 10), ["annotation 1", "lies outside"]),
    "a box without width": (boxed(10, 10, 0, 10), ["annotation 1 of 107.png", "has no area"]),
    "a box of negative height": (boxed(10, 10, 5, -5), ["annotation 1", "has no area"]),
    "a box that is no number": (boxed(10, float("nan"), 5, 5), ["annotation 1", "a number that is none"]),
    "an infinite box": (boxed(10, 10, float("inf"), 5), ["annotation 1", "a number that is none"]),
    "a box of three numbers": (boxed(10, 10, 5), ["annotation 1 of 107.png", "four numbers"]),
    "a box of words": (boxed("1", "2", "3", "4"), ["annotation 1", "four numbers"]),
    "an image that there is not": (
        lambda found: found["annotations"][0].update(image_id=99),
        ["annotation 1: there is no image 99"],
    ),
    "a category that there is not": (
        lambda found: found["annotations"][0].update(category_id=4),
        ["annotation 1 of 107.png: there is no category 4"],
    ),
    "an id twice": (
        lambda found: found["annotations"][1].update(id=1),
        ["more than one annotation of id 1"],
    ),
    "an annotation without an id": (lambda found: found["annotations"][0].pop("id"), ["annotation number 1 has no id"]),
}
IMAGES = {
    "an image's id twice": (lambda found: found["images"][1].update(id=3), ["more than one image of id 3"]),
    "an image without a size": (lambda found: found["images"][0].update(width=None), ["image 3, 7.png, has no height"]),
    "an image's file twice": (
        lambda found: found["images"][1].update(file_name="7.png"),
        ["image 13: 7.png is another image's, too"],
    ),
    "an image too large to be one": (
        lambda found: found["images"][0].update(width=3_000_000_000),
        ["image 3, 7.png, has no height"],
    ),
    "a name too long to be one": (lambda found: found["images"][0].update(file_name="x" * 300), ["there is no"]),
    "an image without a name": (lambda found: found["images"][0].pop("file_name"), ["image 3 has no file_name"]),
    "an image outside of the folder": (
        lambda found: found["images"][0].update(file_name="../../secret.png"),
        ["image 3: ../../secret.png lies outside of"],
    ),
    "an image that is not there": (
        lambda found: found["images"][0].update(file_name="gone.png"),
        ["image 3: there is no", "gone.png"],
    ),
}
WHOLE = {
    "no JSON": (lambda path: path.write_text("{"), ["instances_train.json is no JSON"]),
    "no list of images": (lambda path: path.write_text("{}"), ["has no list 'images'"]),
    "a list": (lambda path: path.write_text("[]"), ["has no list 'images'"]),
    "no file": (lambda path: path.unlink(), ["has neither instances_train.json nor instances_train2017.json"]),
}


@pytest.mark.parametrize("case", [*ANNOTATIONS, *IMAGES])
def test_a_fault_is_one_line(own, complaint, case):
    fault, parts = {**ANNOTATIONS, **IMAGES}[case]
    change(own, fault)
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], "--data.name=coco", *SMALL)
    assert [part for part in ["instances_train.json", *parts] if part not in line] == [], line


@pytest.mark.parametrize("case", ANNOTATIONS)
def test_a_bad_annotation_may_be_left_out_and_is_counted(own, capsys, case):
    fault, _ = ANNOTATIONS[case]
    before = (everything(load_coco(own.parent).train)["labels"] >= 0).sum()
    change(own, fault)
    found = everything(load_coco(own.parent, SKIP).train)
    assert len(found["labels"]) == 6 and (found["labels"] >= 0).sum() == before - 1
    assert f"data.skip_bad leaves out 1 of {before}" in capsys.readouterr().err


@pytest.mark.parametrize("case", IMAGES)
def test_a_bad_image_may_be_left_out_with_its_annotations(own, capsys, case):
    change(own, IMAGES[case][0])
    assert len(load_coco(own.parent, SKIP).train) == 5
    assert "data.skip_bad leaves out " in capsys.readouterr().err


@pytest.mark.parametrize("case", WHOLE)
def test_a_fault_of_the_whole_file_is_one_line_whatever_may_be_skipped(own, complaint, case):
    fault, parts = WHOLE[case]
    fault(own / "annotations" / "instances_train.json")
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], "--data.name=coco", SKIP, *SMALL)
    assert [part for part in parts if part not in line] == [], line


def test_a_split_may_lack_a_category_of_the_training_data(own):
    def fault(found):
        found["categories"] = [each for each in found["categories"] if each["id"] == 7]
        found["annotations"] = [{"id": 1, "image_id": 3, "category_id": 7, "bbox": [1, 2, 9, 9]}]

    change(own, fault, "val")
    data = load_coco(own.parent)
    assert data.spec["ids"] == [3, 7] and everything(data.val)["labels"].max(1).tolist() == [1, -1, -1]


def test_other_categories_than_those_of_training_are_one_line(own, complaint):
    change(own, lambda found: found["categories"][0].update(name="green"), "val")
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], "--data.name=coco", *SMALL)
    assert "instances_val.json has other categories than the training data" in line


def test_no_folder_is_one_line(complaint):
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], "--data.name=coco", *SMALL)
    assert "data.path = 'coco': there is neither coco nor data/coco" in line


@pytest.mark.parametrize("what", ["nothing", "crowds"])
def test_nothing_to_find_is_one_line(own, complaint, what):
    def fault(found):
        found["annotations"] = [{**each, "iscrowd": 1} for each in found["annotations"] if what == "crowds"]

    change(own, fault, "val")
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], "--data.name=coco", *SMALL)
    assert "has no boxes in its split val" in line


def test_a_box_that_was_rounded_over_the_edge_is_cut(own):
    change(own, boxed(50, 40, 14.6, 8.9))
    found = everything(load_coco(own.parent).train)
    assert found["boxes"][1][0].tolist() == [50, 40, 64, 48]


@pytest.mark.parametrize(("said", "crowd"), [(1, 1), (1.0, 1), ("1", 1), (True, 1), (0, 0), ("0", 0), (None, 0)])
def test_crowds_are_kept_apart_and_no_truth_of_a_loss(own, said, crowd):
    change(own, lambda found: found["annotations"][0].update(iscrowd=said))
    found = everything(load_coco(own.parent).train)
    assert found["crowd"].sum() == crowd and (found["labels"][found["crowd"]] >= 0).all()


def test_test_images_that_are_trained_on_too_are_counted(own):
    change(own, lambda found: [each.update(file_name=f"own{each['id']}.png") for each in found["images"]])
    for i, id in enumerate((3, 13, 23, 33, 43, 53)):
        Image.new("RGB", (64, 48), (i, 0, 0)).save(own / "images" / f"own{id}.png")
    assert load_coco(own.parent).leaked() == 0
    (own / "images" / "207.png").write_bytes((own / "images" / "own13.png").read_bytes())
    assert load_coco(own.parent).leaked() == 1


@pytest.mark.parametrize("fault", ["damaged", "of another size"])
def test_an_image_that_cannot_be_read_is_named_or_left_out(own, capsys, fault):
    path = own / "images" / "107.png"
    if fault == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        Image.new("RGB", (48, 64)).save(path)
    for split in ("train", "val"):
        data = load_coco(own.parent)
        with pytest.raises(InputError, match="107.png"):
            if split == "train":
                data.augment({**data.train[np.arange(6)], **data.draw(np.random.default_rng(0), 6)})
            else:
                everything(data.val)
    for _ in range(2):  # looked for, and known from then on
        data = load_coco(own.parent, SKIP)
        assert (len(data.train), len(data.val)) == (5, 2)
    assert "107.png" in capsys.readouterr().err


# Pascal VOC.


@pytest.fixture
def voc(project):
    return write_voc(project / "data" / "voc")


def load_voc(folder, *options):
    words = ["--data.name=voc", f"--data.path={folder.name}", f"--data.root={folder.parent}", *SMALL, *options]
    return task.load(load_config("object_detection", words), None)


def edit(old, new):
    def fault(folder):
        path = folder / "Annotations" / "000001.xml"
        path.write_text(path.read_text().replace(old, new, 1))

    return fault


VOC = {
    "no XML": (edit("<annotation>", "<annotation"), ["000001.xml is no XML"]),
    "an encoding that is not read": (
        edit("<annotation>", '<?xml version="1.0" encoding="gbk"?><annotation>'),
        ["000001.xml is no XML"],
    ),
    "an infinite size": (edit("<width>64", "<width>inf"), ["000001.xml: the image has inf x 48 pixels"]),
    "no XML at all": (lambda folder: (folder / "Annotations" / "000001.xml").unlink(), ["000001.xml: No such file"]),
    "a corner that is no number": (edit("<xmin>", "<xmin>x"), ["000001.xml: object 1: bndbox/xmin", "no number"]),
    "an object without a name": (edit("<name>red</name>", ""), ["000001.xml: object 1 has no name"]),
    "a box outside": (edit("<xmax>", "<xmax>9"), ["000001.xml: object 1, red", "lies outside"]),
    "no image": (lambda folder: (folder / "JPEGImages" / "000001.jpg").unlink(), ["train.txt: there is no"]),
    "a name twice": (
        lambda folder: (folder / "ImageSets/Main/train.txt").write_text("000000\n000001\n000001\n000002\n000003\n"),
        ["train.txt: 000001 stands there twice"],
    ),
}


@pytest.mark.parametrize("case", VOC)
def test_a_fault_in_voc_is_one_line(voc, complaint, case):
    fault, parts = VOC[case]
    fault(voc)
    words = ["--data.name=voc", "--data.path=voc", *SMALL]
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], *words)
    assert [part for part in parts if part not in line] == [], line


@pytest.mark.parametrize("case", VOC)
def test_a_fault_in_voc_may_be_left_out(voc, capsys, case):
    VOC[case][0](voc)
    assert len(load_voc(voc, SKIP).train) in (3, 4)
    assert "data.skip_bad leaves out " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "crowd"), [("1", True), ("true", True), ("false", False), ("Unspecified", False), ("", False)]
)
def test_only_what_is_said_to_be_difficult_is(voc, said, crowd):
    edit("<difficult>1", f"<difficult>{said}")(voc)
    assert everything(load_voc(voc).train)["crowd"][1, 0] == crowd


def test_a_class_that_training_lacks_is_one_line(voc):
    path = voc / "Annotations" / "000004.xml"
    path.write_text(path.read_text().replace("<name>red", "<name>green").replace("<name>blue", "<name>green"))
    with pytest.raises(InputError, match=r"000004.xml: no training image has a 'green'"):
        load_voc(voc)


# Configs, and what a prediction takes.


def test_a_frozen_norm_without_published_weights_is_one_line(complaint):
    line = complaint("train", "object_detection", "--framework", FRAMEWORKS[0], "--model.norm=frozen")
    assert "model.norm = 'frozen'" in line and "--init" in line


@pytest.mark.parametrize("side", [32, 100])
def test_scenes_of_a_side_that_does_not_do_are_one_line(complaint, side):
    assert "data.side" in complaint("train", "object_detection", "--framework", FRAMEWORKS[0], f"--data.side={side}")


@pytest.mark.parametrize(
    "given", [np.zeros((2, 8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), [], [3]]
)
def test_what_is_no_image_is_refused(given):
    with pytest.raises(InputError):
        task.inputs(given, {"fit": [48, 64]})
