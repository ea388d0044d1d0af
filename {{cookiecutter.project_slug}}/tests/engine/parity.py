"""Proofs that the two halves of a task are the same algorithm, for the tests of tasks.

From the same weights, on the same batches, they take the same steps. All in float64, where a difference of rounding
does not hide one of another kind, and without dropout, whose random numbers differ.
"""

import contextlib
import dataclasses
import functools
import types

import jax
import numpy as np
import optax
import pytest
import torch
from conftest import history, make_engine, steps, values_of, without_dropout
from flax import nnx
from helpers import load_data

from {{cookiecutter.package_name}}.engine import registry, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.folder import read_record
from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.lightning.data import numpy, tensors
from {{cookiecutter.package_name}}.engine.lightning.module import TaskModule
from {{cookiecutter.package_name}}.engine.nnx import loop
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.engine.twins import bridge

HALVES = {"lightning": lightning_weights, "nnx": nnx_weights}


@contextlib.contextmanager
def float64_in_jax():
    """For models beside an engine, whose own settings hold inside of it only."""
    with jax.enable_x64(True):
        yield


# The proofs. `options` are those of a command; what a proof sets wins over them.

EVERYTHING = ("--trainer.accumulate=2", "--optimizer.schedule=cosine", "--optimizer.warmup_steps=10")
EVERYTHING += ("--optimizer.clip_norm=0.5", "--optimizer.weight_decay=0.1", "--optimizer.ema_decay=0.9")
EVERYTHING += ("--optimizer.momentum=0.8", "--optimizer.beta2=0.9")


@float64_in_jax()
def assert_runs_agree(task, *options):
    """In losses, gradients, learning rates, metrics, weights and outputs, over a run with everything that changes it.

    Of a hundred steps, with warm-up, a cosine schedule, clipping, weight decay, micro-batches and an average, which is
    what is compared of the weights. It trains below the current folder.
    """
    options = (*options, *steps(100), *EVERYTHING)
    runs, settings = train_both(task, *options), config(task, "nnx", *options)
    data = load_data(settings)
    assert len(data.val) % settings.data.batch_size, "choose another batch size: the last one should be ragged"
    for tag in ("train/loss", "train/grad_norm", "train/learning_rate"):
        a, b = (values_of(folder, tag) for folder in runs.values())
        assert list(a) == list(range(1, settings.trainer.max_steps + 1))
        assert a == pytest.approx(b, rel=1e-9)
    for tag in ("val/loss", "test/loss"):
        a, b = ([line for line in history(folder) if tag in line] for folder in runs.values())
        assert a
        for ours, theirs in zip(a, b, strict=True):  # both libraries add metrics up in float32
            assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)
    assert_models_agree(settings, *trained(settings, runs, data.spec), data.test[np.arange(16)])


@float64_in_jax()
def assert_gradients_agree(task, *options, examples=16):
    """In outputs, and in the gradient of each loss, of a batch, to 1e-10 of a tensor's largest entry."""
    settings = config(task, "nnx", *options)
    data = load_data(settings)
    net, model = make_twins(settings, data.spec)
    begin_alike(net, model)
    batch = TrainBatches(data, examples, settings.seed)[0]
    assert_models_agree(settings, net, model, batch, 1e-10)
    net.train()
    model.train()
    with float64():
        ours = torch_gradients(settings, net, batch)
    theirs = nnx_gradients(settings, model, batch)
    assert ours.keys() == theirs.keys()
    for loss, (value, grads) in ours.items():
        assert value == pytest.approx(theirs[loss][0], rel=1e-10)
        largest = max(np.abs(grad).max() for grad in grads.values())
        assert_agree(grads, theirs[loss][1], 1e-10, floor=1e-3 * largest)


@float64_in_jax()
def assert_rounding_stays_small(task, *options):
    """In float32 losses agree to 1e-5 at the first of fifty steps, and to 1e-3 at all of them."""
    options = (*options, *steps(50), "--accelerator.precision=float32")
    a, b = (values_of(folder, "train/loss") for folder in train_both(task, *options).values())
    assert list(a) == list(range(1, 51))
    assert a[1] == pytest.approx(b[1], rel=1e-5)
    assert a == pytest.approx(b, rel=1e-3)


@float64_in_jax()
def assert_steps_agree(task, *options, count=2, examples=8):
    """The same of a model that is too large for a run: in losses, gradients, weights and outputs of a few steps."""
    settings = config(task, "nnx", *options)
    data = load_data(settings)
    net, model = make_twins(settings, data.spec)
    begin_alike(net, model)
    batches = [data.train[np.arange(examples * i, examples * (i + 1))] for i in range(count)]
    model.train()
    with float64():
        ours = list(torch_steps(settings, net, batches))
    assert ours == [pytest.approx(step, rel=1e-9) for step in nnx_steps(settings, model, batches)]
    assert_models_agree(settings, net, model, batches[0])


@float64_in_jax()
def assert_weights_go_across_and_back(task, *options):
    """Exactly, each under its name."""
    settings = config(task, "nnx", *options)
    net, model = make_twins(settings, load_data(settings).spec)
    before = lightning_weights.get(net)
    bridge.to_nnx(net, model)
    lightning_weights.put({name: np.full_like(value, 7) for name, value in before.items()}, net, "the test")
    bridge.to_lightning(model, net)
    after = lightning_weights.get(net)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


# What they are made of.


def config(task, framework, *options):
    """For a proof: in float64, without dropout, with a log of every step."""
    words = ["--framework", framework, "--accelerator=cpu", "--accelerator.precision=float64", "--trainer.log_every=1"]
    words += options
    return registry.load_config(task, [*words, *without_dropout(registry.load_config(task, words))])


