"""Images as NumPy, uint8 [batch, height, width, channel], each with the noise that one is to be made of."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...engine.api import (
    Arrays,
    Bad,
    Batch,
    Config,
    DataConfig,
    Dataset,
    InputError,
    NonNegativeInt,
    PositiveInt,
    Probability,
    Source,
    Spec,
    option,
)
from ...engine.data import image_sets, images
from ...engine.data.files import find_own
from ...engine.data.folders import entries
from ...engine.data.sources import digest
from ...models.dcgan import DcganConfig, pyramid
from ...models.resnet_gan import ResnetGanConfig
from . import features

FEWEST = 2  # real images that have a covariance


@dataclass(frozen=True)
class ImageDataConfig(DataConfig):
    """What every dataset has."""

    samples: PositiveInt = option(1000, "images that are generated for an evaluation, and real ones beside them")
    flip: bool = option(False, "augmentation: mirror every second training image, left to right", overfit=False)
    val_fraction: Probability = option(0.1, "share of the training images that is kept for validation")


@dataclass(frozen=True)
class DigitsConfig(ImageDataConfig):
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""


@dataclass(frozen=True)
class MnistConfig(ImageDataConfig):
    """70,000 handwritten digits of 28 x 28 pixels (LeCun, Cortes, Burges), in `<root>/mnist/`."""

    verify: bool = option(True, "check the files' md5; false for files of your own in the same format")


@dataclass(frozen=True)
class FashionMnistConfig(MnistConfig):
    """70,000 grey pictures of clothes, 28 x 28 pixels (Xiao, Rasul, Vollgraf 2017), in `<root>/fashion_mnist/`."""


@dataclass(frozen=True)
class Cifar10Config(ImageDataConfig):
    """60,000 colour pictures of 32 x 32 pixels (Krizhevsky 2009), in `<root>/cifar10/cifar-10-batches-bin/`."""

    verify: bool = option(True, "check the archive's md5")


@dataclass(frozen=True)
class FolderConfig(ImageDataConfig):
    """Image files in `<path>/`, or in `<path>/<class>/`."""

    path: str = option("images", "folder of images, or of a folder for each class: from the working folder, or in root")
    channels: Literal[3, 1] = option(3, "3: colour, 1: grey")
    size: PositiveInt = option(64, "the middle of an image is made size x size pixels")
    test_fraction: Probability = option(0.1, "share of the images that is kept for the test")
    exif_rotation: bool = option(False, "rotate images as their EXIF data say; false: they are seen as they are stored")
    workers: NonNegativeInt = option(4, "threads that decode batches ahead; 0: none")
    cache: str = option("", "skip_bad: folder where it is kept which images can be read; empty: that of the images")


GanConfig = Config[
    DcganConfig | ResnetGanConfig,
    DigitsConfig | MnistConfig | FashionMnistConfig | Cifar10Config | FolderConfig,
]


def load(config: GanConfig, spec: Spec | None = None) -> Dataset:
    """In training `image`, and `noise`: float32 [n, latent], drawn for each step.

    In evaluation the noise is fixed: of example i it is the same in every run. Beside it are the real images, again
    from the first where there are too few; where `first` is true, bool [n], one stands for the first time.

    `classifier` of the spec is what samples are measured with; it is fitted on the training images.
    """
    train, val, test, labels, classes = (
        _folder(config.data) if isinstance(config.data, FolderConfig) else _set(config.data)
    )
    for name, source in {"validation": val, "the test": test}.items():
        if len(source) < FEWEST:
            keys = "data.val_fraction and data.test_fraction" if name == "the test" else "data.val_fraction"
            raise InputError(
                f"beside {len(train)} images to train on there are {len(source)} for {name}, which takes {FEWEST} at "
                f"least: give it more, or raise {keys}"
            )
    shape = list(val[np.arange(1)]["image"].shape[1:])
    pyramid(tuple(shape))
    classifier = spec["classifier"] if spec else _classifier(train, labels, classes)
    found = {"shape": shape, "classes": classes, "latent": config.model.latent, "classifier": classifier}
    draw = functools.partial(_draw, latent=config.model.latent, shape=shape, flip=config.data.flip)
    count = config.data.samples
    val, test = (
        Samples(source, range(i * count, (i + 1) * count), config.model.latent) for i, source in enumerate((val, test))
    )
    return Dataset(train, val, test, found, draw, images.apply_views)


class Samples:
    """Examples of fixed noise, one of each seed, with a real image each."""

    def __init__(self, source: Source, seeds: range, latent: int):
        self.source, count = source, len(seeds)
        # Spread over the source, whose classes may lie one after the other.
        self.places = np.arange(count) * len(source) // count if count < len(source) else np.arange(count) % len(source)
        self.noise = noise(seeds, latent)

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        batch = {"image": self.source[self.places[indices]]["image"], "noise": self.noise[indices]}
        return {**batch, "first": indices < len(self.source)}

    def digest(self) -> str:
        """Of the real images; the last digits of the noise may differ from machine to machine."""
        return digest(self.source)


def noise(seeds: range | list[int], latent: int) -> np.ndarray:
    """float32 [n, latent] from N(0, 1), of each seed the same whatever the others."""
    found = np.empty((len(seeds), latent), np.float32)
    for row, seed in zip(found, seeds, strict=True):
        np.random.Generator(np.random.Philox(seed)).standard_normal(dtype=np.float32, out=row)
    return found


def _draw(rng: np.random.Generator, n: int, *, latent: int, shape: list[int], flip: bool) -> Batch:
    views = images.draw_views(rng, n, shape, shift=0, flip=flip, cutout=0)
    return {"noise": rng.standard_normal((n, latent), np.float32), **views}


Read = tuple[Source, Source, Source, np.ndarray | None, list[str]]


def _set(config: ImageDataConfig) -> Read:
    """(train, val, test, labels to train on, classes); validation is cut from the training images."""
    verify = getattr(config, "verify", True)
    everything, test, classes = image_sets.read_set(config.name, config.root, download=config.download, verify=verify)
    train, val = everything.split(config.val_fraction)
    labels = train.arrays["label"]
    train, val, test = (Arrays(image=part.arrays["image"]) for part in (train, val, test))
    return train, val, test, labels, classes


def _folder(config: FolderConfig) -> Read:
    """The same of a folder. Without class folders there are no labels."""
    folder = find_own(config.root, config.path, "data.path", Path.is_dir)
    links = Bad(config.skip_bad)
    classes: list[str] = []
    if entries(folder, images.SUFFIXES, Bad(skip=True)).files:
        files = images.Files(images.list_images(str(folder), links))
    else:
        files, classes = images.list_folder(folder, bad=links)
    shape = [config.size, config.size, config.channels]
    spec = {"shape": shape, "resize": config.size, "exif_rotation": config.exif_rotation}
    look = functools.partial(image_sets.read_image, spec=spec)
    if config.skip_bad:
        views = config.size, config.channels, config.exif_rotation
        files = image_sets.leave_out_bad(
            files, look, folder, views=views, workers=config.workers, cache=config.cache, links=links
        )
    if len(files) < 2:
        raise InputError(f"{folder} has one image: a GAN learns what many have in common: give it some hundreds")
    if len(classes) == 1:
        classes = []
    rest, part = Arrays(file=files.files, **files.arrays).split(config.test_fraction)
    parts = (*rest.split(config.val_fraction), part)
    labels = parts[0].arrays["label"] if classes else None
    train, val, test = (images.Decoded(images.Files(part.arrays["file"].tolist()), look) for part in parts)
    return train, val, test, labels, classes


def _classifier(train: Source, labels: np.ndarray | None, classes: list[str]) -> str:
    """Fitted on the training images, or on some of many."""
    chosen = features.chosen(len(train))
    some = train[chosen]["image"]
    if (some == some[:1]).all():
        raise InputError(f"all {len(some)} training images are the same: a GAN learns what differs among many")
    return features.fit(some, None if labels is None else labels[chosen], len(classes))
