"""Images as NumPy: uint8 [batch, height, width, channel], labels int32 [batch]."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...config import DataConfig, NonNegativeInt, Probability, option
from ...data.files import Remote, locate, read_gzip
from ...data.sources import Arrays, Batch, Dataset
from ...errors import InputError


@dataclass(frozen=True)
class ImageDataConfig(DataConfig):
    """What every image dataset has."""

    val_fraction: Probability = option(0.1, "share of the training images that is kept for validation")
    shift: NonNegativeInt = option(0, "augmentation: largest random shift, in pixels, in each direction")


@dataclass(frozen=True)
class DigitsConfig(ImageDataConfig):
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""


@dataclass(frozen=True)
class MnistConfig(ImageDataConfig):
    """70,000 handwritten digits of 28 x 28 pixels (LeCun, Cortes, Burges), in `<root>/mnist/`."""

    verify: bool = option(True, "check the files' md5; false for files of your own in the same format")


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_FILES = (
    Remote("train-images-idx3-ubyte.gz", _MNIST + "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    Remote("train-labels-idx1-ubyte.gz", _MNIST + "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    Remote("t10k-images-idx3-ubyte.gz", _MNIST + "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    Remote("t10k-labels-idx1-ubyte.gz", _MNIST + "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)


def load(config: ImageDataConfig) -> Dataset:
    """`image`: uint8 [n, height, width, channel], `label`: int32 [n]. Validation is cut from the training images."""
    loaders: dict[type, Callable] = {DigitsConfig: _digits, MnistConfig: _mnist}
    everything, test, classes = loaders[type(config)](config)
    train, val = everything.split(config.val_fraction)
    if not len(val):
        raise InputError(
            f"data.val_fraction = {config.val_fraction} of {len(everything)} images leaves none for validation"
        )
    spec = {"shape": list(train.arrays["image"].shape[1:]), "classes": classes}
    return Dataset(
        train, val, test, spec, functools.partial(random_shift, pixels=config.shift) if config.shift else None
    )


def random_shift(batch: Batch, rng: np.random.Generator, pixels: int) -> Batch:
    """Moves each image by up to `pixels` in each direction; what comes in at the edges is black."""
    images = batch["image"]
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    top, left = rng.integers(0, 2 * pixels + 1, (2, n, 1))
    rows = (top + np.arange(height))[:, :, None]
    columns = (left + np.arange(width))[:, None, :]
    return {**batch, "image": padded[np.arange(n)[:, None, None], rows, columns]}


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """A gzipped IDX file of bytes: 0, 0, type 8, the number of axes, their sizes as big-endian int32, the values.

    Raises:
        InputError: where the file is none, or is cut short.
    """
    data = read_gzip(path)
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        raise InputError(
            f"{path} is no IDX file of bytes with {dimensions} axes: it begins with {data[:4].hex(' ') or 'nothing'}"
        )
    shape = np.frombuffer(data, ">i4", dimensions, 4)
    if len(data) - start != np.prod(shape, dtype=np.int64):
        raise InputError(f"{path} holds {len(data) - start} values, but its header says {' x '.join(map(str, shape))}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _digits(config: DigitsConfig) -> tuple[Arrays, Arrays, list[str]]:
    from sklearn.datasets import load_digits  # takes a second, so only when asked for

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = Arrays(image=images, label=digits.target.astype(np.int32)).split(0.2)
    return train, test, [str(name) for name in digits.target_names]


def _mnist(config: MnistConfig) -> tuple[Arrays, Arrays, list[str]]:
    paths = locate(Path(config.root) / "mnist", MNIST_FILES, download=config.download, verify=config.verify)
    splits = []
    for image_path, label_path in (paths[:2], paths[2:]):
        images, labels = read_idx(image_path, 3)[..., None], read_idx(label_path, 1).astype(np.int32)
        if len(images) != len(labels):
            raise InputError(f"{image_path} has {len(images)} images, but {label_path} has {len(labels)} labels")
        if len(labels) and labels.max() > 9:
            raise InputError(f"{label_path} has label {labels.max()}: MNIST has the digits 0 to 9")
        if not len(images):
            raise InputError(f"{image_path} has no images")
        if splits and images.shape[1:] != splits[0].arrays["image"].shape[1:]:
            sizes = (" x ".join(map(str, s.shape[1:3])) for s in (images, splits[0].arrays["image"]))
            raise InputError(f"{image_path} has images of {next(sizes)} pixels, but {paths[0]} of {next(sizes)}")
        splits.append(Arrays(image=images, label=labels))
    return splits[0], splits[1], [str(digit) for digit in range(10)]