def train_both(task, *options):
    """The folders of two runs, by framework, that begin with the same weights."""
    settings = config(task, "lightning", *options)
    net, _ = make_twins(settings, load_data(settings).spec)
    create = loop.Engine._model

    def create_with_weights(self):  # not --init: what it overwrites would be compiled
        model = create(self)
        bridge.to_nnx(net, model)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Engine, "_model", create_with_weights)
        return {name: workflow.train(config(task, name, *options)) for name in HALVES}


def make_twins(settings, spec):
    """(the Lightning half's model with its initial weights, the NNX half's without any)."""
    lightning, nnx_ = (make_engine(config_of(settings, name), spec) for name in HALVES)
    with nnx_.settings():
        return lightning.module().net, nnx.eval_shape(nnx_._model)


def begin_alike(net, model):
    """Both with the same weights, of which one-dimensional ones that are 0 would hide others: a block's last scale."""
    weights = {name: value + 0.1 if value.ndim == 1 else value for name, value in lightning_weights.get(net).items()}
    lightning_weights.put(weights, net, "the test")
    nnx_weights.put(weights, model, "the test")


def config_of(settings, framework):
    """The same config of a framework."""
    return dataclasses.replace(settings, framework=framework)


def trained(settings, runs, spec):
    """The twins with the weights that two runs have ended with."""
    twins = make_twins(settings, spec)
    for model, (name, folder) in zip(twins, runs.items(), strict=True):
        checkpoint = folder / "checkpoints" / read_record(folder).last
        weights = make_engine(config_of(settings, name), spec).weights(checkpoint)
        HALVES[name].put(weights, model, name)
    return twins


@contextlib.contextmanager
def float64():
    """What Lightning does around a step in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def tensors64(batch):
    """The batch as Lightning gives it to a model in float64."""
    return {name: value.double() if value.is_floating_point() else value for name, value in tensors(batch).items()}


def assert_models_agree(settings, net, model, batch, limit=1e-9):
    """In their weights, running statistics too, and in what they predict."""
    assert_agree(lightning_weights.get(net), nnx_weights.get(model), limit)
    net.eval()
    model.eval()
    a, b = (tasks.twin(tasks.find(settings.task), framework).predict_step for framework in HALVES)
    with float64(), torch.no_grad():
        a = a(net, tensors64(batch))
    assert_agree(numpy(a), {name: np.asarray(value) for name, value in b(model, batch).items()}, limit)


def assert_agree(a, b, limit=1e-9, floor=1e-3):
    """Each array, relative to its largest entry, or to `floor`: the bias of keys has no gradient but rounding."""
    assert a.keys() == b.keys()
    a, b = ({name: value.astype(np.float64) for name, value in both.items()} for both in (a, b))
    differences = {name: np.abs(a[name] - b[name]).max() / max(np.abs(a[name]).max(), floor) for name in a}
    assert [(name, value) for name, value in differences.items() if not value < limit] == []


def torch_loss(settings, net, batch, name="loss"):
    """That of a training step of the task's module around the model; of several, the one of a name."""
    module = tasks.twin(tasks.find(settings.task), "lightning").Module
    made, batch = make_module(settings, net), tensors64(batch)
    if not module.PARTS:
        return module.training_step(made, batch, 0)["loss"]
    return made.mean(module.loss_fn(made, name, batch), batch)["loss"]


def make_module(settings, net):
    """What a training step looks at."""
    found = types.SimpleNamespace(
        net=net, config=config_of(settings, "lightning"), _trainer=None, automatic_optimization=True
    )
    found.mean = functools.partial(TaskModule.mean, found)
    return found


def torch_gradients(settings, net, batch):
    """By loss: its value, and the gradient of each parameter, by name."""
    found, named, before = {}, dict(net.named_parameters()), lightning_weights.get(net)
    for name in tasks.twin(tasks.find(settings.task), "lightning").Module.PARTS or ["loss"]:
        loss = torch_loss(settings, net, batch, name)
        grads = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
        found[name] = loss.item(), numpy(dict(zip(named, grads, strict=True)))
        with torch.no_grad():  # what a loss has moved, as running statistics
            lightning_weights.put(before, net, "the test")
    return found


def nnx_gradients(settings, model, batch):
    """The same, under the names and in the layout of weights in files."""
    found, layout = {}, nnx_weights.layout(model)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    for name, loss in tasks.twin(tasks.find(settings.task), "nnx").losses(settings).items():

        @jax.jit
        @jax.value_and_grad
        def value_and_grads(params, rest, batch, loss=loss):
            total, weight = loss.fn(nnx.merge(graphdef, params, rest, copy=True), batch, nnx.Rngs(0))[:2]
            return total / weight

        value, grads = value_and_grads(params, rest, batch)
        leaves = {tuple(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(grads)}
        named = {layout[path].name: layout[path].there(leaf) for path, leaf in leaves.items()}
        found[name] = value.item(), named
    return found


def torch_steps(settings, net, batches):
    """(loss, norm of its gradient) at each step of plain gradient descent."""
    for batch in batches:
        loss = torch_loss(settings, net, batch)
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), grads, strict=True):
                p -= 0.01 * g
        yield loss.item(), torch.nn.utils.get_total_norm(grads).item()


def nnx_steps(settings, model, batches):
    """The same."""
    [loss] = tasks.twin(tasks.find(settings.task), "nnx").losses(settings).values()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_and_grads(params, rest, batch):
        model = nnx.merge(graphdef, params, rest, copy=True)
        total, weight = loss.fn(model, batch, nnx.Rngs(0))
        return total / weight, nnx.split(model, nnx.Param, ...)[2]

    for batch in batches:
        (value, rest), grads = loss_and_grads(params, rest, batch)
        params = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)
        nnx.update(model, params, rest)
        yield value.item(), optax.tree.norm(grads).item()
