"""What Lightning's documentation teaches works in a run: callbacks and loggers of one's own.

The other files of this name show it of optimizers and of the Trainer.
"""

import contextlib
import csv
import functools
import logging
import threading
from datetime import timedelta

import numpy as np
import pytest
import torch
from conftest import history, steps, values_of
from helpers import MONITOR, SMALL, TASK, load_data
from lightning.pytorch import Callback
from lightning.pytorch import callbacks as stock
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger

from {{cookiecutter.package_name}} import build, load, train
from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result
from {{cookiecutter.package_name}}.engine.session import Progress
from {{cookiecutter.package_name}}.extensions import lightning as extensions

Module = tasks.twin(tasks.find(TASK), "lightning").Module
EPOCH = 4  # steps, of `epochs`


def config(*options):
    return registry.load_config(TASK, ["--framework=lightning", *SMALL, "--trainer.log_every=1", *options])


@functools.cache
def rows():
    return len(load_data(config()).train)


def epochs(count):
    """Options for a run of so many epochs, each of EPOCH steps."""
    length = (f"--trainer.epochs={count}", "--trainer.max_steps=0", "--trainer.min_steps=0")
    return *length, f"--data.batch_size={rows() // EPOCH // 4 * 4}"


@contextlib.contextmanager
def extended(callbacks=list, loggers=list):
    """As if extensions/lightning.py gave these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extensions, "callbacks", lambda config: callbacks())
        patch.setattr(extensions, "loggers", lambda config: loggers())
        yield


@contextlib.contextmanager
def interrupted(step):
    """After a step, once."""
    advance = Progress.advance

    def interrupt(self, count):
        advance(self, count)
        if self.step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            yield


def last_checkpoint(folder):
    return torch.load(folder / "checkpoints" / read_record(folder).last, weights_only=True)


def weights(module):
    """Copies, by name."""
    return {name: p.detach().clone() for name, p in module.named_parameters() if name.startswith("net.")}


def assert_same(found, expected, **tolerance):
    """Of tensors by name, those that are expected."""
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **tolerance or {"rtol": 0, "atol": 0}, msg=name)


class Recorder(Callback):
    """What a run does, as a callback sees it."""

    def __init__(self):
        self.batches, self.rates, self.called, self.weights = [], [], [], {}

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_train_epoch_start(self, trainer, module):
        self.weights["epoch", trainer.current_epoch] = weights(module)

    def on_train_batch_end(self, trainer, module, *_):
        self.weights["step", trainer.global_step] = weights(module)

    def on_train_end(self, trainer, module):
        self.called.append("train end")

    def on_fit_end(self, trainer, module):
        self.called.append("fit end")

    def teardown(self, trainer, module, stage):
        self.called.append("teardown")

    def on_exception(self, trainer, module, exception):
        self.called.append("exception")


ENDED = ["train end", "fit end", "teardown"]  # what is called where a run ends


class Account(DummyLogger):
    """A logger that remembers."""

    def __init__(self):
        super().__init__()
        self.lines, self.hyperparams, self.status = [], [], []

    def log_metrics(self, metrics, step=None):
        self.lines.append((step, metrics))

    def log_hyperparams(self, params, *_):
        self.hyperparams.append(params)

    def finalize(self, status):
        self.status.append(status)

    def values(self, tag):
        """[(step, value)]."""
        return [(step, metrics[tag]) for step, metrics in self.lines if tag in metrics]


class Scripted(Module):
    """Logs a number of its own, best at step 6."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("val/own", abs(float(self.trainer.global_step) - 6.0))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of 12 steps in 3 epochs, validated every third step, under many eyes: its folder, callbacks and logger."""
    folder, account = tmp_path_factory.mktemp("watched"), Account()
    found = {
        "loss": stock.ModelCheckpoint(folder / "loss", monitor="val/loss"),
        "best": stock.ModelCheckpoint(folder / "best", "{step}", monitor="val/own"),
        "all": stock.ModelCheckpoint(folder / "all", "{step}", every_n_train_steps=5, save_top_k=-1),
        "rates": stock.LearningRateMonitor(),
        "recorder": Recorder(),
        "summary": stock.ModelSummary(),
    }
    loggers = [account, CSVLogger(folder / "csv")]
    options = ("--trainer.val_every=3", "--optimizer.name=adamw", "--optimizer.schedule=cosine", f"--run_dir={folder}")
    logged, handler = [], logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logging.getLogger("lightning.pytorch.callbacks.model_summary").addHandler(handler)
    with extended(lambda: list(found.values()), lambda: loggers):
        run = train(config(*epochs(3), *options), Scripted)
    logging.getLogger("lightning.pytorch.callbacks.model_summary").removeHandler(handler)
    return run, found, account, folder, logged


