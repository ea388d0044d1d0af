"""Weights in files: what is read of them, and the line that tells which do not fit."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.weights import match, overlay, read


def error_of(function, *arguments):
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path, name, dtype, shape, data):
    """A file with one array, of a kind that NumPy may lack: a header's length, the header, the data."""
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool"])
def test_arrays_come_back_as_they_were(tmp_path, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    save_file({"fc.weight": array, "scale": np.array(1, dtype)}, tmp_path / "a.safetensors")
    found = read(tmp_path / "a.safetensors")
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        "fc.weight": (array.dtype, (2, 3)),
        "scale": (array.dtype, ()),
    }
    assert np.array_equal(found["fc.weight"], array)


def test_bfloat16_becomes_float32(tmp_path):
    values = np.array([[1.0, -2.5, 2.0**127], [0.0, -0.0078125, np.inf]], np.float32)  # each has a bfloat16
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    write(tmp_path / "a.safetensors", "a", "BF16", [2, 3], upper.tobytes())
    [found] = read(tmp_path / "a.safetensors").values()
    assert found.dtype == np.float32 and np.array_equal(found, values)


def test_counts_of_batches_are_left_out(tmp_path):
    names = ["bn1.running_mean", "bn1.num_batches_tracked", "num_batches_tracked"]
    save_file({name: np.array(3) for name in names}, tmp_path / "a.safetensors")
    assert list(read(tmp_path / "a.safetensors")) == ["bn1.running_mean"]


def whole(tmp_path):
    save_file({"a": np.arange(8.0)}, tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()


BROKEN = {
    "nothing": lambda data: b"",
    "a part": lambda data: data[:-1],
    "less than a header": lambda data: data[:20],
    "a zip archive": lambda data: b"PK\x03\x04" + bytes(100),
    "text": lambda data: b"<html>not found</html>",
    "another header": lambda data: struct.pack("<Q", 2) + b"[]",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_none_or_not_whole_is_named(tmp_path, case):
    path = tmp_path / "a.safetensors"
    path.write_bytes(BROKEN[case](whole(tmp_path)))
    assert error_of(read, path).startswith(f"{path} is not a safetensors file, or not a whole one: ")


def test_a_missing_file_is_named(tmp_path):
    line = error_of(read, tmp_path / "a")
    assert line.startswith(f"{tmp_path / 'a'}: No such file or directory: a run's folder, a safetensors file or")


def test_a_kind_of_number_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, "fc.weight", "F8_E4M3", [2], b"12")
    assert error_of(read, path) == f"{path}: fc.weight is F8_E4M3, which cannot be read: save it as F32"


def test_the_same_names_and_shapes_match_in_any_order():
    match({"a": (2, 3), "b": []}, {"b": (), "a": [2, 3]}, "a file")


def test_what_does_not_match_is_told_by_kind():
    line = error_of(match, {"a": (1,), "b": (2, 3), "x": (1,)}, {"a": (1,), "b": (3, 2), "c": (4,)}, "f.safetensors")
    assert line == (
        "f.safetensors: the weights are of another model: missing: c; not in the model: x; "
        "b is [2, 3] and should be [3, 2]"
    )


def test_at_most_five_of_a_kind_are_named():
    names = [f"layer{i}" for i in range(9)]
    line = error_of(match, {}, dict.fromkeys(names, ()), "f")
    assert line.endswith("missing: layer0, layer1, layer2, layer3, layer4 and 4 more")
    line = error_of(match, dict.fromkeys(names[:5], ()), {}, "f")
    assert line.endswith("not in the model: layer0, layer1, layer2, layer3, layer4")


FRESH = {"fc.weight": np.zeros((2, 3)), "fc.bias": np.zeros(2), "fc2.bias": np.zeros(2)}
GIVEN = {"fc.weight": np.ones((5, 3)), "fc.bias": np.ones(5), "fc2.bias": np.ones(2), "other": np.ones(1)}


@pytest.mark.parametrize("skip", ["fc", "fc.", " fc.weight , fc.bias", "fc.bias,fc.weight,"])
def test_what_is_skipped_stays_fresh(skip):
    found = overlay(GIVEN, FRESH, skip)
    fresh = {name for name, value in found.items() if not value.any()}
    assert (fresh, found.keys()) == ({"fc.weight", "fc.bias"}, GIVEN.keys())


def test_nothing_is_skipped_without_a_name():
    assert overlay(GIVEN, FRESH, "") == GIVEN


def test_a_name_to_skip_that_the_model_lacks_is_told():
    assert error_of(overlay, GIVEN, FRESH, "head,fc").startswith("--init_skip head: the model has no such weights: fc")
