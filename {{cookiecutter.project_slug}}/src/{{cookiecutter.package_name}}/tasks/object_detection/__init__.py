"""Object detection: what is in a picture, and where?"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.api import STRICT, Bad, Batch, InputError, Inputs, Overfit, Probability, Spec, Task, option
from ...engine.data.images import Files, list_images, readable
from ...models.faster_rcnn import VARIANTS
from .data import CocoConfig, DetectionConfig, DigitScenesConfig, FilesConfig, VocConfig, load
from .pictures import boxes, charts, colour, examples
from .scores import scores
from .views import Pixels, Views, opened


@dataclass(frozen=True)
class DetectionOptions:
    """What `predict` takes beside inputs."""

    score: Probability = option(0.5, "the least score of a box that is told and drawn")
    json: str = option("", "a file to write all that is found into, in COCO's form")
    images: str = option("", "a folder to write the images into, with what is found in them")


def inputs(given: Sequence[str | Path] | str | Path | np.ndarray, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """Files of images of any size, folders of them, or an array, uint8 [n, height, width, 3] or of one image.

    Where `bad` skips, every file is read once to find those that it takes. Raises InputError for others.
    """
    fit = spec["fit"]
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim not in (3, 4) or given.shape[-1] != 3 or not given.size:
            raise InputError(
                f"images of type {given.dtype} and shape {list(given.shape)}: uint8 [n, height, width, 3] is wanted"
            )
        images = given.reshape(-1, *given.shape[-3:])
        return Inputs(Pixels(images, fit), [str(i) for i in range(len(images))])
    paths = [given] if isinstance(given, str | Path) else given
    if not (isinstance(paths, Sequence) and paths and all(isinstance(path, str | Path) for path in paths)):
        raise InputError("inputs: paths of images are wanted, or one array of uint8")
    names = []
    for path in map(str, paths):
        names += list_images(path, bad) if os.path.isdir(path) else [path]
    if bad.skip:
        names = [names[i] for i in readable(Files(names), opened, FilesConfig.workers, bad)]
    return Inputs(Views(Files(names), fit), names)


def check_options(names: Sequence[str], spec: Spec, json: str = "", images: str = "", **options: Any) -> None:
    """Raises InputError where a file of the options is there already, or two images would be one."""
    if json and os.path.lexists(json):
        raise InputError(f"--json {json} is there: choose another file")
    if not images:
        return
    targets = _targets(images, names)
    twice = next((target for i, target in enumerate(targets) if target in targets[:i]), None)
    if twice is not None:
        raise InputError(f"--images {images}: two inputs would be {twice}: predict them one after the other")
    if there := [target for target in targets if os.path.lexists(target)]:
        raise InputError(f"--images {images}: {there[0]} is there: choose another folder")
    if lacking := [name for name in names if not os.path.isfile(name)]:
        raise InputError(f"--images {images}: {lacking[0]} is no file, but an array: draw it by yourself")


def describe(
    names: Sequence[str], outputs: Batch, spec: Spec, score: float = 0.5, json: str = "", images: str = ""
) -> list[dict[str, Any]]:
    """A row for each box that is found, of an image without any one that says so; the likeliest come first."""
    if json:
        write_json(Path(json), names, outputs, spec)
    if images:
        draw_all(Path(images), names, outputs, spec, score)
    rows: list[dict[str, Any]] = []
    for name, corners, sure, labels in zip(names, outputs["boxes"], outputs["scores"], outputs["labels"], strict=True):
        shown = np.flatnonzero((labels >= 0) & (sure >= score))
        for j in shown:
            sides = zip(("left", "top", "right", "bottom"), np.round(corners[j].astype(float), 1).tolist(), strict=True)
            rows.append({"input": name, "label": spec["classes"][labels[j]], "score": float(sure[j]), **dict(sides)})
        if not len(shown):
            nothing = dict.fromkeys(("score", "left", "top", "right", "bottom"), "")
            rows.append({"input": name, "label": "nothing", **nothing})
    return rows


def write_json(path: Path, names: Sequence[str], outputs: Batch, spec: Spec) -> None:
    """All that is found, of any score, in COCO's form of results. An image's id is the number that its file is called
    by, as COCO's are, where all are; else its place among the inputs, from 1; beside it stands its file."""
    stems = [Path(name).stem for name in names]
    numbered = all(stem.isdecimal() for stem in stems) and len({*map(int, stems)}) == len(stems)
    found = [
        {
            "image_id": int(stems[i]) if numbered else i + 1,
            "file_name": name,
            "category_id": spec["ids"][outputs["labels"][i][j]],
            "bbox": [round(value, 3) for value in (left, top, right - left, bottom - top)],
            "score": round(float(outputs["scores"][i][j]), 6),
        }
        for i, name in enumerate(names)
        for j in np.flatnonzero(outputs["labels"][i] >= 0)
        for left, top, right, bottom in [outputs["boxes"][i][j].astype(float).tolist()]
    ]
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(found, file)
    except OSError as error:
        raise InputError(f"--json {path}: {error.strerror}") from error


def draw_all(folder: Path, names: Sequence[str], outputs: Batch, spec: Spec, score: float) -> None:
    """The images as PNG, each under the name of its file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, (name, target) in enumerate(zip(names, _targets(folder, names), strict=True)):
            sure = (outputs["labels"][i] >= 0) & (outputs["scores"][i] >= score)
            labels, values = outputs["labels"][i][sure], outputs["scores"][i][sure]
            said = [f"{spec['classes'][label]} {value:.2f}" for label, value in zip(labels, values, strict=True)]
            picture = opened(name)
            boxes(picture, outputs["boxes"][i][sure], said, [colour(label) for label in labels])
            picture.save(target)
    except OSError as error:
        raise InputError(f"--images {folder}: {error.strerror}") from error


def _targets(folder: str | Path, names: Sequence[str]) -> list[Path]:
    return [Path(folder, f"{Path(name).stem}.png") for name in names]


def check(config: DetectionConfig) -> None:
    """A frozen norm is that of published weights; and a loss takes some of what there is."""
    model = config.model
    if model.norm == "frozen" and not config.init and config.resume in ("auto", "never"):
        raise InputError(
            "model.norm = 'frozen' is the norm of published weights: name a file of them with --init, or set "
            "model.norm = 'group'"
        )
    if model.frozen_stages > 5:
        raise InputError(f"model.frozen_stages = {model.frozen_stages}: the backbone has 5 parts")


task = Task(
    name="object_detection",
    title="Object detection",
    models=VARIANTS,
    datasets={"digit_scenes": DigitScenesConfig, "coco": CocoConfig, "voc": VocConfig},
    monitor="val/ap",
    mode="max",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    charts=charts,
    scores=scores,
    check=check,
    options=DetectionOptions,
    check_options=check_options,
    overfit=Overfit(steps=300, loss=1.0),
)
