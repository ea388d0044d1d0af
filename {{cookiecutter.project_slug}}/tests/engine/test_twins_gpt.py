"""Both halves of GPT are the same function, that of transformers where it is installed, and make the same text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_gpt import CONFIG, TOKENS, VOCABULARY, published_weights

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.gpt import nnx as nnx_half
from {{cookiecutter.package_name}}.models.gpt import torch as torch_half
from {{cookiecutter.package_name}}.tasks.language_modeling import lightning as lightning_task
from {{cookiecutter.package_name}}.tasks.language_modeling import nnx as nnx_task


def create(weights, **dtypes):
    """The twins with these weights, to evaluate."""
    net = torch_half.GPT(CONFIG, VOCABULARY).eval()
    if dtypes:
        net.double()
    lightning_weights.put(weights, net, "the test")
    model = nnx.eval_shape(lambda: nnx_half.GPT(CONFIG, VOCABULARY, rngs=nnx.Rngs(0), **dtypes))
    nnx_weights.put(weights, model, "the test")
    model.eval()
    return net, model


def test_folders_of_transformers_give_its_logits(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the project does without: it only proves the names")
    sizes = {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 8,
        "n_positions": 6,
        "vocab_size": VOCABULARY,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    theirs.save_pretrained(tmp_path)
    net, model = create(CONFIG.adopt(read(tmp_path)))
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS)).logits.numpy()
        found = net(torch.tensor(TOKENS)).numpy()
    tolerance = 1e-5 * float(np.abs(expected).max())
    assert np.ptp(expected) > 1
    assert found == pytest.approx(expected, abs=tolerance)
    assert np.asarray(nnx.jit(lambda model: model(TOKENS))(model)) == pytest.approx(expected, abs=tolerance)


def test_the_likeliest_text_is_the_same_from_the_same_weights():
    """Also where it outgrows the context, of six tokens."""
    options = {"seed": 0, "tokens": 20, "temperature": 0.0, "top_k": 5}
    prompt = np.array([[3, 1, -1, -1, -1, -1]])
    with jax.enable_x64(True):
        weights = CONFIG.adopt(published_weights())
        weights["wpe.weight"] = 4 * weights["wpe.weight"]  # so that the text is no single token
        net, model = create(weights, dtype=jnp.float64, param_dtype=jnp.float64)
        with torch.inference_mode():
            pieces = lightning_task.generate(net, {"tokens": torch.tensor(prompt)}, **options)
            ours = [piece["token"].item() for piece in pieces]
        pieces = nnx_task.generate(model, {"tokens": jnp.asarray(prompt)}, **options)
        theirs = [piece["token"].item() for piece in pieces]
    assert ours == theirs and len({*ours}) > 2
