"""Object detection: miniatures of COCO's and Pascal VOC's folders, from training to predictions."""

import json
import re

import numpy as np
import pytest
from conftest import everything, steps
from PIL import Image
from test_object_detection import SMALL, draw, write_coco

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.folder import read_result
from {{cookiecutter.package_name}}.tasks.object_detection import task

XML = """<annotation>
	<folder>VOC2007</folder>
	<filename>{name}.jpg</filename>
	<source><database>The VOC2007 Database</database></source>
	<size>
		<width>64</width>
		<height>48</height>
		<depth>3</depth>
	</size>
	<segmented>0</segmented>
{objects}</annotation>
"""
OBJECT = """	<object>
		<name>{name}</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>{difficult}</difficult>
		<bndbox>
			<xmin>{left}</xmin>
			<ymin>{top}</ymin>
			<xmax>{right}</xmax>
			<ymax>{bottom}</ymax>
		</bndbox>
	</object>
"""


def write_voc(folder, test=False):
    """Pascal VOC's, in its exact form: four images to train on, two to validate on, and maybe two to test on."""
    rng = np.random.default_rng(0)
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    splits = {"train": range(4), "val": range(4, 6), **({"test": range(6, 8)} if test else {})}
    for split, numbers in splits.items():
        names = [f"{i:06d}" for i in numbers]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for i, name in zip(numbers, names, strict=True):
            found = draw(folder / "JPEGImages" / f"{name}.jpg", rng)
            if i == 1:
                found = [("red", box) for _, box in found]
            objects = [
                OBJECT.format(name=label, difficult=i % 2, left=x + 1, top=y + 1, right=x + w, bottom=y + h)
                for label, (x, y, w, h) in found
            ]
            (folder / "Annotations" / f"{name}.xml").write_text(XML.format(name=name, objects="".join(objects)))
    return folder


def load(*words):
    return task.load(load_config("object_detection", [*SMALL, *words]), None)


def test_a_corner_of_voc_is_that_of_a_pixel_from_1(tmp_path):
    write_voc(tmp_path / "voc")
    path = tmp_path / "voc" / "Annotations" / "000000.xml"
    path.write_text(re.sub(r"(?s)<object>.*</object>", OBJECT.strip(), path.read_text(), count=1))
    path.write_text(path.read_text().format(name="red", difficult=0, left=1, top=11, right=64, bottom=30))
    batch = everything(load("--data.name=voc", "--data.path=voc", f"--data.root={tmp_path}").train)
    assert batch["boxes"][0, 0].tolist() == [0, 10, 64, 30]
    assert batch["crowd"].any(1).tolist() == [False, True, False, True]  # what is difficult


@pytest.mark.parametrize("form", ["{}  1\n", "{} -1\n", "{}\t0\r\n"])
def test_lists_of_voc_with_marks_of_a_class_are_read_too(tmp_path, form):
    write_voc(tmp_path / "voc")
    path = tmp_path / "voc" / "ImageSets" / "Main" / "train.txt"
    path.write_text("\ufeff" + "".join(map(form.format, path.read_text().split())), encoding="utf-8")
    assert len(load("--data.name=voc", "--data.path=voc", f"--data.root={tmp_path}").train) == 4


def test_names_of_voc_may_have_spaces_and_suffixes_be_in_capitals(tmp_path):
    voc = write_voc(tmp_path / "voc")
    (voc / "JPEGImages" / "000001.jpg").rename(voc / "JPEGImages" / "000000 b.JPG")
    (voc / "Annotations" / "000001.xml").rename(voc / "Annotations" / "000000 b.xml")
    (voc / "ImageSets" / "Main" / "train.txt").write_text("000000 b\n000002\n")
    data = load("--data.name=voc", "--data.path=voc", f"--data.root={tmp_path}")
    assert data.train[np.arange(2)]["file"][0].endswith("/000000 b.JPG")


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_without_a_test_split_that_of_validation_is_tested_on_and_that_is_said(tmp_path, capsys, name):
    if name == "coco":
        write_coco(tmp_path / name, {"train": 4, "val": 3})
    else:
        write_voc(tmp_path / name)
    data = load(f"--data.name={name}", f"--data.path={name}", f"--data.root={tmp_path}")
    assert (everything(data.test)["image"] == everything(data.val)["image"]).all()
    assert "has no annotations to test on" in capsys.readouterr().err


