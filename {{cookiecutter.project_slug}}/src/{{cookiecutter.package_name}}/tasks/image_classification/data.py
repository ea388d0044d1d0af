"""Images as NumPy: uint8 [batch, height, width, channel], labels int32 [batch]."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...engine.api import (
    Arrays,
    Bad,
    Batch,
    Config,
    DataConfig,
    Dataset,
    InputError,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Probability,
    Spec,
    option,
    say_once,
)
from ...engine.data import images
from ...engine.data.bad import SHOWN
from ...engine.data.conversions import convert_once
from ...engine.data.download import Remote, locate, locate_unpacked, read_gzip
from ...engine.data.files import find_own, read_bytes
from ...engine.data.folders import entries, say_left_out
from ...models.convnet import ConvNetConfig
from ...models.mlp import MLPConfig
from ...models.resnet import ResNetConfig


@dataclass(frozen=True)
class ImageDataConfig(DataConfig):
    """What every image dataset has."""

    flip: bool = option(False, "augmentation: mirror every second training image, left to right", overfit=False)
    cutout: NonNegativeInt = option(
        0, "augmentation: side, in pixels, of a black square in each training image", overfit=0
    )
    mixup: NonNegativeFloat = option(
        0.0, "augmentation: alpha of the Beta distribution by which two images are mixed; 0: not mixed", overfit=0.0
    )
    label_smoothing: Probability = option(
        0.0, "share of a training label that is spread evenly over all classes", overfit=0.0
    )


@dataclass(frozen=True)
class ArrayDataConfig(ImageDataConfig):
    """What image datasets in memory have."""

    val_fraction: Probability = option(0.1, "share of the training images that is kept for validation")
    shift: NonNegativeInt = option(0, "augmentation: largest random shift, in pixels, in each direction", overfit=0)


@dataclass(frozen=True)
class DigitsConfig(ArrayDataConfig):
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""


@dataclass(frozen=True)
class MnistConfig(ArrayDataConfig):
    """70,000 handwritten digits of 28 x 28 pixels (LeCun, Cortes, Burges), in `<root>/mnist/`."""

    verify: bool = option(True, "check the files' md5; false for files of your own in the same format")


@dataclass(frozen=True)
class FashionMnistConfig(MnistConfig):
    """70,000 grey pictures of clothes, 28 x 28 pixels (Xiao, Rasul, Vollgraf 2017), in `<root>/fashion_mnist/`."""


@dataclass(frozen=True)
class Cifar10Config(ArrayDataConfig):
    """60,000 colour pictures of 32 x 32 pixels (Krizhevsky 2009), in `<root>/cifar10/cifar-10-batches-bin/`."""

    verify: bool = option(True, "check the archive's md5")


@dataclass(frozen=True)
class FolderConfig(ImageDataConfig):
    """Image files in `<path>/train/<class>/` and `val/<class>/`, and where there is one `test/<class>/`."""

    path: str = option("images", "folder that holds train/, val/ and maybe test/: from the working folder, or in root")
    channels: Literal[3, 1] = option(3, "3: colour, 1: grey")
    size: PositiveInt = option(224, "the model takes size x size pixels")
    resize: NonNegativeInt = option(
        256, "the view to evaluate: shorter side before the middle is cut out; 0: all files have size x size pixels"
    )
    crop: Probability = option(
        0.08, "augmentation: smallest share of the area in a random crop; 0: the view to evaluate", overfit=0.0
    )
    test_path: str = option("", "folder of CLASS/ folders to test on, in place of test/")
    exif_rotation: bool = option(False, "rotate images as their EXIF data say; false: they are seen as they are stored")
    workers: NonNegativeInt = option(4, "threads that decode batches ahead; 0: none")
    cache: str = option("", "skip_bad: folder where it is kept which images can be read; empty: that of the images")


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


ImageConfig = Config[
    ConvNetConfig | MLPConfig | ResNetConfig,
    DigitsConfig | MnistConfig | FashionMnistConfig | Cifar10Config | FolderConfig,
]


def load(config: ImageConfig, spec: Spec | None = None) -> Dataset:
    """`image`: uint8 [n, height, width, channel], `label`: int32 [n]. Nothing is fitted, so `spec` is not asked."""
    return _load_folder(config.data) if isinstance(config.data, FolderConfig) else _load_arrays(config.data)


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


def _load_arrays(config: ArrayDataConfig) -> Dataset:
    """Validation is cut from the training images."""
    loaders: dict[type, Callable[[Any], tuple[Arrays, Arrays, list[str]]]] = {
        DigitsConfig: _digits,
        MnistConfig: lambda config: _idx(config, "mnist", MNIST_FILES, DIGITS),
        FashionMnistConfig: lambda config: _idx(config, "fashion_mnist", FASHION_MNIST_FILES, CLOTHES),
        Cifar10Config: _cifar10,
    }
    everything, test, classes = loaders[type(config)](config)
    train, val = everything.split(config.val_fraction)
    if not len(val):
        raise InputError(
            f"data.val_fraction = {config.val_fraction} of {len(everything)} images leaves none for validation"
        )
    shape = list(train.arrays["image"].shape[1:])
    _check_extent(config, shape, ["shift", "cutout"])
    dataset = Dataset(train, val, test, {"shape": shape, "classes": classes})
    if not (config.shift or config.flip or config.cutout or config.mixup):
        return dataset
    draw = functools.partial(_draw, config=config, shape=shape, shift=config.shift)
    return dataclasses.replace(dataset, draw=draw, augment=images.apply_views)


def _load_folder(config: FolderConfig) -> Dataset:
    shape = [config.size, config.size, config.channels]
    _check_extent(config, shape, ["cutout"])
    if 0 < config.resize < config.size:
        raise InputError(
            f"data.resize = {config.resize} is less than data.size = {config.size}, which is cut out of it"
        )
    if config.crop and not config.resize:
        raise InputError(
            f"data.crop = {config.crop}, but data.resize = 0 takes the images as they are: set data.crop = 0, or "
            f"data.resize = {config.size}"
        )
    try:
        folder = find_own(config.root, config.path, "data.path", lambda path: (path / "train").is_dir())
    except InputError as error:
        raise InputError(f"{error} with train/ in it: images belong into train/CLASS/ and val/CLASS/ there") from error
    if not (folder / "val").is_dir():
        raise InputError(f"{folder / 'val'} is no folder: images to validate on belong into {folder}/val/CLASS/")
    bad = {split: Bad(config.skip_bad) for split in ("train", "val", "test")}
    beside = entries(folder, (), bad["train"])
    extra = [path for path in beside.folders if Path(path).name not in bad]
    say_left_out([(folder, beside._replace(folders=extra))])
    train, classes = images.list_folder(folder / "train", bad=bad["train"])
    if len(classes) < 2:
        raise InputError(f"{folder / 'train'} has only the class {classes[0]!r}: there is nothing to tell apart")
    val, _ = images.list_folder(folder / "val", classes, bad["val"])
    tested = folder / "test"
    if config.test_path:
        tested = find_own(config.root, config.test_path, "data.test_path", Path.is_dir)
    if tested.is_dir():
        test, _ = images.list_folder(tested, classes, bad["test"])
    else:
        say_once("test", f"{folder} has no test/: val/ is the test split")
        test, bad["test"] = val, bad["val"]
    spec = {"shape": shape, "classes": classes, "resize": config.resize}
    if config.exif_rotation:
        spec["exif_rotation"] = True
    look = functools.partial(read_image, spec=spec, advice="set data.resize, or resize it")

    def augment(batch: Batch) -> Batch:
        pictures = []
        for i, file in enumerate(batch["file"]):
            if "crop" in batch:
                crop = functools.partial(images.random_resized_crop, channels=config.channels)
                image = crop(file, batch["crop"][i], config.size, exif_rotation=config.exif_rotation)
            else:
                image = look(file)
            views = {name: batch[name][i : i + 1] for name in images.VIEWS if name in batch}
            pictures.append(images.apply_views({"image": image[None], **views})["image"])
        rest = {name: value for name, value in batch.items() if name not in ("file", "crop", *images.VIEWS)}
        return {"image": np.concatenate(pictures), **rest}

    if config.skip_bad:
        splits = zip((train, val, test), bad.values(), strict=True)
        train, val, test = (_readable(files, links, look, folder, config) for files, links in splits)
    draw = functools.partial(_draw, config=config, shape=shape, crop=config.crop)
    return Dataset(train, images.Decoded(val, look), images.Decoded(test, look), spec, draw, augment)


def _readable(
    files: images.Files, links: Bad, look: Callable[[str], object], folder: Path, config: FolderConfig
) -> images.Files:
    """Without those that cannot be read. Each is read once, which takes as long as an epoch's reading; what is found is
    kept for later runs.

    links: those to nothing, which are counted with them.
    """

    def check(made: Path) -> None:
        bad = Bad(skip=True)
        np.save(made / "readable.npy", np.array(images.readable(files, look, config.workers, bad), np.int64))
        (made / "bad.json").write_text(bad.to_text())

    paths = [Path(file) for file in files.files]
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    views = config.size, config.resize, config.channels, config.exif_rotation
    made = convert_once(Path(config.cache) if config.cache else folder, paths, repr((names, views)), check)
    kept = np.load(made / "readable.npy")
    bad = Bad.from_text((made / "bad.json").read_text())
    Bad(True, links.count + bad.count, tuple([*links.first, *bad.first][:SHOWN])).say(len(kept))
    return images.Files(files.files[kept], label=files.arrays["label"][kept])


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


def _draw(
    rng: np.random.Generator, n: int, *, config: ImageDataConfig, shape: Sequence[int], shift: int = 0, crop: float = 0
) -> Batch:
    """The random numbers of a training batch. None for what is off."""
    batch = images.draw_views(rng, n, shape, shift=shift, flip=config.flip, cutout=config.cutout)
    if crop:
        batch |= images.draw_crops(rng, n, crop)
    if config.mixup:
        batch |= images.draw_mix(rng, n, config.mixup)
    return batch


def _digits(config: DigitsConfig) -> tuple[Arrays, Arrays, list[str]]:
    from sklearn.datasets import load_digits  # takes a second, so only when asked for

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = Arrays(image=pixels, label=digits.target.astype(np.int32)).split(0.2)
    return train, test, DIGITS


def _idx(
    config: MnistConfig, name: str, files: Sequence[Remote], classes: list[str]
) -> tuple[Arrays, Arrays, list[str]]:
    paths = locate(Path(config.root) / name, files, download=config.download, verify=config.verify)
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
    return splits[0], splits[1], classes


def _cifar10(config: Cifar10Config) -> tuple[Arrays, Arrays, list[str]]:
    names = [f"cifar-10-batches-bin/{name}.bin" for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]]
    paths = locate_unpacked(
        Path(config.root) / "cifar10", CIFAR10_ARCHIVE, names, download=config.download, verify=config.verify
    )
    *train, test = map(read_cifar, paths)
    joined = {name: np.concatenate([part.arrays[name] for part in train]) for name in ("image", "label")}
    return Arrays(**joined), test, CIFAR10


def _check_labels(labels: np.ndarray, path: Path) -> None:
    if len(labels) and labels.max() > 9:
        raise InputError(f"{path} has label {labels.max()}: labels go from 0 to 9")


def _check_extent(config: ImageDataConfig, shape: Sequence[int], keys: Sequence[str]) -> None:
    """Of augmentations that would leave nothing of an image."""
    for key in keys:
        if getattr(config, key) >= min(shape[:2]):
            raise InputError(f"data.{key} = {getattr(config, key)}, but the images have {shape[1]} x {shape[0]} pixels")
