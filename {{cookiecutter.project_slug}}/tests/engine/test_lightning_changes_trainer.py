"""What Lightning's documentation teaches works with `build(config)`: flags of the Trainer, plain Trainers, own data."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from conftest import steps, without_dropout
from helpers import First, load_data
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.tuner import Tuner
from test_lightning_changes import EPOCH, Module, Recorder, assert_same, config, epochs, last_checkpoint, rows, weights
from torch.utils.data import DataLoader

from {{cookiecutter.package_name}} import build, load, train
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result

# What Lightning advises whoever makes a Trainer or a DataLoader without care.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:The number of training batches:UserWarning",
    "ignore:GPU available but not used:UserWarning",
    "ignore:.*has no attribute 'logger':UserWarning",
)


def plain_trainer(**flags):
    """What a person makes who does not know of `build`."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(**{"accelerator": "cpu", "devices": 1, **quiet, **flags})


def fitted(*options, **flags):
    """(module, trainer, recorder) after `fit`."""
    recorder = Recorder()
    module, data, trainer = build(config(*options), **{"callbacks": [recorder], **flags})
    trainer.fit(module, data)
    return module, trainer, recorder


def assert_batches(found, settings, expected):
    """expected: the steps of the run's stream."""
    batches = TrainBatches(load_data(settings), settings.data.batch_size, settings.seed)
    assert len(found) == len(expected)
    for batch, step in zip(found, expected, strict=True):
        for name, value in batches[step].items():
            np.testing.assert_array_equal(batch[name].numpy(), value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and its last checkpoint."""
    run = train(config(*steps(3), "--trainer.checkpoint_every=2", f"--run_dir={tmp_path_factory.mktemp('trained')}"))
    return run, run / "checkpoints" / read_record(run).last


@pytest.mark.parametrize("limit, count", [(3, 3), (0.5, 2)])
def test_epochs_are_limited_by_a_number_or_a_share_of_batches(limit, count):
    _, trainer, recorder = fitted(*epochs(2), limit_train_batches=limit)
    assert trainer.global_step == 2 * count and trainer.current_epoch == 2
    assert_batches(recorder.batches, config(*epochs(2)), [*range(count), *range(EPOCH, EPOCH + count)])


def test_validations_and_their_batches_are_limited():
    class Count(L.Callback):
        batches = 0

        def on_validation_batch_end(self, *_):
            self.batches += 1

    for flags, expected in (
        ({"limit_val_batches": 1, "val_check_interval": 0.5}, 2),
        ({"limit_val_batches": 1, "check_val_every_n_epoch": 1}, 1),
        ({"limit_val_batches": 0}, 0),
    ):
        count = Count()
        fitted(*epochs(1), callbacks=count, **flags)
        assert count.batches == expected, flags


def test_overfitting_has_the_same_batches_in_each_epoch():
    _, trainer, recorder = fitted(*epochs(3), overfit_batches=2)
    assert trainer.global_step == 6
    assert_batches(recorder.batches, config(*epochs(3)), [0, 1] * 3)


def test_the_length_given_to_the_trainer_wins_over_the_configs():
    for options in (epochs(1), steps(3)):
        assert fitted(*options, max_steps=5)[1].global_step == 5
    module, trainer, _ = fitted(*epochs(1), max_epochs=2)
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)
    # The schedule ends with the run.
    assert module.total_steps == 8


def test_fast_dev_run_is_one_batch_of_each():
    _, trainer, recorder = fitted(*epochs(3), fast_dev_run=True)
    assert trainer.global_step == len(recorder.batches) == 1
    assert trainer.num_val_batches == [1]


def test_the_profiler_has_timed_each_step():
    _, trainer, _ = fitted(*steps(3), profiler="simple")
    assert len(trainer.profiler.recorded_durations["run_training_batch"]) == 3


def test_anomalies_are_detected():
    class Odd(Module):
        def training_step(self, batch, batch_idx):
            return (super().training_step(batch, batch_idx)["loss"] * 0).sqrt()

    settings = config(*steps(1))
    module, data, trainer = build(settings, detect_anomaly=True)
    with pytest.warns(UserWarning, match="Error detected in"), pytest.raises(RuntimeError, match="returned nan values"):
        trainer.fit(Odd(**module.hparams), data)


def test_what_is_built_trains_as_train_does(trained):
    module, *_ = fitted(*steps(3))
    assert_same(last_checkpoint(trained[0])["state_dict"], weights(module))


def test_a_plain_trainer_with_workers_loses_no_batch_between_epochs():
    options = ("--data.workers=4", *steps(9))
    module, data, _ = build(config(*options))
    recorder = Recorder()
    trainer = plain_trainer(max_epochs=3, limit_train_batches=5, callbacks=recorder)
    trainer.fit(module, data)
    length = len(data.train_dataloader())
    assert_batches(recorder.batches, config(*options), [epoch * length + i for epoch in range(3) for i in range(5)])
    assert "val/loss" in trainer.callback_metrics and "train/loss" in trainer.callback_metrics


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_data_module_gives_its_batches_before_and_after_training(accumulate):
    settings = config(*steps(2), f"--trainer.accumulate={accumulate}")
    module, data, trainer = build(settings)

    def first():
        return next(iter(data.train_dataloader()))

    before, held_out = first(), next(iter(data.val_dataloader()))
    trainer.fit(module, data)
    whole = TrainBatches(data.data, settings.data.batch_size, settings.seed)[0]
    for batch in (before, first()):
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                np.testing.assert_array_equal(value.numpy(), whole[name][: settings.data.batch_size // accumulate])
    assert held_out["mask"].all()


class Rows(torch.utils.data.Dataset):
    """The task's examples, one by one."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return {name: value[0] for name, value in self.source[np.array([index])].items()}


def test_a_loader_of_ones_own_trains_and_validates():
    settings = config(*steps(100))
    data = load_data(settings)
    module = build(settings).module
    before = weights(module)
    trainer = plain_trainer(max_epochs=2)
    with_mask = torch.utils.data.StackDataset(Rows(First(data.val, 8)), [True] * 8)

    def collate(items):
        batch = torch.utils.data.default_collate([row for row, _ in items])
        return {**batch, "mask": torch.ones(len(items), dtype=torch.bool)}

    trainer.fit(module, DataLoader(Rows(First(data.val, 24)), 8), DataLoader(with_mask, 4, collate_fn=collate))
    assert trainer.global_step == 6 and torch.isfinite(trainer.callback_metrics["val/loss"])
    assert not all(torch.equal(value, before[name]) for name, value in weights(module).items())


def test_the_rate_that_the_tuner_finds_is_trained_with(project):
    module, data, trainer = build(config(*steps(2)), callbacks=(recorder := Recorder()))
    before = weights(module)
    found = Tuner(trainer).lr_find(module, datamodule=data, num_training=15, early_stop_threshold=None)
    assert len(found.results["lr"]) == 15 and found.suggestion() == module.learning_rate
    assert_same(weights(module), before)
    trainer.fit(module, data)
    assert [rates[0] for rates in recorder.rates] == pytest.approx([found.suggestion()] * 2)
    assert trainer.global_step == 2


def test_the_tuner_finds_a_batch_size_that_fits_the_data(project):
    # Lightning tries 8192 at most.
    for trials, first, expected in ((2, 32, 64), (25, rows() // 4 * 2, min(rows(), 8192))):
        module, data, trainer = build(config(*epochs(1)))
        tuner = Tuner(trainer)
        found = tuner.scale_batch_size(module, datamodule=data, steps_per_trial=1, max_trials=trials, init_val=first)
        assert found == data.batch_size == expected
        assert len(data.train_dataloader()) == rows() // found


def test_a_module_of_a_checkpoint_is_evaluated_by_a_trainer_as_by_the_run(trained):
    run, path = trained
    _, data, trainer = build(config(*steps(3)))
    module = Module.load_from_checkpoint(path, weights_only=True)
    [validated] = trainer.validate(module, datamodule=data, verbose=False)
    [tested] = trainer.test(module, datamodule=data, verbose=False)
    assert validated | tested == pytest.approx(read_result(run)["metrics"], rel=1e-5)


def test_predictions_of_a_trainer_are_the_runs(trained):
    run, path = trained
    _, data, trainer = build(config(*steps(3)))
    found = trainer.predict(Module.load_from_checkpoint(path, weights_only=True), datamodule=data)
    expected = load(run)._engine.predict(path, data.data.test)
    for name, value in expected.items():
        outputs = torch.cat([output[name] for output in found])[: len(value)]
        np.testing.assert_allclose(outputs.numpy(), value, rtol=1e-5, atol=1e-6)


def test_a_module_of_a_checkpoint_is_trained_again(trained):
    module = Module.load_from_checkpoint(trained[1], weights_only=True)
    before = weights(module)
    _, data, _ = build(config(*steps(3)))
    trainer = plain_trainer(max_steps=2)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    assert not any(torch.equal(value, before[name]) for name, value in weights(module).items() if value.ndim > 1)


def test_a_trainer_goes_on_from_a_runs_checkpoint_with_the_same_bits(trained):
    path, recorder = trained[0] / "checkpoints" / "00000002.ckpt", Recorder()
    module, data, _ = build(config(*steps(5)))
    plain_trainer(max_steps=5, callbacks=recorder).fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    assert_batches(recorder.batches, config(*steps(5)), [2, 3, 4])
    assert_same(weights(module), weights(fitted(*steps(5))[0]))


def test_a_module_is_copied_and_pickled(trained):
    module = Module.load_from_checkpoint(trained[1], weights_only=True).eval()
    batch = {name: torch.from_numpy(value) for name, value in load_data(config()).test[np.arange(3)].items()}
    with torch.no_grad():
        expected = module(batch)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert_same(other(batch), expected)
    # Also while it is under training.
    fitted_module, *_ = fitted(*steps(1))
    assert_same(weights(copy.deepcopy(fitted_module)), weights(fitted_module))
    assert_same(weights(pickle.loads(pickle.dumps(fitted_module))), weights(fitted_module))


def test_two_runs_in_one_process_are_the_same(project):
    first, second = (last_checkpoint(train(config(*steps(3), f"--name={name}"))) for name in ("one", "two"))
    assert_same(second["state_dict"], first["state_dict"])


DEVICES = """
import sys

import lightning as L
import torch
from test_lightning_changes import Recorder, config, weights

from {{cookiecutter.package_name}} import build

if __name__ == "__main__":
    folder, strategy, *options = sys.argv[1:]
    recorder = Recorder()
    module, data, _ = build(config(*options))
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy=strategy, max_steps=3, callbacks=recorder, **quiet)
    trainer.fit(module, data)
    torch.save((recorder.batches, weights(module)), f"{folder}/{trainer.global_rank}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_a_plain_trainer_on_two_devices_gives_each_its_half_and_trains_as_one(tmp_path, strategy):
    options = [*steps(3), *without_dropout(config())]
    script = tmp_path / "devices.py"
    script.write_text(DEVICES)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, script, tmp_path, strategy, *options]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path)
    module, _, recorder = fitted(*options)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (range(2) if strategy == "ddp" else range(1))]
    for batches, trained in found:
        assert_same(trained, weights(module), rtol=1e-4, atol=1e-6)
        assert len(batches) == (3 if strategy == "ddp" else 0)  # of the others nothing comes back
    if strategy == "ddp":
        for parts in zip(found[0][0], found[1][0], recorder.batches, strict=True):
            first, second, whole = parts
            for name, value in whole.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(torch.cat([first[name], second[name]]), value)


def test_what_is_built_has_a_logger_where_a_callback_asks_for_one(project):
    module, data, trainer = build(config(*steps(2)), callbacks=LearningRateMonitor())
    trainer.fit(module, data)
    assert trainer.logger is not None and list(project.glob("lightning_logs/version_0/events*"))
