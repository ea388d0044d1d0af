"""What a Lightning user expects of this half."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import history, make_engine, small, steps, without_dropout
from helpers import MONITOR, SMALL, TASK, load_data
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import exceptions
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}} import build, load
from {{cookiecutter.package_name}}.engine import registry, session, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError, Stopped
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result
from {{cookiecutter.package_name}}.engine.lightning import devices, flags
from {{cookiecutter.package_name}}.engine.lightning.data import tensors
from {{cookiecutter.package_name}}.engine.lightning.devices import seed_of
from {{cookiecutter.package_name}}.engine.lightning.flags import make_trainer
from {{cookiecutter.package_name}}.engine.lightning.graph import write_graph
from {{cookiecutter.package_name}}.engine.lightning.module import TaskModule
from {{cookiecutter.package_name}}.engine.lightning.plain import plain
from {{cookiecutter.package_name}}.extensions import lightning as extensions

Module = tasks.twin(tasks.find(TASK), "lightning").Module
TEST_MONITOR = MONITOR.replace("val/", "test/")


def config(*options):
    return registry.load_config(TASK, ["--framework=lightning", *SMALL, *options])


def new_module(*options):
    """A module with its initial weights."""
    settings = config(*options)
    return make_engine(settings, load_data(settings).spec).module()


def last_checkpoint(folder):
    return torch.load(folder / "checkpoints" / read_record(folder).last, weights_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return workflow.train(config(*steps(2), f"--run_dir={tmp_path_factory.mktemp('runs')}"))


def test_what_is_lightnings_own_is_still_there():
    """Names that it may change: its version has an upper bound for them."""
    loop = make_trainer(config()).fit_loop.epoch_loop
    assert "_batches_that_stepped" in loop.on_save_checkpoint()
    assert issubclass(exceptions._TunerExitException, Exception)


def test_a_checkpoint_holds_plain_data_only(trained):
    assert {"state_dict", "optimizer_states", "lr_schedulers", "hyper_parameters"} <= last_checkpoint(trained).keys()


def test_a_module_loads_from_a_checkpoint_alone(trained):
    path = trained / "checkpoints" / read_record(trained).last
    module = Module.load_from_checkpoint(path, weights_only=True)
    for name, value in last_checkpoint(trained)["state_dict"].items():
        assert torch.equal(module.state_dict()[name], value)


def test_an_interrupted_run_ends_with_the_same_bits(project, monkeypatch):
    options = (*steps(10), "--trainer.checkpoint_every=3")
    whole = last_checkpoint(workflow.train(config(*options, "--name=whole")))
    advance = session.Progress.advance

    def interrupt(self, steps):
        advance(self, steps)
        if self.step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.Progress, "advance", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            workflow.train(config(*options, "--name=cut"))
    again = last_checkpoint(workflow.train(config(*options, "--name=cut")))
    assert all(torch.equal(value, again["state_dict"][name]) for name, value in whole["state_dict"].items())
    [before], [after] = whole["optimizer_states"], again["optimizer_states"]
    for key, moments in before["state"].items():
        assert all(torch.equal(value, after["state"][key][name]) for name, value in moments.items())


class Epochs(Callback):
    """Which hooks were called, at which step; kept in checkpoints."""

    def __init__(self):
        self.seen = []

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]

    def on_train_epoch_start(self, trainer, module):
        self.seen.append(["start", trainer.current_epoch, module.step])

    def on_train_epoch_end(self, trainer, module):
        self.seen.append(["end", trainer.current_epoch, module.step])

    def on_validation_end(self, trainer, module):
        self.seen.append(["validated", trainer.current_epoch, module.step])


class Plateau(Module):
    """Whose rate follows the validation."""

    def configure_optimizers(self):
        optimizer = self.create_optimizer(self.net)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1e9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


@pytest.mark.parametrize("val_every", [3, 4])
def test_a_run_that_stops_after_every_step_is_the_same_run(project, monkeypatch, val_every):
    """At and between ends of epochs and validations, with what a person has brought."""
    made = []

    def callbacks(config):
        made.append(Epochs())
        return [made[-1]]

    monkeypatch.setattr(extensions, "callbacks", callbacks)
    quarter = len(load_data(config()).train) // 4 // 4 * 4
    options = (*steps(10), f"--data.batch_size={quarter}", "--trainer.accumulate=2", f"--trainer.val_every={val_every}")
    options += ("--trainer.log_every=1", "--optimizer.ema_decay=0.9", "--trainer.checkpoint_every=3")
    whole = workflow.train(config(*options, "--name=whole"), Plateau)
    seen = made[-1].seen
    for _ in range(11):
        cut = workflow.train(config(*options, "--name=cut", "--trainer.max_minutes=1e-9"), Plateau)
    assert made[-1].seen == seen and len(made) == 11
    assert history(cut) == history(whole)
    a, b = map(last_checkpoint, (whole, cut))
    assert all(torch.equal(value, b["state_dict"][name]) for name, value in a["state_dict"].items())
    assert a["loops"]["fit_loop"]["epoch_loop.batch_progress"] == b["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    rates = [line["train/learning_rate"] for line in history(whole) if "train/learning_rate" in line]
    assert rates[0] > rates[-1]


class Scaled(Module):
    """With other outputs than the shipped one, of the same weights; and what else a step may return and log."""

    def training_step(self, batch, batch_idx):
        found = super().training_step(batch, batch_idx)
        self.log("train/loss", found["loss"])
        return {**found, "size": len(batch), "outputs": torch.ones(3)}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["mine"] = np.float64(1.5)

    def test_step(self, batch, batch_idx):
        super().test_step(batch, batch_idx)
        self.log("test/own", 2.0)


def test_a_run_of_a_class_of_ones_own_is_read_with_it_only(project):
    folder = workflow.train(config(*steps(2), "--trainer.log_every=1"), Scaled)
    assert [line["step"] for line in history(folder) if "train/loss" in line] == [1, 2]
    assert read_result(folder)["metrics"]["test/own"] == 2 and last_checkpoint(folder)["mine"] == 1.5
    assert load(folder, module=Scaled).weights()
    with pytest.raises(InputError, match=r"trained with .*Scaled, not with that of the task: in Python"):
        load(folder).weights()


def test_micro_batches_are_logged_as_one_batch_without_a_run():
    losses = []
    for accumulate in (1, 2):
        logger, settings = Recorder(), config(f"--trainer.accumulate={accumulate}", *without_dropout(config()))
        module, datamodule, trainer = build(settings, logger=logger, log_every_n_steps=1, max_steps=1)
        trainer.fit(module, datamodule)
        losses.append(logger.logged["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.2)  # that of the second half is logged for both


class Hooks(Module):
    """With hooks of a module as Lightning's documentation writes them, which calls no `super()`."""

    def on_train_batch_start(self, batch, batch_idx):
        pass

    def on_train_batch_end(self, outputs, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        pass

    def configure_callbacks(self):
        return []

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)


