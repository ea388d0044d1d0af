"""Pictures with boxes as NumPy: uint8 [batch, height, width, 3], boxes float32 [batch, boxes, 4] in pixels."""

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engine.api import (
    Bad,
    Batch,
    Config,
    DataConfig,
    Dataset,
    InputError,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Spec,
    option,
    say_once,
)
from ...engine.data.conversions import convert_once
from ...engine.data.files import find_own
from ...engine.data.images import Files, readable
from ...models.faster_rcnn import FasterRcnnConfig
from .annotations import Picture, arrays, counted
from .coco import read_coco
from .scenes import CLASSES, digit_scenes
from .views import Views, augmented, opened, shape_of
from .voc import read_voc

# Of the images that published backbones were trained on: red, green and blue, from 0 to 255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)

SEEDS = 2**31  # of the samples that a loss takes
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DigitScenesConfig(DataConfig):
    """Scenes of two to six digits in colour on noise: those of scikit-learn (UCI, Alpaydin and Kaynak 1998)."""

    side: PositiveInt = option(96, "height and width of a scene, in pixels, 40 at least")
    scenes: PositiveInt = option(1200, "scenes to train on; a sixth as many to validate on, a fourth to test on")


@dataclass(frozen=True)
class FilesConfig(DataConfig):
    """What datasets of image files have."""

    path: str = option("", "folder of the data: from the working folder, or in root")
    height: PositiveInt = option(800, "pictures are made as large as fit into height x width pixels")
    width: PositiveInt = option(800, "the same")
    flip: bool = option(True, "augmentation: mirror every second training image, left to right", overfit=False)
    jitter: PositiveFloat = option(
        1.25, "augmentation: an image is made up to so much larger, or smaller; 1: as in evaluation", overfit=1.0
    )
    workers: NonNegativeInt = option(4, "threads that decode batches ahead; 0: none")
    cache: str = option("", "skip_bad: folder where it is kept which images can be read; empty: that of the data")


@dataclass(frozen=True)
class CocoConfig(FilesConfig):
    """COCO (Lin et al. 2014), and what has its form: `annotations/instances_train.json`, `..._val.json`, with `images/`
    or `train2017/`, `val2017/`."""

    path: str = option("coco", "folder with annotations/ and the images: from the working folder, or in root")


@dataclass(frozen=True)
class VocConfig(FilesConfig):
    """Pascal VOC (Everingham et al. 2010), and what has its form: `JPEGImages/`, `Annotations/`, `ImageSets/Main/`."""

    path: str = option(
        "VOCdevkit/VOC2012", "folder with JPEGImages/, Annotations/ and ImageSets/: from the working folder, or in root"
    )


DetectionConfig = Config[FasterRcnnConfig, DigitScenesConfig | CocoConfig | VocConfig]


def load(config: DetectionConfig, spec: Spec | None = None) -> Dataset:
    """`image`: uint8 [n, height, width, 3], and `size`, `original`, `boxes`, `labels` and `crowd`; see README.md.

    Nothing is fitted, so `spec` is not asked.
    """
    data = config.data
    if isinstance(data, DigitScenesConfig):
        return _load_scenes(data)
    return _load_files(data, _read_coco if isinstance(data, CocoConfig) else _read_voc)


