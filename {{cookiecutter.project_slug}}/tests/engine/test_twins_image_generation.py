"""Both halves of image generation are the same algorithm: each model, each loss, and what a step moves."""

import numpy as np
import pytest
import torch
from conftest import make_engine, small, steps, values_of
from flax import nnx
from helpers import load_data
from parity import assert_gradients_agree, assert_runs_agree, assert_weights_go_across_and_back, config, make_twins

from {{cookiecutter.package_name}} import load
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.folder import read_config
from {{cookiecutter.package_name}}.engine.lightning.data import tensors
from {{cookiecutter.package_name}}.models.layers import nnx as layers

TASK = "image_generation"
RESNET = ("--model.name=resnet_gan", "--model.width=4")
PENALTY = ("--model.norm=none", "--model.r1=0.5", "--model.loss=hinge")


@pytest.mark.slow
@pytest.mark.parametrize("options", [RESNET, PENALTY], ids=["resnet", "penalty"])
def test_a_run_is_the_same(project, options):
    assert_runs_agree(TASK, *small(TASK), *options)


@pytest.mark.parametrize(
    "options",
    [RESNET, PENALTY, (*RESNET, "--model.r1=2"), ["--model.discriminator_hidden=12"]],
    ids=["resnet", "penalty", "both", "hidden"],
)
def test_gradients_are_the_same(options):
    assert_gradients_agree(TASK, *small(TASK), *options)


def test_the_discriminator_has_a_learning_rate_of_its_own(project):
    """A step of gradient descent is as long as its rate says."""
    for framework in ("lightning", "nnx"):
        moved = {}
        for rate in (1.0, 0.25):
            words = ["--optimizer.name=sgd", "--optimizer.momentum=0", "--optimizer.ema_decay=0", *steps(1)]
            settings = config(TASK, framework, *small(TASK), *words, f"--model.discriminator_rate={rate}")
            before = make_engine(settings, load_data(settings).spec).weights(None)
            after = load(workflow.train(settings), "last").weights()
            kernel = "discriminator.input.weight"
            moved[rate] = after[kernel] - before[kernel]
        assert moved[0.25] == pytest.approx(moved[1.0] / 4, rel=1e-9, abs=1e-15)


def test_weights_of_a_residual_gan_go_across_and_back():
    assert_weights_go_across_and_back(TASK, *small(TASK), *RESNET)


def test_running_statistics_move_three_times_in_the_discriminator_and_twice_in_the_generator(monkeypatch):
    """With the losses of a step, on both sides."""
    settings = config(TASK, "lightning", *small(TASK), "--accelerator.precision=float32")
    data = load_data(settings)
    batch = TrainBatches(data, 16, 0)[0]
    net, _ = make_twins(settings, data.spec)
    half = tasks.twin(tasks.find(TASK), "lightning")
    half.discriminator_loss(net, tensors(batch), 0.0)
    half.generator_loss(net, tensors(batch))
    moves = {name: int(count) for name, count in net.state_dict().items() if name.endswith("num_batches_tracked")}
    for part, count in {"generator": 2, "discriminator": 3}.items():
        assert {n for name, n in moves.items() if name.startswith(part)} == {count}

    seen, call = [], layers.BatchNorm.__call__
    monkeypatch.setattr(layers.BatchNorm, "__call__", lambda self, x: (seen.append(id(self)), call(self, x))[1])
    half = tasks.twin(tasks.find(TASK), "nnx")
    model = half.create_model(settings, data.spec, rngs=nnx.Rngs(0))
    half.discriminator_loss(model, batch, nnx.Rngs(0), 0.0)
    half.generator_loss(model, batch, nnx.Rngs(0))
    moves = {
        part: {seen.count(id(m)) for _, m in nnx.iter_modules(getattr(model, part)) if isinstance(m, layers.BatchNorm)}
        for part in ("generator", "discriminator")
    }
    assert moves == {"generator": {2}, "discriminator": {3}}


@pytest.mark.slow
def test_a_run_goes_on_in_the_other_framework(project, cli):
    """With both optimizers, the average, and the vectors of spectral normalization."""
    options = (*small(TASK), *RESNET, "--accelerator.precision=float64", "--optimizer.ema_decay=0.9")
    options += ("--trainer.log_every=1", "--optimizer.schedule_steps=12")
    whole = workflow.train(config(TASK, "lightning", *options, *steps(12), "--name=whole"))
    half = workflow.train(config(TASK, "lightning", *options, *steps(6), "--name=half"))
    outcome = cli("train", f"--resume={half}", "--framework=nnx", *steps(6))
    assert outcome.code == 0, outcome.err
    [rest] = [path.parent for path in project.rglob("config.yaml") if read_config(path.parent)["framework"] == "nnx"]
    for tag in ("train/loss/discriminator", "train/loss/generator"):
        a, b = values_of(whole, tag), values_of(rest, tag)
        assert list(b) == list(range(7, 13)) and b == pytest.approx({i: a[i] for i in b}, rel=1e-9)


def test_both_frameworks_evaluate_on_the_same_noise_and_images():
    a, b = (load_data(config(TASK, name, *small(TASK))) for name in ("lightning", "nnx"))
    for split in ("val", "test"):
        one, other = (getattr(data, split)[np.arange(100)] for data in (a, b))
        assert all((one[name] == other[name]).all() for name in ("image", "noise", "first"))
    assert torch.from_numpy(one["noise"]).dtype == torch.float32
