"""Annotations as those of Pascal VOC (Everingham et al. 2010): an XML file for each image, and lists of names."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ...engine.api import Bad, InputError
from ...engine.data.files import read_bytes
from ...engine.data.images import SUFFIXES
from .annotations import LARGEST, SKIP, Box, Picture, checked, say

ENDINGS = [*SUFFIXES, *map(str.upper, SUFFIXES)]
MARK = re.compile(r"\s+-?[01]$")  # of an image, in the lists of a class: whether it has one

Named = tuple[str, Box]  # an object's class, and its box, whose label is not known yet


def read_voc(folder: Path, split: str, bad: Bad, classes: Sequence[str] | None) -> tuple[list[Picture], list[str]]:
    """The pictures that `ImageSets/Main/<split>.txt` names, in its order, and the classes.

    Corners are those of pixels that count, from 1: a box begins one before them. An object that is marked as difficult
    is taken for a crowd: it is neither trained on nor missed.

    Args:
        bad: takes images that are not there, and objects that cannot be used.
        classes: those of the training data; None: all that the objects have, sorted.

    Raises:
        InputError: without the list, and for an XML file that is none.
    """
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    lines = read_bytes(path).decode("utf-8-sig", "replace").splitlines()
    found: list[tuple[Picture, list[Named]]] = []
    names: set[str] = set()
    for name in filter(None, (MARK.sub("", line.strip()) for line in lines)):
        try:
            if name in names:
                raise InputError(f"{path}: {name} stands there twice: {SKIP}")
            names.add(name)
            found.append(_picture(folder, name, path, bad))
        except InputError as error:
            bad.add(error)
    known = sorted({label for _, named in found for label, _ in named}) if classes is None else list(classes)
    for picture, named in found:
        for label, box in named:
            if label in known:
                picture.boxes.append(box._replace(label=known.index(label)))
            else:
                where = folder / "Annotations" / f"{Path(picture.file).stem}.xml"
                bad.add(InputError(f"{where}: no training image has a {label!r}: {SKIP}"))
    pictures = [picture for picture, _ in found]
    say(bad, pictures)
    return pictures, known


def _picture(folder: Path, name: str, path: Path, bad: Bad) -> tuple[Picture, list[Named]]:
    if Path(name).name != name:
        raise InputError(f"{path}: {name} is no name of an image: {SKIP}")
    places = [folder / "JPEGImages" / f"{name}{suffix}" for suffix in ENDINGS]
    file = next((place for place in places if os.path.isfile(place)), None)
    if file is None:
        raise InputError(f"{path}: there is no {places[0]}: fetch it, or leave it out with --data.skip_bad true")
    where = folder / "Annotations" / f"{name}.xml"
    try:
        root = ElementTree.fromstring(read_bytes(where))
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two for an encoding
        raise InputError(f"{where} is no XML: {error}: {SKIP}") from error
    height, width = (_number(root, f"size/{key}", str(where)) for key in ("height", "width"))
    if not (0 < height <= LARGEST and 0 < width <= LARGEST):
        raise InputError(f"{where}: the image has {width:g} x {height:g} pixels: {SKIP}")
    picture, named = Picture(str(file), (int(height), int(width)), []), []
    for i, each in enumerate(root.findall("object")):
        try:
            named.append(_object(each, picture.size, f"{where}: object {i + 1}"))
        except InputError as error:
            bad.add(error)
    return picture, named


def _object(each: ElementTree.Element, size: tuple[int, int], where: str) -> Named:
    name = (each.findtext("name") or "").strip()
    if not name:
        raise InputError(f"{where} has no name: {SKIP}")
    left, top, right, bottom = (_number(each, f"bndbox/{key}", where) for key in ("xmin", "ymin", "xmax", "ymax"))
    corners = checked((left - 1, top - 1, right, bottom), size, f"{where}, {name}")
    return name, Box(corners, -1, (each.findtext("difficult") or "").strip().lower() in ("1", "true"))


def _number(element: ElementTree.Element, path: str, where: str) -> float:
    text = element.findtext(path)
    try:
        return float(text or "")
    except ValueError as error:
        raise InputError(f"{where}: {path} is {text!r} and no number: {SKIP}") from error
