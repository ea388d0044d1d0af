"""The two halves are the same algorithm: from the same weights, on the same batches, they take the same steps."""

import contextlib
import functools
import json

import jax
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from {{cookiecutter.package_name}} import task as tasks
from {{cookiecutter.package_name}} import trainers
from {{cookiecutter.package_name}}.errors import InputError
from {{cookiecutter.package_name}}.run import read_record
from {{cookiecutter.package_name}}.trainers import workflow
from {{cookiecutter.package_name}}.trainers.lightning import trainer
from {{cookiecutter.package_name}}.trainers.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.trainers.lightning.callbacks import numpy
from {{cookiecutter.package_name}}.trainers.lightning.data import tensors
from {{cookiecutter.package_name}}.trainers.nnx import loop
from {{cookiecutter.package_name}}.trainers.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.twins import bridge

TWINS = [(name, model) for name in tasks.names() for model in tasks.find(name).models]
ENGINES = {"lightning": trainer.Engine, "nnx": loop.Engine}
# Models that are too large for a hundred steps in a test, with what spares time otherwise.
LARGE = {
    "resnet18": ["--model.stem=small"],
    "resnet34": ["--model.stem=imagenet"],
    "resnet50": ["--model.stem=small"],
}


def config(task, framework, model, *options):
    """For a proof: in float64, without dropout, with a log of every step."""
    words = ["--framework", framework, f"--model.name={model}", "--accelerator=cpu", "--accelerator.precision=float64"]
    if hasattr(tasks.find(task).models[model], "dropout"):
        words.append("--model.dropout=0")
    return trainers.load_config(task, [*words, "--trainer.log_every=1", *options])


@pytest.fixture
def train_both(project, monkeypatch):
    """`train_both(task, model, *options)`: the folders of two runs, by framework, that begin with the same weights."""

    def train(task, model, *options):
        settings = config(task, "lightning", model, *options)
        net, _ = make_twins(settings, tasks.find(task).load(settings.data).spec)
        create = loop.Engine._model

        def create_with_weights(self):  # not --init: what it overwrites would be compiled
            model = create(self)
            bridge.to_nnx(net, model)
            return model

        monkeypatch.setattr(loop.Engine, "_model", create_with_weights)
        return {name: workflow.train(config(task, name, model, *options)) for name in ENGINES}

    return train


def make_twins(settings, spec):
    """(the Lightning half's model with its initial weights, the NNX half's without any)."""
    lightning, nnx_ = (engine(settings, tasks.find(settings.task), spec) for engine in ENGINES.values())
    return lightning.module().net, nnx.eval_shape(nnx_._model)


def trained(settings, runs, spec):
    """The twins with the weights that two runs have ended with."""
    twins = make_twins(settings, spec)
    for model, put, (name, folder) in zip(twins, (lightning_weights.put, nnx_weights.put), runs.items(), strict=True):
        checkpoint = folder / "checkpoints" / read_record(folder).last
        put(ENGINES[name](settings, tasks.find(settings.task), spec).weights(checkpoint), model, name)
    return twins


def rows(folder, tag):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if tag in line}


