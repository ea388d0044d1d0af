"""What a JAX user expects of this half."""

import functools
from importlib import util
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import make_engine, steps, values_of
from helpers import SMALL, TASK, First, load_data

from {{cookiecutter.package_name}} import build, train
from {{cookiecutter.package_name}}.engine import processes, registry, session, workflow
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_record
from {{cookiecutter.package_name}}.engine.nnx import devices
from {{cookiecutter.package_name}}.engine.nnx.train_state import LossScale
from {{cookiecutter.package_name}}.engine.schedule import LOSS_SCALE_STEPS


def config(*options):
    return registry.load_config(TASK, ["--framework=nnx", *SMALL, *options])


def engine(settings):
    data = load_data(settings)
    return make_engine(settings, data.spec), TrainBatches(data, settings.data.batch_size, settings.seed)


def last_state(settings, folder):
    return engine(settings)[0].restore(folder / "checkpoints" / read_record(folder).last)


def run_steps(settings, dispatches, steps_per_dispatch):
    """The state and the last step's logs after some dispatches."""
    made, batches = engine(settings)
    with made.settings():
        state, train_step = made.init(), made.train_step()
        for i in range(dispatches):
            batch = batches.stack(i * steps_per_dispatch, steps_per_dispatch)
            state, logs = train_step(state, batch, np.full(steps_per_dispatch, 1e-3), True, {})
    return train_step, state, logs


def test_what_is_for_classes_is_told_in_one_line(project):
    with pytest.raises(InputError, match="trains functions, and no class"):
        train(config(), SimpleNamespace)
    with pytest.raises(InputError, match=r"use train\(config\)"):
        build(config())
    assert not (project / "runs").exists()


def test_the_step_is_compiled_once():
    ways = ("--optimizer.ema_decay=0.9", "--accelerator.precision=float16")
    train_step, _, _ = run_steps(config(*ways), 5, 1)
    assert train_step._cache_size() == 1


def test_the_state_is_donated():
    made, batches = engine(config())
    state = made.init()
    before = jax.tree.leaves(state.params)
    made.train_step()(state, batches.stack(0, 1), np.full(1, 1e-3), True, {})
    assert all(array.is_deleted() for array in before)


