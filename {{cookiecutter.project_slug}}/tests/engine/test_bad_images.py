"""Images that cannot be read."""

import numpy as np
import pytest
from hostile import assert_told_where_it_cannot_be_opened
from PIL import Image

from {{cookiecutter.package_name}}.engine.data import images
from {{cookiecutter.package_name}}.engine.data.bad import Bad


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_cannot_be_read_are_found(tmp_path, workers):
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    for i in (1, 4):
        with open(paths[i], "wb") as file:
            file.write(b"no image")
    bad = Bad(skip=True)
    found = images.readable(images.Files(paths), lambda file: images.decode(file, channels=3), workers, bad)
    assert found == [0, 2, 3, 5] and bad.count == 2 and bad.first[0].startswith(paths[1])


def test_an_image_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    def read(path):
        return np.asarray(images.decode(str(path), channels=3))

    assert_told_where_it_cannot_be_opened(read, tmp_path / "image.png", monkeypatch)
