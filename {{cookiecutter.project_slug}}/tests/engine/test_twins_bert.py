"""Both halves of BERT are the same function, and that of transformers where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from test_bert import CLASSES, PADDING, TINY, TOKENS, VOCABULARY, published
from torch.nn.functional import cross_entropy

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.bert import nnx as nnx_half
from {{cookiecutter.package_name}}.models.bert import torch as torch_half

LENGTH = TOKENS.shape[1]
BATCH = np.concatenate([TOKENS, PADDING])
LABELS = np.array([0, 2, 1, 1])
RATE = 0.01


def create(weights, **dtypes):
    """The twins with these weights, to evaluate: without dropout."""
    net = torch_half.BertClassifier(TINY, VOCABULARY, LENGTH, CLASSES).eval()
    if dtypes:
        net.double()
    lightning_weights.put(weights, net, "the test")
    model = nnx.eval_shape(
        lambda: nnx_half.BertClassifier(TINY, VOCABULARY, LENGTH, CLASSES, rngs=nnx.Rngs(0), **dtypes)
    )
    nnx_weights.put(weights, model, "the test")
    model.eval()
    return net, model


def torch_steps(net):
    """(loss, its gradient by parameter) at each step of gradient descent."""
    for _ in range(4):
        loss = cross_entropy(net(torch.tensor(BATCH)), torch.tensor(LABELS))
        net.zero_grad()
        loss.backward()
        yield loss.item(), {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
        with torch.no_grad():
            for p in net.parameters():
                p -= RATE * p.grad


def nnx_steps(model):
    """The same."""

    @nnx.jit
    @nnx.value_and_grad
    def loss_and_grads(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(BATCH), LABELS).mean()

    for _ in range(4):
        loss, grads = loss_and_grads(model)
        yield loss.item(), nnx_weights.get(nnx.merge(nnx.graphdef(model), grads))
        nnx.update(model, jax.tree.map(lambda p, g: p - RATE * g, nnx.state(model, nnx.Param), grads))


def test_losses_and_gradients_agree_in_float64():
    with jax.enable_x64(True):
        net, model = create(TINY.adopt(published()), dtype=jnp.float64, param_dtype=jnp.float64)
        ours, theirs = list(torch_steps(net)), list(nnx_steps(model))
        weights = nnx_weights.get(model)
    assert [loss for loss, _ in ours] == pytest.approx([loss for loss, _ in theirs], rel=1e-9)
    assert ours[-1][0] < ours[0][0]
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        assert_agree(a, b)
    assert_agree(lightning_weights.get(net), weights)


def assert_agree(a, b):
    """Each array, to 1e-9 of the largest value of all: some gradients are 0, as that of a key's bias."""
    largest = max(np.abs(value).max() for value in a.values())
    assert a.keys() == b.keys()
    assert [name for name in a if not np.abs(a[name] - b[name]).max() < 1e-9 * largest] == []


def test_folders_of_transformers_give_its_logits(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the project does without: it only proves the names")
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=TINY.positions,
        num_labels=CLASSES,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    theirs = transformers.BertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    net, model = create(TINY.adopt(read(tmp_path)))
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS), torch.tensor(TOKENS != 0)).logits.numpy()
        found = net(torch.tensor(TOKENS)).numpy()
    assert np.ptp(expected) > 0.5
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.asarray(nnx.jit(lambda model: model(TOKENS))(model)) == pytest.approx(expected, abs=1e-5)
