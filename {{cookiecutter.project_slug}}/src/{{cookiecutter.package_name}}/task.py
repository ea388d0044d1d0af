"""What a task is, and where tasks are found: each folder of `tasks/` is one."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from .config import Config, DataConfig, ModelConfig, closest
from .data.sources import Batch, Dataset, Source
from .errors import InputError


@dataclass(frozen=True)
class Task:
    """All that the shared rooms know of a task. Its losses and metrics stand in its framework files, the twins.

    Attributes:
        name: the name of its folder.
        title: what `--help` calls it.
        models: the config of each model, by `model.name`; the first is the default.
        datasets: the config of each dataset, by `data.name`; the first is the default and embedded.
        monitor: the validation metric that chooses the best checkpoint.
        mode: whether the best is the largest or the smallest.
        load: reads the dataset of a data config; raises InputError for missing or broken files.
        inputs: what `predict` gets, a list of paths or texts or arrays in memory, as a source of batches.
        describe: one row of readable values for each predicted example.
        examples: what TensorBoard shows of a validation batch and its outputs, by name: images, uint8 [height, width,
            3], or Markdown.
        charts: the same of the metrics that are arrays and not numbers, over a whole split.
        check: raises InputError for a config that the task cannot train with, and its keys' types do not tell.
        overfit: the steps in which `--debug overfit` brings the loss of one batch below a bound.
    """

    name: str
    title: str
    models: Mapping[str, type[ModelConfig]]
    datasets: Mapping[str, type[DataConfig]]
    monitor: str
    mode: Literal["max", "min"]
    load: Callable[[Any], Dataset]
    inputs: Callable[[Any, Mapping[str, Any]], Source]
    describe: Callable[[Batch, Mapping[str, Any]], list[dict[str, Any]]]
    examples: Callable[[Batch, Batch, Mapping[str, Any]], dict[str, np.ndarray | str]]
    charts: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], dict[str, np.ndarray | str]]
    overfit: "Overfit"
    check: Callable[[Config], None] = lambda config: None


class Overfit(NamedTuple):
    """After so many steps on one batch, `train/loss` is below `loss`."""

    steps: int
    loss: float


class Loss(NamedTuple):
    """A loss of a task, in either framework.

    Attributes:
        fn: (model, batch, ...) -> (sum, weight), never a mean: the engine divides by the weight summed over
            micro-batches and devices, so that a weight of examples, tokens or boxes is exact on any number of them.
            A weight is a number where it is known without the data.
        params: the attribute of the model whose parameters this loss moves; "" for the whole model.
    """

    fn: Callable[..., tuple[Any, Any]]
    params: str = ""


def names() -> list[str]:
    """The tasks that the project has."""
    return sorted(file.parent.name for file in (Path(__file__).parent / "tasks").glob("*/__init__.py"))


def find(name: str) -> Task:
    """The task of a name. Raises InputError, with the nearest name, where there is none."""
    if name not in names():
        raise InputError(f"no task {name!r}: {closest(name, names())}")
    return importlib.import_module(f".tasks.{name}", __package__).task


def twin(task: Task, framework: str):
    """The task's module for a framework: its model, losses and metrics."""
    return importlib.import_module(f".tasks.{task.name}.{framework}", __package__)
