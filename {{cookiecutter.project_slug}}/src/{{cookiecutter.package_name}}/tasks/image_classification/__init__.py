"""Image classification: which of the classes does a picture show?"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...engine.api import STRICT, Arrays, Bad, Field, InputError, Inputs, Overfit, Signature, Spec, Task
from ...engine.classification import charts, describe, logits
from ...engine.data.image_sets import read_image
from ...engine.data.images import Decoded, Files, list_images, readable
from ...models.convnet import ConvNetConfig
from ...models.mlp import MLPConfig
from ...models.resnet import ResNetConfig, SmallResNetConfig
from .data import (
    Cifar10Config,
    DigitsConfig,
    FashionMnistConfig,
    FolderConfig,
    ImageConfig,
    MnistConfig,
    load,
)
from .pictures import examples


def inputs(given: Sequence[str | Path] | str | Path | np.ndarray, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`image`: uint8 [n, *spec["shape"]], of image files and folders, or of an array that is so already or one image.

    Files are seen as in evaluation, and in grey where the model takes grey. A folder stands for the images in it and in
    its folders. Where `bad` skips, every file is read once to find those that it takes. Raises InputError for others.
    """
    if not isinstance(given, np.ndarray):
        paths = [given] if isinstance(given, str | Path) else given
        if not isinstance(paths, Sequence) or not all(isinstance(path, str | Path) for path in paths):
            raise InputError(
                f"inputs of type {type(given).__name__}: paths of images are wanted, or one array of uint8"
            )
        if not paths:
            raise InputError("no inputs: paths of images are wanted, or one array of uint8")
        names = []
        for path in map(str, paths):
            names += list_images(path, bad) if os.path.isdir(path) else [path]
        read = functools.partial(read_image, spec=spec)
        if bad.skip:
            names = [names[i] for i in readable(Files(names), read, FolderConfig.workers, bad)]
        return Inputs(Decoded(Files(names), read), names)
    shape = tuple(spec["shape"])
    if given.dtype != np.uint8:
        raise InputError(f"images of type {given.dtype}: the model takes uint8, 0 to 255")
    if shape not in (given.shape, given.shape[1:]):
        expected = ", ".join(map(str, shape))
        raise InputError(f"images of shape {list(given.shape)}: the model takes [n, {expected}] or [{expected}]")
    if not given.size:
        raise InputError("no inputs: the array is empty")
    images = given.reshape(-1, *shape)
    return Inputs(Arrays(image=images), [str(i) for i in range(len(images))])


def signature(spec: Spec) -> Signature:
    channels = "grey" if spec["shape"][-1] == 1 else "red, green, blue"
    about = f"0 to 255 of each pixel: height, width, channel ({channels})"
    if spec.get("resize"):
        about += f"; the middle of a picture whose shorter side was made {spec['resize']} pixels"
    if spec.get("exif_rotation"):
        about += "; a picture is rotated first as its EXIF data say"
    return Signature({"image": Field("uint8", tuple(spec["shape"]), about)}, {"logits": logits(spec)})


def check(config: ImageConfig) -> None:
    """Mixup mixes examples 2k and 2k + 1, which must be in the same micro-batch."""
    if config.data.mixup and (config.data.batch_size // config.trainer.accumulate) % 2:
        raise InputError(
            f"data.mixup = {config.data.mixup} mixes pairs, but data.batch_size = {config.data.batch_size} in "
            f"trainer.accumulate = {config.trainer.accumulate} micro-batches is no even number in each"
        )


task = Task(
    name="image_classification",
    title="Image classification",
    models={
        "convnet": ConvNetConfig,
        "mlp": MLPConfig,
        "resnet_small": SmallResNetConfig,
        "resnet18": ResNetConfig,
        "resnet34": ResNetConfig,
        "resnet50": ResNetConfig,
    },
    datasets={
        "digits": DigitsConfig,
        "mnist": MnistConfig,
        "fashion_mnist": FashionMnistConfig,
        "cifar10": Cifar10Config,
        "folder": FolderConfig,
    },
    monitor="val/accuracy",
    mode="max",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    charts=charts,
    check=check,
    signature=signature,
    overfit=Overfit(steps=200, loss=0.1),
)
