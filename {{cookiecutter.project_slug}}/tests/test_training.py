"""What both trainers promise, whatever the framework: exact resume, the rhythm of a run, how it ends."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from {{cookiecutter.package_name}} import load, load_config, train, trainers
from {{cookiecutter.package_name}} import task as tasks
from {{cookiecutter.package_name}}.config import flatten, to_dict
from {{cookiecutter.package_name}}.errors import InputError, RunError
from {{cookiecutter.package_name}}.run import read_config, read_record, read_result, read_spec
from {{cookiecutter.package_name}}.trainers import frameworks, session, workflow

FRAMEWORKS = list(trainers.frameworks())
SMALL = ("--model.name=mlp", "--model.hidden=16", "--data.batch_size=128", "--accelerator=cpu")
# Ten steps an epoch, and nothing falls together: validations at 4, 8, ..., checkpoints at 3, 6, ..., epochs at 10, 20.
BUSY = (*SMALL, "--trainer.max_steps=22", "--trainer.epochs=0", "--trainer.val_every=4", "--trainer.checkpoint_every=3")
BUSY += ("--trainer.log_every=1", "--trainer.accumulate=2", "--model.dropout=0.3", "--data.shift=1")
BUSY += ("--optimizer.ema_decay=0.8", "--data.mixup=0.3")


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


def config(framework, *options):
    return trainers.load_config("image_classification", ["--framework", framework, *SMALL, *options])


def history(folder):
    """Every logged value but those that measure time and memory."""
    measured = ("train/steps_per_second", "train/examples_per_second", "train/memory_bytes")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{tag: value for tag, value in line.items() if tag not in measured} for line in lines]


def steps_with(folder, tag):
    return [line["step"] for line in history(folder) if tag in line]


class PowerCut(Exception):
    pass


def cut_power(monkeypatch, at):
    """The process dies after the update that leads to step `at`, before anything that is due there."""
    advance = session.Progress.advance

    def advance_and_die(self, steps):
        advance(self, steps)
        if self.step == at:
            raise PowerCut

    monkeypatch.setattr(session.Progress, "advance", advance_and_die)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The history of a whole run, by framework."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return {name: history(workflow.train(config(name, *BUSY, f"--run_dir={folder}"))) for name in FRAMEWORKS}


@pytest.mark.parametrize("at", [2, 22])
def test_an_interrupted_run_ends_as_if_it_had_not_been(project, framework, uninterrupted, monkeypatch, at):
    with monkeypatch.context() as patch:
        cut_power(patch, at)
        with pytest.raises(PowerCut):
            workflow.train(config(framework, *BUSY))
    folder = workflow.train(config(framework, *BUSY))
    assert folder.name == "001"
    assert history(folder) == uninterrupted[framework]


@pytest.mark.slow
def test_a_run_can_be_interrupted_often(project, framework, uninterrupted, monkeypatch):
    for at in (4, 5, 17):
        with monkeypatch.context() as patch:
            cut_power(patch, at)
            with pytest.raises(PowerCut):
                workflow.train(config(framework, *BUSY))
    assert history(workflow.train(config(framework, *BUSY))) == uninterrupted[framework]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_ends_the_run(project, framework, number, code):
    command = [sys.executable, "-m", workflow.__name__.partition(".")[0], "train", "--framework", framework]
    command += [*SMALL, "--trainer.epochs=2000", "--trainer.log_every=10", "--trainer.val_every=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    metrics = Path("runs/image_classification/default", framework, "001/metrics.jsonl")
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    record = read_record(metrics.parent)
    assert f"step {record.step} is saved" in errors
    assert record.last


def test_what_happens_when_follows_the_config(project, framework):
    folder = workflow.train(config(framework, *BUSY))
    assert steps_with(folder, "train/loss") == list(range(1, 23))
    assert steps_with(folder, "val/loss") == [4, 8, 12, 16, 20, 22]
    assert steps_with(folder, "test/loss") == [22]
    assert read_record(folder).step == 22


def test_zero_means_once_an_epoch(project, framework):
    folder = workflow.train(config(framework, "--trainer.epochs=2", "--trainer.log_every=0"))
    assert steps_with(folder, "train/loss") == steps_with(folder, "val/loss") == [10, 20]
    assert read_result(folder)["epochs"] == 2


def test_training_stops_when_validation_no_longer_gets_better(project, framework, monkeypatch):
    values = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    validated = session.Session.validated
    monkeypatch.setattr(session.Session, "validated", lambda self, m: validated(self, {**m, "accuracy": next(values)}))
    folder = workflow.train(config(framework, "--trainer.epochs=5", "--trainer.patience=2"))
    record = read_record(folder)
    assert (record.step, record.best_step) == (40, 20)
    assert read_result(folder)["checkpoints"]["best"].startswith("00000020")


def test_the_test_is_of_the_best_checkpoint(project, framework, monkeypatch):
    values = iter([0.9, 0.1])
    validated = session.Session.validated
    monkeypatch.setattr(session.Session, "validated", lambda self, m: validated(self, {**m, "accuracy": next(values)}))
    folder = workflow.train(config(framework, "--trainer.epochs=2"))
    saved = trainers.load_config(saved=read_config(folder))
    best, last = (workflow.evaluate(folder, saved, checkpoint)[0] for checkpoint in ("best", "last"))
    assert {tag: read_result(folder)["metrics"][tag] for tag in best} == best != last


def test_a_loss_that_is_not_finite_fails_the_run(project, framework):
    with pytest.raises(RunError, match=r"train/loss is (nan|inf) at step \d+: lower optimizer.learning_rate"):
        diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e30", "--trainer.log_every=1")
        workflow.train(config(framework, *diverging))


def final_weights(folder, checkpoint="last"):
    """By name, in float64."""
    settings = trainers.load_config(saved=read_config(folder))
    path = folder / "checkpoints" / getattr(read_record(folder), checkpoint)
    found = (
        frameworks()[settings.framework].engine()(settings, tasks.find(settings.task), read_spec(folder)).weights(path)
    )
    return {name: value.astype(np.float64) for name, value in found.items()}


@pytest.mark.slow
def test_the_moving_average_follows_its_formula_from_the_initial_weights(project, framework):
    def after_one_step(decay):
        options = ("--trainer.max_steps=1", f"--optimizer.ema_decay={decay}", f"--name=d{decay}")
        return final_weights(workflow.train(config(framework, *options, "--accelerator.precision=float64")))

    now, half, three_quarters = after_one_step(0), after_one_step(0.5), after_one_step(0.75)
    for name in now:
        initial = 2 * half[name] - now[name]
        assert three_quarters[name] == pytest.approx(0.75 * initial + 0.25 * now[name], abs=1e-12)
        assert not np.array_equal(initial, now[name])


@pytest.mark.slow
def test_the_moving_average_is_what_is_evaluated(project, framework):
    options = ("--trainer.epochs=1", "--optimizer.learning_rate=0.02")
    plain, averaged = (
        history(workflow.train(config(framework, *options, f"--optimizer.ema_decay={decay}", f"--name={decay}")))
        for decay in (0, 0.95)
    )
    for a, b in zip(plain, averaged, strict=True):  # the same steps, other evaluations
        evaluation = any(tag in a for tag in ("val/loss", "test/loss"))
        assert (a == b) is not evaluation


def test_data_on_the_device_give_the_same_run(project, framework):
    options = ("--trainer.epochs=1", "--trainer.log_every=1", "--data.shift=1", "--data.flip=true", "--data.cutout=3")
    here, there = (
        history(workflow.train(config(framework, *options, f"--data.on_device={where}", f"--name={where}")))
        for where in ("false", "true")
    )
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):  # another program: its rounding may differ
        assert a == pytest.approx(b, rel=1e-4)


def test_threads_that_read_ahead_change_nothing(project, framework, uninterrupted):
    assert history(workflow.train(config(framework, *BUSY, "--data.workers=3"))) == uninterrupted[framework]


def test_a_run_out_of_time_is_unfinished_and_goes_on(project, cli, framework, uninterrupted):
    words = ("train", "image_classification", f"--framework={framework}", *BUSY)
    outcome = cli(*words, "--trainer.max_minutes=1e-9")
    folder = Path("runs/image_classification/default", framework, "001")
    assert outcome.code == 0 and "is unfinished after trainer.max_minutes" in outcome.err
    assert (read_record(folder).status, read_record(folder).step) == ("unfinished", 1)
    assert not (folder / "result.json").exists()
    assert cli(*words).code == 0
    assert read_record(folder).status == "finished"
    assert history(folder) == uninterrupted[framework]


def test_debug_overfit_learns_one_batch_by_heart(project, framework):
    folder = workflow.train(
        config(
            framework,
            "--debug=overfit",
            "--model.dropout=0.5",
            "--optimizer.weight_decay=1",
            "--optimizer.learning_rate=0.01",
        )
    )
    [*_, last] = [line["train/loss"] for line in history(folder) if "train/loss" in line]
    assert last < tasks.find("image_classification").overfit.loss
    assert read_result(folder)["steps"] == tasks.find("image_classification").overfit.steps


def test_debug_overfit_fails_where_nothing_is_learnt(project, framework):
    with pytest.raises(RunError, match=r"train/loss on one batch is \d.* and should be below"):
        workflow.train(config(framework, "--debug=overfit", "--optimizer.learning_rate=1e-9"))


def test_debug_overfit_takes_away_what_hinders_it(framework):
    hindering = ("--model.dropout=0.5", "--data.shift=2", "--data.flip=true", "--data.mixup=0.2", "--data.cutout=2")
    hindering += ("--data.label_smoothing=0.1", "--optimizer.weight_decay=0.1", "--optimizer.warmup_steps=9")
    settings = config(framework, "--debug=overfit", *hindering)
    values = flatten(to_dict(settings))
    assert {key: values[key] for key in (word.partition("=")[0][2:] for word in hindering) if values[key]} == {}


def test_debug_profile_leaves_a_trace_that_can_be_opened(project, framework):
    folder = workflow.train(config(framework, "--debug=profile"))
    [trace] = folder.glob("plugins/profile/*/*.trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run's folder, by framework; to be read only. Its best checkpoint is not its last."""
    runs = tmp_path_factory.mktemp("done")
    options = ("--trainer.epochs=3", "--optimizer.learning_rate=0.02", f"--run_dir={runs}")
    with pytest.MonkeyPatch.context() as patch:
        validated, folders = session.Session.validated, {}
        for name in FRAMEWORKS:
            values = iter([0.5, 0.9, 0.1])
            changed = lambda self, m, v=values: validated(self, {**m, "accuracy": next(v)})  # noqa: E731
            patch.setattr(session.Session, "validated", changed)
            folders[name] = workflow.train(config(name, *options))
    return folders


