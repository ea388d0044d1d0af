"""The two tables of optimizers side by side, and beside those that the libraries have."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from conftest import FRAMEWORKS
from flax import nnx
from helpers import SMALL, TASK
from parity import assert_runs_agree

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine.config import OPTIMIZERS, OptimizerConfig
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.lightning import optimizers as ours
from {{cookiecutter.package_name}}.engine.nnx import optimizers as theirs
from {{cookiecutter.package_name}}.engine.nnx import portable
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.engine.nnx.train_state import create_state
from {{cookiecutter.package_name}}.engine.task import Loss
from {{cookiecutter.package_name}}.extensions import lightning as own_lightning
from {{cookiecutter.package_name}}.extensions import nnx as own_nnx

SETTINGS = OptimizerConfig(learning_rate=0.02, weight_decay=0.3, momentum=0.8, beta2=0.95)
WAYS = {name: dataclasses.replace(SETTINGS, name=name) for name in OPTIMIZERS}
WAYS["sgd with nesterov"] = dataclasses.replace(SETTINGS, name="sgd", nesterov=True)
for name in ("sgd", "rmsprop"):
    WAYS[f"{name} without momentum"] = dataclasses.replace(SETTINGS, name=name, momentum=0.0)
IDS = np.array([0, 3, 3, 5, 1, 8, 2, 0])
TARGETS = np.random.default_rng(1).normal(size=(len(IDS), 2))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def initial():
    """An embedding that is tall, a kernel that is wide, biases, and filters: [inputs, outputs] and so on."""
    rng = np.random.default_rng(0)
    shapes = {"embedding": (9, 4), "kernel": (4, 6), "bias": (6,), "filters": (6, 1, 1, 2)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def loss_fn(p, library):
    hidden = library.tanh(p["embedding"][IDS] @ p["kernel"] + p["bias"])
    return ((hidden @ p["filters"].reshape(6, 2) - library.asarray(TARGETS)) ** 2).sum()


def torch_steps(create, count=10):
    """What an optimizer of torch, `create(module)`, makes of the network."""
    net = torch.nn.Module()
    for name, value in initial().items():  # the kernel as torch keeps it, [outputs, inputs]
        setattr(net, name, torch.nn.Parameter(torch.tensor(value.T.copy() if name == "kernel" else value)))
    optimizer = create(net)
    for _ in range(count):
        p = {name: value.T if name == "kernel" else value for name, value in net.named_parameters()}
        optimizer.zero_grad()
        loss_fn(p, torch).backward()
        optimizer.step()
    return {name: (p.T if name == "kernel" else p).detach().numpy() for name, p in net.named_parameters()}


def optax_steps(optimizer, count=10):
    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss_fn)(params, jnp), state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, initial())
    state = optimizer.init(params)
    for _ in range(count):
        params, state = step(params, state)
    return params


@functools.cache
def nnx_steps(config):
    return optax_steps(theirs.create_optimizer(config))


def assert_equal(a, b, rtol=1e-12):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert not np.allclose(value, initial()[name], rtol=1e-3), name
        np.testing.assert_allclose(value, b[name], rtol=rtol, atol=rtol, err_msg=name)


def decayed(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.parametrize("way", WAYS)
def test_the_two_of_a_name_are_one_optimizer(way):
    config = WAYS[way]
    found = torch_steps(lambda net: ours.create_optimizer(net, config))
    assert_equal(found, nnx_steps(config))


@pytest.mark.parametrize("way", [way for way in WAYS if way != "muon"])
def test_so_they_are_without_fused_kernels(way, monkeypatch):
    fused = torch_steps(lambda net: ours.create_optimizer(net, WAYS[way]))
    monkeypatch.setattr(ours, "on_one_mesh", lambda groups: False)
    assert_equal(torch_steps(lambda net: ours.create_optimizer(net, WAYS[way])), fused)


def torch_of_library(config):
    """The same by torch's own documentation."""
    kinds = {
        "adamw": lambda p: torch.optim.AdamW(p, config.learning_rate, (config.momentum, config.beta2)),
        "adam": lambda p: torch.optim.Adam(p, config.learning_rate, (config.momentum, config.beta2)),
        "sgd": lambda p: torch.optim.SGD(p, config.learning_rate, config.momentum, nesterov=config.nesterov),
        "rmsprop": lambda p: torch.optim.RMSprop(p, config.learning_rate, config.beta2, momentum=config.momentum),
    }

    def create(net):
        groups = [{"params": [p], "weight_decay": 0.3 if p.ndim > 1 else 0.0} for p in net.parameters()]
        return kinds[config.name](groups)

    return create