def _load_scenes(config: DigitScenesConfig) -> Dataset:
    if config.side < 40:
        raise InputError(f"data.side = {config.side}: digits have up to 34 pixels, so 40 is the least")
    counts = config.scenes, max(1, config.scenes // 6), max(1, config.scenes // 4)
    fit = [config.side, config.side]
    if shape_of(fit)[:2] != tuple(fit):
        raise InputError(f"data.side = {config.side} is no multiple of 32, as the model needs it")
    train, val, test = digit_scenes(counts, config.side)
    spec = {"shape": list(shape_of(fit)), "fit": fit, "classes": CLASSES, "ids": list(range(1, 11))}
    return Dataset(train, val, test, spec, draw=_draw)


def _draw(rng: np.random.Generator, n: int, flip: bool = False, jitter: float = 1.0) -> Batch:
    """The random numbers of a training batch.

    `seed`: int32 [n], of which a loss makes as many as it needs: one for each anchor would be more than the image.
    """
    found: Batch = {"seed": rng.integers(0, SEEDS, n, np.int32)}
    if flip:
        found["flip"] = rng.random(n) < 0.5
    if jitter != 1:
        found["growth"] = np.exp(rng.uniform(-1, 1, n) * np.log(jitter)).astype(np.float32)
        found["at"] = rng.random((n, 2), np.float32)
    return found


Categories = Mapping[int, str]  # classes by their ids in files
Read = tuple[list[Picture], Categories]  # of a split


def _load_files(config: FilesConfig, read: Callable[[Path, str, Bad, Categories | None], Read | None]) -> Dataset:
    folder = find_own(config.root, config.path, "data.path", Path.is_dir)
    first = read(folder, "train", Bad(config.skip_bad), None)
    assert first is not None
    categories, pictures = first[1], {"train": first[0]}
    for split in SPLITS[1:]:
        found = read(folder, split, Bad(config.skip_bad), categories)
        if found is None and split == "val":
            raise InputError(f"{folder} has no annotations to validate on: README.md of the task says where they lie")
        if found is None:
            say_once("test", f"{folder} has no annotations to test on: those of validation are the test split")
        pictures[split] = pictures["val"] if found is None else found[0]
    for split, some in pictures.items():
        if not some:
            raise InputError(f"{folder} has no images in its split {split}")
        if all(box.crowd for picture in some for box in picture.boxes):
            raise InputError(f"{folder} has no boxes in its split {split}, crowds aside: there is nothing to find")
    most = counted(pictures.values())
    files = {split: Files([p.file for p in some], **arrays(some, most)) for split, some in pictures.items()}
    if config.skip_bad:
        files = {split: _readable(each, folder, config) for split, each in files.items()}
    fit = [config.height, config.width]
    spec = {
        "shape": list(shape_of(fit)),
        "fit": fit,
        "classes": list(categories.values()),
        "ids": list(categories),
    }
    return Dataset(
        files["train"],
        Views(files["val"], fit),
        Views(files["test"], fit),
        spec,
        draw=functools.partial(_draw, flip=config.flip, jitter=config.jitter),
        augment=augmented(fit),
    )


def _read_coco(folder: Path, split: str, bad: Bad, categories: Categories | None) -> Read | None:
    """None where there is no such split. COCO's own test set has no boxes."""
    for name in (f"instances_{split}.json", f"instances_{split}2017.json"):
        path = folder / "annotations" / name
        if path.is_file():
            year = path.stem.removeprefix("instances_")
            places = [folder / year, folder / "images" / year, folder / "images"]
            images = next((place for place in places if place.is_dir()), None)
            if images is None:
                raise InputError(f"{folder} has neither {year}/ nor images/: the images of {path} belong there")
            return read_coco(path, images, bad, categories)
    if split == "train":
        raise InputError(f"{folder / 'annotations'} has neither instances_train.json nor instances_train2017.json")
    return None


def _read_voc(folder: Path, split: str, bad: Bad, categories: Categories | None) -> Read | None:
    """None where there is no such split."""
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        if split == "train":
            raise InputError(f"{path} is missing: it names the images to train on, one a line")
        return None
    pictures, classes = read_voc(folder, split, bad, None if categories is None else list(categories.values()))
    return pictures, dict(enumerate(classes, 1))


def _readable(files: Files, folder: Path, config: FilesConfig) -> Files:
    """Without those that cannot be read, or have another size than is said. Each is read for that, which takes as long
    as an epoch's reading; what is found is kept for later runs."""
    sizes = {file: size.tolist() for file, size in zip(files.files, files.arrays["original"], strict=True)}

    def check(made: Path) -> None:
        bad = Bad(skip=True)
        kept = readable(files, lambda file: opened(file, sizes[file]), config.workers, bad)
        np.save(made / "readable.npy", np.array(kept, np.int64))
        (made / "bad.json").write_text(bad.to_text(), encoding="utf-8")

    paths = [Path(file) for file in files.files]
    named = json.dumps([[os.path.relpath(file, folder), size] for file, size in sizes.items()])
    made = convert_once(Path(config.cache) if config.cache else folder, paths, named, check)
    kept = np.load(made / "readable.npy")
    Bad.from_text((made / "bad.json").read_text(encoding="utf-8")).say(len(kept))
    return Files(files.files[kept], **{name: values[kept] for name, values in files.arrays.items()})