# Weights from elsewhere.


def test_a_run_begins_with_the_weights_of_another(project, framework, done):
    first = done[framework]
    tiny = ("--trainer.max_steps=1", "--optimizer.learning_rate=1e-9", "--name=second")
    second = workflow.train(config(framework, *tiny, f"--init={first}"))
    best, now = final_weights(first, "best"), final_weights(second)
    assert all(now[name] == pytest.approx(best[name], abs=1e-6) for name in best)
    assert read_record(second).start == 0


@pytest.mark.slow
def test_an_initialised_run_goes_on_with_its_own_weights(project, framework, done, monkeypatch):
    shutil.copytree(done[framework], "first")
    with monkeypatch.context() as patch:
        cut_power(patch, 4)
        with pytest.raises(PowerCut):
            workflow.train(config(framework, *BUSY, "--init=first"))
    shutil.rmtree("first")
    folder = workflow.train(config(framework, *BUSY, "--init=first"))
    assert steps_with(folder, "train/loss") == list(range(1, 23))


def test_a_run_begins_with_the_weights_of_a_file_but_for_those_to_skip(project, framework, done):
    first = final_weights(done[framework])
    hidden = {name: value.astype(np.float32) for name, value in first.items() if name.startswith("hidden.")}
    safetensors.numpy.save_file({**hidden, "output.weight": np.zeros((3, 16), np.float32)}, "some.safetensors")
    tiny = ("--trainer.max_steps=1", "--optimizer.learning_rate=1e-9", "--seed=1")
    run = workflow.train(config(framework, *tiny, "--init=some.safetensors", "--init_skip=output"))
    now = final_weights(run)
    assert all(now[name] == pytest.approx(hidden[name], abs=1e-6) for name in hidden)
    assert not np.allclose(now["output.weight"], first["output.weight"], atol=1e-3)


