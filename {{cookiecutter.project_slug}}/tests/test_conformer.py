"""Conformer as it is published: the same in NumPy, by formulas of its own, one utterance at a time."""

import numpy as np
import pytest
from test_speech_rnn import linear, log_softmax, norm, sigmoid, subsampling

from {{cookiecutter.package_name}}.engine.api import InputError
from {{cookiecutter.package_name}}.models.conformer import VARIANTS, check_sizes, distances

SIZES = {"conformer_s": (16, 4, 144), "conformer_m": (16, 4, 256)}  # layers, heads, width, of the paper


def feed_forward(w, name, x):
    x = linear(w, f"{name}.expand", norm(w, f"{name}.norm", x))
    return linear(w, f"{name}.reduce", x * sigmoid(x))


def attention(w, name, x, heads):
    """Each query and key by themselves (Dai et al. 2019)."""
    x = norm(w, f"{name}.norm", x)
    q, k, v = (linear(w, f"{name}.{part}", x).reshape(len(x), heads, -1) for part in ("query", "key", "value"))
    width, found = q.shape[-1], np.zeros_like(q)
    periods = 10000.0 ** (np.arange(0, x.shape[1], 2) / x.shape[1])
    for h in range(heads):
        scores = np.zeros((len(x), len(x)))
        for i in range(len(x)):
            for j in range(len(x)):
                place = np.concatenate([np.sin((i - j) / periods), np.cos((i - j) / periods)])
                place = linear(w, f"{name}.position", place).reshape(heads, -1)[h]
                scores[i, j] = (q[i, h] + w[f"{name}.key_bias"][h]) @ k[j, h]
                scores[i, j] += (q[i, h] + w[f"{name}.position_bias"][h]) @ place
        found[:, h] = np.exp(log_softmax(scores / np.sqrt(width))) @ v[:, h]
    return linear(w, f"{name}.output", found.reshape(len(x), -1))


def convolution(w, name, x):
    x = linear(w, f"{name}.expand", norm(w, f"{name}.norm", x))
    x = x[:, : x.shape[1] // 2] * sigmoid(x[:, x.shape[1] // 2 :])
    kernel = w[f"{name}.depthwise.weight"][:, 0].T  # [frames, channels]
    padded = np.pad(x, ((len(kernel) // 2, len(kernel) // 2), (0, 0)))
    x = np.array([(padded[t : t + len(kernel)] * kernel).sum(0) for t in range(len(x))])
    x = norm(w, f"{name}.inner_norm", x + w[f"{name}.depthwise.bias"])
    return linear(w, f"{name}.reduce", x * sigmoid(x))


def conformer_log_probs(weights, features, heads, factor=4):
    """float [fewer frames, tokens] of one utterance, float [frames, mels], without padding."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = subsampling(w, features.astype(np.float64), factor)
    for i in range(len({name.split(".")[1] for name in w if name.startswith("blocks.")})):
        x = x + feed_forward(w, f"blocks.{i}.first", x) / 2
        x = x + attention(w, f"blocks.{i}.attention", x, heads)
        x = x + convolution(w, f"blocks.{i}.convolution", x)
        x = x + feed_forward(w, f"blocks.{i}.last", x) / 2
        x = norm(w, f"blocks.{i}.norm", x)
    return log_softmax(linear(w, "head", x))


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_paper(name):
    config = VARIANTS[name](name=name)
    assert (config.layers, config.heads, config.width) == SIZES[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_size_can_be_made(name):
    check_sizes(VARIANTS[name](name=name))


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        ({"width": 10, "heads": 4}, "model.width = 10 is no even multiple of model.heads = 4"),
        ({"width": 9, "heads": 3}, "model.width = 9 is no even multiple"),
        ({"kernel": 4}, "model.kernel = 4: "),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, part):
    with pytest.raises(InputError, match=part):
        check_sizes(VARIANTS["conformer_tiny"](**sizes))


def test_distances_go_from_the_furthest_before_to_the_furthest_behind():
    found = distances(3, 4)
    assert found.shape == (5, 4)
    assert found[0] == pytest.approx([np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)])
    assert found[2] == pytest.approx([0, 0, 1, 1]) and found[4, :2] == pytest.approx(-found[0, :2])
