"""What a JAX user does with a run and around one works: its model and checkpoints in hand, JAX's own switches."""

import functools
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from conftest import history, make_engine, values_of
from flax import nnx
from helpers import load_data
from jax.experimental.compilation_cache import compilation_cache
from test_nnx_changes import (
    OPTIMIZER,
    UNITS,
    arrays,
    assert_same,
    batches,
    by_hand,
    config,
    dataset,
    fresh,
    in_place,
    last,
    linear,
    loss_fn,
    nnx_half,
    opened,
)
from test_nnx_changes import made as made  # a fixture

from {{cookiecutter.package_name}} import load, train
from {{cookiecutter.package_name}}.engine import registry, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.nnx import loop
from {{cookiecutter.package_name}}.engine.session import Progress
from {{cookiecutter.package_name}}.engine.task import Loss
from {{cookiecutter.package_name}}.extensions import nnx as extensions


def busy(rngs, **dtypes):
    """A layer that is another one in training: it has statistics, and draws random numbers."""
    norm = nnx.BatchNorm(UNITS, momentum=0.5, rngs=rngs, **dtypes)
    return nnx.Sequential(linear(rngs, use_bias=False, **dtypes), norm, nnx.Dropout(0.5, rngs=rngs))


SHORT = ("--trainer.max_steps=2", "--trainer.checkpoint_every=1")

# A run in hand.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with in_place(nnx_half(layer=busy)):
        return train(config(*SHORT, f"--run_dir={tmp_path_factory.mktemp('trained')}"))


@pytest.fixture
def run(trained, made):
    """A run whose model is `busy`; to be read only."""
    made(layer=busy)
    return trained


@pytest.fixture
def series():
    return dataset().test.arrays["series"]


def test_the_model_of_a_run_is_shown(run, series, capsys):
    model = load(run).model
    nnx.display(model)
    assert "BatchNorm" in capsys.readouterr().out
    table = nnx.tabulate(model, series, console_kwargs={"width": 200})
    assert "BatchNorm" in table and "Total Parameters: 35" in table


