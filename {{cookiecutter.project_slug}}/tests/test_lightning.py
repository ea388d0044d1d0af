"""What a Lightning user expects of this half."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger

from {{cookiecutter.package_name}} import task as tasks
from {{cookiecutter.package_name}} import trainers
from {{cookiecutter.package_name}}.data.batches import TrainBatches
from {{cookiecutter.package_name}}.run import read_record
from {{cookiecutter.package_name}}.trainers import session, workflow
from {{cookiecutter.package_name}}.trainers.lightning.data import DataModule
from {{cookiecutter.package_name}}.trainers.lightning.module import Module, seed_of
from {{cookiecutter.package_name}}.trainers.lightning.trainer import Engine, make_trainer
from {{cookiecutter.package_name}}.trainers.schedule import Plan

SMALL = ("--framework=lightning", "--model.name=mlp", "--model.hidden=16", "--data.batch_size=128", "--accelerator=cpu")


def config(*options):
    return trainers.load_config("image_classification", [*SMALL, *options])


def last_checkpoint(folder):
    return torch.load(folder / "checkpoints" / read_record(folder).last, weights_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return workflow.train(config("--trainer.epochs=2", f"--run_dir={tmp_path_factory.mktemp('runs')}"))


def test_a_checkpoint_holds_plain_data_only(trained):
    assert {"state_dict", "optimizer_states", "lr_schedulers", "hyper_parameters"} <= last_checkpoint(trained).keys()


def test_a_module_loads_from_a_checkpoint_alone(trained):
    path = trained / "checkpoints" / read_record(trained).last
    module = Module.load_from_checkpoint(path, weights_only=True)
    for name, value in last_checkpoint(trained)["state_dict"].items():
        assert torch.equal(module.state_dict()[name], value)


def test_an_interrupted_run_ends_with_the_same_bits(project, monkeypatch):
    options = ("--trainer.epochs=2", "--trainer.checkpoint_every=3", "--model.dropout=0.3", "--data.shift=1")
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


class Foreign(Callback):
    """Counts, and logs by `self.log` as any Lightning callback may."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, trainer, module, *_):
        self.steps += 1
        module.log("foreign/steps", float(self.steps))


def fit(settings, **overrides):
    """Trains without a run: what a person does in a notebook."""
    task = tasks.find(settings.task)
    data = task.load(settings.data)
    batches = TrainBatches(data.train, settings.data.batch_size, settings.seed, data.augment)
    plan = Plan.of(settings, batches.steps_per_epoch)
    module = Engine(settings, task, data.spec).module(plan)
    trainer = make_trainer(settings, limit_train_batches=5, max_epochs=1, **overrides)
    trainer.fit(module, datamodule=DataModule(data, batches, plan))
    return trainer


def test_the_trainer_takes_foreign_callbacks_and_loggers():
    class Recorder(DummyLogger):
        logged: dict = {}

        def log_metrics(self, metrics, step=None):
            self.logged |= metrics

    callback, logger = Foreign(), Recorder()
    trainer = fit(config(), callbacks=[callback], logger=logger, log_every_n_steps=1)
    assert callback.steps == 5
    assert "foreign/steps" in logger.logged
    assert "val/accuracy" in trainer.callback_metrics


def test_several_steps_in_one_call_are_the_same_steps(project):
    options = ("--trainer.epochs=2", "--trainer.log_every=4", "--trainer.val_every=6", "--model.dropout=0.3")
    one_by_one = last_checkpoint(workflow.train(config(*options, "--name=one")))
    together = last_checkpoint(workflow.train(config(*options, "--name=three", "--lightning.steps_per_call=3")))
    assert one_by_one["step"] == together["step"] == 20
    assert all(torch.equal(value, together["state_dict"][name]) for name, value in one_by_one["state_dict"].items())


def test_dropout_draws_anew_in_each_step():
    assert len({seed_of(seed, step) for seed in range(10) for step in range(1000)}) == 10_000


# torch.compile looks into every module that is loaded, and so at what other libraries have deprecated.
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_keeps_the_names_of_its_parameters(project):
    folder = workflow.train(config("--debug=fast", "--lightning.compile=true"))
    assert set(last_checkpoint(folder)["state_dict"]) == set(Engine(config(), None, spec()).module().state_dict())


def spec():
    return tasks.find("image_classification").load(config().data).spec
