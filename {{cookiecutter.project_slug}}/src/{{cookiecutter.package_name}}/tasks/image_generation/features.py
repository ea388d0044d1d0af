"""What generated images are measured by: features of a small network, and the classes that it tells apart.

It is NumPy's alone, so that both frameworks measure with the same numbers, and is fitted in seconds on the training
images. Its first layer is not trained: random patches of the images, whitened, are its filters (Coates, Lee and Ng, "An
Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011). Where images have classes, a hidden layer
learns to tell them apart, and its units are the features; where not, features are principal components.
"""

import base64
import functools
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

FILTERS = 64
FEATURES = 32
MOST = 10_000  # images to fit on
STEPS, BATCH, RATE, DECAY = 1_500, 128, 3e-3, 0.1  # of the classifier
CHUNK = 256  # images at once

Network = Mapping[str, np.ndarray]


def fit(images: np.ndarray, labels: np.ndarray | None = None, classes: int = 0) -> str:
    """The network that `features` and `probabilities` take: text, to be kept in a spec.

    Args:
        images: uint8 [n, height, width, channel].
        labels: int [n], or None.
        classes: how many there are.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    filters, threshold = _filters(images, rng)
    network = {"filters": filters, "threshold": threshold}
    pooled = _pooled(network, images)
    network["mean"], network["scale"] = pooled.mean(0), 1 / (pooled.std(0) + 0.01)
    x = (pooled - network["mean"]) * network["scale"]
    if labels is None:
        _, directions = np.linalg.eigh(x.T @ x / len(x))
        network["hidden"] = directions[:, : -FEATURES - 1 : -1]
    else:
        network |= _classifier(x, labels, classes, rng)
    # In units in which the variance of the data is 1, so that a distance of 1 is as large as all that is in them.
    variance = _features({**network, "unit": np.ones(1)}, images).var(0).sum(keepdims=True)
    network["unit"] = 1 / np.sqrt(np.maximum(variance, 1e-6))
    return _to_text(network)


def chosen(count: int) -> np.ndarray:
    """int64 [at most 10,000], the places of those of so many images on which it is fitted."""
    return np.sort(np.random.Generator(np.random.PCG64(0)).permutation(count)[:MOST])


def features(network: str, images: np.ndarray) -> np.ndarray:
    """uint8 [n, height, width, channel] -> float64 [n, features]."""
    return _features(_from_text(network), images)


def probabilities(network: str, images: np.ndarray) -> np.ndarray:
    """uint8 [n, height, width, channel] -> float64 [n, classes], of a network that was fitted with labels."""
    found = _from_text(network)
    return _softmax(_features(found, images) / found["unit"] @ found["output"] + found["bias"])


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the Gaussians that have the means and covariances of two sets of features (Heusel et al. 2017).

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), where the trace of the root is the sum of the roots of the
    eigenvalues of C_a^(1/2) C_b C_a^(1/2), a symmetric matrix.

    Args:
        a, b: float64 [n, features], n at least 2.
    """
    covariances = [(x - x.mean(0)).T @ (x - x.mean(0)) / (len(x) - 1) for x in (a, b)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    of_product = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)
    difference = a.mean(0) - b.mean(0)
    traces = sum(map(np.trace, covariances))
    return float(max(0.0, difference @ difference + traces - 2 * np.sqrt(of_product).sum()))


def _patches(images: np.ndarray) -> np.ndarray:
    """float32 [n, rows, columns, values of a patch], from 0 to 1."""
    size, stride, _ = _size(images)
    seen = np.lib.stride_tricks.sliding_window_view(images, (size, size), (1, 2))[:, ::stride, ::stride]
    return seen.reshape(*seen.shape[:3], -1).astype(np.float32) / 255