@pytest.mark.parametrize("way", [way for way in WAYS if way != "muon"])
def test_they_are_torchs_own(way):
    assert_equal(torch_steps(torch_of_library(WAYS[way])), nnx_steps(WAYS[way]))


def optax_of_library(config):
    """The same by Optax's own documentation."""
    rate, momentum, beta2, decay = config.learning_rate, config.momentum, config.beta2, config.weight_decay
    l2 = optax.add_decayed_weights(decay, decayed)
    adamw = optax.adamw(rate, momentum, beta2, weight_decay=decay, mask=decayed)
    matrices = optax.contrib.muon(
        rate, beta=momentum, weight_decay=decay, consistent_rms=0.2, adam_b1=momentum, adam_b2=beta2
    )
    kinds = {
        "adamw": adamw,
        "adam": optax.chain(l2, optax.adam(rate, momentum, beta2)),
        "sgd": optax.chain(l2, optax.sgd(rate, momentum or None, config.nesterov)),
        "rmsprop": optax.chain(l2, optax.rmsprop(rate, beta2, 1e-8, momentum=momentum or None, eps_in_sqrt=False)),
        # Its own way with the rest is Adam with Nesterov's momentum.
        "muon": optax.partition(
            {"matrix": matrices, "rest": adamw},
            lambda params: jax.tree.map(lambda p: "matrix" if p.ndim == 2 else "rest", params),
        ),
    }
    return kinds[config.name]


@pytest.mark.parametrize("way", WAYS)
def test_they_are_optaxs_own(way):
    found = torch_steps(lambda net: ours.create_optimizer(net, WAYS[way]))
    assert_equal(found, optax_steps(optax_of_library(WAYS[way])))


def test_the_first_step_of_muon_is_that_of_torchs_own_within_bfloat16():
    start = torch.tensor(initial()["embedding"])
    grad = torch.tensor(np.random.default_rng(2).normal(size=start.shape))
    found = []
    for own in (False, True):
        net = torch.nn.Module()
        net.p = torch.nn.Parameter(start.clone())
        options = {"lr": 0.02, "weight_decay": 0.3, "momentum": 0.8, "adjust_lr_fn": "match_rms_adamw"}
        optimizer = torch.optim.Muon([net.p], **options) if own else ours.create_optimizer(net, WAYS["muon"])
        net.p.grad = grad.clone()
        optimizer.step()
        found.append((net.p.detach() - start).numpy())
    np.testing.assert_allclose(*found, atol=0.03 * np.abs(found[0]).max())


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5)])
def test_muon_keeps_directions_and_makes_their_lengths_alike(shape):
    matrix = np.random.default_rng(3).normal(size=shape)
    u, before, v = np.linalg.svd(matrix, full_matrices=False)
    after = u.T @ ours.orthogonalized(torch.tensor(matrix)).numpy() @ v.T
    np.testing.assert_allclose(after, np.diag(np.diag(after)), atol=1e-12)
    assert np.diag(after).min() > 0.6 and np.diag(after).max() < 1.3
    assert before.max() / before.min() > 1.5


# What they keep.