def test_model_checkpoint_keeps_the_best_of_validations_within_epochs(watched):
    run, found, _, folder, _ = watched
    losses = values_of(run, "val/loss")
    assert list(losses) == [3, 6, 9, 12]
    assert float(found["loss"].best_model_score) == pytest.approx(min(losses.values()), rel=1e-6)
    assert [path.name for path in (folder / "best").iterdir()] == ["step=6.ckpt"]
    assert torch.load(folder / "best/step=6.ckpt", weights_only=True)["global_step"] == 6


def test_model_checkpoint_keeps_every_fifth_step(watched):
    assert sorted(path.name for path in (watched[3] / "all").iterdir()) == ["step=10.ckpt", "step=5.ckpt"]


def test_the_learning_rate_monitor_and_the_run_log_the_optimizers_rate(watched):
    run, found, *_ = watched
    used = [rate for rate, *_ in found["recorder"].rates]
    assert used[0] > used[6] > used[11] > 0
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx(used, rel=1e-6)
    assert list(values_of(run, "lr-AdamW/pg1").values()) == pytest.approx(used, rel=1e-6)


def test_model_summary_prints_its_table(watched):
    run, *_, logged = watched
    total = sum(value.numel() for value in weights_of(run))
    assert f"{total:,}" in str(logged) or f"{total / 1000:.1f} K" in str(logged), logged


def weights_of(run):
    return [value for name, value in last_checkpoint(run)["state_dict"].items() if name.startswith("net.")]


def test_what_a_module_logs_stands_once_in_the_runs_metrics_and_in_each_logger(watched):
    run, _, account, *_ = watched
    lines = [(line["step"], line["val/own"]) for line in history(run) if "val/own" in line]
    assert lines == [(3, 3.0), (6, 0.0), (9, 3.0), (12, 6.0)]
    assert [value for _, value in account.values("val/own")] == [3.0, 0.0, 3.0, 6.0]


def test_a_logger_gets_the_config_once_and_all_that_the_run_logs_at_its_steps(watched):
    run, _, account, *_ = watched
    [params] = account.hyperparams
    assert params["trainer.epochs"] == 3
    for tag in ("train/loss", "train/learning_rate", "train/grad_norm", "val/loss", MONITOR):
        assert account.values(tag) == list(values_of(run, tag).items()), tag
    assert MONITOR.replace("val/", "test/") in account.lines[-1][1]
    assert account.status == ["success"]


def test_the_csv_logger_has_what_the_run_has(watched):
    run, *_, folder, _ = watched
    [path] = folder.glob("csv/**/metrics.csv")
    with open(path) as file:
        lines = [line for line in csv.DictReader(file) if line["val/loss"]]
    assert {int(line["step"]): float(line["val/loss"]) for line in lines} == pytest.approx(values_of(run, "val/loss"))