def test_hooks_of_ones_own_replace_nothing(project):
    options = (*steps(5), "--optimizer.ema_decay=0.9", "--trainer.log_every=1")
    mine, shipped = workflow.train(config(*options, "--name=a"), Hooks), workflow.train(config(*options, "--name=b"))
    assert history(mine) == history(shipped)


class Foreign(Callback):
    """Counts, and logs by `self.log` as any Lightning callback may."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, trainer, module, *_):
        self.steps += 1
        module.log("foreign/steps", float(self.steps))


def fit(settings, **overrides):
    """Trains without a run: what a person does in a notebook."""
    module, datamodule, trainer = build(settings, limit_train_batches=5, limit_val_batches=2, max_epochs=1, **overrides)
    trainer.fit(module, datamodule=datamodule)
    return trainer


class Recorder(DummyLogger):
    """A foreign logger."""

    def __init__(self):
        super().__init__()
        self.logged, self.steps = {}, {}

    def log_metrics(self, metrics, step=None):
        self.logged |= metrics
        self.steps |= dict.fromkeys(metrics, step)


def test_the_trainer_takes_foreign_callbacks_and_loggers():
    callback, logger = Foreign(), Recorder()
    trainer = fit(config(), callbacks=[callback], logger=logger, log_every_n_steps=1)
    assert callback.steps == 5
    assert "foreign/steps" in logger.logged
    assert MONITOR in trainer.callback_metrics


def test_callbacks_and_loggers_of_ones_own_are_in_every_run(project, monkeypatch):
    callback, logger = Foreign(), Recorder()
    monkeypatch.setattr(extensions, "callbacks", lambda config: [callback])
    monkeypatch.setattr(extensions, "loggers", lambda config: [logger])
    folder = workflow.train(config(*steps(5)))
    assert callback.steps == 5
    assert {"foreign/steps", "train/loss", MONITOR, TEST_MONITOR} <= logger.logged.keys()
    assert logger.steps["train/loss"] == logger.steps[MONITOR] == 5
    assert "foreign/steps" in (folder / "metrics.jsonl").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_a_signal_after_the_look_for_signals_waits_for_the_next_step(project, monkeypatch):
    begin = TaskModule.on_train_batch_start

    def kill(self, *given):
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return begin(self, *given)

    monkeypatch.setattr(TaskModule, "on_train_batch_start", kill)  # called after every callback
    with pytest.raises(Stopped, match="step 4 is saved"):
        workflow.train(config(*steps(60), "--name=one"))
    assert read_record(project / "runs" / TASK / "default/lightning/one").step == 4


def test_out_of_patience_a_run_ends_as_lightning_ends_it(project, monkeypatch):
    class Ends(Callback):
        called = ()

        def on_train_end(self, trainer, module):
            self.called += ("end",)

        def on_exception(self, trainer, module, exception):
            self.called += ("exception",)

    callback = Ends()
    monkeypatch.setattr(extensions, "callbacks", lambda config: [callback])
    still = (*steps(60), "--optimizer.learning_rate=1e-30", "--trainer.patience=1", "--trainer.val_every=2")
    assert read_result(workflow.train(config(*still)))["steps"] == 4
    assert callback.called == ("end",)


@pytest.mark.parametrize("given", [None, Foreign(), [Foreign()]])
def test_callbacks_are_given_as_one_or_as_a_list(given):
    found = [type(callback).__name__ for callback in make_trainer(config(), callbacks=given).callbacks]
    assert ("Foreign" in found) is (given is not None)


def test_flags_of_the_trainer_can_be_overridden():
    assert make_trainer(config(), max_epochs=7, logger=False).max_epochs == 7
    assert make_trainer(config("--accelerator.precision=float16"), precision="bf16-mixed").precision == "bf16-mixed"


def test_training_and_loading_leave_the_callers_generator_alone(project):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    new_module()
    assert torch.equal(torch.rand(1), expected)


def test_a_module_of_a_checkpoint_predicts_with_the_average(project):
    settings = config(*steps(5), "--optimizer.ema_decay=0.9")
    folder = workflow.train(settings)
    module = Module.load_from_checkpoint(folder / "checkpoints" / read_record(folder).last, weights_only=True).eval()
    batch = tensors(load_data(settings).test[np.arange(3)])
    with torch.no_grad():
        found, average = module(batch), module.ema.state_dict()
        module.ema = None
        raw = module(batch)
        module.net.load_state_dict(average)
        averaged = module(batch)
    assert all(torch.equal(found[name], averaged[name]) for name in found)
    assert not all(torch.equal(found[name], raw[name]) for name in found)


def test_the_network_of_a_checkpoint_is_the_one_that_is_evaluated(project):
    settings = config(*steps(3), "--optimizer.ema_decay=0.9")
    folder = workflow.train(settings)
    engine, path = make_engine(settings, load_data(settings).spec), folder / "checkpoints" / read_record(folder).last
    net = engine.model(path)
    assert isinstance(net, torch.nn.Module) and not net.training
    for name, value in engine.weights(path).items():
        np.testing.assert_array_equal(net.state_dict()[name].numpy(), value)


def test_in_float64_metrics_are_not_rounded(project):
    metrics = read_result(workflow.train(config(*steps(2), "--accelerator.precision=float64")))["metrics"]
    for tag in ("val/loss", "test/loss"):
        assert metrics[tag] != float(np.float32(metrics[tag])), tag


@pytest.mark.skipif("regression" not in tasks.names(), reason="no other task has metrics that are so easily computed")
def test_in_float64_metrics_are_those_of_the_predictions(project):
    options = ["--framework=lightning", *small("regression"), *steps(2), "--accelerator.precision=float64"]
    settings = registry.load_config("regression", options)
    folder = workflow.train(settings)
    data, path = load_data(settings), folder / "checkpoints" / read_record(folder).best
    targets = data.test[np.arange(len(data.test))]["target"].astype(np.float64)
    errors = make_engine(settings, data.spec).predict(path, data.test)["standardised"] - targets
    found = read_result(folder)["metrics"]
    assert found["test/loss"] == pytest.approx((errors**2).mean(), rel=1e-12)
    assert found["test/r2"] == pytest.approx(1 - (errors**2).mean() / targets.var(), rel=1e-9)


class Overflow(Callback):
    """Makes the gradient of a step infinite, as float16 would."""

    def __init__(self, step):
        self.step, self.weights, self.factors = step, [], []

    def on_after_backward(self, trainer, module):
        if module.step + 1 == self.step:
            next(p for p in module.parameters() if p.grad is not None).grad.fill_(torch.inf)

    def on_train_batch_end(self, trainer, module, *_):
        self.weights.append([p.detach().clone() for p in module.net.parameters()])
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.factors.append(scaler and scaler.get_scale())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop", "muon"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_update_that_overflows_is_left_out(optimizer, precision, monkeypatch):
    monkeypatch.setattr(flags, "LOSS_SCALE", 2.0**10)  # no other gradient overflows
    settings = config(f"--optimizer.name={optimizer}", f"--accelerator.precision={precision}", "--trainer.on_nan=skip")
    watch = Overflow(3)
    fit(settings, callbacks=[watch])
    same = [all(map(torch.equal, a, b)) for a, b in zip(watch.weights, watch.weights[1:], strict=False)]
    assert same == [False, True, False, False]
    if precision == "float16":  # halved, as the loss had been too large
        assert watch.factors == [2.0**10] * 2 + [2.0**9] * 3


def test_a_state_is_kept_as_plain_data(tmp_path):
    state = {"mine": (np.float32(1.5), [np.int64(2)], {"x": np.arange(3.0)}), "made": lambda: 0}
    torch.save(plain(state, "callbacks"), tmp_path / "state")
    found = torch.load(tmp_path / "state", weights_only=True)
    assert found["mine"][:2] == (1.5, [2]) and found["mine"][2]["x"].tolist() == [0, 1, 2] and "made" not in found
    with pytest.raises(RunError, match=r"checkpoint's callbacks\['mine'\]\[0\] is of"):
        plain({"mine": [tmp_path]}, "callbacks")


def test_dropout_draws_anew_in_each_step():
    assert len({seed_of(seed, step) for seed in range(10) for step in range(1000)}) == 10_000


def test_a_run_computes_with_the_threads_of_its_config_and_says_how_many(project, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before, seen = torch.get_num_threads(), []

    class Watching(Module):
        def training_step(self, batch, batch_idx):
            seen.append(torch.get_num_threads())
            return super().training_step(batch, batch_idx)

    workflow.train(config("--debug=fast", "--accelerator=cpu", "--lightning.threads=3"), Watching)
    assert {*seen} == {3} and torch.get_num_threads() == before
    assert "lightning on cpu with 3 threads, float32" in capsys.readouterr().err


# Ends where torch would be loaded, with what its OpenMP would find.
LOADS_TORCH = """
import os, sys
from {{cookiecutter.package_name}}.engine import registry

