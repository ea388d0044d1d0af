"""What image classification adds to training: augmentation, mixtures, charts; and its models used from Python."""

import numpy as np
import pytest
from conftest import FRAMEWORKS, history, small, steps, values_of

from {{cookiecutter.package_name}} import load, load_config, train
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.config import flatten, to_dict
from {{cookiecutter.package_name}}.engine.errors import InputError

TASK = tasks.find("image_classification")


def config(framework, *options):
    return load_config(TASK.name, ["--framework", framework, *small(TASK.name), *options])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run's folder, by framework; to be read only."""
    folder = tmp_path_factory.mktemp("done")
    return {name: train(config(name, *steps(4), f"--run_dir={folder}")) for name in FRAMEWORKS}


# Augmentation.


def test_data_on_the_device_give_the_same_run(project, framework):
    options = (*steps(10), "--trainer.log_every=1", "--data.flip=true", "--data.cutout=3")
    here, there = (
        history(workflow.train(config(framework, *options, f"--data.on_device={where}", f"--name={where}")))
        for where in ("false", "true")
    )
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):  # another program: its rounding may differ
        assert a == pytest.approx(b, rel=1e-4)


def test_a_model_learns_from_images_of_every_augmentation(project, framework):
    options = ("--data.flip=true", "--data.cutout=3", "--data.label_smoothing=0.1", "--optimizer.learning_rate=0.02")
    folder = workflow.train(config(framework, *steps(30), "--trainer.val_every=10", *options))
    first, *_, last = values_of(folder, "val/loss").values()
    assert last < first


def test_debug_overfit_takes_away_what_hinders_it(framework):
    hindering = ("--model.dropout=0.5", "--data.shift=2", "--data.flip=true", "--data.mixup=0.2", "--data.cutout=2")
    hindering += ("--data.label_smoothing=0.1", "--optimizer.weight_decay=0.1", "--optimizer.warmup_steps=9")
    values = flatten(to_dict(config(framework, "--debug=overfit", *hindering)))
    assert {key: values[key] for key in (word.partition("=")[0][2:] for word in hindering) if values[key]} == {}


# A run that is done.


def test_a_checkpoint_of_another_model_is_one_line(complaint, done, framework):
    line = complaint("evaluate", done[framework], "--model.hidden=17")
    assert "the weights are of another model" in line and "hidden" in line and "17" in line


def test_evaluation_shows_a_line_for_each_class(cli, done, framework):
    out = cli("evaluate", done[framework]).out
    assert all(f"\n| {digit} | " in out for digit in range(10))


# The same from Python.


def test_a_run_is_used_from_python(done, framework):
    images = TASK.load(config(framework), None).test.arrays["image"]
    predictor = load(done[framework])
    assert predictor.outputs(images)["logits"].shape == (len(images), 10)
    rows = predictor.predict(images[:2])
    assert [list(row) for row in rows] == [["input", "label", "probability"]] * 2
    assert [row["input"] for row in rows] == ["0", "1"]
    assert len(load(str(done[framework]), "last").predict(images[0])) == 1


@pytest.mark.parametrize("given", [[], None, 3, np.zeros((0, 8, 8, 1), np.uint8), [np.zeros((8, 8, 1), np.uint8)]])
def test_inputs_that_are_none_are_told_in_one_line(done, given):
    with pytest.raises(InputError, match="paths of images are wanted|the array is empty") as caught:
        load(done[FRAMEWORKS[0]]).predict(given)
    assert "\n" not in str(caught.value)
