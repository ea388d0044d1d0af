"""What Lightning's documentation teaches works in a run: optimizers, schedules, losses and layers of one's own."""

import itertools

import pytest
import torch
from conftest import make_engine, steps, values_of, without_dropout
from helpers import load_data
from test_lightning_changes import (
    EPOCH,
    Module,
    Recorder,
    assert_same,
    config,
    epochs,
    extended,
    interrupted,
    last_checkpoint,
    weights,
)
from torch.utils.checkpoint import checkpoint
from torchmetrics import Metric, MetricCollection

from {{cookiecutter.package_name}} import build, train
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result
from {{cookiecutter.package_name}}.engine.lightning import flags
from {{cookiecutter.package_name}}.engine.lightning.flags import make_trainer
from {{cookiecutter.package_name}}.engine.lightning.manual import ManualModule
from {{cookiecutter.package_name}}.engine.schedule import LOSS_SCALE, learning_rate
from {{cookiecutter.package_name}}.extensions import lightning as extensions

PLAIN = ("--optimizer.name=sgd", "--optimizer.momentum=0", "--optimizer.weight_decay=0")


def plain(*options):
    """Options without dropout, which a loop by hand would have to seed."""
    return *without_dropout(config()), *options


def fresh(settings, cls=Module):
    """A module with the weights that a run begins with."""
    shipped = build(settings).module
    module = cls(**shipped.hparams)
    module.load_state_dict(shipped.state_dict())
    return module


def by_hand(module, batches, optimizer):
    """A loop as torch's tutorials have it."""
    module.train()
    for batch in batches:
        optimizer.zero_grad()
        module.training_step(batch, 0)["loss"].backward()
        optimizer.step()
    return weights(module)


def recorded(settings, cls=None):
    """A run, with what a callback has seen."""
    recorder = Recorder()
    with extended(lambda: [recorder]):
        run = train(settings, cls)
    return run, recorder


def groups(module):
    first, *rest = module.net.parameters()
    return [
        {"params": [first], "lr": 1e-5, "weight_decay": 0.3},
        {"params": rest, "lr": 1e-2, "weight_decay": 0.7},
    ]


class OwnGroups(Module):
    def configure_optimizers(self):
        return torch.optim.AdamW(groups(self))


def test_groups_of_ones_own_train_as_in_a_loop_by_hand_and_the_rate_of_the_first_is_logged(project):
    settings = config(*steps(6), *plain())
    run, recorder = recorded(settings, OwnGroups)
    assert recorder.rates == [[1e-5, 1e-2]] * 6
    assert set(values_of(run, "train/learning_rate").values()) == {1e-5}
    module = fresh(settings)
    expected = by_hand(module, recorder.batches, torch.optim.AdamW(groups(module)))
    assert_same(last_checkpoint(run)["state_dict"], expected, rtol=1e-5, atol=1e-7)


class Stepped(Module):
    """A rate for each group, a tenth of it after each epoch."""

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(groups(self))
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]


def test_a_schedule_of_epochs_steps_after_each_also_when_the_run_goes_on(project):
    settings = (*epochs(3), "--trainer.checkpoint_every=3")
    run, recorder = recorded(config(*settings, "--name=whole"), Stepped)
    first = [1e-5] * EPOCH + [1e-6] * EPOCH + [1e-7] * EPOCH
    assert [rates[0] for rates in recorder.rates] == pytest.approx(first)
    assert [rates[1] for rates in recorder.rates] == pytest.approx([1e3 * rate for rate in first])
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx(first)
    with interrupted(7):
        train(config(*settings, "--name=cut"), Stepped)
    again, recorder = recorded(config(*settings, "--name=cut"), Stepped)
    assert [rates[0] for rates in recorder.rates] == pytest.approx(first[6:])
    assert_same(last_checkpoint(again)["state_dict"], last_checkpoint(run)["state_dict"])
    # What begins with the state of another run goes on from its rates, too.
    _, recorder = recorded(config(*epochs(1), f"--resume={run}"), Stepped)
    assert [rates[0] for rates in recorder.rates] == pytest.approx([1e-8] * EPOCH)


def test_a_schedule_of_steps_and_none_at_all_are_the_persons(project):
    class EachStep(Module):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    run, _ = recorded(config(*steps(3)), EachStep)
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx([0.1, 0.05, 0.025])


def test_a_rate_is_reduced_on_a_plateau_of_the_validation(project):
    class Plateau(Module):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 1e-30)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, eps=0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}

    run, _ = recorded(config(*epochs(4)), Plateau)
    expected = [1e-30] * 2 * EPOCH + [5e-31] * EPOCH + [2.5e-31] * EPOCH
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx(expected, abs=0)


