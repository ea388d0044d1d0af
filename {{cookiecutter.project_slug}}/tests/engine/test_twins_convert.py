"""A run of one framework becomes a run of the other, and goes on as if nothing had happened."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import FRAMEWORKS, history, make_engine, small, steps, values_of
from helpers import SMALL, TASK
from parity import config

from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.engine import registry, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.folder import read_config, read_record, read_result, read_spec
from {{cookiecutter.package_name}}.engine.twins import convert as room

EVERYTHING = ("--optimizer.weight_decay=0.1", "--optimizer.clip_norm=0.5", "--trainer.accumulate=2")
EVERYTHING += ("--optimizer.ema_decay=0.9", "--optimizer.schedule=cosine", "--optimizer.warmup_steps=2")
EVERYTHING += ("--optimizer.momentum=0.8", "--optimizer.beta2=0.9")
EACH = [pytest.param(task, marks=[pytest.mark.slow] * (task != TASK)) for task in tasks.names()]
HAS, TO = FRAMEWORKS
OTHER = dict(zip(FRAMEWORKS, reversed(FRAMEWORKS), strict=True))


@pytest.fixture(autouse=True)
def here(request, monkeypatch):
    """Conversions in this process, where the libraries are loaded."""
    if "apart" not in request.fixturenames:
        monkeypatch.setattr(room, "convert_apart", room.convert)


@pytest.fixture
def apart():
    """Conversions in a process of their own, as they are without tests."""


def begin(framework, *options, task=TASK):
    """The folder of a small run."""
    return train(load_config(task, ["--framework", framework, *small(task), "--trainer.log_every=1", *options]))


def converted(folder, framework, *options, best=True):
    """The folder of what a run becomes."""
    options = ["--framework", framework, f"--resume={folder}", *options]
    return room.convert(load_config("", options, saved={**read_config(folder), "name": ""}), best)


def state_of(folder, checkpoint="last"):
    """All of a checkpoint, by name."""
    engine = make_engine(registry.load_config(saved=read_config(folder)), read_spec(folder))
    return engine.state(folder / "checkpoints" / getattr(read_record(folder), checkpoint))


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].shape != b[name].shape or not np.array_equal(a[name], b[name])] == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run in the first framework."""
    return begin(HAS, *steps(2), f"--run_dir={tmp_path_factory.mktemp('runs')}")


# It goes on.


