"""Image generation: new images that look like those of a set, made of noise."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Batch,
    Field,
    InputError,
    Inputs,
    Overfit,
    Signature,
    Spec,
    Task,
    option,
    say_once,
)
from ...models.dcgan import DcganConfig
from ...models.resnet_gan import ResnetGanConfig
from . import features
from .data import (
    FEWEST,
    Cifar10Config,
    DigitsConfig,
    FashionMnistConfig,
    FolderConfig,
    GanConfig,
    MnistConfig,
    load,
    noise,
)
from .pictures import grid, save, to_uint8

SURE = 0.9  # a probability with which the classifier is sure
PRESENT = 0.3  # of an even share of the samples: with ten classes, 3% of them
SHOWN = 64
MOST = 100_000  # samples at once


@dataclass(frozen=True)
class SampleOptions:
    """Of `predict`."""

    images: str = option("samples.png", "where they go: NAME.png for one grid of all, else a new folder of files")


def inputs(given: Any, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`noise`: float32 [n, latent], of seeds, each of which always gives the same image: 7, or 0-63 for 64 of them.

    In Python also of a number, and of an array that is the noise itself.
    """
    latent = spec["latent"]
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        if given.ndim != 2 or given.shape[1] != latent or not len(given):
            raise InputError(f"noise of shape {list(given.shape)}: the model takes [n, {latent}]")
        return Inputs(Arrays(noise=given.astype(np.float32)), [str(i) for i in range(len(given))])
    seeds: list[int] = []
    for word in given if isinstance(given, Iterable) and not isinstance(given, str | bytes) else [given]:
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", str(word))
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if found and first <= last and len(seeds) + last - first < MOST:
            seeds += range(first, last + 1)
        else:
            bad.add(InputError(f"{word!r} is no seed, as 7, nor a range of at most {MOST:,}, as 0-63"))
    if not seeds and not bad.count:
        raise InputError("no inputs: seeds are wanted, as 7 or 0-63")
    return Inputs(Arrays(noise=noise(seeds, latent)), list(map(str, seeds)))


def check_options(names: Sequence[str], spec: Spec, images: str) -> None:
    """Raises InputError where something is there already."""
    if os.path.lexists(images or os.curdir):
        raise InputError(f"--images {images} is there: choose another one")


def describe(names: Sequence[str], outputs: Batch, spec: Spec, images: str) -> list[dict[str, Any]]:
    """Writes the images, and tells of each its file, and what the classifier takes it for."""
    pixels = to_uint8(outputs["image"])
    rows = [{"input": name, "file": file} for name, file in zip(names, save(pixels, list(names), images), strict=True)]
    if not spec["classes"]:
        return rows
    found = features.probabilities(spec["classifier"], pixels)
    looks = [{"looks_like": spec["classes"][p.argmax()], "probability": float(p.max())} for p in found]
    return [row | look for row, look in zip(rows, looks, strict=True)]


def scores(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, float]:
    """`frechet_distance` between the features of samples and of real images; and where these have classes,
    `class_coverage`, the share of classes that 3% of the samples look like at least (of ten classes; else 0.3 of an
    even share), and `confidence`, the share of samples of whose class the classifier is sure."""
    generated, real = to_uint8(arrays["generated"]), arrays["real"][arrays["first"]]
    if min(len(generated), len(real)) < FEWEST:
        raise InputError("frechet_distance takes two samples and two real images at least: raise data.batch_size")
    line = f"frechet_distance is that of {len(generated):,} samples and {len(real):,} real images"
    say_once(line, line)
    a, b = (features.features(spec["classifier"], images) for images in (generated, real))
    found = {"frechet_distance": features.frechet_distance(a, b)}
    if classes := len(spec["classes"]):
        probabilities = features.probabilities(spec["classifier"], generated)
        shares = np.bincount(probabilities.argmax(1), minlength=classes) / len(generated)
        found["class_coverage"] = float((shares >= PRESENT / classes).mean())
        found["confidence"] = float((probabilities.max(1) >= SURE).mean())
    return found


def charts(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray | str]:
    """Of each class, its share of the samples and of the real images, by the classifier's judgement."""
    if not spec["classes"]:
        return {}
    shares = []
    for images in (to_uint8(arrays["generated"]), arrays["real"][arrays["first"]]):
        looks = features.probabilities(spec["classifier"], images).argmax(1)
        shares.append(np.bincount(looks, minlength=len(spec["classes"])) / len(images))
    rows = ["| class | share of samples | of real images |", "|---|---|---|"]
    rows += [f"| {name} | {a:.3f} | {b:.3f} |" for name, a, b in zip(spec["classes"], *shares, strict=True)]
    return {"classes": "\n".join(rows)}


def examples(batch: Batch, outputs: Batch, spec: Spec) -> dict[str, np.ndarray]:
    """Samples of fixed noise, which is the same at every validation and in every run, and real images."""
    return {"samples": grid(to_uint8(outputs["image"][:SHOWN])), "real": grid(batch["image"][:SHOWN])}


def check(config: GanConfig) -> None:
    """R1 is of the gradient at each image, which batch normalization makes one of the whole batch; and one sample has
    no covariance."""
    if config.data.samples < FEWEST:
        raise InputError(f"data.samples = {config.data.samples}: frechet_distance takes {FEWEST} at least")
    if config.model.r1 and getattr(config.model, "norm", "none") == "batch":
        raise InputError(
            f"model.r1 = {config.model.r1} takes the gradient at each image alone, and batch normalization mixes them: "
            "set model.norm = none"
        )


def signature(spec: Spec) -> Signature:
    height, width, channels = spec["shape"]
    colours = "grey" if channels == 1 else "red, green, blue"
    about = f"-1 to 1: height, width, channel ({colours})"
    return Signature(
        {"noise": Field("float32", (spec["latent"],), "independent numbers from N(0, 1)")},
        {"image": Field("float32", (height, width, channels), about)},
    )


task = Task(
    name="image_generation",
    title="Image generation",
    models={"dcgan": DcganConfig, "resnet_gan": ResnetGanConfig},
    datasets={
        "digits": DigitsConfig,
        "mnist": MnistConfig,
        "fashion_mnist": FashionMnistConfig,
        "cifar10": Cifar10Config,
        "folder": FolderConfig,
    },
    monitor="val/frechet_distance",
    mode="min",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    charts=charts,
    scores=scores,
    check=check,
    options=SampleOptions,
    check_options=check_options,
    signature=signature,
    overfit=Overfit(steps=200, loss=8.0),
)