def test_several_steps_in_one_dispatch_are_the_same_steps():
    settings = config("--accelerator.precision=float64", "--trainer.accumulate=2")
    _, one_by_one, logs = run_steps(settings, 6, 1)
    _, together, logs_together = run_steps(settings, 2, 3)
    for a, b in zip(jax.tree.leaves(one_by_one.params), jax.tree.leaves(together.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(logs["loss/loss"], logs_together["loss/loss"], rtol=1e-12)
    assert int(one_by_one.step) == int(together.step) == 6


def test_a_dispatch_crosses_no_event(project):
    options = ("--nnx.steps_per_call=4", "--trainer.log_every=5", "--trainer.val_every=7")
    folder = workflow.train(config(*steps(22), *options))
    assert list(values_of(folder, "train/loss")) == [5, 10, 15, 20, 22]
    assert list(values_of(folder, "val/loss")) == [7, 14, 21, 22]


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bits(project, monkeypatch):
    options = (*steps(20), "--trainer.checkpoint_every=3")
    settings = config(*options, "--name=whole")
    whole = last_state(settings, workflow.train(settings))
    advance = session.Progress.advance

    def interrupt(self, steps):
        advance(self, steps)
        if self.step == 8:
            raise KeyboardInterrupt

    settings = config(*options, "--name=cut")
    with monkeypatch.context() as patch:
        patch.setattr(session.Progress, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflow.train(settings)
    again = last_state(settings, workflow.train(settings))
    jax.tree.map(np.testing.assert_array_equal, whole, again)


def test_engines_of_different_precision_live_side_by_side():
    (double, _), (single, _) = (engine(config(f"--accelerator.precision={name}")) for name in ("float64", "float32"))
    for made, dtype in ((double, np.float64), (single, np.float32), (double, np.float64)):
        assert {leaf.dtype for leaf in jax.tree.leaves(made.init().params)} == {np.dtype(dtype)}


def test_predictions_keep_their_precision_beside_other_runs(project):
    runs = {}
    for name in ("float64", "float32"):
        settings = config("--debug=fast", f"--accelerator.precision={name}", f"--name={name}")
        folder = workflow.train(settings)
        checkpoint = folder / "checkpoints" / read_record(folder).last
        runs[name] = functools.partial(engine(settings)[0].predict, checkpoint, First(load_data(settings).test, 1))
    for name in ("float64", "float32", "float64"):
        found = {value.dtype for value in runs[name]().values() if np.issubdtype(value.dtype, np.floating)}
        assert found == {np.dtype(name)}


def test_an_update_that_overflows_is_left_out_and_halves_the_loss_scale():
    made, batches = engine(config("--accelerator.precision=float16", "--optimizer.name=sgd"))
    state, train_step = made.init(), made.train_step()
    huge = state.replace(loss_scale=LossScale(np.float32(2.0**40), np.int32(7)))
    before = jax.device_get(huge.params)
    after, _ = train_step(huge, batches.stack(0, 1), np.full(1, 1e-3), False, {})
    jax.tree.map(np.testing.assert_array_equal, before, after.params)
    assert (float(after.loss_scale.factor), int(after.loss_scale.steps), int(after.step)) == (2.0**39, 0, 1)


def test_the_loss_scale_doubles_after_many_good_updates():
    scale = LossScale(np.float32(8), np.int32(0))
    for _ in range(LOSS_SCALE_STEPS):
        assert scale.factor == 8
        scale = scale.next(np.bool_(True))
    assert (scale.factor, scale.steps) == (16, 0)


@pytest.mark.parametrize("installed", [False, True])
def test_the_extra_is_named_only_where_what_it_brings_is_not_installed(complaint, installed, monkeypatch):
    if devices.count()["gpu"]:
        pytest.skip("this machine has an accelerator")
    find, plugin = util.find_spec, SimpleNamespace() if installed else None
    monkeypatch.setattr(util, "find_spec", lambda name: plugin if name.startswith("jax_cuda") else find(name))
    line = complaint("train", TASK, "--framework=nnx", *SMALL, "--accelerator=gpu")
    assert ("install the extra [gpu]" in line) == (not installed)


def test_processes_that_were_started_are_refused_by_a_project_that_is_made_for_one(complaint, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "__file__", str(tmp_path / "processes.py"))
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "there:1234")
    line = complaint("train", TASK, "--framework=nnx", *SMALL)
    what = "JAX_COORDINATOR_ADDRESS = 'there:1234' in the environment"
    assert line == f"error: {what}: this project was made without the feature 'scale'\n"


def test_a_checkpoint_of_an_earlier_version_is_told(project, cli):
    folder = workflow.train(config("--debug=fast"))
    checkpoint = folder / "checkpoints" / read_record(folder).last
    (checkpoint / "_METADATA").write_text("{}")
    for read in (engine(config())[0].restore, engine(config())[0].evaluated):
        with pytest.raises(InputError, match="is of an earlier version of this project: write its weights with"):
            read(checkpoint)


def test_gradients_that_are_never_finite_stop_a_run_in_float16(cli, project, monkeypatch):
    from {{cookiecutter.package_name}}.engine import task as tasks

    twin = tasks.twin(tasks.find(TASK), "nnx")
    [(name, loss)] = twin.losses(config()).items()

    @jax.custom_vjp
    def no_gradient(total):
        return total

    no_gradient.defvjp(lambda total: (total, None), lambda _, gradient: (gradient * np.nan,))

    def fn(model, batch, rngs):
        total, weight = loss.fn(model, batch, rngs)
        return no_gradient(total), weight

    monkeypatch.setattr(twin, "losses", lambda config: {name: loss._replace(fn=fn)})
    words = ["--accelerator.precision=float16", *steps(40), "--trainer.log_every=5", "--trainer.val_every=40"]
    done = cli("train", TASK, "--framework=nnx", *SMALL, *words)
    assert done.code == 1
    assert "gradients are not finite at step 20, whatever float16's loss scale, first the gradient of" in done.err