# torch's own module asks for a name of NumPy's that is going away.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tensorboard_logger_has_what_the_run_has(project):
    pytest.importorskip("torch.utils.tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with extended(loggers=lambda: [TensorBoardLogger("board")]):
        run = train(config(*steps(2)))
    [folder] = {path.parent for path in project.glob("board/**/events*")}
    found = EventAccumulator(str(folder)).Reload()
    for tag in ("train/loss", "val/loss", "test/loss"):
        assert [event.value for event in found.Scalars(tag)] == pytest.approx(list(values_of(run, tag).values()))


def test_early_stopping_with_its_defaults_stops_after_three_epochs_without_a_better_one_in_each_run(project):
    with extended(lambda: [stock.EarlyStopping("val/loss")]):
        for name in ("one", "two"):  # the second does not inherit the state of the first
            run = train(config(*epochs(7), "--optimizer.learning_rate=1e-30", f"--name={name}"))
            assert read_result(run)["steps"] == 4 * EPOCH
            assert read_record(run).last.startswith(f"{4 * EPOCH:08d}")


def test_early_stopping_within_epochs_counts_validations(project):
    with extended(lambda: [stock.EarlyStopping("val/loss", patience=2)]):
        still = ("--optimizer.learning_rate=1e-30", "--trainer.val_every=3")
        assert read_result(train(config(*epochs(7), *still)))["steps"] == 9


def test_a_timer_ends_the_run_at_the_end_of_an_epoch(project):
    timer, recorder = stock.Timer(timedelta(microseconds=1), interval="epoch"), Recorder()
    with extended(lambda: [timer, recorder, stock.ModelCheckpoint()]):
        run = train(config(*epochs(3)))
    assert read_result(run)["steps"] == EPOCH
    assert timer.time_elapsed("train") > 0 and recorder.called == ENDED
    # Without a folder of its own, a checkpoint callback writes into the run's.
    assert [path.name for path in (run / "callbacks/checkpoints").iterdir()] == ["epoch=0-step=4.ckpt"]


def test_a_callback_that_ends_the_run_before_it_begins_is_told(project):
    with extended(lambda: [stock.Timer(timedelta(0))]), pytest.raises(RunError, match="before its first step"):
        train(config(*steps(3)))


def test_out_of_time_a_run_ends_without_an_exception_and_its_loggers_are_told_of_success(project):
    recorder, account = Recorder(), Account()
    with extended(lambda: [recorder], lambda: [account]):
        train(config(*steps(60), "--trainer.max_minutes=1e-6"))
    assert recorder.called == ENDED and account.status == ["success"]


def test_a_run_that_fails_is_told_to_its_loggers(project):
    class Bad(Module):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)["loss"] * torch.nan

    recorder, account = Recorder(), Account()
    with extended(lambda: [recorder], lambda: [account]), pytest.raises(RunError, match="train/loss is nan at step 1"):
        train(config(*steps(3)), Bad)
    assert recorder.called == ["exception"] and account.status == ["failed"]


def test_predicting_and_testing_make_no_run_in_a_logger(watched):
    def refuse():
        raise AssertionError("asked for loggers")

    run, *_ = watched
    data = load_data(config())
    with extended(refuse, refuse):
        predictor = load(run, module=Scripted)
        found = predictor._engine.predict(predictor.checkpoint, data.test)
    assert {len(value) for value in found.values()} == {len(data.test)}


@pytest.mark.parametrize("bar", ["TQDMProgressBar", "RichProgressBar"])
def test_a_progress_bar_shows_the_loss(bar, project, capsys):
    if bar == "RichProgressBar":
        pytest.importorskip("rich")
    with extended(lambda: [getattr(stock, bar)()]):
        train(config(*epochs(1)))
    assert "train/loss" in capsys.readouterr().out.replace("\n", "")


def test_device_stats_stand_in_the_runs_metrics(project):
    pytest.importorskip("psutil")
    with extended(lambda: [stock.DeviceStatsMonitor(cpu_stats=True)]):
        run = train(config(*steps(2)))
    assert len(values_of(run, "DeviceStatsMonitor.on_train_batch_end/cpu_percent")) == 2


# Lightning says that the schedule in its place is one for each step.
@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch:UserWarning")
def test_stochastic_weight_averaging_leaves_the_mean_of_its_epochs(project):
    options = (*epochs(4), "--optimizer.name=sgd")
    recorder = Recorder()
    with extended(lambda: [stock.StochasticWeightAveraging(0.01, swa_epoch_start=0.5), recorder]):
        run = train(config(*options, "--name=whole"))
    parts = [recorder.weights["epoch", epoch] for epoch in (1, 2, 3)]
    mean = {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}
    whole = last_checkpoint(run)["state_dict"]
    assert_same(whole, mean, rtol=1e-5, atol=1e-7)
    used = [rate for rate, *_ in recorder.rates]
    assert used[-1] != used[0]
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx(used, rel=1e-6)

    with extended(lambda: [stock.StochasticWeightAveraging(0.01, swa_epoch_start=0.5)]):
        with interrupted(11):
            train(config(*options, "--trainer.checkpoint_every=5", "--name=cut"))
        again = train(config(*options, "--trainer.checkpoint_every=5", "--name=cut"))
    assert_same(last_checkpoint(again)["state_dict"], whole)