def test_rates_by_layer_follow_the_configs_schedule(project):
    class Layers(Module):
        def create_optimizer(self, part):
            parameters = [p for p in part.parameters() if p.requires_grad]
            return torch.optim.SGD([{"params": [p], "lr": 0.1 * 0.5**i} for i, p in enumerate(parameters)], 0.1)

    settings = config(*steps(5), "--optimizer.schedule=cosine")
    _, recorder = recorded(settings, Layers)
    peak = settings.optimizer.learning_rate
    for step, rates in enumerate(recorder.rates):
        share = learning_rate(step, settings.optimizer, 5) / peak
        assert rates == pytest.approx([0.1 * 0.5**i * share for i in range(len(rates))])


def freezing(name):
    """A task whose named parameter is frozen where the model is made."""

    class Frozen(Module):
        def create_model(self):
            net = super().create_model()
            net.get_parameter(name).requires_grad_(False)
            return net

    return Frozen


def first_matrix():
    net = build(config(*steps(1))).module.net
    return next(name for name, p in net.named_parameters() if p.ndim > 1)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_frozen_layer_keeps_its_bits_whatever_decays(project, optimizer):
    name = first_matrix()
    options = ("--optimizer.weight_decay=0.5", "--optimizer.learning_rate=0.01", f"--optimizer.name={optimizer}")
    run, recorder = recorded(config(*steps(5), *options, "--optimizer.ema_decay=0.9"), freezing(name))
    before, after = recorder.weights["epoch", 0], last_checkpoint(run)["state_dict"]
    kept = [key for key in before if torch.equal(before[key], after[key])]
    assert kept == [f"net.{name}"]
    assert torch.equal(after[f"ema.{name}"], before[f"net.{name}"])
    total = sum(value.numel() for value in before.values())
    assert read_result(run)["parameters"] == total


def test_a_run_with_a_frozen_layer_that_diverges_is_diagnosed(project):
    with pytest.raises(RunError, match="not finite|is nan|is inf"):
        train(config(*steps(20), *PLAIN, "--optimizer.learning_rate=1e30"), freezing(first_matrix()))


class Bad(Module):
    """The third batch has no finite loss."""

    def training_step(self, batch, batch_idx):
        found = super().training_step(batch, batch_idx)
        return {**found, "loss": found["loss"] * (torch.nan if batch_idx == 2 else 1)}


