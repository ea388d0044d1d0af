"""Images: read from files, cut to a size, and varied at random for training.

All pixels are uint8 [height, width, channel]; what varies them is drawn beforehand, so that it depends on the seed and
the step alone.
"""

import contextlib
import functools
import hashlib
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from ..errors import InputError
from .bad import STRICT, Bad
from .batches import ahead
from .files import read_bytes, say_once
from .folders import Entries, counted, entries, say_left_out
from .sources import Batch

MOST_COMPARED = 20_000  # training images among which those of the test are looked for: some are read for that
LARGEST_READ, SAMPLED = 2**27, 500  # bytes of files of which all are read for a digest; else of so many files
VIEWS = ("rows", "columns", "hole_rows", "hole_columns")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
# What such a file may hold in truth. Pillow knows more kinds, of which one starts another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
Box = tuple[float, float, float, float]  # left, top, right, bottom


# Variation of whole batches.


def draw_views(rng: np.random.Generator, n: int, shape: Sequence[int], *, shift: int, flip: bool, cutout: int) -> Batch:
    """How each of n images of `shape` (height, width, channel) is shown, by VIEWS; nothing is drawn for what is off.

    Args:
        shift: largest move in each direction, in pixels; what comes in at an edge is black.
        flip: whether every second image, on average, is mirrored left to right, after the shift.
        cutout: side of a black square whose centre is anywhere, cut at the edges (DeVries and Taylor 2017).

    Returns:
        With shift or flip `rows`: int32 [n, height], which row of the image each row shows; `columns`: int32 [n,
        width * channel], which value of that row each value shows; both negative for black. With cutout `hole_rows`:
        bool [n, height] and `hole_columns`: bool [n, width * channel].
    """
    height, width, channels = shape
    y, x = np.arange(height, dtype=np.int32), np.arange(width, dtype=np.int32)
    batch: Batch = {}
    if shift or flip:
        down, right = rng.integers(-shift, shift + 1, (2, n, 1), dtype=np.int32) if shift else np.zeros((2, n, 1), "i4")
        rows, columns = y - down, x - right
        rows[(rows < 0) | (rows >= height)] = -1
        columns[(columns < 0) | (columns >= width)] = -1
        if flip:
            columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
        values = columns[:, :, None] * channels + np.arange(channels, dtype=np.int32)
        values[columns < 0] = -1
        batch |= {"rows": rows, "columns": values.reshape(n, -1)}
    if cutout:
        top, left = (rng.integers(0, (height, width), (n, 2)) - cutout // 2).T[:, :, None]
        batch["hole_rows"] = (top <= y) & (y < top + cutout)
        batch["hole_columns"] = np.repeat((left <= x) & (x < left + cutout), channels, 1)
    return batch


def apply_views(batch: Batch) -> Batch:
    """`image`: [n, height, width, channel] as `draw_views` has it, whose keys are taken out of the batch.

    Operators, indexing and methods that all arrays have: the same on NumPy's and on those of a device.
    """
    image = batch["image"]
    n, height, width, channels = image.shape
    image = image.reshape(n, height, width * channels)
    if "rows" in batch:
        rows, columns = batch["rows"][:, :, None], batch["columns"][:, None, :]
        example = (rows[:, 0, 0] * 0 + 1).cumsum(0) - 1  # 0, 1, 2, ..., on the device that the others are on
        # One index into all values: on NumPy twice as fast as one for each axis.
        at = (example[:, None, None] * height + rows) * (width * channels) + columns
        image = image.reshape(n * height * width * channels)[at] * ((rows >= 0) & (columns >= 0))
    if "hole_rows" in batch:
        image = image * ~(batch["hole_rows"][:, :, None] & batch["hole_columns"][:, None, :])
    rest = {name: value for name, value in batch.items() if name not in VIEWS}
    return {**rest, "image": image.reshape(n, height, width, channels)}


def draw_mix(rng: np.random.Generator, n: int, alpha: float) -> Batch:
    """`mix`: float32 [n] in [0.5, 1], the share of an example that is itself (mixup, Zhang et al. 2018).

    Drawn from Beta(alpha, alpha) and turned so that an example stays mostly itself. The loss mixes example 2k with
    2k + 1.
    """
    share = rng.beta(alpha, alpha, n)
    return {"mix": np.maximum(share, 1 - share).astype(np.float32)}


def draw_crops(rng: np.random.Generator, n: int, smallest: float) -> Batch:
    """`crop`: float32 [n, 4]: share of the area, width / height, and the place in the room that is left, x and y.

    The recipe of ImageNet (Szegedy et al. 2015): an area uniform in [smallest, 1], log-uniform proportions in
    [3/4, 4/3].
    """
    area = rng.uniform(smallest, 1, n)
    ratio = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), n))
    return {"crop": np.column_stack([area, ratio, rng.random((n, 2))]).astype(np.float32)}