# Lightning warns whoever has a `configure_model`, though only one that cuts the model is meant.
@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model:UserWarning")
def test_an_exponential_average_is_what_is_validated_and_kept(project):
    recorder = Recorder()
    with extended(lambda: [stock.EMAWeightAveraging(decay=0.5), recorder]):
        run = train(config(*steps(5)))
    average = recorder.weights["step", 1]
    for step in range(2, 6):
        average = {name: (value + recorder.weights["step", step][name]) / 2 for name, value in average.items()}
    found = last_checkpoint(run)
    assert_same(found["state_dict"], average, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches != 1:UserWarning")
def test_gradients_are_accumulated_as_a_schedule_says(project):
    recorder = Recorder()
    with extended(lambda: [stock.GradientAccumulationScheduler({0: 1, 1: 2}), recorder]):
        assert read_result(train(config(*epochs(3))))["steps"] == EPOCH + EPOCH // 2 * 2
    assert len(recorder.batches) == 3 * EPOCH
    # The last step is validated, though the config has planned others.
    with extended(lambda: [stock.GradientAccumulationScheduler({0: 1, 1: 2})]):
        run = train(config(*epochs(3), "--trainer.val_every=5"))
    assert max(values_of(run, "val/loss")) == read_result(run)["steps"] == EPOCH + EPOCH // 2 * 2


def test_the_last_step_is_validated_whatever_the_rhythm(project):
    run = train(config(*epochs(3), f"--trainer.val_every={2 * EPOCH}"))
    assert list(values_of(run, "val/loss")) == [2 * EPOCH, 3 * EPOCH]


def test_stochastic_weight_averaging_of_batch_norm_is_refused_with_what_to_use(project):
    class Normed(Module):
        def create_model(self):
            net = super().create_model()
            net.norm = torch.nn.BatchNorm1d(1)
            return net

    with extended(lambda: [stock.StochasticWeightAveraging(0.01)]), pytest.raises(InputError, match="use WeightAver"):
        train(config(*epochs(2)), Normed)


class FirstLater(stock.BaseFinetuning):
    """The first layer learns from the second epoch on, at a tenth of the rate."""

    @staticmethod
    def layer(module):
        return next(part for part in module.net.children() if list(part.parameters()))

    def freeze_before_training(self, module):
        self.freeze(self.layer(module), train_bn=False)

    def finetune_function(self, module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(self.layer(module), optimizer)


def test_a_layer_is_unfrozen_later_at_its_own_rate_also_when_the_run_goes_on(project):
    options = (*epochs(3), "--optimizer.learning_rate=0.01", "--trainer.checkpoint_every=3")
    recorder = Recorder()
    with extended(lambda: [FirstLater(), recorder]):
        run = train(config(*options, "--name=whole"))
    start = recorder.weights["epoch", 0]
    frozen = [name for name in start if torch.equal(recorder.weights["epoch", 1][name], start[name])]
    assert frozen and len(frozen) < len(start)
    assert not any(torch.equal(recorder.weights["epoch", 2][name], start[name]) for name in frozen)
    assert [len(set(rates)) for rates in recorder.rates] == [1] * EPOCH + [2] * 2 * EPOCH
    assert recorder.rates[-1] == pytest.approx([0.01, 0.01, 0.001])

    with extended(lambda: [FirstLater()]):
        with interrupted(7):
            train(config(*options, "--name=cut"))
        again = train(config(*options, "--name=cut"))
    assert_same(last_checkpoint(again)["state_dict"], last_checkpoint(run)["state_dict"])


def diverging(callback, *options):
    """What is told of a run that diverges after it has saved a state, under a callback that changes what is trained."""
    options = (*epochs(4), "--optimizer.name=sgd", "--trainer.checkpoint_every=1", *options)
    with extended(lambda: [callback()]):
        with pytest.raises(RunError) as error:
            train(config(*options), Overflows)
    return str(error.value)


class Overflows(Module):
    """Of the third epoch, the second batch has no finite loss."""

    def training_step(self, batch, batch_idx):
        found = super().training_step(batch, batch_idx)
        return {**found, "loss": found["loss"] * (torch.nan if self.step == 2 * EPOCH + 1 else 1)}


def test_a_run_that_diverges_after_a_layer_was_unfrozen_is_diagnosed(project):
    told = diverging(FirstLater)
    assert f"first the loss, though what the model gave it is finite in step {2 * EPOCH + 2}: lower" in told


def test_what_cannot_be_repeated_is_told_where_a_run_diverges(project):
    class Regroups(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                group = trainer.optimizers[0].param_groups[0]
                trainer.optimizers[0].add_param_group({**group, "params": [group["params"].pop()]})

    assert "these steps cannot be repeated, as a callback has changed" in diverging(Regroups)


class Counting(Callback):
    """Has a state of NumPy's."""

    def __init__(self):
        self.loaded = None

    def state_dict(self):
        return {"best": np.float64(1.5), "count": np.int64(3), "history": [np.arange(3)]}

    def load_state_dict(self, state):
        self.loaded = state


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")  # of the one that is missing
def test_a_callbacks_numpy_state_is_read_again_and_not_missed_by_a_run_without_it(project):
    counting = Counting()
    options = (*steps(4), "--trainer.checkpoint_every=2", "--name=one")
    with extended(lambda: [counting]):
        with interrupted(3):
            train(config(*options))
        assert counting.loaded is None
        run = train(config(*options))
    [history] = counting.loaded.pop("history")
    assert counting.loaded == {"best": 1.5, "count": 3} and history.tolist() == [0, 1, 2]
    assert read_result(train(config(*steps(2), f"--resume={run}")))["steps"] == 6


def test_a_callbacks_state_that_is_no_plain_data_is_refused_in_one_line(project):
    class Odd(Callback):
        def state_dict(self):
            return {"thing": object()}

    with extended(lambda: [Odd()]), pytest.raises(RunError, match=r"Odd'\]\['thing'\] is of object: give"):
        train(config(*steps(1)))


@pytest.mark.parametrize(
    "finder, key", [(stock.BatchSizeFinder, "data.batch_size"), (stock.LearningRateFinder, "optimizer.learning_rate")]
)
def test_a_finder_that_would_change_the_runs_config_is_refused_with_the_way_to_do_it(project, finder, key):
    with extended(lambda: [finder()]), pytest.raises(InputError, match=rf"Tuner\(trainer\)\..*set {key}$"):
        train(config(*steps(2)))


def test_hooks_of_batches_are_those_of_the_module(project):
    seen = []

    class Own(Module):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            seen.append(self.trainer.state.stage.value)
            return batch

    with pytest.warns(UserWarning, match="It will use the implementation from `LightningModule`"):
        train(config(*steps(2)), Own)
    assert seen[:2] == ["train", "train"] and {*seen} == {"train", "validate", "test"}


def test_a_module_with_loaders_of_its_own_is_refused_with_what_to_change(project):
    class Own(Module):
        def val_dataloader(self):
            return []

    with pytest.raises(InputError, match=rf"Own.val_dataloader: .* change that in tasks/{TASK}/data.py"):
        train(config(*steps(2)), Own)
    assert not (project / "runs").exists() or not list(project.rglob("config.yaml"))


def test_a_class_that_train_cannot_make_is_refused_with_what_it_lacks(project):
    class Own(Module):
        def __init__(self, config, spec, layers):
            super().__init__(config, spec)

    with pytest.raises(InputError, match=r"Own\(config, spec\), and missing a required argument: 'layers': give"):
        train(config(*steps(2)), Own)
    with pytest.raises(InputError, match="is no subclass of TaskModule"):
        train(config(*steps(2)), torch.nn.Linear)


def test_the_names_of_hooks_are_noted_without_torchs_look_at_a_modules_values():
    class Own(Module):
        def training_step(self, batch, batch_idx):
            noted.append(vars(self)["_current_fx_name"])
            return super().training_step(batch, batch_idx)

    noted = []
    shipped, data, trainer = build(config(*steps(1)))
    trainer.fit(Own(**shipped.hparams), data)
    assert noted == ["training_step"]


def test_a_run_trains_in_a_thread(project):
    done = []
    thread = threading.Thread(target=lambda: done.append(train(config(*steps(2)))))
    thread.start()
    thread.join()
    assert read_result(done[0])["steps"] == 2