def test_an_update_that_is_skipped_is_one_that_has_not_been_for_any_optimizer(project, monkeypatch):
    nadam = {"nadam": lambda groups, config: torch.optim.NAdam(groups, config.learning_rate)}
    monkeypatch.setattr(extensions, "OPTIMIZERS", nadam)
    options = ("--optimizer.name=nadam", "--optimizer.weight_decay=0", "--optimizer.clip_norm=1e9")
    settings = config(*steps(6), *plain(*options, "--trainer.on_nan=skip"))
    run, recorder = recorded(settings, Bad)
    assert values_of(run, "train/skipped_updates")[6] == 1
    module = fresh(settings)
    batches = [batch for i, batch in enumerate(recorder.batches) if i != 2]
    expected = by_hand(module, batches, torch.optim.NAdam(module.net.parameters(), settings.optimizer.learning_rate))
    assert_same(last_checkpoint(run)["state_dict"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`:UserWarning")
@pytest.mark.parametrize("weight", [0, torch.tensor(0.0)])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_update_of_a_batch_that_weighs_nothing_is_left_out_and_counted(project, weight, precision, monkeypatch):
    monkeypatch.setattr(flags, "LOSS_SCALE", 2.0**10)  # no gradient overflows

    class Weightless(Module):
        def training_step(self, batch, batch_idx):
            if self.step == 2:
                return self.mean((0 * sum(p.sum() for p in self.net.parameters()), weight), {})
            return super().training_step(batch, batch_idx)

    options = ("--optimizer.weight_decay=0.1", "--optimizer.clip_norm=0.5", f"--accelerator.precision={precision}")
    run, recorder = recorded(config(*steps(4), *plain(*options, "--trainer.log_every=1")), Weightless)
    states = [recorder.weights["step", step] for step in (1, 2, 3, 4)]
    changed = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(states)]
    assert changed == [True, False, True]
    assert values_of(run, "train/loss")[3] == values_of(run, "train/grad_norm")[3] == 0
    skipped = values_of(run, "train/skipped_updates")
    assert skipped[3] == skipped[4] == 1


class Halves(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)


class Twofold(ManualModule):
    """Two losses, of which the second weighs nothing in the second step."""

    PARTS = {"first": "first", "second": "second"}

    def create_model(self):
        return Halves()

    def create_metrics(self):
        return MetricCollection({})

    def validation_step(self, batch, batch_idx):
        pass

    def loss_fn(self, name, batch):
        weight = torch.tensor(float(name == "first" or self.trainer.global_step != 3))
        return getattr(self.net, name).weight.square().sum() * weight, weight


def test_of_several_losses_the_one_that_weighs_nothing_is_left_out_and_counted():
    settings, recorder = config(*steps(3)), Recorder()
    module, data, _ = build(settings)
    trainer = make_trainer(settings, module=Twofold, callbacks=recorder, limit_val_batches=0)
    trainer.fit(module := Twofold(**module.hparams), data)
    assert trainer.global_step == 6 and module.skipped == 1
    first, second = recorder.weights["step", 2], recorder.weights["step", 4]
    assert [name for name in first if torch.equal(first[name], second[name])] == [
        "net.first.bias",
        "net.second.weight",
        "net.second.bias",
    ]


def test_the_loss_scale_of_float16_is_logged(project):
    run = train(config(*steps(2), "--accelerator.precision=float16"))
    assert set(values_of(run, "train/loss_scale").values()) <= {LOSS_SCALE, LOSS_SCALE / 2, LOSS_SCALE / 4}


class OwnOptimizer(Module):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("own", ["name", "hook"])
def test_the_state_of_an_optimizer_of_ones_own_is_not_converted(project, own, monkeypatch):
    options = ()
    if own == "name":
        nadam = {"nadam": lambda groups, config: torch.optim.NAdam(groups, config.learning_rate)}
        monkeypatch.setattr(extensions, "OPTIMIZERS", nadam)
        options = ("--optimizer.name=nadam",)
    else:  # as the owner of a task may write it in the task's own file
        monkeypatch.setattr(Module, "configure_optimizers", OwnOptimizer.configure_optimizers)
    settings = config(*steps(1), *options)
    run = train(settings)
    engine = make_engine(settings, load_data(settings).spec)
    with pytest.raises(InputError, match="begin with the run's weights, by --init RUN$"):
        engine.state(run / "checkpoints" / read_record(run).last)


def update(run, recorder):
    """The largest change and the norm of that by one step."""
    after = last_checkpoint(run)["state_dict"]
    changes = [(after[name] - value).flatten() for name, value in recorder.weights["epoch", 0].items()]
    change = torch.cat(changes)
    return float(change.abs().max()), float(change.norm())


@pytest.mark.parametrize("fused", [True, False])
def test_float16_clips_and_logs_the_gradient_that_is_not_scaled(project, fused, monkeypatch):
    own = {} if fused else {"sgd": lambda groups, config: torch.optim.SGD(groups, config.learning_rate)}
    monkeypatch.setattr(extensions, "OPTIMIZERS", own)
    monkeypatch.setattr(flags, "LOSS_SCALE", 2.0**10)  # the first gradient does not overflow
    norms = {}
    for precision in ("float32", "float16"):
        options = (*plain(*PLAIN), f"--accelerator.precision={precision}", "--optimizer.learning_rate=1")
        run, recorder = recorded(config(*steps(1), *options, "--optimizer.clip_norm=0.01", f"--name={precision}"))
        norms[precision] = values_of(run, "train/grad_norm")[1]
        assert update(run, recorder)[1] == pytest.approx(0.01, rel=1e-3)
    assert norms["float16"] == pytest.approx(norms["float32"], rel=0.02)


def test_flags_of_clipping_win_over_the_config():
    settings = config(*steps(1), *PLAIN, "--optimizer.learning_rate=1")
    for clipping, largest, norm in (
        ({"gradient_clip_val": 0.01}, None, 0.01),
        ({"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value"}, 1e-4, None),
    ):
        module, data, trainer = build(settings, **clipping)
        before = weights(module)
        trainer.fit(module, data)
        change = torch.cat([(value - before[name]).flatten() for name, value in weights(module).items()])
        assert largest is None or float(change.abs().max()) == pytest.approx(largest, rel=1e-3)
        assert norm is None or float(change.norm()) == pytest.approx(norm, rel=1e-3)


def test_a_flag_accumulates_over_batches_whose_dropout_differs():
    recorder = Recorder()
    settings = config(*plain(*PLAIN, "--optimizer.learning_rate=0.1"), *steps(2))
    module, data, trainer = build(settings, accumulate_grad_batches=2, callbacks=recorder)
    trainer.fit(module, data)
    assert trainer.global_step == 2 and len(recorder.batches) == 4
    expected = fresh(settings)
    optimizer = torch.optim.SGD(expected.net.parameters(), 0.1)
    expected.train()
    for pair in (recorder.batches[:2], recorder.batches[2:]):
        optimizer.zero_grad()
        (sum(expected.training_step(batch, 0)["loss"] for batch in pair) / 2).backward()
        optimizer.step()
    assert_same(weights(module), weights(expected), rtol=1e-5, atol=1e-7)

    class Draws(Recorder):
        def on_train_batch_start(self, *_):
            self.batches.append(float(torch.rand(1)))

    draws = Draws()
    module, data, trainer = build(settings, accumulate_grad_batches=2, callbacks=draws)
    trainer.fit(module, data)
    assert len(set(draws.batches)) == 4


def test_a_loss_term_of_ones_own_is_trained_with_and_logged(project):
    class Own(Module):
        def training_step(self, batch, batch_idx):
            found = super().training_step(batch, batch_idx)
            penalty = sum(p.square().sum() for p in self.net.parameters())
            self.log("train/half", penalty.detach() / 2)
            return {**found, "loss": found["loss"] + 0.1 * penalty, "penalty": penalty.detach()}

    settings = config(*steps(2), *plain())
    run, recorder = recorded(settings, Own)
    before = (recorder.weights[key].values() for key in (("epoch", 0), ("step", 1)))
    penalties = [sum(float(value.square().sum()) for value in values) for values in before]
    assert list(values_of(run, "train/penalty").values()) == pytest.approx(penalties, rel=1e-5)
    assert list(values_of(run, "train/half").values()) == pytest.approx([value / 2 for value in penalties], rel=1e-5)
    loss = fresh(settings).train().training_step(recorder.batches[0], 0)["loss"].item()
    assert values_of(run, "train/loss")[1] == pytest.approx(loss + 0.1 * penalties[0], rel=1e-5)


def test_a_training_step_may_return_a_plain_loss(project):
    class Own(Module):
        def training_step(self, batch, batch_idx):
            return sum(p.square().sum() for p in self.net.parameters())

    run, recorder = recorded(config(*steps(2)), Own)
    expected = sum(float(value.square().sum()) for value in recorder.weights["epoch", 0].values())
    assert values_of(run, "train/loss")[1] == pytest.approx(expected, rel=1e-5)


class Examples(Metric):
    """How many were seen."""

    def __init__(self):
        super().__init__()
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, *given, mask=None):
        if mask is not None:  # a task may give every metric what its own ones take
            self.count += mask.sum()

    def compute(self):
        return self.count


def test_a_metric_of_ones_own_is_logged_of_each_split(project):
    class Own(Module):
        def create_metrics(self):
            metrics = super().create_metrics()
            metrics.add_metrics({"examples": Examples()})
            return metrics

        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            self.metrics["examples"].update(mask=batch["mask"])

    settings = config(*steps(2))
    run = train(settings, Own)
    data = load_data(settings)
    assert values_of(run, "val/examples") == {2: len(data.val)}
    assert read_result(run)["metrics"]["test/examples"] == len(data.test)


def test_gradient_checkpointing_changes_no_bit(project):
    class Checkpointed(Module):
        def create_model(self):
            net = super().create_model()
            forward = net.forward
            net.forward = lambda *given: checkpoint(forward, *given, use_reentrant=False)
            return net

    shipped, own = (last_checkpoint(train(config(*steps(3)), cls)) for cls in (Module, Checkpointed))
    assert_same(own["state_dict"], shipped["state_dict"])
    assert own["global_step"] == 3


def test_a_learning_rate_that_is_not_the_configs_is_told(project, monkeypatch, capsys):
    monkeypatch.setitem(extensions.OPTIMIZERS, "own", lambda groups, config: torch.optim.NAdam(groups, 0.002))
    monkeypatch.setitem(
        extensions.OPTIMIZERS, "theirs", lambda groups, config: torch.optim.NAdam(groups, config.learning_rate)
    )
    for name, told in (("own", 1), ("theirs", 0)):
        train(config(*steps(2), f"--optimizer.name={name}"))
        assert capsys.readouterr().err.count(f"optimizer.name = {name!r} has a learning rate of its own") == told


def test_that_configure_optimizers_is_ones_own_is_told(project, capsys):
    class Own(Module):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    train(config(*steps(2), "--optimizer.warmup_steps=50"), Own)
    told = capsys.readouterr().err
    assert "configure_optimizers of" in told and "is your own: keys of optimizer count only where" in told
    assert "warmup_steps" not in told


def test_an_optimizer_in_place_of_what_makes_it_is_one_line(project, monkeypatch):
    monkeypatch.setitem(extensions.OPTIMIZERS, "own", torch.optim.SGD([torch.zeros(1)], 0.1))
    with pytest.raises(InputError, match="wants what makes an optimizer: lambda groups, config"):
        train(config(*steps(2), "--optimizer.name=own"))