def test_images_of_other_sizes_than_their_neighbours_are_seen_as_large_as_fits(tmp_path):
    write_coco(tmp_path / "coco", {"train": 4, "val": 3, "test": 3})
    path = tmp_path / "coco" / "annotations" / "instances_test.json"
    found = json.loads(path.read_text())
    for image, size in zip(found["images"], [(30, 90), (200, 100), (64, 48)], strict=True):
        image["width"], image["height"] = size
        Image.new("L", size).save(tmp_path / "coco" / "images" / f"{image['id']}.png")
        image["file_name"] = f"{image['id']}.png"
    for annotation in found["annotations"]:
        annotation["bbox"] = [3, 4, 15, 20]
    path.write_text(json.dumps(found))
    batch = everything(load("--data.name=coco", f"--data.root={tmp_path}").test)
    assert batch["size"].tolist() == [[48, 16], [32, 64], [48, 64]]
    assert batch["original"].tolist() == [[90, 30], [100, 200], [48, 64]]
    expected = np.array([3, 4, 18, 24]) * 64 / 200
    assert batch["boxes"][1, 0] == pytest.approx(expected, abs=1 / 256)


# Each layout, and from one of them a run.


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    write_coco(folder / "bccd", {"train": 9, "val": 5, "test": 5})
    places = {"train": "train2017", "val": "val2017"}
    write_coco(folder / "coco", {"train": 9, "val": 5}, places=places, names=places)
    write_voc(folder / "VOCdevkit" / "VOC2012")
    write_voc(folder / "VOCdevkit" / "VOC2007", test=True)
    return folder


PRESETS = {
    "bccd": ("bccd", [9, 5, 5]),
    "coco": ("coco", [9, 5, 5]),
    "voc": ("voc", [4, 2, 2]),
    "voc of 2007": ("voc", [4, 2, 2], "--data.path=VOCdevkit/VOC2007"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_reads_its_layout(roots, name):
    preset, lengths, *options = PRESETS[name]
    words = [f"--data.root={roots}", "--data.height=48", "--data.width=64", *options]
    data = task.load(load_config(f"object_detection/{preset}", words), None)
    assert [len(part) for part in (data.train, data.val, data.test)] == lengths
    assert data.spec["classes"] == ["blue", "red"]
    batch = data.augment({**everything(data.train), **data.draw(np.random.default_rng(0), lengths[0])})
    for part in (batch, everything(data.val), everything(data.test)):
        assert part["image"].shape[1:] == (64, 64, 3) and part["image"].any((1, 2, 3)).all()
        assert (part["labels"] >= 0).any()


@pytest.fixture(scope="module")
def ran(roots, framework, cli, tmp_path_factory):
    """(how the command ended, the run's folder) of two steps. Runs of COCO's form are those of other files."""
    run_dir = tmp_path_factory.mktemp("runs")
    words = ["object_detection/voc", "--framework", framework, "--accelerator=cpu", f"--data.root={roots}"]
    words += [f"--run_dir={run_dir}", *steps(2), "--trainer.log_every=1", "--optimizer.warmup_steps=1", *SMALL]
    words += ["--data.workers=2", "--model.norm=group", "--model.frozen_stages=0", "--name=one"]
    return cli("train", *words), run_dir / "object_detection" / "voc" / framework / "one"


def test_a_preset_trains(ran):
    outcome, folder = ran
    assert outcome.code == 0, outcome.err
    assert read_result(folder)["steps"] == 2
    assert {"test/ap", "test/ap50", "test/ap75"} < set(read_result(folder)["metrics"])


def test_a_preset_evaluates(ran, cli):
    _, folder = ran
    outcome = cli("evaluate", folder)
    shown = re.search(r"test/loss +(\S+)", outcome.out)
    assert outcome.code == 0 and shown, outcome
    assert float(shown[1]) == pytest.approx(read_result(folder)["metrics"]["test/loss"], rel=1e-3)


def test_a_preset_predicts_pictures_of_any_size(ran, cli, tmp_path):
    _, folder = ran
    draw(tmp_path / "a.png", np.random.default_rng(1), (80, 60))
    Image.new("L", (300, 4)).save(tmp_path / "b.png")
    outcome = cli("predict", folder, tmp_path / "a.png", tmp_path / "b.png", "--score", 0.01)
    assert outcome.code == 0 and all(name in outcome.out for name in ("a.png", "b.png", "left", "label")), outcome