@pytest.mark.parametrize("way", WAYS)
def test_they_keep_the_same_under_the_same_names(way):
    config = WAYS[way]
    model = nnx.Dict(
        table=nnx.Embed(9, 4, rngs=nnx.Rngs(0)),
        hidden=nnx.Linear(4, 6, rngs=nnx.Rngs(0)),
        filters=nnx.Conv(6, 2, (3, 5), rngs=nnx.Rngs(0)),
    )
    state = create_state(model, {"loss": Loss(None)}, theirs.create_optimizer(config), ema=False, scaled=False)
    found = portable.get(state, nnx_weights.layout(model))
    found = {name: value.shape for name, value in found.items() if name.startswith(("momentum", "square", "updates"))}
    net = torch.nn.ModuleDict(
        {"table": torch.nn.Embedding(9, 4), "hidden": torch.nn.Linear(4, 6), "filters": torch.nn.Conv2d(6, 2, (3, 5))}
    )
    optimizer = ours.create_optimizer(net, config)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    parts = {"exp_avg": "momentum", "momentum_buffer": "momentum", "exp_avg_sq": "square", "square_avg": "square"}
    expected = {}
    for name, p in net.named_parameters():
        for key, value in optimizer.state[p].items():
            if key in parts and value is not None:
                expected[f"{parts[key]}/{name}"] = tuple(value.shape)
            elif key == "step" and config.name != "rmsprop":  # whose count nothing reads
                expected["updates/loss"] = ()
    assert found == expected


def test_what_is_frozen_is_given_to_no_optimizer_of_torch():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net[0].requires_grad_(False)
    groups = ours.create_optimizer(net, SETTINGS).param_groups
    assert [[tuple(p.shape) for p in group["params"]] for group in groups] == [[(2, 2)], [(2,)]]
    assert all(p is not q for group in groups for p in group["params"] for q in net[0].parameters())
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.02, 0.3), (0.02, 0.0)]


# Yours.


def test_an_optimizer_of_ones_own_is_known_by_its_name(monkeypatch):
    monkeypatch.setitem(own_lightning.OPTIMIZERS, "mine", lambda groups, config: torch.optim.NAdam(groups, 0.5))
    monkeypatch.setitem(own_nnx.OPTIMIZERS, "mine", lambda config: optax.nadam(0.5))
    config = OptimizerConfig(name="mine")
    assert_equal(
        torch_steps(lambda net: ours.create_optimizer(net, config)), torch_steps(lambda n: _nadam(n.parameters()))
    )
    assert_equal(optax_steps(theirs.create_optimizer(config)), optax_steps(optax.nadam(0.5)))


def _nadam(parameters):
    return torch.optim.NAdam(parameters, 0.5)


def test_it_wins_over_the_one_of_that_name(monkeypatch):
    monkeypatch.setitem(own_lightning.OPTIMIZERS, "sgd", lambda groups, config: torch.optim.NAdam(groups, 0.5))
    monkeypatch.setitem(own_nnx.OPTIMIZERS, "sgd", lambda config: optax.nadam(0.5))
    config = OptimizerConfig(name="sgd")
    assert isinstance(ours.create_optimizer(torch.nn.Linear(2, 2), config), torch.optim.NAdam)
    assert_equal(optax_steps(theirs.create_optimizer(config)), optax_steps(optax.nadam(0.5)))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("name", "hint"), [("adan", "did you mean 'adam'?"), ("", "choose from adamw, adam, sgd")])
def test_a_name_that_is_none_is_one_line(framework, name, hint):
    check = {"lightning": ours.check, "nnx": theirs.create_optimizer}[framework]
    with pytest.raises(InputError) as caught:
        check(OptimizerConfig(name=name))
    line = str(caught.value)
    assert line.startswith(f"optimizer.name = {name!r}: {hint}") and f"extensions/{framework}.py" in line
    assert "\n" not in line


# Whole runs.


@pytest.mark.parametrize("options", [("--optimizer.name=muon",), ("--optimizer.name=sgd", "--optimizer.nesterov=true")])
def test_runs_agree(project, options):
    assert_runs_agree(TASK, *SMALL, *options)


def test_the_frameworks_are_known_by_what_they_share():
    assert tuple(ours.OPTIMIZERS) == tuple(theirs.OPTIMIZERS) == OPTIMIZERS
    assert set(registry.frameworks()) == set(FRAMEWORKS)