# Single images.


def random_resized_crop(
    path: str, numbers: np.ndarray, size: int, *, channels: int, exif_rotation: bool = False
) -> np.ndarray:
    """The part of an image that a row of `draw_crops` says, as [size, size, channel].

    A part that is wider or higher than the image is made smaller until it fits; it keeps its proportions.
    """
    area, ratio, x, y = map(float, numbers)

    def part(width: int, height: int) -> Box:
        w, h = math.sqrt(area * width * height * ratio), math.sqrt(area * width * height / ratio)
        fit = min(1, width / w, height / h)
        w, h = min(w * fit, width), min(h * fit, height)  # rounding may exceed what fits
        left, top = x * (width - w), y * (height - h)
        return left, top, min(left + w, width), min(top + h, height)

    return _resized(path, part, (size, size), channels, exif_rotation)


def centre_crop(path: str, size: int, resize: int, *, channels: int, exif_rotation: bool = False) -> np.ndarray:
    """The middle [size, size, channel] of an image whose shorter side is made `resize` pixels: the view to evaluate."""

    def part(width: int, height: int) -> Box:
        side = min(width, height) * size / resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    return _resized(path, part, (size, size), channels, exif_rotation)


def fitted(path: str, shape: Sequence[int]) -> np.ndarray:
    """The largest part in the middle of an image, made `shape`: as `centre_crop` where that is square, and as it is
    where it fits already. It is seen as people see it: a rotation in its EXIF data is applied. That it is resized is
    said once."""
    height, width, channels = shape

    def part(w: int, h: int) -> Box:
        if (w, h) != (width, height):  # first asked of the whole image
            say_once(
                "fitted", f"{path} has {w} x {h} pixels: its middle is made {width} x {height} as the model takes it"
            )
        scale = min(w / width, h / height)
        inner, outer = min(w, width * scale), min(h, height * scale)
        left, top = (w - inner) / 2, (h - outer) / 2
        return left, top, left + inner, top + outer

    return _resized(path, part, (width, height), channels, exif_rotation=True)


def exact(path: str, shape: Sequence[int], advice: str = "resize it", *, exif_rotation: bool = False) -> np.ndarray:
    """An image that has `shape` as it is. Raises InputError, with the advice, where it has another size."""
    height, width, channels = shape
    image = decode(path, channels=channels, exif_rotation=exif_rotation)
    if image.size != (width, height):
        raise InputError(
            f"{path} has {image.width} x {image.height} pixels, but the model takes {width} x {height}: {advice}"
        )
    return np.asarray(image).reshape(height, width, channels)


def decode(path: str, *, channels: int, exif_rotation: bool | None = False) -> Image.Image:
    """An image file in colour (channels 3) or grey (1).

    Args:
        exif_rotation: whether it is rotated and mirrored as its EXIF data say. If not, it is as it is stored, and where
            these say otherwise that is told once; None: it is as it is stored, and nothing is told.

    Raises:
        InputError: where the file is missing, damaged, no image, or has more than 8 bits a value.
    """
    with _opened(path) as file:
        return _turned(_converted(file, path, channels), _orientation(file, path, exif_rotation))


# Sources.