@contextlib.contextmanager
def float64():
    """What Lightning does around a step in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def assert_models_agree(settings, net, model, batch):
    """In their weights, running statistics too, and in what they predict."""
    assert_agree(lightning_weights.get(net), nnx_weights.get(model))
    net.eval()
    model.eval()
    a, b = (tasks.twin(tasks.find(settings.task), framework).predict_step for framework in ENGINES)
    with float64(), torch.no_grad():
        a = a(net, tensors(batch))
    assert_agree(numpy(a), {name: np.asarray(value) for name, value in b(model, batch).items()})


def assert_agree(a, b):
    """Each array, to 1e-9 of its largest value."""
    assert a.keys() == b.keys()
    differences = {name: np.abs(a[name] - b[name]).max() / (np.abs(a[name]).max() or 1.0) for name in a}
    assert [(name, value) for name, value in differences.items() if not value < 1e-9] == []


@pytest.mark.parametrize(("task", "model"), [twins for twins in TWINS if twins[1] not in LARGE])
def test_losses_agree_in_float64(train_both, task, model):
    options = ["--trainer.max_steps=100", "--trainer.epochs=0", "--trainer.accumulate=2", "--optimizer.schedule=cosine"]
    options += ["--optimizer.warmup_steps=10", "--optimizer.clip_norm=0.5"]
    settings = config(task, "nnx", model, *options)
    data, runs = tasks.find(task).load(settings.data), train_both(task, model, *options)
    a, b = (rows(folder, "train/loss") for folder in runs.values())
    assert list(a) == list(b) == list(range(1, 101))
    for tag in ("train/loss", "train/grad_norm", "train/learning_rate"):
        assert [a[step][tag] for step in a] == pytest.approx([b[step][tag] for step in b], rel=1e-9)
    a, b = (rows(folder, "val/loss") for folder in runs.values())
    assert list(a) == list(b)
    for step in a:  # both libraries add metrics up in float32
        assert a[step] == pytest.approx(b[step], rel=1e-6)
    assert_models_agree(settings, *trained(settings, runs, data.spec), data.test[np.arange(16)])


@pytest.mark.slow
@pytest.mark.parametrize(("task", "model"), [twins for twins in TWINS if twins[1] in LARGE])
def test_large_models_agree_in_float64(task, model):
    settings, found = config(task, "nnx", model, *LARGE[model]), tasks.find(task)
    data = found.load(settings.data)
    net, model = make_twins(settings, data.spec)
    # One-dimensional weights that begin at 0 would hide others: the last scale of a residual block, say.
    weights = {name: value + 0.1 if value.ndim == 1 else value for name, value in lightning_weights.get(net).items()}
    lightning_weights.put(weights, net, "the test")
    nnx_weights.put(weights, model, "the test")
    batches = [data.train[np.arange(8 * i, 8 * i + 8)] for i in range(2)]
    model.train()
    with float64():
        ours = list(torch_steps(settings, net, batches))
    assert ours == [pytest.approx(step, rel=1e-9) for step in nnx_steps(settings, model, batches)]
    assert_models_agree(settings, net, model, batches[0])


def torch_steps(settings, net, batches):
    """(loss, norm of its gradient) at each step of plain gradient descent."""
    [loss] = tasks.twin(tasks.find(settings.task), "lightning").losses(settings).values()
    for batch in batches:
        total, weight = loss.fn(net, tensors(batch))
        grads = torch.autograd.grad(total / weight, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), grads, strict=True):
                p -= 0.01 * g
        yield (total / weight).item(), torch.nn.utils.get_total_norm(grads).item()


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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimizers_agree_with_weight_decay(train_both, optimizer):
    options = [f"--optimizer.name={optimizer}", "--optimizer.weight_decay=0.1", "--trainer.epochs=1"]
    runs = train_both("image_classification", "mlp", *options)
    a, b = ([row["train/loss"] for row in rows(folder, "train/loss").values()] for folder in runs.values())
    assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize(("task", "model"), TWINS)
def test_weights_go_across_and_back(task, model):
    settings = config(task, "nnx", model)
    net, model = make_twins(settings, tasks.find(task).load(settings.data).spec)
    before = lightning_weights.get(net)
    bridge.to_nnx(net, model)
    lightning_weights.put({name: np.full_like(value, 7) for name, value in before.items()}, net, "the test")
    bridge.to_lightning(model, net)
    after = lightning_weights.get(net)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_weights_of_another_model_are_refused():
    spec = {"shape": [8, 8, 1], "classes": ["a", "b"]}
    net, _ = make_twins(config("image_classification", "nnx", "mlp"), spec)
    _, model = make_twins(config("image_classification", "nnx", "convnet"), spec)
    with pytest.raises(InputError, match=r"MLP.*missing: conv1\.bias.*hidden\.weight is \[128, 64\]"):
        bridge.to_nnx(net, model)


def test_one_command_trains_both_and_shows_one_table(project, cli):
    done = cli("train", "image_classification", "--debug=fast", "--model.name=mlp", "--accelerator=cpu")
    assert done.code == 0
    header, *_ = done.out.splitlines()
    assert header.split() == ["lightning", "nnx"]
    assert "test/accuracy" in done.out and "tensorboard --logdir runs" in done.out


def test_the_worst_exit_code_of_both_is_returned(project, cli):
    diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e30")
    assert cli("train", "image_classification", "--accelerator=cpu", *diverging).code == 1