def _size(images: np.ndarray) -> tuple[int, int, int]:
    """(side of a patch, stride, parts in each direction over which responses are averaged), by the images' side."""
    side = min(images.shape[1:3])
    return (3, 1, 3) if side < 16 else (5, side // 16, 4)


def _filters(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """float32 [values of a patch, filters] and what a response has to exceed, [filters]."""
    some = images[rng.integers(0, len(images), 2_000)]
    patches = _patches(some)
    patches = patches.reshape(-1, patches.shape[-1])
    patches = patches[rng.permutation(len(patches))[:20_000]].astype(np.float64)
    mean = patches.mean(0)
    values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
    whitening = (vectors / np.sqrt(values + 0.01)) @ vectors.T
    white = (patches - mean) @ whitening
    norms = np.linalg.norm(white, axis=1) + 1e-6  # of images that are all the same, too
    chosen = rng.permutation(np.argsort(norms)[len(norms) // 2 :])[:FILTERS]  # patches that show something
    filters = whitening @ (white[chosen] / norms[chosen, None]).T
    return filters.astype(np.float32), (mean @ filters + 0.5).astype(np.float32)


def _pooled(network: Network, images: np.ndarray) -> np.ndarray:
    """float64 [n, parts * filters]: of each part of an image, the mean response to each filter."""
    found = []
    for start in range(0, len(images), CHUNK):
        patches = _patches(images[start : start + CHUNK])
        responses = np.maximum(patches @ network["filters"] - network["threshold"], 0)
        for axis in (1, 2):
            parts = np.array_split(responses, _size(images)[2], axis)
            responses = np.stack([part.mean(axis) for part in parts], axis)
        found.append(responses.reshape(len(responses), -1))
    return np.concatenate(found).astype(np.float64)


def _features(network: Network, images: np.ndarray) -> np.ndarray:
    x = (_pooled(network, images) - network["mean"]) * network["scale"]
    hidden = x @ network["hidden"]
    hidden = np.maximum(hidden + network["hidden_bias"], 0) if "hidden_bias" in network else hidden
    return hidden * network["unit"]


def _classifier(x: np.ndarray, labels: np.ndarray, classes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A hidden layer and an output, by Adam on the cross-entropy with weight decay."""
    sizes = (x.shape[1], FEATURES, classes)
    x = x.astype(np.float32)
    weights = {
        "hidden": rng.standard_normal(sizes[:2], np.float32) * np.float32(np.sqrt(2 / sizes[0])),
        "hidden_bias": np.zeros(sizes[1], np.float32),
        "output": rng.standard_normal(sizes[1:], np.float32) * np.float32(np.sqrt(1 / sizes[1])),
        "bias": np.zeros(classes, np.float32),
    }
    first, second = ({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    for step in range(1, STEPS + 1):
        chosen = rng.integers(0, len(x), BATCH)
        inputs, wanted = x[chosen], np.eye(classes, dtype=np.float32)[labels[chosen]]
        hidden = np.maximum(inputs @ weights["hidden"] + weights["hidden_bias"], 0)
        error = (_softmax(hidden @ weights["output"] + weights["bias"]) - wanted) / BATCH
        back = (error @ weights["output"].T) * (hidden > 0)
        gradients = {"hidden": inputs.T @ back, "hidden_bias": back.sum(0)}
        gradients |= {"output": hidden.T @ error, "bias": error.sum(0)}
        rate = RATE * (1 - step / STEPS)
        for name, gradient in gradients.items():
            first[name] += 0.1 * (gradient - first[name])
            second[name] += 0.001 * (gradient**2 - second[name])
            mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            weights[name] = weights[name] * (1 - rate * DECAY) - rate * mean / (np.sqrt(square) + 1e-8)
    return weights


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def _to_text(network: Network) -> str:
    """In half precision, as text: a spec's plain values are what models and metrics see."""
    file = io.BytesIO()
    halves: dict[str, Any] = {name: value.astype(np.float16) for name, value in network.items()}
    np.savez_compressed(file, **halves)
    return base64.b64encode(file.getvalue()).decode()


@functools.lru_cache(maxsize=4)
def _from_text(text: str) -> dict[str, Any]:
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files}
