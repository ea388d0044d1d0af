"""What a task is, and where tasks are found: each folder of `tasks/` is one."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from .config import Config, DataConfig, ModelConfig
from .data.bad import Bad
from .data.sources import Batch, Dataset, Source, Spec
from .errors import InputError
from .meant import closest

THRESHOLDS = 201  # at which precision and recall of a metric are told


@dataclass(frozen=True)
class Sound:
    """To be heard. samples: float [n], from -1 to 1; rate: how many of them a second has."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class PrecisionRecall:
    """To be shown as a curve, over all thresholds.

    counts: int [2, n], the examples that are not, and those that are, of the class that is looked for; the i-th of them
    have a probability from i / (n - 1) on, below that of the next.
    """

    counts: np.ndarray


# To be shown, by name: images, uint8 [height, width, 3], Markdown, sounds and curves.
Charts = Mapping[str, "np.ndarray | str | Sound | PrecisionRecall"]


@dataclass(frozen=True)
class NoOptions:
    """Of a task whose `predict` takes inputs only."""


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
        load: (config, spec) -> the dataset; raises InputError for missing or broken files. spec: None, or that of a
            run that goes on or is evaluated, from which it then takes what is fitted on the training data (the means
            of a scaler, a tokenizer, a vocabulary).
        inputs: (given, spec, bad) -> what `predict` gets, a list of paths or texts or arrays in memory, as a source;
            `bad` takes those that cannot be read, and raises what is wrong with them unless they may be skipped.
        describe: (names, outputs, spec, **options) -> rows of readable values, of every input by its name.
        stream: for a task that makes its output piece by piece, in place of `describe`: (what `generate` of the
            task's framework files yields, spec) -> pieces of text, as they come. Its options have a `prompt`.
        examples: what TensorBoard shows of a validation batch and its outputs.
        charts: the same of the metrics that are arrays and not numbers, over a whole split.
        scores: (arrays, spec) -> further metrics, numbers, that are computed of these on the host, as those of texts
            are; of the spec there are plain values.
        overfit: the steps in which `--debug overfit` brings the loss of one batch below a bound.
        check: raises InputError for a config that the task cannot train with, and its keys' types do not tell.
        options: what `predict` takes beside inputs, as a dataclass of `option`s; `describe` and `generate` get them.
        check_options: (names, spec, **options) -> None; raises InputError, before anything is computed, for those that
            do not fit the run or the inputs, or name files that are there.
        decoding: the names of those that `predict_step` gets, too, as the width of a beam.
        signature: spec -> what a forward pass takes and gives, so that it can be exported; None where inference takes
            more than one.
        embeddings: spec -> for each table of vectors to show in TensorBoard's projector, by the parameter's path, a
            header and the labels of its first rows.
    """

    name: str
    title: str
    models: Mapping[str, type[ModelConfig]]
    datasets: Mapping[str, type[DataConfig]]
    monitor: str
    mode: Literal["max", "min"]
    load: Callable[[Config, Spec | None], Dataset]
    inputs: Callable[[Any, Spec, Bad], "Inputs"]
    examples: Callable[[Batch, Batch, Spec], Charts]
    overfit: "Overfit"
    describe: Callable[..., list[dict[str, Any]]] | None = None
    stream: Callable[[Iterator[Batch], Spec], Iterator[str]] | None = None
    charts: Callable[[Mapping[str, np.ndarray], Spec], Charts] = lambda arrays, spec: {}
    scores: Callable[[Mapping[str, np.ndarray], Spec], dict[str, float]] = lambda arrays, spec: {}
    check: Callable[[Config], None] = lambda config: None
    options: type = NoOptions
    check_options: Callable[..., None] = lambda names, spec, **options: None
    decoding: tuple[str, ...] = ()
    signature: Callable[[Spec], "Signature"] | None = None
    embeddings: Callable[[Spec], dict[str, tuple[list[str], list[list[str]]]]] = lambda spec: {}


class Inputs(NamedTuple):
    """Inputs to predict: `source` of batches without labels, and a name of each example."""

    source: Source
    names: Sequence[str]


class Field(NamedTuple):
    """An array of a batch. shape: of one example; about: what its numbers mean, with their units, in Markdown."""

    dtype: str
    shape: tuple[int, ...]
    about: str


class Signature(NamedTuple):
    """The arrays that a task's `predict_step` takes of `inputs`, and those that it gives, by name."""

    inputs: Mapping[str, Field]
    outputs: Mapping[str, Field]


class Overfit(NamedTuple):
    """After so many steps on one batch, `train/loss` is below `loss`."""

    steps: int
    loss: float


class Loss(NamedTuple):
    """A loss of a task, in either framework.

    Attributes:
        fn: (model, batch, ...) -> (sum, weight), never a mean: the engine divides by the weight summed over
            micro-batches and devices, so that a weight of examples, tokens or boxes is exact on any number of them.
            A weight is a number where it is known without the data; where it turns out as 0, as of a batch that is
            masked whole, the update is left out and counted. Or (sum, weight, parts): parts are sums, too, by the name
            of what is to be logged beside the loss, `train/<name>`, and are divided by the same weight.
        params: the attribute of the model whose parameters this loss moves; "" for the whole model. Or a filter, where
            the framework selects parameters by such, as for the `wrt` of its own optimizers. Two losses may move the
            same ones, one after the other. What no loss moves is frozen: it gets no update and no decay, and the
            optimizer keeps nothing of it.
        rate: the learning rate of its updates, as a share of the step's.
    """

    fn: Callable[..., tuple[Any, ...]]
    params: Any = ""
    rate: float = 1.0


def names() -> list[str]:
    """The tasks that the project has."""
    return sorted(file.parent.name for file in (Path(__file__).parents[1] / "tasks").glob("*/__init__.py"))


def find(name: str) -> Task:
    """The task of a name. Raises InputError, with the nearest name, where there is none."""
    if name not in names():
        raise InputError(f"no task {name!r}: {closest(name, names())}")
    return importlib.import_module(f"..tasks.{name}", __package__).task


def listed(names: Sequence[str], file: str, most: int = 20) -> str:
    """Numbered, for a field's `about`: of many names the first ones, and the file that has all."""
    shown = ", ".join(f"{i}: {name}" for i, name in enumerate(names[:most]))
    return shown + (f" and so on, {len(names)} in `{file}`" if len(names) > most else "")


def check_twin(task: Task, framework: str) -> None:
    """Raises InputError where the task has no module for a framework."""
    path = Path(__file__).parents[1] / "tasks" / task.name / f"{framework}.py"
    if not path.exists():
        raise InputError(f"{task.name} has no half for {framework}: {path} is gone")


def twin(task: Task, framework: str) -> Any:
    """The task's module for a framework: its model, losses and metrics. What it has, the framework's room says.

    Raises InputError where there is none.
    """
    check_twin(task, framework)
    return importlib.import_module(f"..tasks.{task.name}.{framework}", __package__)
