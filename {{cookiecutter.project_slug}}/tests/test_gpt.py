"""GPT as GPT-2 is published: the same in NumPy, by formulas of its own, and Hugging Face's names and layout."""

import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.gpt import VARIANTS

CONFIG = VARIANTS["gpt_nano"](layers=2, heads=2, width=8, context=6)
VOCABULARY = 11
PARAMETERS = {"gpt2": 124_439_808, "gpt2_medium": 354_823_168}  # for 50,257 tokens and 1,024 positions


def published_weights(dtype=np.float64, vocabulary=VOCABULARY):
    """What a file of Hugging Face's could hold; kernels are [input, output]."""
    rng, width = np.random.default_rng(0), CONFIG.width
    shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (CONFIG.context, width)}
    for i in range(CONFIG.layers):
        layers = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
        layers |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
        for name, shape in layers.items():
            shapes |= {f"h.{i}.{name}.weight": shape, f"h.{i}.{name}.bias": shape[1:]}
        shapes |= {f"h.{i}.{norm}.{leaf}": (width,) for norm in ("ln_1", "ln_2") for leaf in ("weight", "bias")}
    shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    return {f"transformer.{name}": rng.normal(0.0, 0.5, shape).astype(dtype) for name, shape in shapes.items()}


def test_weights_of_another_rank_are_left_for_the_one_who_compares_shapes():
    given = {"h.0.attn.c_attn.weight": np.zeros(24)}
    assert CONFIG.adopt(given)["h.0.attn.c_attn.weight"].shape == (24,)


def published_logits(weights, tokens):
    """float64 [length, vocabulary] for int [length], after Radford et al. (2019) and Hugging Face's names."""
    w = {name.removeprefix("transformer."): value.astype(np.float64) for name, value in weights.items()}

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def attend(q, k, v):
        scores = q @ k.T / math.sqrt(q.shape[-1])
        scores[np.triu_indices(len(q), 1)] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return scores / scores.sum(-1, keepdims=True) @ v

    x = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for block in (f"h.{i}" for i in range(CONFIG.layers)):
        qkv = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn")
        heads = zip(*(np.split(part, CONFIG.heads, -1) for part in np.split(qkv, 3, -1)), strict=True)
        x = x + linear(np.concatenate([attend(*head) for head in heads], -1), f"{block}.attn.c_proj")
        x = x + linear(gelu(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


TOKENS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])


def expected_logits(dtype=np.float64):
    return np.stack([published_logits(published_weights(dtype), row) for row in TOKENS])


def test_names_with_and_without_a_prefix_are_the_same():
    weights = published_weights()
    bare = {name.removeprefix("transformer."): value for name, value in weights.items()}
    a, b = CONFIG.adopt(weights), CONFIG.adopt(bare)
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_what_is_no_weight_of_its_own_is_left_out():
    weights = published_weights()
    extra = {"lm_head.weight": weights["transformer.wte.weight"]}
    extra |= {"transformer.h.0.attn.bias": np.ones((1, 1, 6, 6)), "transformer.h.0.attn.masked_bias": np.array(-1e4)}
    assert CONFIG.adopt(weights | extra).keys() == CONFIG.adopt(weights).keys()


def test_weights_that_are_in_the_models_own_layout_stay():
    weights = CONFIG.adopt(published_weights())
    again = CONFIG.adopt(weights)
    assert weights.keys() == again.keys() and all(np.array_equal(weights[name], again[name]) for name in weights)


def test_of_more_positions_the_first_are_taken():
    shorter = VARIANTS["gpt_nano"](layers=2, heads=2, width=8, context=4)
    weights = published_weights()
    assert np.array_equal(shorter.adopt(weights)["wpe.weight"], weights["transformer.wpe.weight"][:4])


def test_a_file_is_read(tmp_path):
    save_file(published_weights(np.float32), tmp_path / "model.safetensors")
    assert CONFIG.adopt(read(tmp_path)).keys() == CONFIG.adopt(published_weights()).keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_size_has_heads_that_divide_its_width(name):
    config = VARIANTS[name](name=name)
    assert config.width % config.heads == 0
