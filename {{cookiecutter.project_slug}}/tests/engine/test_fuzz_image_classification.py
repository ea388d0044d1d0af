"""Damaged files of images with their labels: they are data, or one line."""

import gzip

import pytest
from hostile import QUICK, data_or_one_line, each_of, mutations, tries

from {{cookiecutter.package_name}}.engine.data.image_sets import read_cifar, read_idx


def idx(*shape):
    values = bytes(range(10)) * 20
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return header + values[: 200 if len(shape) > 1 else shape[0]]


READERS = {
    "images": (idx(2, 10, 10), lambda path: read_idx(path, 3), gzip.compress),
    "labels": (idx(9), lambda path: read_idx(path, 1), gzip.compress),
    "images, as packed": (gzip.compress(idx(2, 10, 10)), lambda path: read_idx(path, 3), bytes),
    "cifar": (bytes(3073 * 2), read_cifar, bytes),
}


@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 300)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    content, read, pack = READERS[name]
    path = tmp_path / "file"

    def check(damaged):
        path.write_bytes(pack(damaged))
        data_or_one_line(lambda: read(path))

    path.write_bytes(pack(content))
    read(path)
    each_of(mutations(content), count, check)