WRONG_WEIGHTS = {
    "no file": (None, [], "some.safetensors: No such file"),
    "no safetensors file": (b"abc", [], "some.safetensors is not a safetensors file"),
    "names that are missing": ({"hidden.weight": (16, 64)}, [], "missing: hidden.bias, output.bias, output.weight"),
    "names that are extra": (
        {"hidden.weight": (16, 64), "hidden.bias": (16,), "output.weight": (10, 16), "output.bias": (10,), "x": (1,)},
        [],
        "not in the model: x",
    ),
    "another shape": (
        {"hidden.weight": (16, 64), "hidden.bias": (16,), "output.weight": (3, 16), "output.bias": (3,)},
        [],
        "output.weight is [3, 16] and should be [10, 16]",
    ),
    "nothing to skip": ({"hidden.weight": (16, 64)}, ["--init_skip=head"], "--init_skip head: the model has no such"),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_weights_that_do_not_fit_are_one_line(complaint, framework, case):
    content, options, part = WRONG_WEIGHTS[case]
    if isinstance(content, bytes):
        Path("some.safetensors").write_bytes(content)
    elif content is not None:
        arrays = {name: np.zeros(shape, np.float32) for name, shape in content.items()}
        safetensors.numpy.save_file(arrays, "some.safetensors")
    words = ("train", "image_classification", f"--framework={framework}", *SMALL, "--init=some.safetensors", *options)
    assert part in complaint(*words)


# A run that is done.


def test_a_checkpoint_is_evaluated_by_its_step(cli, done, framework):
    best, last = (cli("evaluate", done[framework], "--checkpoint", name).out for name in ("best", "last"))
    assert cli("evaluate", done[framework], "--checkpoint", "20").out == best != last
    assert cli("evaluate", done[framework], "--checkpoint=30").out == last


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(complaint, done, framework):
    assert "best, last or one of the steps [20, 30]" in complaint("evaluate", done[framework], "--checkpoint=10")


def test_a_checkpoint_of_another_model_is_one_line(complaint, done, framework):
    line = complaint("evaluate", done[framework], "--model.hidden=17")
    assert "the weights are of another model" in line and "hidden" in line and "17" in line


def test_evaluation_shows_a_line_for_each_class(cli, done, framework):
    out = cli("evaluate", done[framework]).out
    assert all(f"\n| {digit} | " in out for digit in range(10))


# The same from Python.


def test_a_run_is_trained_and_used_from_python(project, framework):
    images = tasks.find("image_classification").load(config(framework).data).test.arrays["image"]
    options = {"framework": framework, "trainer.epochs": 1, "model": {"name": "mlp"}, "data.batch_size": 128}
    run = train(load_config("image_classification", options))
    predictor = load(run)
    assert predictor.outputs(images)["logits"].shape == (len(images), 10)
    assert [set(row) for row in predictor.predict(images[:2])] == [{"label", "probability"}] * 2
    assert len(load(str(run), "last").predict(images[0])) == 1


@pytest.mark.parametrize("given", [[], None, 3, np.zeros((0, 8, 8, 1), np.uint8), [np.zeros((8, 8, 1), np.uint8)]])
def test_inputs_that_are_none_are_told_in_one_line(done, given):
    with pytest.raises(InputError, match="paths of images are wanted|the array is empty") as caught:
        load(done[FRAMEWORKS[0]]).predict(given)
    assert "\n" not in str(caught.value)


def test_one_input_is_predicted_as_one(done, framework):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    predictor = load(done[framework])
    one, many = (predictor.outputs(np.stack([image] * n))["logits"] for n in (1, 3))
    assert one.shape == (1, 10) and one[0] == pytest.approx(many[2], rel=1e-3, abs=1e-5)


def test_options_that_go_without_each_other_are_one_line(complaint, framework):
    assert "init_skip = 'fc' is for --init" in complaint("train", f"--framework={framework}", "--init_skip=fc")


def test_a_run_begins_with_weights_or_with_a_state(complaint, framework, done):
    words = ("train", "image_classification", f"--framework={framework}", f"--resume={done[framework]}")
    assert "begin with one of them" in complaint(*words, f"--init={done[framework]}", *SMALL)


def test_both_frameworks_do_not_train_in_one_process(project):
    if len(FRAMEWORKS) == 1:
        pytest.skip("there is one framework")
    with pytest.raises(InputError, match="framework = 'both': .* choose"):
        train(load_config("image_classification", {"framework": "both"}))


def test_debug_fast_runs_everything_in_three_steps(project, framework):
    folder = workflow.train(config(framework, "--debug=fast"))
    assert read_result(folder)["steps"] == 3
    assert steps_with(folder, "val/loss") == [2, 3]


WAYS = [
    ("--optimizer.name=sgd", "--data.cutout=3"),
    ("--accelerator.precision=bfloat16", "--data.mixup=0.2"),
    ("--accelerator.precision=float16", "--optimizer.ema_decay=0.5"),
    ("--optimizer.clip_norm=0.1", "--data.label_smoothing=0.1"),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_learns(project, framework, way):
    options = ("--trainer.epochs=3", "--optimizer.learning_rate=0.02", "--optimizer.warmup_steps=0")
    folder = workflow.train(config(framework, *options, *way))
    losses = [line["val/loss"] for line in history(folder) if "val/loss" in line]
    assert losses[-1] < losses[0]


def test_a_run_carries_on_the_state_of_another(project, framework):
    first = workflow.train(config(framework, "--trainer.epochs=1", "--name=first"))
    options = ("--trainer.epochs=1", "--name=second", f"--resume={first}", "--optimizer.learning_rate=0.5")
    folder = workflow.train(config(framework, *options))
    assert steps_with(folder, "train/loss") == [20]
    [logged] = [line for line in history(folder) if "train/loss" in line]
    assert logged["train/learning_rate"] > 0.1  # the config's, not the one that came with the state
    assert read_result(folder)["parent"] == str(first)


@pytest.mark.slow
def test_accumulation_changes_no_loss(project, framework):
    runs = []
    for pieces in (1, 4):
        options = ("--trainer.epochs=1", "--trainer.log_every=1", "--accelerator.precision=float64")
        options += ("--model.dropout=0", f"--trainer.accumulate={pieces}", f"--name={pieces}")
        folder = workflow.train(config(framework, *options))
        runs.append([line["train/loss"] for line in history(folder) if "train/loss" in line])
    assert runs[0] == pytest.approx(runs[1], rel=1e-12)
