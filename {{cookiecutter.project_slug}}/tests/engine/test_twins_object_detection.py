"""Object detection: pictures from files train both frameworks alike, and both find the same."""

import json

import numpy as np
import pytest
from conftest import steps, values_of
from parity import train_both
from test_object_detection import SMALL, write_coco

from {{cookiecutter.package_name}} import load


@pytest.mark.slow
def test_runs_on_pictures_take_the_same_steps_and_find_the_same(project):
    write_coco(project / "data" / "coco", {"train": 9, "val": 5, "test": 5})
    options = ["--data.name=coco", *SMALL, *steps(24), "--data.flip=true", "--data.jitter=1.4", "--trainer.val_every=8"]
    runs = train_both("object_detection", *options, "--optimizer.learning_rate=0.003")
    a, b = runs.values()
    for tag in ("train/loss", "train/rpn_objectness", "train/rpn_box", "train/class", "train/box"):
        assert values_of(a, tag) == pytest.approx(values_of(b, tag), rel=1e-9, abs=1e-12)
    for tag in ("val/ap", "val/ap50", "val/ap75", "test/ap"):
        assert values_of(a, tag) == pytest.approx(values_of(b, tag), rel=1e-6)
    for framework, run in runs.items():
        load(run).predict([str(project / "data" / "coco" / "images")], json=f"{framework}.json")
    found = [json.loads((project / f"{framework}.json").read_text()) for framework in runs]
    alike, also = ([{**each, "bbox": 0, "score": 0} for each in some] for some in found)
    assert alike == also and alike
    for one, other in zip(*found, strict=True):
        assert np.array(one["bbox"]) == pytest.approx(np.array(other["bbox"]), abs=2e-3)
        assert one["score"] == pytest.approx(other["score"], abs=2e-6)