class Files:
    """Image files with their labels, unread: `file`: str [batch], `label`: int32 [batch]."""

    def __init__(self, files: Sequence[str], **arrays: np.ndarray):
        self.files, self.arrays = np.array(files, object), arrays

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        return {"file": self.files[indices], **{name: array[indices] for name, array in self.arrays.items()}}

    def digest(self) -> str:
        """Of the labels, and of each file's place, size and content: the same where all were moved or copied elsewhere.

        Of many bytes, the content of some files stands for all. Raises InputError for a file that is gone.
        """
        total = 0
        found = hashlib.blake2b(digest_size=16)
        folders = {folder: os.path.abspath(folder) for folder in {os.path.dirname(file) for file in self.files}}
        common = os.path.commonpath(folders.values())
        inside = {folder: Path(path).relative_to(common).as_posix() for folder, path in folders.items()}
        for file in self.files:
            try:
                size = os.path.getsize(file)
            except OSError as error:
                raise InputError(f"{file}: {error.strerror}") from error
            total += size
            folder, name = os.path.split(file)
            found.update(f"{inside[folder]}/{name}\0{size}\0".encode(errors="surrogateescape"))
        for name, array in sorted(self.arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).data)
        some = self.files[np.linspace(0, len(self) - 1, SAMPLED).astype(int)] if total > LARGEST_READ else self.files
        for file in some:
            found.update(_content(file))
        return found.hexdigest()

    def common(self, other: Any) -> int:
        """How many pictures of another source, by all their bytes, are also here; 0 of too many."""
        files: Iterable[str] = other.files.files if isinstance(other, Decoded) else ()
        if len(self) > MOST_COMPARED:
            return 0
        sizes = [{file: os.path.getsize(file) for file in some} for some in (self.files, files)]
        shared = set(sizes[0].values()) & set(sizes[1].values())  # only these are read
        ours, theirs = ([_content(file) for file, size in some.items() if size in shared] for some in sizes)
        return sum(map(set(ours).__contains__, theirs))


class Decoded:
    """Files with what `read` makes of each: `image`: uint8 [batch, height, width, channel] in place of `file`."""

    def __init__(self, files: Files, read: Callable[[str], np.ndarray]):
        self.files, self.read = files, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        batch = self.files[indices]
        read = functools.cache(self.read)  # a batch that is padded has one file many times
        return {"image": np.stack([read(file) for file in batch.pop("file")]), **batch}

    def digest(self) -> str:
        """That of its files."""
        return self.files.digest()


def _content(file: str) -> bytes:
    return hashlib.blake2b(read_bytes(Path(file)), digest_size=16).digest()


def readable(files: Files, read: Callable[[str], object], workers: int, bad: Bad) -> list[int]:
    """The indices of the files that `read` does not refuse; `bad` takes the others. Each is read for that."""

    def fault(file: str) -> InputError | None:
        try:
            read(file)
        except InputError as error:
            return error
        return None

    found = []
    faults = ahead(fault, files.files, workers)
    for i, error in enumerate(tqdm(faults, "reading images", len(files), delay=2, leave=False, disable=None)):
        if error:
            bad.add(error)
        else:
            found.append(i)
    return found


def list_folder(folder: Path, classes: Sequence[str] | None = None, bad: Bad = STRICT) -> tuple[Files, list[str]]:
    """The images of `<folder>/<class>/`, in the order of their names, and the classes; nothing is read. What else is
    there is told.

    Args:
        classes: those that there are; None: the folder's own, sorted.
        bad: takes links to nothing.

    Raises:
        InputError: without class folders, for one without images, and for one that is not among the classes.
    """
    top = entries(folder, (), bad)
    if not top.folders:
        raise InputError(f"{folder} has no folders: each class is one, with its images in it")
    found = [os.path.basename(path) for path in top.folders]
    classes = found if classes is None else list(classes)
    files: list[str] = []
    labels: list[int] = []
    seen: list[tuple[Path | str, Entries]] = [(folder, top._replace(folders=[]))]
    for name in found:
        if name not in classes:
            raise InputError(
                f"{folder / name}: there is no class {name!r} in train/: remove it, or give it images there"
            )
        inside = entries(folder / name, SUFFIXES, bad)
        seen.append((folder / name, inside))
        if not inside.files:
            there = counted(inside.others, inside.folders)
            raise InputError(
                f"{folder / name} has no images ({', '.join(SUFFIXES)})"
                f"{f', only {there}' if there else ''}: give it some, or remove it"
            )
        files += inside.files
        labels += [classes.index(name)] * len(inside.files)
    say_left_out(seen)
    return Files(files, label=np.array(labels, np.int32)), classes


