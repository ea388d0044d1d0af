"""Damaged pictures: they are read, or refused by one line, and nothing else."""

import io

import numpy as np
import pytest
from hostile import QUICK, check_damaged, tries
from PIL import Image

from {{cookiecutter.package_name}}.engine.data import images


def picture(kind, mode="RGB", **options):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


READERS = {
    "jpeg": (".jpg", picture("JPEG"), lambda path: images.centre_crop(str(path), 16, 20, channels=3)),
    "jpeg, progressive": (".jpg", picture("JPEG", progressive=True), lambda p: images.decode(str(p), channels=1)),
    "png": (".png", picture("PNG"), lambda path: images.centre_crop(str(path), 16, 20, channels=1)),
    "png, palette": (".png", picture("PNG", "P"), lambda path: images.exact(str(path), (40, 50, 3))),
    "gif": (".png", picture("GIF"), lambda path: images.decode(str(path), channels=3)),
    "bmp": (".png", picture("BMP"), lambda path: images.decode(str(path), channels=3)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # it is large, but not too large
@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 500)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    suffix, content, read = READERS[name]
    check_damaged(tmp_path / f"file{suffix}", content, read, count)
