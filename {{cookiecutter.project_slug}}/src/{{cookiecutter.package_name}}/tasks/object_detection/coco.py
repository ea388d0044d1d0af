"""Annotations as those of COCO (Lin et al. 2014): one JSON file with images, categories and boxes."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from ...engine.api import Bad, InputError
from ...engine.data.files import read_bytes
from .annotations import LARGEST, SKIP, Box, Picture, checked, say

Categories = Mapping[int, str]  # by id, in the order of the ids


def read_coco(path: Path, folder: Path, bad: Bad, categories: Categories | None = None) -> tuple[list[Picture], Any]:
    """The pictures of a file, in the order of their ids, and its categories.

    A category's id may be any whole number: classes are numbered in the order of the ids. An image without boxes is
    one with nothing in it. Boxes that are crowds are kept as such.

    Args:
        folder: where the images lie.
        bad: takes images that are not there, and annotations that cannot be used.
        categories: those of the training data; the file may lack some, but have no others.

    Raises:
        InputError: for a file that is no such JSON.
    """
    found = _read(path)
    named = {int(each["id"]): str(each["name"]) for each in _unique(found["categories"], path, "category", bad)}
    own = dict(sorted(named.items()))
    if not own:
        raise InputError(f"{path} has no categories")
    known = own if categories is None else categories
    if others := sorted(own.items() - known.items()):
        raise InputError(
            f"{path} has other categories than the training data: {others[0][1]!r} of id {others[0][0]}: give both the "
            "same ones"
        )
    numbers = {id: i for i, id in enumerate(known)}
    pictures: dict[int, Picture] = {}
    files: set[str] = set()
    for each in sorted(_unique(found["images"], path, "image", bad), key=lambda each: each["id"]):
        try:
            picture = _picture(each, path, folder)
            if picture.file in files:
                raise InputError(f"{path}: image {each['id']}: {each['file_name']} is another image's, too: {SKIP}")
        except InputError as error:
            bad.add(error)
        else:
            pictures[each["id"]] = picture
            files.add(picture.file)
    all_images = {each["id"] for each in found["images"] if isinstance(each, dict) and _is_id(each.get("id"))}
    for each in _unique(found["annotations"], path, "annotation", bad):
        image = each.get("image_id")
        if _is_id(image) and image in all_images and image not in pictures:
            continue  # of an image that is left out
        try:
            box = _box(each, path, pictures, numbers)
        except InputError as error:
            bad.add(error)
        else:
            pictures[each["image_id"]].boxes.append(box)
    ready = list(pictures.values())
    say(bad, ready)
    return ready, own


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        found = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    for name in ("images", "annotations", "categories"):
        if not (isinstance(found, dict) and isinstance(found.get(name), list)):
            raise InputError(f"{path} has no list {name!r}: COCO's form has images, annotations and categories")
    return found


def _unique(entries: list[Any], path: Path, kind: str, bad: Bad) -> list[dict[str, Any]]:
    """Those with an id of their own."""
    found: dict[int, dict[str, Any]] = {}
    for i, each in enumerate(entries):
        id: Any = each.get("id") if isinstance(each, dict) else None
        if not _is_id(id) or (kind == "category" and not isinstance(each.get("name"), str)):
            bad.add(InputError(f"{path}: {kind} number {i + 1} has no id that is a whole number, or no name: {SKIP}"))
        elif id in found:
            bad.add(InputError(f"{path}: there is more than one {kind} of id {id}: {SKIP}"))
        else:
            found[id] = each
    return list(found.values())


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _picture(each: Mapping[str, Any], path: Path, folder: Path) -> Picture:
    where, name = f"{path}: image {each['id']}", each.get("file_name")
    if not (isinstance(name, str) and name):
        raise InputError(f"{where} has no file_name: {SKIP}")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{where}: {name} lies outside of {folder}: {SKIP}")
    height, width = each.get("height"), each.get("width")
    if not (_is_id(height) and _is_id(width) and 0 < height <= LARGEST and 0 < width <= LARGEST):
        raise InputError(f"{where}, {name}, has no height and width in pixels: {SKIP}")
    file = folder / name
    if not os.path.isfile(file):
        raise InputError(f"{where}: there is no {file}: fetch it, or leave it out with --data.skip_bad true")
    return Picture(str(file), (height, width), [])


def _box(each: Mapping[str, Any], path: Path, pictures: Mapping[int, Picture], numbers: Mapping[int, int]) -> Box:
    where = f"{path}: annotation {each['id']}"
    image, category, box = each.get("image_id"), each.get("category_id"), each.get("bbox")
    if not _is_id(image) or image not in pictures:
        raise InputError(f"{where}: there is no image {image}: {SKIP}")
    where += f" of {Path(pictures[image].file).name}"
    if not _is_id(category) or category not in numbers:
        raise InputError(f"{where}: there is no category {category}: {SKIP}")
    if not (isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)):
        raise InputError(f"{where} has no bbox of four numbers, x, y, width and height: {SKIP}")
    x, y, width, height = box
    corners = checked((x, y, x + width, y + height), pictures[image].size, where)
    return Box(corners, numbers[category], each.get("iscrowd") in (1, "1"))