def list_images(folder: str, bad: Bad = STRICT) -> list[str]:
    """The images of a folder, and then those of its folders, in the order of their names. What else is there is told.

    Raises InputError where there are none.
    """
    top = entries(folder, SUFFIXES, bad)
    files, seen = top.files, [(folder, top._replace(folders=[]))]
    for path in top.folders:
        inside = entries(path, SUFFIXES, bad)
        files, seen = files + inside.files, [*seen, (path, inside)]
    say_left_out(seen)
    if not (files or bad.count):
        raise InputError(f"{folder} has no images ({', '.join(SUFFIXES)}), nor have the folders in it")
    return files


def _resized(
    path: str, part: Callable[[int, int], Box], size: tuple[int, int], channels: int, exif_rotation: bool
) -> np.ndarray:
    """part(width, height) of an image, resized to `size`, which is (width, height).

    Bilinear, with every pixel counting, as in the recipe of ImageNet; where more than twice the size is there, it is
    first reduced by a whole factor: a JPEG while it is decoded, which saves most of its time.
    """
    with _opened(path) as file:
        orientation = _orientation(file, path, exif_rotation)
        left, top, right, bottom = part(*(file.size[::-1] if orientation in SIDEWAYS else file.size))
        spare = min((right - left) / size[0], (bottom - top) / size[1]) / 2
        if spare > 1:
            file.draft(None, (int(file.width / spare), int(file.height / spare)))
        image = _turned(_converted(file, path, channels), orientation)
        image = image.resize(size, Image.Resampling.BILINEAR, part(*image.size), reducing_gap=2.0)
    return np.asarray(image).reshape(size[1], size[0], channels)


# What brings an image into the position in which it is to be shown, by the orientation in its EXIF data.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # width and height change places


def _orientation(file: Image.Image, path: str, exif_rotation: bool | None) -> int:
    """A key of TURNS where an image is to be turned, else 1."""
    if file.format not in ("JPEG", "MPO"):
        file.load()  # damaged pixels are not damaged EXIF data
    try:
        orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
    except (struct.error, SyntaxError, ValueError, KeyError, TypeError):  # what Pillow raises for damaged EXIF data
        if exif_rotation:
            say_once("exif", f"{path}: its EXIF data cannot be read: it is taken as it is stored")
        return 1
    if orientation not in TURNS:
        return 1
    if exif_rotation is False:
        say_once(
            "rotated",
            f"{path} is to be shown rotated, by its EXIF data: training with --data.exif_rotation true does so",
        )
    return orientation if exif_rotation else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


# What Pillow raises for damaged files, the last two for a GIF whose second picture is.
DAMAGED = (SyntaxError, ValueError, Image.DecompressionBombError, IndexError, struct.error)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as file:
            yield file
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no image that can be read: remove or replace it") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}: remove or replace it") from error
    except DAMAGED as error:
        raise InputError(f"{path} cannot be read: {error}: remove or replace it") from error


def _converted(image: Image.Image, path: str, channels: int) -> Image.Image:
    mode = {1: "L", 3: "RGB"}[channels]
    if image.mode not in _MODES:
        raise InputError(f"{path} has pixels of kind {image.mode}: save it with 8 bits a value, in grey or colour")
    kind = _MODES[image.mode] + (" with transparency" if "transparency" in image.info else "")
    if channels == 3 and image.mode != "RGB":
        say_once("mode", f"{path} is {kind}: it, and others that are not plain colour, become RGB")
    if channels == 1 and kind.endswith("transparency"):
        say_once("mode", f"{path} is {kind}: it, and others that have some, become grey without it")
    # The library counts the images of MPO, a JPEG with a preview, too.
    if image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False):
        say_once("frames", f"{path} has more than one picture: of it, and of others that have, the first is taken")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # otherwise Pillow warns
    return image.convert(mode)


_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "an image with a palette",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
}