def losses_across(task, framework, count, *options):
    """(those of a run, those of one that begins in this framework and ends in the other), after `count` steps each."""
    options = (*small(task), f"--optimizer.schedule_steps={2 * count}", *options)
    runs = []
    for name, length in (("whole", 2 * count), ("half", count)):
        runs.append(workflow.train(config(task, framework, *options, *steps(length), f"--name={name}")))
    across = config(task, OTHER[framework], *options, *steps(count), f"--resume={runs[1]}")
    whole, rest = (values_of(folder, "train/loss") for folder in (runs[0], train(across)))
    assert list(rest) == list(range(count + 1, 2 * count + 1))
    return [whole[step] for step in rest], list(rest.values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("task", EACH)
def test_a_run_goes_on_in_the_other_framework_as_in_its_own(project, task, framework):
    whole, rest = losses_across(task, framework, 5, *EVERYTHING)
    assert rest == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(("framework", "momentum"), [(HAS, 0), (TO, 0.9)])
def test_so_it_does_with_sgd(project, framework, momentum):
    options = ("--optimizer.name=sgd", f"--optimizer.momentum={momentum}", "--optimizer.weight_decay=0.1")
    whole, rest = losses_across(TASK, framework, 5, *options)
    assert rest == pytest.approx(whole, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("task", tasks.names())
def test_a_long_run_goes_on_in_the_other_framework_as_in_its_own(project, task, framework):
    whole, rest = losses_across(task, framework, 200, *EVERYTHING)
    assert rest == pytest.approx(whole, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("task", tasks.names())
def test_in_float32_it_goes_on_within_rounding(project, task, framework):
    whole, rest = losses_across(task, framework, 200, "--accelerator.precision=float32")
    assert rest[:50] == pytest.approx(whole[:50], rel=1e-3)


WAYS = [
    EVERYTHING,
    ("--optimizer.name=sgd",),
    ("--optimizer.name=rmsprop",),
    ("--optimizer.name=muon",),
    ("--accelerator.precision=float16", "--trainer.on_nan=skip"),
]


@pytest.mark.parametrize("way", WAYS)
def test_there_and_back_nothing_has_changed(project, way):
    first = begin(HAS, *steps(3), *way)
    there = converted(first, TO)
    back = converted(there, HAS)
    assert_equal(state_of(first), state_of(there))
    assert_equal(state_of(first), state_of(back))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("way", WAYS)
def test_every_part_of_a_state_is_written_and_read(project, way, framework):
    first = begin(HAS, *steps(1), *way)
    engine = make_engine(load_config("", {"framework": framework}, saved=read_config(first)), read_spec(first))
    rng = np.random.default_rng(0)
    state = {name: rng.integers(1, 9, value.shape).astype(value.dtype) for name, value in state_of(first).items()}
    engine.write(state, project / "checkpoint", "the test")
    assert_equal(engine.state(project / "checkpoint"), state)
    shown = {name: state.get(f"ema/{name}", state[f"weights/{name}"]) for name in engine.weights(None)}
    assert_equal(engine.weights(project / "checkpoint"), shown)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_has_come_back_goes_on_bit_for_bit(project, framework):
    first = begin(framework, *steps(3), *EVERYTHING)
    back = converted(converted(first, OTHER[framework]), framework)
    options = (*steps(3), *EVERYTHING, "--optimizer.schedule_steps=6")
    expected, found = (begin(framework, *options, f"--resume={folder}") for folder in (first, back))
    assert values_of(found, "train/loss") == values_of(expected, "train/loss")


# What it is.


@pytest.mark.parametrize("rate", [0.01, 10])  # the last is the best; it is not
def test_a_converted_run_has_the_last_and_the_best_of_the_other(project, rate):
    first = begin(HAS, *steps(4), "--trainer.val_every=1", f"--optimizer.learning_rate={rate}")
    there = converted(first, TO)
    old, new = read_record(first), read_record(there)
    assert (new.step, new.start, new.parent, new.status) == (4, 4, str(first), "unfinished")
    assert (new.best_step, new.best_metrics, new.stale) == (old.best_step, old.best_metrics, old.stale)
    assert_equal(state_of(first, "best"), state_of(there, "best"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_converted_run_is_evaluated_as_the_other(project, finished, framework):
    first = finished if framework == HAS else converted(finished, TO)
    a, b = (
        workflow.evaluate(folder, registry.load_config(saved=read_config(folder)))[0]
        for folder in (first, converted(first, OTHER[framework]))
    )
    assert a["test/loss"] == pytest.approx(b["test/loss"], rel=1e-5)


def test_what_goes_on_at_once_chooses_a_best_of_its_own_as_within_a_framework(project):
    first = begin(HAS, *steps(4), "--trainer.val_every=1")
    for framework in FRAMEWORKS:
        rest = begin(framework, *steps(2), "--optimizer.learning_rate=10", f"--resume={first}")
        assert read_record(rest).best_step > 4


def test_a_converted_run_is_exported_before_it_is_trained(project, cli, finished):
    there = converted(finished, TO)
    assert cli("export", there, "--format=safetensors").code == 0


def test_a_converted_run_has_the_config_and_what_was_fitted(project):
    first = begin("lightning", *steps(2), "--name=mine")
    there = converted(first, "nnx")
    changed = {"framework": "nnx", "name": "", "resume": str(first)}
    assert read_config(there) == {**read_config(first), **changed}
    assert there.name == "001"
    assert_equal(*({name: np.asarray(v) for name, v in read_spec(folder).items()} for folder in (first, there)))


def test_it_gets_the_name_that_is_asked_for_and_else_the_next_number(project):
    first = begin("lightning", *steps(1))
    names = [converted(first, "nnx", *options).name for options in ((), ("--name=mine",), ())]
    assert names == ["001", "mine", "002"]
    with pytest.raises(InputError, match="mine exists: choose another --name, or train with --resume auto"):
        converted(first, "nnx", "--name=mine")


def test_a_run_that_began_with_weights_is_converted_with_its_own(project, cli, finished):
    first = begin(HAS, *steps(1), f"--init={finished}")
    assert cli("convert", first, "--to", TO).code == 0
    assert_equal(state_of(first), state_of(first.parents[1] / TO / "001"))


def test_an_unfinished_run_is_converted_where_its_last_checkpoint_is(project):
    first = begin("nnx", *steps(3))
    (first / "result.json").unlink()
    assert read_record(converted(first, "lightning")).step == 3


def test_the_same_command_with_the_other_framework_goes_on_with_it(project, cli):
    first, options = begin("nnx", *steps(3)), (*SMALL, *steps(3), "--trainer.log_every=1")
    outcome = cli("convert", first, "--to", "lightning")
    assert outcome.code == 0, outcome.err
    there = first.parents[1] / "lightning" / "001"
    assert outcome.out == f"{there}\n"
    assert cli("train", TASK, "--framework=lightning", *options).code == 0
    assert list(values_of(there, "train/loss")) == [4, 5, 6]
    assert (read_result(there)["steps"], read_result(there)["parent"]) == (6, str(first))
    assert sorted(path.name for path in there.parent.iterdir()) == ["001"]


def test_to_resume_it_in_the_other_framework_is_the_same_in_one_go(apart, project, cli):
    first = begin("lightning", *steps(3))
    assert cli("train", "--framework=nnx", f"--resume={first}").code == 0
    converted(first, "nnx", best=False)
    begin("nnx", *steps(3))
    one, two = (first.parents[1] / "nnx" / name for name in ("001", "002"))
    assert history(one) == history(two)
    assert {**read_config(one), "resume": ""} == {**read_config(two), "resume": ""}


def test_where_nothing_is_renamed_over_a_folder(project, monkeypatch):
    """As on Windows."""

    def rename(old, new, rename=os.rename):
        if os.path.exists(new):
            raise FileExistsError(errno.EEXIST, "File exists", str(new))
        rename(old, new)

    first = begin("lightning", *steps(1))
    monkeypatch.setattr(room.os, "rename", rename)
    with pytest.raises(RunError, match="File exists"):
        converted(first, "nnx", "--run_dir=others")
    monkeypatch.setattr(room, "sys", SimpleNamespace(platform="win32"))
    assert read_record(converted(first, "nnx")).step == 1


# Mistakes.


MISTAKES = {
    "no run": (["convert"], "usage: convert RUN --to FRAMEWORK"),
    "no framework": (["convert", "RUN"], f"RUN is a run of {HAS}: convert it --to {TO}"),
    "its own framework": (["convert", "RUN", "--to", HAS], f"RUN is a run of {HAS}: convert it --to {TO}"),
    "a framework that is none": (["convert", "RUN", "--to=caffe"], f"RUN is a run of {HAS}: convert it --to {TO}"),
    "both": (["convert", "RUN", "--to=both"], f"RUN is a run of {HAS}: convert it --to {TO}"),
    "nothing after --to": (["convert", "RUN", "--to"], "--to needs a value"),
    "an option that is none": (["convert", "RUN", "--to", TO, "--nmae=x"], "convert takes no --nmae=x"),
    "an option of training": (
        ["convert", "RUN", "--to", TO, "--data.batch_size=3"],
        "convert takes no --data.batch_size=3: convert RUN --to FRAMEWORK [--name NAME] [--run_dir DIR]; other options "
        "are for train --resume",
    ),
    "another run": (["convert", "RUN", "--to", TO, "--resume=other"], "convert takes no --resume=other"),
    "a folder that is no run": (["convert", "nowhere", "--to", TO], "nowhere is no run: it holds no config.yaml"),
    "another optimizer": (
        ["train", "--framework", TO, "--resume=RUN", "--optimizer.name=sgd"],
        "optimizer.name is 'adamw' there, here 'sgd': these must agree",
    ),
    "an average that it lacks": (
        ["train", "--framework", TO, "--resume=RUN", "--optimizer.ema_decay=0.5"],
        "ema_decay",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(complaint, finished, case):
    words, told = MISTAKES[case]
    assert told.replace("RUN", str(finished), "RUN is" in told) in complaint(
        *(word.replace("RUN", str(finished)) for word in words)
    )


def test_a_run_without_a_checkpoint_is_refused(complaint, finished, project):
    shutil.copytree(finished, "run")
    shutil.rmtree("run/checkpoints")
    os.unlink("run/record.json")
    assert "run holds no checkpoint to resume from" in complaint("convert", "run", "--to", TO)


def test_a_task_whose_twin_was_deleted_is_named(complaint, finished, monkeypatch):
    monkeypatch.setattr(tasks, "__file__", "elsewhere/engine/task.py")
    monkeypatch.setattr(tasks, "names", lambda: [TASK])
    assert f"{TASK} has no half for {TO}: elsewhere/tasks" in complaint("convert", finished, "--to", TO)


def test_a_project_with_one_framework_converts_nothing(complaint, finished, monkeypatch):
    one = {HAS: registry.frameworks()[HAS]}
    monkeypatch.setattr(registry, "frameworks", lambda: one)
    assert f"convert: this project has one framework, {HAS}" in complaint("convert", finished, "--to", TO)


def test_a_run_of_a_framework_that_the_project_lacks_is_refused(complaint, finished, monkeypatch):
    one = {TO: registry.frameworks()[TO]}
    monkeypatch.setattr(room, "frameworks", lambda: one)
    line = complaint("train", "--framework", TO, f"--resume={finished}")
    assert f"a run of {HAS}, which this project does not have" in line


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_state_of_another_model_is_refused_with_what_both_have(project, finished, framework):
    saved = read_config(finished)
    engine = make_engine(load_config("", {"framework": framework}, saved=saved), read_spec(finished))
    state = state_of(finished)
    state["weights/other"] = state.pop(first := next(name for name in state if name.startswith("weights/")))
    with pytest.raises(InputError, match=f"^there: .* missing: {first}; not in the model: weights/other$"):
        engine.write(state, project / "checkpoint", "there")
    assert list(project.iterdir()) == []


def test_a_run_without_momentum_does_not_go_on_with_one(complaint, project):
    first = begin(HAS, *steps(1), "--optimizer.name=sgd", "--optimizer.momentum=0")
    line = complaint("train", "--framework", TO, f"--resume={first}", "--optimizer.momentum=0.9")
    assert "optimizer.momentum is 0.0 there, here 0.9: these must agree" in line


def test_a_run_of_no_framework_is_refused(complaint, finished, project):
    shutil.copytree(finished, "run")
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace(f"framework: {HAS}", "framework: both"))
    assert "framework = 'both'" in complaint("convert", "run", "--to", TO)


def test_a_mistake_with_a_damaged_checkpoint_is_told_once(project, cli):
    first = begin(HAS, *steps(2), "--trainer.val_every=1")
    shutil.rmtree(first / "checkpoints" / read_record(first).last, ignore_errors=True)
    (first / "checkpoints" / read_record(first).last).unlink(missing_ok=True)
    assert cli("convert", first, "--to", TO).err.count("warning: ") == 1


@pytest.mark.parametrize("moment", ["fill", "seal", "os.rename"])
def test_an_interrupted_conversion_leaves_nothing(project, finished, monkeypatch, moment):
    with monkeypatch.context() as patch:
        patch.setattr(f"{room.__name__}.{moment}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            converted(finished, TO, "--run_dir=runs")
    assert [path.name for path in project.rglob("*") if path.is_file()] == []


def test_a_disk_that_is_full_leaves_nothing(project, finished, monkeypatch):

    def full(*_):
        raise OSError(28, "No space left on device", "checkpoint")

    monkeypatch.setattr(room, "seal", full)
    with pytest.raises(RunError, match=f"^checkpoint: No space left on device: nothing has been made of {finished}: "):
        converted(finished, TO, "--run_dir=runs")
    assert [path.name for path in project.rglob("*") if path.is_file()] == []


def test_a_mistake_that_the_other_process_finds_is_one_line(apart, complaint, finished, project):
    shutil.copytree(finished, "run")
    (Path("run", "fitted", "spec.json")).unlink()
    assert "run/fitted/spec.json is gone" in complaint("convert", "run", "--to", TO)
