"""What both trainers promise, whatever the framework and the task: exact resume, the rhythm of a run, how it ends."""

import dataclasses
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
from conftest import FRAMEWORKS, history, make_engine, steps, values_of, without_dropout
from helpers import MODE, MONITOR, SMALL, TASK, First, final_weights, load_data

from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.engine import registry, session, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.folder import read_config, read_record, read_result, read_spec
from {{cookiecutter.package_name}}.engine.schedule import average_weight

# Nothing falls together: validations at 4, 8, ..., checkpoints at 3, 6, ....
BUSY = (*SMALL, *steps(22), "--trainer.val_every=4", "--trainer.checkpoint_every=3", "--trainer.log_every=1")
BUSY += ("--trainer.accumulate=2", "--optimizer.ema_decay=0.8")


def config(framework, *options):
    return registry.load_config(TASK, ["--framework", framework, *SMALL, *options])


@pytest.fixture(scope="module")
def epoch():
    """The steps of an epoch."""
    settings = config(FRAMEWORKS[0])
    return TrainBatches(load_data(settings), settings.data.batch_size, settings.seed).steps_per_epoch


def steps_with(folder, tag):
    return list(values_of(folder, tag))


def score(patch, values):
    """Validations find these, of which the largest is the best, whatever the monitor's mode."""
    values, validated = iter(values), session.Session.validated

    def scored(self, metrics, *shown):
        value = next(values)
        return validated(self, {**metrics, MONITOR.removeprefix("val/"): value if MODE == "max" else -value}, *shown)

    patch.setattr(session.Session, "validated", scored)


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
def test_a_signal_saves_the_state_and_ends_the_run(project, cli, framework, monkeypatch, number, code):
    advance = session.Progress.advance

    def advance_and_send(self, steps):
        advance(self, steps)
        if self.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(session.Progress, "advance", advance_and_send)
    outcome = cli("train", TASK, "--framework", framework, *SMALL, *steps(60))
    record = read_record(Path("runs", TASK, "default", framework, "001"))
    assert outcome.code == code and f"step {record.step} is saved" in outcome.err
    assert record.last and 3 <= record.step < 60


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_a_signal_ends_a_process_of_its_own_with_its_state_saved(project, framework):
    command = [sys.executable, "-m", workflow.__name__.partition(".")[0], "train", TASK, "--framework", framework]
    command += [*SMALL, *steps(10**6), "--trainer.log_every=10", "--trainer.val_every=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    metrics = Path("runs", TASK, "default", framework, "001/metrics.jsonl")
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    record = read_record(metrics.parent)
    assert f"step {record.step} is saved" in errors
    assert record.last


def test_what_happens_when_follows_the_config(project, framework):
    folder = workflow.train(config(framework, *BUSY))
    assert steps_with(folder, "train/loss") == list(range(1, 23))
    assert steps_with(folder, "val/loss") == [4, 8, 12, 16, 20, 22]
    assert steps_with(folder, "test/loss") == [22]
    assert read_record(folder).step == 22


def test_more_steps_than_the_epochs_have_are_told(project, framework, capsys):
    options = ("--trainer.epochs=1", "--trainer.max_steps=0", "--data.batch_size=64")
    for steps_at_least, told in ((0, 0), (10_000, 1)):
        settings = config(framework, *options, f"--trainer.min_steps={steps_at_least}", "--trainer.max_minutes=1e-9")
        train(settings)
        assert capsys.readouterr().err.count("trainer.min_steps = 10000 is more than trainer.epochs = 1, of ") == told


def test_zero_means_once_an_epoch(project, framework, epoch):
    folder = workflow.train(config(framework, "--trainer.epochs=2", "--trainer.max_steps=0", "--trainer.log_every=0"))
    assert steps_with(folder, "train/loss") == steps_with(folder, "val/loss") == [epoch, 2 * epoch]
    assert read_result(folder)["epochs"] == 2


def test_training_stops_when_validation_no_longer_gets_better(project, framework, monkeypatch, capsys):
    score(monkeypatch, [0.5, 0.7, 0.6, 0.65, 0.9])
    folder = workflow.train(config(framework, *steps(10), "--trainer.val_every=2", "--trainer.patience=2"))
    record = read_record(folder)
    assert (record.step, record.best_step) == (8, 4)
    assert read_result(folder)["checkpoints"]["best"].startswith("00000004")
    said = f"stopped at step 8 of 10: 2 validations without a better {MONITOR} (trainer.patience)"
    assert said in capsys.readouterr().err


def test_patience_is_not_tried_before_the_end_of_warm_up(project, framework, monkeypatch, capsys):
    score(monkeypatch, [0.9, 0.8, 0.7, 0.6, 0.5])
    options = (*steps(40), "--optimizer.warmup_steps=9", "--trainer.val_every=2", "--trainer.patience=2")
    folder = workflow.train(config(framework, *options))
    assert read_record(folder).step == 8  # of 4 steps of warm-up
    assert "optimizer.warmup_steps = 9 is cut to 4, a tenth of the 40 steps" in capsys.readouterr().err


def test_the_test_is_of_the_best_checkpoint(project, framework, monkeypatch):
    score(monkeypatch, [0.9, 0.1])
    folder = workflow.train(config(framework, *steps(4), "--trainer.val_every=2"))
    saved = registry.load_config(saved=read_config(folder))
    best, last = (workflow.evaluate(folder, saved, checkpoint)[0] for checkpoint in ("best", "last"))
    assert {tag: read_result(folder)["metrics"][tag] for tag in best} == best != last


def test_a_loss_that_is_not_finite_fails_the_run(project, framework):
    with pytest.raises(RunError, match=r"(train/loss is|weights are) .* at step \d+.*: lower optimizer.learning_rate"):
        diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e38", "--trainer.log_every=1")
        workflow.train(config(framework, *steps(20), *diverging))


@pytest.mark.slow
def test_the_moving_average_follows_its_formula_from_the_initial_weights(project, framework):
    def after_one_step(decay):
        options = (*steps(1), f"--optimizer.ema_decay={decay}", f"--name=d{decay}")
        return final_weights(workflow.train(config(framework, *options, "--accelerator.precision=float64")))

    # Of the first update a decay counts for min(decay, 1 / 10).
    now, twentieth, tenth, large = (after_one_step(decay) for decay in (0, 0.05, 0.1, 0.999))
    changed = []
    for name in now:
        initial = 20 * twentieth[name] - 19 * now[name]
        assert tenth[name] == pytest.approx(0.1 * initial + 0.9 * now[name], abs=1e-12)
        assert large[name] == pytest.approx(tenth[name], abs=1e-12)
        changed.append(not np.array_equal(initial, now[name]))
    assert any(changed)


def test_of_a_short_run_the_moving_average_holds_nearly_nothing_of_the_start():
    """A loop over many averages of 1 that began at 0, beside the decay alone: 0.999 ** 800 is 0.45."""
    average = 0.0
    for step in range(800):
        average += average_weight(step, 0.999) * (1 - average)
    assert 1 - average < 1e-12
    assert [average_weight(step, 0.9) for step in (0, 80, 81, 1000)] == pytest.approx([0.9, 0.1, 0.1, 0.1])


@pytest.mark.slow
def test_the_moving_average_is_what_is_evaluated(project, framework):
    options = (*steps(10), "--trainer.val_every=5", "--optimizer.learning_rate=0.02")
    plain, averaged = (
        history(workflow.train(config(framework, *options, f"--optimizer.ema_decay={decay}", f"--name={decay}")))
        for decay in (0, 0.95)
    )
    for a, b in zip(plain, averaged, strict=True):  # the same steps, other evaluations
        evaluation = any(tag in a for tag in ("val/loss", "test/loss"))
        assert (a == b) is not evaluation


def test_threads_that_read_ahead_change_nothing(project, framework, uninterrupted):
    assert history(workflow.train(config(framework, *BUSY, "--data.workers=3"))) == uninterrupted[framework]


def test_a_run_out_of_time_is_unfinished_and_goes_on(project, cli, framework, uninterrupted):
    words = ("train", TASK, f"--framework={framework}", *BUSY)
    outcome = cli(*words, "--trainer.max_minutes=1e-9")
    folder = Path("runs", TASK, "default", framework, "001")
    assert outcome.code == 0 and "is unfinished after trainer.max_minutes" in outcome.err
    assert (read_record(folder).status, read_record(folder).step) == ("unfinished", 1)
    assert not (folder / "result.json").exists()
    assert cli(*words).code == 0
    assert read_record(folder).status == "finished"
    assert history(folder) == uninterrupted[framework]


def bounded(monkeypatch, steps, loss):
    """The task expects of `--debug overfit` another loss after so many steps."""
    task = dataclasses.replace(tasks.find(TASK), overfit=tasks.Overfit(steps, loss))
    monkeypatch.setattr(tasks, "find", lambda name: task)


def test_debug_overfit_trains_on_one_batch_only(project, framework, monkeypatch):
    bounded(monkeypatch, 20, 1e9)
    settings = config(framework, "--debug=overfit", "--optimizer.learning_rate=0.01")
    folder = workflow.train(settings)
    losses = list(values_of(folder, "train/loss").values())
    assert losses[-1] < losses[0]
    assert (read_record(folder).examples, read_result(folder)["steps"]) == (settings.data.batch_size, 20)


def test_debug_overfit_fails_where_nothing_is_learnt(project, framework, monkeypatch):
    bounded(monkeypatch, 5, 1e-9)
    with pytest.raises(RunError, match=r"train/loss on one batch is \d.* and should be below"):
        workflow.train(config(framework, "--debug=overfit", "--optimizer.learning_rate=1e-9"))


@pytest.mark.slow
@pytest.mark.parametrize("task", tasks.names())
def test_debug_overfit_reaches_the_bound_of_every_task(project, framework, task):
    folder = workflow.train(load_config(task, ["--framework", framework, "--accelerator=cpu", "--debug=overfit"]))
    assert read_result(folder)["steps"] == tasks.find(task).overfit.steps


def test_debug_profile_leaves_a_trace_that_can_be_opened(project, framework):
    folder = workflow.train(config(framework, "--debug=profile"))
    [trace] = folder.glob("plugins/profile/*/*.trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run's folder, by framework; to be read only. Its best checkpoint, at step 4, is not its last, at step 6."""
    options = (*steps(6), "--trainer.val_every=2", "--optimizer.learning_rate=0.02")
    runs, folders = tmp_path_factory.mktemp("done"), {}
    for name in FRAMEWORKS:
        with pytest.MonkeyPatch.context() as patch:
            score(patch, [0.5, 0.9, 0.1])
            folders[name] = workflow.train(config(name, *options, f"--run_dir={runs}"))
    return folders


# Weights from elsewhere.


def test_a_run_begins_with_the_weights_of_another(project, framework, done):
    first = done[framework]
    second = workflow.train(config(framework, *steps(1), "--optimizer.learning_rate=1e-9", f"--init={first}"))
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


def largest(weights):
    """The name of the largest of them."""
    return max(weights, key=lambda name: weights[name].size)


def test_a_run_begins_with_the_weights_of_a_file_but_for_those_to_skip(project, framework, done):
    first = final_weights(done[framework])
    skipped = largest(first)
    given = {name: value.astype(np.float32) for name, value in first.items() if name != skipped}
    safetensors.numpy.save_file({**given, skipped: np.zeros((3, 1), np.float32)}, "some.safetensors")
    options = (*steps(1), "--optimizer.learning_rate=1e-9", "--seed=1")
    run = workflow.train(config(framework, *options, "--init=some.safetensors", f"--init_skip={skipped}"))
    now = final_weights(run)
    assert all(now[name] == pytest.approx(given[name], abs=1e-6) for name in given)
    assert not np.allclose(now[skipped], first[skipped], atol=1e-3)


# From the weights that fit, and the name of one of them: those that do not, and what is said about them.
WRONG_WEIGHTS = {
    "no file": (lambda fit, name: None, "some.safetensors: No such file"),
    "no safetensors file": (lambda fit, name: b"abc", "some.safetensors is not a safetensors file"),
    "a name that is missing": (lambda fit, name: {k: fit[k] for k in fit if k != name}, "missing: {name}"),
    "a name that is extra": (lambda fit, name: {**fit, "zzz": fit[name]}, "not in the model: zzz"),
    "another shape": (lambda fit, name: {**fit, name: fit[name][None]}, "{name} is {given} and should be {wanted}"),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_weights_that_do_not_fit_are_one_line(complaint, framework, done, case):
    change, part = WRONG_WEIGHTS[case]
    fit = {name: value.astype(np.float32) for name, value in final_weights(done[framework]).items()}
    name, content = largest(fit), change(fit, largest(fit))
    if isinstance(content, bytes):
        Path("some.safetensors").write_bytes(content)
    elif content is not None:
        safetensors.numpy.save_file(content, "some.safetensors")
    shape = list(fit[name].shape)
    line = complaint("train", TASK, f"--framework={framework}", *SMALL, "--init=some.safetensors")
    assert part.format(name=name, given=[1, *shape], wanted=shape) in line


def test_a_name_to_skip_that_the_model_lacks_is_one_line(complaint, framework, done):
    words = ("train", TASK, f"--framework={framework}", *SMALL, f"--init={done[framework]}", "--init_skip=zzz")
    assert "--init_skip zzz: the model has no such" in complaint(*words)


# A run that is done.


def test_a_checkpoint_is_evaluated_by_its_step(cli, done, framework):
    best, last = (cli("evaluate", done[framework], "--checkpoint", name).out for name in ("best", "last"))
    assert cli("evaluate", done[framework], "--checkpoint", "4").out == best != last
    assert cli("evaluate", done[framework], "--checkpoint=6").out == last


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(complaint, done, framework):
    assert "best, last or one of the steps [4, 6]" in complaint("evaluate", done[framework], "--checkpoint=2")


# The same from Python.


def test_a_run_is_trained_from_python(project, framework):
    file = SMALL[0].partition("=")[2]
    options = {"framework": framework, "config": file, "accelerator": "cpu", "trainer": {"max_steps": 2, "epochs": 0}}
    run = train(load_config(TASK, options))
    assert read_result(run)["steps"] == 2


def test_one_input_is_predicted_as_one(done, framework):
    folder = done[framework]
    settings = registry.load_config(saved=read_config(folder))
    engine, checkpoint = make_engine(settings, read_spec(folder)), folder / "checkpoints" / read_record(folder).last
    one, many = (engine.predict(checkpoint, First(load_data(settings).test, count)) for count in (1, 3))
    for name in one:
        assert (len(one[name]), len(many[name])) == (1, 3)
        assert one[name][0] == pytest.approx(many[name][0], rel=1e-3, abs=1e-5)


# Mistakes.


def test_options_that_go_without_each_other_are_one_line(complaint, framework):
    assert "init_skip = 'fc' is for --init" in complaint("train", f"--framework={framework}", "--init_skip=fc")


def test_a_run_begins_with_weights_or_with_a_state(complaint, framework, done):
    words = ("train", TASK, f"--framework={framework}", f"--resume={done[framework]}")
    assert "begin with one of them" in complaint(*words, f"--init={done[framework]}", *SMALL)


def test_both_frameworks_do_not_train_in_one_process(project):
    if len(FRAMEWORKS) == 1:
        pytest.skip("there is one framework")
    with pytest.raises(InputError, match="framework = 'both': .* choose"):
        train(load_config(TASK, {"framework": "both"}))


def test_debug_fast_runs_everything_in_three_steps(project, framework):
    folder = workflow.train(config(framework, "--debug=fast"))
    assert read_result(folder)["steps"] == 3
    assert steps_with(folder, "val/loss") == [2, 3]


# Ways to train.

WAYS = [
    ("--optimizer.name=sgd",),
    ("--accelerator.precision=bfloat16",),
    ("--accelerator.precision=float16", "--optimizer.ema_decay=0.5"),
    ("--optimizer.clip_norm=0.1",),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_learns(project, framework, way):
    options = (*steps(20), "--trainer.val_every=2", "--optimizer.learning_rate=0.01")
    first, *others = values_of(workflow.train(config(framework, *options, *way)), "val/loss").values()
    assert min(others) < first


def test_a_run_carries_on_the_state_of_another(project, framework):
    first = workflow.train(config(framework, *steps(3), "--name=first"))
    options = (*steps(2), "--trainer.log_every=1", f"--resume={first}", "--optimizer.learning_rate=0.0123")
    folder = workflow.train(config(framework, *options))
    rates = values_of(folder, "train/learning_rate")
    assert rates == pytest.approx({4: 0.0123, 5: 0.0123})  # the config's, not the one that came with the state
    assert read_result(folder)["parent"] == str(first)


@pytest.mark.slow
def test_accumulation_changes_no_loss(project, framework):
    runs = []
    for pieces in (1, 4):
        options = (*steps(10), "--trainer.log_every=1", "--accelerator.precision=float64")
        options += (*without_dropout(config(framework)), f"--trainer.accumulate={pieces}", f"--name={pieces}")
        runs.append(list(values_of(workflow.train(config(framework, *options)), "train/loss").values()))
    assert runs[0] == pytest.approx(runs[1], rel=1e-12)
