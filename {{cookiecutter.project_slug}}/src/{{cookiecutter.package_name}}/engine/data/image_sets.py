"""Well-known sets of small images, as their publishers lay them out, and folders of images.

Pixels are uint8 [n, height, width, channel], labels int32 [n].
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from . import images
from .bad import SHOWN, Bad
from .conversions import convert_once
from .download import Remote, locate, locate_unpacked, read_gzip
from .files import read_bytes
from .sources import Arrays


def _idx_files(url: str, *md5s: str) -> tuple[Remote, ...]:
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    names = [f"{stem}-ubyte.gz" for stem in stems]
    return tuple(Remote(name, url + name, md5) for name, md5 in zip(names, md5s, strict=True))


MNIST_FILES = _idx_files(
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION_MNIST_FILES = _idx_files(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
CIFAR10_ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
)
DIGITS = [str(digit) for digit in range(10)]
CLOTHES = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot".split(", ")
CIFAR10 = "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck".split(", ")


def read_set(name: str, root: str, *, download: bool, verify: bool) -> tuple[Arrays, Arrays, list[str]]:
    """(`image` and `label` to train on, those of the test, the classes) of digits, mnist, fashion_mnist or cifar10.

    Digits have no official split: a fixed fifth is the test.

    Args:
        root: holds a folder of the set's name with its files; digits come with scikit-learn.
        download: whether to fetch them where they are missing.
        verify: whether to check their md5.

    Raises:
        InputError: where files are missing, damaged, or do not fit together.
    """
    folder = Path(root) / name
    if name == "digits":
        return *_digits(), DIGITS
    if name == "mnist":
        return *_idx(folder, MNIST_FILES, download=download, verify=verify), DIGITS
    if name == "fashion_mnist":
        return *_idx(folder, FASHION_MNIST_FILES, download=download, verify=verify), CLOTHES
    return *_cifar10(folder, download=download, verify=verify), CIFAR10


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """A gzipped IDX file of bytes: 0, 0, type 8, the number of axes, their sizes as big-endian uint32, the values.

    Raises:
        InputError: where the file is none, or is cut short.
    """
    data = read_gzip(path)
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        raise InputError(
            f"{path} is no IDX file of bytes with {dimensions} axes: it begins with {data[:4].hex(' ') or 'nothing'}"
        )
    shape = np.frombuffer(data, ">u4", dimensions, 4).tolist()
    if len(data) - start != math.prod(shape):
        raise InputError(f"{path} holds {len(data) - start} values, but its header says {' x '.join(map(str, shape))}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path) -> Arrays:
    """A binary file of CIFAR-10: for each image its label, then 32 x 32 values of red, of green and of blue.

    Raises:
        InputError: where the file has another length, or labels above 9.
    """
    size = 1 + 3 * 32 * 32
    data = read_bytes(path)
    if not data or len(data) % size:
        raise InputError(f"{path} has {len(data)} bytes, which is no multiple of the {size} of an image with its label")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    labels = records[:, 0].astype(np.int32)
    _check_labels(labels, path)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Arrays(image=np.ascontiguousarray(pixels), label=labels)


def _digits() -> tuple[Arrays, Arrays]:
    from sklearn.datasets import load_digits  # takes a second, so only when asked for

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = Arrays(image=pixels, label=digits.target.astype(np.int32)).split(0.2)
    return train, test


def _idx(folder: Path, files: Sequence[Remote], *, download: bool, verify: bool) -> tuple[Arrays, Arrays]:
    paths = locate(folder, files, download=download, verify=verify)
    splits: list[Arrays] = []
    for image_path, label_path in (paths[:2], paths[2:]):
        pixels, labels = read_idx(image_path, 3)[..., None], read_idx(label_path, 1).astype(np.int32)
        if len(pixels) != len(labels):
            raise InputError(f"{image_path} has {len(pixels)} images, but {label_path} has {len(labels)} labels")
        _check_labels(labels, label_path)
        if not pixels.size:
            raise InputError(f"{image_path} has no images")
        if splits and pixels.shape[1:] != splits[0].arrays["image"].shape[1:]:
            sizes = (" x ".join(map(str, s.shape[1:3])) for s in (pixels, splits[0].arrays["image"]))
            raise InputError(f"{image_path} has images of {next(sizes)} pixels, but {paths[0]} of {next(sizes)}")
        splits.append(Arrays(image=pixels, label=labels))
    return splits[0], splits[1]


def _cifar10(folder: Path, *, download: bool, verify: bool) -> tuple[Arrays, Arrays]:
    names = [f"cifar-10-batches-bin/{name}.bin" for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]]
    paths = locate_unpacked(folder, CIFAR10_ARCHIVE, names, download=download, verify=verify)
    *train, test = map(read_cifar, paths)
    joined = {name: np.concatenate([part.arrays[name] for part in train]) for name in ("image", "label")}
    return Arrays(**joined), test


def _check_labels(labels: np.ndarray, path: Path) -> None:
    if len(labels) and labels.max() > 9:
        raise InputError(f"{path} has label {labels.max()}: labels go from 0 to 9")


def leave_out_bad(
    files: images.Files,
    look: Callable[[str], object],
    folder: Path,
    *,
    views: tuple[Any, ...],
    workers: int,
    cache: str,
    links: Bad,
) -> images.Files:
    """Without those that cannot be read. Each is read once, which takes as long as an epoch's reading; what is found is
    kept for later runs.

    Args:
        look: reads one.
        folder: what they lie in.
        views: what `look` depends on.
        workers: threads.
        cache: the folder where it is kept; empty: `folder`.
        links: those to nothing, which are counted with them.
    """

    def check(made: Path) -> None:
        bad = Bad(skip=True)
        np.save(made / "readable.npy", np.array(images.readable(files, look, workers, bad), np.int64))
        (made / "bad.json").write_text(bad.to_text())

    paths = [Path(file) for file in files.files]
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    made = convert_once(Path(cache) if cache else folder, paths, repr((names, views)), check)
    kept = np.load(made / "readable.npy")
    bad = Bad.from_text((made / "bad.json").read_text(encoding="utf-8"))
    Bad(True, links.count + bad.count, tuple([*links.first, *bad.first][:SHOWN])).say(len(kept))
    return images.Files(files.files[kept], **{name: array[kept] for name, array in files.arrays.items()})


def read_image(file: str, spec: Mapping[str, Any], advice: str = "") -> np.ndarray:
    """An image file as the model of a spec takes it in evaluation: uint8 [*spec["shape"]].

    Of images that were in memory no file tells how one is to be seen: it is fitted.
    """
    if "resize" not in spec:
        return images.fitted(file, spec["shape"])
    (size, _, channels), exif_rotation = spec["shape"], spec.get("exif_rotation", False)
    if spec["resize"]:
        return images.centre_crop(file, size, spec["resize"], channels=channels, exif_rotation=exif_rotation)
    advice = advice or f"resize it, or train with --data.resize {size}, which takes images of any size"
    return images.exact(file, spec["shape"], advice, exif_rotation=exif_rotation)
