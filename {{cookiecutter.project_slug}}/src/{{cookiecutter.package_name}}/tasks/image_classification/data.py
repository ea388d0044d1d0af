"""Images as NumPy: uint8 [batch, height, width, channel], labels int32 [batch]."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...engine.api import (
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
from ...engine.data import image_sets, images
from ...engine.data.files import find_own
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


ImageConfig = Config[
    ConvNetConfig | MLPConfig | ResNetConfig,
    DigitsConfig | MnistConfig | FashionMnistConfig | Cifar10Config | FolderConfig,
]


def load(config: ImageConfig, spec: Spec | None = None) -> Dataset:
    """`image`: uint8 [n, height, width, channel], `label`: int32 [n]. Nothing is fitted, so `spec` is not asked."""
    return _load_folder(config.data) if isinstance(config.data, FolderConfig) else _load_arrays(config.data)


def _load_arrays(config: ArrayDataConfig) -> Dataset:
    """Validation is cut from the training images."""
    verify = getattr(config, "verify", True)
    everything, test, classes = image_sets.read_set(config.name, config.root, download=config.download, verify=verify)
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
    look = functools.partial(image_sets.read_image, spec=spec, advice="set data.resize, or resize it")

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
        views = config.size, config.resize, config.channels, config.exif_rotation
        train, val, test = (
            image_sets.leave_out_bad(
                files, look, folder, views=views, workers=config.workers, cache=config.cache, links=links
            )
            for files, links in splits
        )
    draw = functools.partial(_draw, config=config, shape=shape, crop=config.crop)
    return Dataset(train, images.Decoded(val, look), images.Decoded(test, look), spec, draw, augment)


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


def _check_extent(config: ImageDataConfig, shape: Sequence[int], keys: Sequence[str]) -> None:
    """Of augmentations that would leave nothing of an image."""
    for key in keys:
        if getattr(config, key) >= min(shape[:2]):
            raise InputError(f"data.{key} = {getattr(config, key)}, but the images have {shape[1]} x {shape[0]} pixels")