def test_the_model_of_a_run_predicts_as_the_run_does_also_under_jit_and_vmap(run, series):
    model, expected = load(run).model, load(run).outputs(series)["prediction"]
    for found in (
        model(series),
        nnx.jit(lambda model, series: model(series))(model, series),
        jax.vmap(lambda one: model(one[None])[0])(series),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_is_made_by_hand_takes_the_weights_of_a_run(run, series):
    model = tasks.twin(None, "nnx").create_model(config(), {}, rngs=nnx.Rngs(0))
    nnx.update(model, nnx.state(load(run).model))
    model.eval()
    np.testing.assert_allclose(model(series), load(run).outputs(series)["prediction"], rtol=1e-5, atol=1e-6)


def test_checkpoints_are_listed_and_opened_by_orbax_alone(run, series):
    names = ocp.step.standard_name_format(step_format_fixed_length=8)
    options = ocp.CheckpointManagerOptions(step_name_format=names)
    with ocp.CheckpointManager((run / "checkpoints").absolute(), options=options) as manager:
        assert list(manager.all_steps()) == [1, 2]
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore((last(run) / "model").absolute())
    model = fresh(config())
    nnx.update(model, nnx.restore_int_paths(found))
    model.eval()
    expected = load(run, "last").outputs(series)["prediction"]
    np.testing.assert_allclose(model(series), expected, rtol=1e-5, atol=1e-6)


SLOW = ("object_detection", "speech_recognition", "translation")  # to compile


@pytest.mark.parametrize("task", [pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in tasks.names()])
def test_every_model_of_every_family_is_made_by_hand(task):
    create_model, specs = tasks.twin(tasks.find(task), "nnx").create_model, {}
    for name in tasks.find(task).models:
        settings = registry.load_config(task, {"framework": "nnx", "model.name": name})
        family = type(settings.model)
        specs[family] = spec = specs[family] if family in specs else load_data(settings).spec
        make = functools.partial(create_model, settings, spec)
        model = nnx.eval_shape(lambda make=make: make(rngs=nnx.Rngs(0)))
        assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {np.dtype("float32")}


# A run whose code has changed since.


def longer(config):
    return optax.chain(optax.clip(1.0), optax.adam(config.learning_rate))


def shorter(config):
    return optax.adam(config.learning_rate)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run that was interrupted after its second step: its config, folder, outputs and metrics."""
    advance = Progress.advance

    def interrupt(self, count):
        advance(self, count)
        if self.step == 3:
            raise KeyboardInterrupt

    folder = tmp_path_factory.mktemp("unfinished")
    with in_place(nnx_half()), pytest.MonkeyPatch.context() as patch:
        patch.setitem(extensions.OPTIMIZERS, "own", shorter)
        patch.setattr(Progress, "advance", interrupt)
        settings = config("--optimizer.name=own", "--trainer.checkpoint_every=2", f"--run_dir={folder}")
        with pytest.raises(KeyboardInterrupt):
            train(settings)
        run = folder / "series/default/nnx/001"
        outputs = load(run, "last").outputs(dataset().test.arrays["series"])
        return settings, run, outputs, workflow.evaluate(run, settings, "last")


OTHERS = "the optimizer or the losses are others now .*--init RUN"
REFUSED = {"optimizer": OTHERS, "losses": OTHERS, "no optimizer": "'own': choose from .*, or add it"}


@pytest.mark.parametrize(("what", "refused"), REFUSED.items(), ids=REFUSED)
def test_a_run_whose_training_is_another_now_is_used_but_does_not_go_on(
    made, cli, unfinished, series, monkeypatch, what, refused
):
    settings, run, outputs, metrics = unfinished
    made(losses={"other": Loss(loss_fn)} if what == "losses" else None)
    if what != "no optimizer":
        monkeypatch.setitem(extensions.OPTIMIZERS, "own", longer if what == "optimizer" else shorter)
    np.testing.assert_array_equal(load(run, "last").outputs(series)["prediction"], outputs["prediction"])
    assert workflow.evaluate(run, settings, "last") == metrics
    assert cli("export", run, "--format=safetensors", f"--output={what}").code == 0
    begun = train(config(f"--init={run}", "--optimizer.learning_rate=1e-30", "--trainer.max_steps=1"))
    assert_same(opened(last(begun)), opened(last(run)))
    with pytest.raises(InputError, match=refused) as caught:
        train(settings)
    assert str(caught.value).count("\n") == 0


# JAX's switches.


def test_a_loss_prints_while_it_is_computed(made, capfd):
    def told(model, batch, rngs):
        total, weight = loss_fn(model, batch, rngs)
        jax.debug.print("loss {loss}", loss=total / weight)
        return total, weight

    made(losses={"loss": Loss(told)})
    run = train(config())
    jax.effects_barrier()
    found = [float(line.split()[1]) for line in capfd.readouterr().out.splitlines() if line.startswith("loss ")]
    assert found == pytest.approx(list(values_of(run, "train/loss").values()), rel=1e-6)


@pytest.mark.parametrize("switch", [jax.debug_nans, jax.debug_key_reuse])
def test_a_run_is_the_same_under_a_switch_of_jax(run, project, switch):
    with switch(True):
        again = train(config(*SHORT))
    assert_same(opened(last(again)), opened(last(run)), rtol=1e-5, atol=1e-6)


def test_a_step_needs_no_jit(made):
    made()
    engine, [batch] = make_engine(config(), {}), batches(config(), 1)
    with jax.disable_jit():
        state, _ = engine.train_step()(engine.init(), {k: x[None] for k, x in batch.items()}, np.full(1, 0.1), True, {})
    expected = by_hand(fresh(config()), OPTIMIZER, [batch])
    assert_same(arrays(state.params), arrays(expected), rtol=1e-5, atol=1e-6)


def settings():
    """What a person's own code computes with."""
    return jax.config.jax_enable_x64, jax.config.jax_default_device, jnp.ones(1).dtype, jnp.ones(1).device


def test_a_persons_settings_hold_around_runs_of_several_precisions(made, series):
    def generate(model, batch, seed):
        for _ in range(2):
            yield {"prediction": model(batch["series"]) + jnp.arange(1.0)}

    made().generate = generate
    with jax.default_device(None):
        before, both = settings(), {}
        for name in ("float64", "float32"):
            run = train(config("--trainer.max_steps=1", f"--accelerator.precision={name}", f"--name={name}"))
            both[name] = load(run)
            assert settings() == before
        for _ in range(2):
            for name, predictor in both.items():
                assert predictor.outputs(series)["prediction"].dtype == name
                assert settings() == before
        pieces = {name: one._engine.generate(one.checkpoint, {"series": series}) for name, one in both.items()}
        for _ in range(2):
            for name, stream in pieces.items():
                assert next(stream)["prediction"].dtype == name
                assert settings() == before


SCRIPT = """
from test_nnx_changes_trainer import SHORT, busy, config, in_place, nnx_half, train
with in_place(nnx_half(layer=busy)):
    train(config(*SHORT))
"""


def test_jax_enable_x64_of_the_environment_changes_no_run(run, project):
    folders = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "JAX_ENABLE_X64 is set, but" in done.stderr, done.stderr
    assert_same(opened(last(project / "runs/series/default/nnx/001")), opened(last(run)))


def test_a_trace_tells_the_steps(made):
    made()
    run = train(config("--debug=profile"))
    [trace] = run.glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert {int(event["args"]["step_num"]) for event in events if event.get("name") == "train"} == {*range(10, 15)}


def test_micro_batches_change_nothing(made):
    made()
    settings = config("--accelerator.precision=float64", "--trainer.accumulate=4")
    run = train(settings)
    with jax.enable_x64(True):
        expected = arrays(by_hand(fresh(settings), OPTIMIZER, batches(settings, 4)))
    assert_same(opened(last(run)), expected, rtol=1e-9)


def test_several_steps_a_call_draw_the_same_numbers(run, project):
    found = train(config(*SHORT, "--trainer.checkpoint_every=2", "--trainer.log_every=2", "--nnx.steps_per_call=2"))
    assert_same(opened(last(found), "model", "train"), opened(last(run), "model", "train"), rtol=1e-4, atol=1e-6)


def test_a_second_run_in_a_process_has_the_bits_of_the_first(run, project):
    again = train(config(*SHORT))
    assert_same(opened(last(again), "model", "train"), opened(last(run), "model", "train"))
    assert history(again) == history(run)


def test_between_validations_nothing_goes_to_the_device_unasked(run, project, monkeypatch):
    run_metrics = loop.Engine.run_metrics

    def unguarded(*given):
        with jax.transfer_guard("allow"):
            return run_metrics(*given)

    monkeypatch.setattr(loop.Engine, "run_metrics", unguarded)
    with jax.transfer_guard("disallow"):
        train(config(*SHORT))


@pytest.fixture
def compiled(tmp_path):
    """`compiled()`: the names of the programs that JAX has kept since the test began."""
    options = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: getattr(jax.config, name) for name in options}
    for values in (options, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is options:
            yield lambda: {path.name for path in tmp_path.glob("*-cache")}


def test_a_longer_run_compiles_nothing_anew(made, compiled):
    made()
    train(config("--trainer.max_steps=3", "--optimizer.schedule=cosine"))
    programs = compiled()
    train(config("--trainer.max_steps=9", "--optimizer.schedule=cosine"))
    assert any("train_steps" in name for name in programs) and compiled() == programs
