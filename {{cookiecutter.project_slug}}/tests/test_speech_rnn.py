"""The recurrent network of speech: the same in NumPy, by formulas of its own, one utterance at a time."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.models.speech_rnn import SpeechRnnConfig, subsampled


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def norm(w, name, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def convolution(w, name, x, stride):
    """float [frames, bands, channels], a frame and a band of zeros around it; 3 x 3, with ReLU."""
    kernel, padded = w[f"{name}.weight"], np.pad(x, ((1, 1), (1, 1), (0, 0)))
    rows, columns = (range(0, size, step) for size, step in zip(x.shape, stride, strict=False))
    found = [[np.einsum("ocij,ijc->o", kernel, padded[t : t + 3, f : f + 3]) for f in columns] for t in rows]
    return np.maximum(0, np.array(found) + w[f"{name}.bias"])


def subsampling(w, features, factor):
    """float [frames, mels] -> [fewer frames, width]."""
    x = convolution(w, "subsampling.first", features[..., None], (2, 2))
    x = convolution(w, "subsampling.second", x, (factor // 2, 2))
    return linear(w, "subsampling.project", x.reshape(len(x), -1))


def lstm(w, name, x):
    h = c = np.zeros(w[f"{name}.weight_hh_l0"].shape[1])
    found = []
    for frame in x:
        gates = w[f"{name}.weight_ih_l0"] @ frame + w[f"{name}.bias_ih_l0"] + w[f"{name}.weight_hh_l0"] @ h
        i, f, g, o = np.split(gates + w[f"{name}.bias_hh_l0"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.array(found)


def gru(w, name, x):
    h = np.zeros(w[f"{name}.weight_hh_l0"].shape[1])
    found = []
    for frame in x:
        r_x, z_x, n_x = np.split(w[f"{name}.weight_ih_l0"] @ frame + w[f"{name}.bias_ih_l0"], 3)
        r_h, z_h, n_h = np.split(w[f"{name}.weight_hh_l0"] @ h + w[f"{name}.bias_hh_l0"], 3)
        z = sigmoid(z_x + z_h)
        h = (1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h) + z * h
        found.append(h)
    return np.array(found)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def rnn_log_probs(weights, features, cell, factor=4):
    """float [fewer frames, tokens] of one utterance, float [frames, mels], without padding."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x, run = subsampling(w, features.astype(np.float64), factor), {"lstm": lstm, "gru": gru}[cell]
    for i in range(sum(name.endswith(".ahead.bias_ih_l0") for name in w)):
        x = norm(w, f"layers.{i}.norm", x)
        x = np.concatenate([run(w, f"layers.{i}.ahead", x), run(w, f"layers.{i}.back", x[::-1])[::-1]], -1)
    return log_softmax(linear(w, "head", x))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9])
def test_so_many_frames_are_left(frames, factor):
    w = {"subsampling.first.weight": np.ones((1, 1, 3, 3)), "subsampling.first.bias": np.zeros(1)}
    w |= {"subsampling.second.weight": np.ones((1, 1, 3, 3)), "subsampling.second.bias": np.zeros(1)}
    w |= {"subsampling.project.weight": np.ones((1, 1))}
    assert len(subsampling(w, np.ones((frames, 4)), factor)) == subsampled(frames, factor)


def test_frames_are_counted_of_arrays_too():
    assert subsampled(np.array([1, 4, 5]), 4).tolist() == [1, 1, 2]
    assert SpeechRnnConfig().subsampling == 4