class Watching:
    def find_spec(self, name, *_):
        if name == "torch":
            found = [f"{key}={os.environ[key]}" for key in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if key in os.environ]
            print(*found)
            sys.exit()

sys.meta_path.insert(0, Watching())
registry.frameworks()["lightning"].engine()
"""


@pytest.mark.parametrize("said", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_that_wait_sleep_soon_where_nobody_has_said_how_they_wait(said):
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", LOADS_TORCH]
    found = subprocess.run(command, env=others | said, capture_output=True, text=True, check=True).stdout.split()
    assert found == [f"{name}={value}" for name, value in (said or {"GOMP_SPINCOUNT": "3000"}).items()]


def test_a_number_of_threads_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads()
    with devices.threads(before + 1):
        assert torch.get_num_threads() == before


# torch.compile looks into every module that is loaded, and so at what other libraries have deprecated.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_a_compiled_model_keeps_the_names_of_its_parameters(project):
    folder = workflow.train(config("--debug=fast", "--lightning.compile=true"))
    assert set(last_checkpoint(folder)["state_dict"]) == set(new_module().state_dict())


@pytest.mark.parametrize("installed", [False, True])
def test_the_extra_is_named_only_where_what_it_brings_is_not_installed(complaint, installed, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has a gpu")
    monkeypatch.setattr(torch.version, "cuda", "13.0" if installed else None)
    line = complaint("train", TASK, "--framework=lightning", *SMALL, "--accelerator=gpu")
    assert ("install the extra [gpu]" in line) == (not installed)


def test_debug_profile_shows_the_graph(project):
    events = EventAccumulator(str(workflow.train(config("--debug=profile")))).Reload()
    parameters = [node.name for node in events.Graph().node]
    assert any("net" in name for name in parameters)


def test_a_model_that_torch_cannot_trace_costs_the_graph_only(tmp_path):
    def odd(batch):
        return {"size": torch.from_numpy(np.ones(3) * batch["x"].shape[0])}

    assert write_graph(tmp_path, torch.nn.Identity(), odd, {"x": torch.zeros(2)}).startswith("TypeError: ")
