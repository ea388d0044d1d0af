"""Weights outside of a framework: names and arrays as in the safetensors files of timm and Hugging Face.

A convolution's kernel is [output, input, height, width] there, a linear layer's [output, input].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from .errors import InputError

Weights = dict[str, np.ndarray]

FILE = "model.safetensors"

OTHER_MODEL = "the weights are of another model"

DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read(path: Path) -> Weights:
    """Every array of a safetensors file by its name; bfloat16 as float32, and without counts of batches.

    path: the file, or a folder that holds it as `model.safetensors`, the layout of Hugging Face.

    Raises:
        InputError: for a file that is missing, broken or of another kind.
    """
    path = path / FILE if path.is_dir() else path
    try:
        entries = dict(deserialize(path.read_bytes()))
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}: a run's folder, a safetensors file or a folder with one is wanted"
        ) from error
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file, or not a whole one: {error}") from error
    return {name: _array(path, name, **entry) for name, entry in entries.items() if not is_count(name)}


def write(path: Path, weights: Weights) -> None:
    """As a safetensors file."""
    save_file(weights, path)


def is_count(name: str) -> bool:
    """Whether it is how many batches a normalization has seen, which no model here needs."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def match(
    given: Mapping[str, Sequence[int]],
    wanted: Mapping[str, Sequence[int]],
    where: str,
    what: str = OTHER_MODEL,
) -> None:
    """Raises InputError, beginning with `where` and `what`, unless both have the same names with the same shapes."""
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    differing = [name for name in sorted(wanted.keys() & given.keys()) if tuple(given[name]) != tuple(wanted[name])]
    shapes = [f"{name} is {_shown(given[name])} and should be {_shown(wanted[name])}" for name in differing]
    unknown = "not in the model: " if what == OTHER_MODEL else "not there now: "
    found = {"missing: ": missing, unknown: extra, "": shapes}
    if any(found.values()):
        parts = [f"{how}{_listed(names)}" for how, names in found.items() if names]
        raise InputError(f"{where}: {what}: {'; '.join(parts)}")


def overlay(given: Weights, fresh: Weights, skip: str) -> Weights:
    """The given weights, but fresh ones for the names, or beginnings of names, in `skip`, separated by commas."""
    names = [name.strip().rstrip(".") for name in skip.split(",") if name.strip()]

    def skipped(name: str) -> bool:
        return any(name == one or name.startswith(f"{one}.") for one in names)

    if unknown := [one for one in names if not any(name == one or name.startswith(f"{one}.") for name in fresh)]:
        parts = sorted({name.partition(".")[0] for name in fresh})
        raise InputError(f"--init_skip {', '.join(unknown)}: the model has no such weights: {_listed(parts)}")
    kept = {name: value for name, value in given.items() if not skipped(name)}
    return kept | {name: value for name, value in fresh.items() if skipped(name)}


def init_words(init: str, skip: str) -> str:
    """How an error about weights to start from begins."""
    return f"--init {init}" + (f" --init_skip {skip}" if skip else " (--init_skip NAME leaves some as they are)")


def _array(path: Path, name: str, dtype: str, shape: Sequence[int], data: bytes) -> np.ndarray:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype not in DTYPES:
        raise InputError(f"{path}: {name} is {dtype}, which cannot be read: save it as F32")
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)


def _listed(names: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def _shown(shape: Sequence[int]) -> str:
    return str(list(shape))
