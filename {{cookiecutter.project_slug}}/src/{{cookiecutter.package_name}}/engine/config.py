"""The typed config tree."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type, restricted_string_type

if typing.TYPE_CHECKING:  # to the reader of a value it is a plain one
    NonNegativeFloat: typing.TypeAlias = float
    PositiveFloat: typing.TypeAlias = float
    Probability: typing.TypeAlias = float
    Seed: typing.TypeAlias = int
    FolderName: typing.TypeAlias = str
else:
    NonNegativeFloat = restricted_number_type("FiniteNonNegative", float, [(">=", 0), ("<", math.inf)])
    PositiveFloat = restricted_number_type("FinitePositive", float, [(">", 0), ("<", math.inf)])
    Probability = restricted_number_type("Probability", float, [(">=", 0), ("<", 1)])
    Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
    FolderName = restricted_string_type("FolderName", r"^(?!\.+$)[^/\\\n]*$")


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A field of a config dataclass: its default value and the line that `--help` shows.

    overfit=VALUE: what `--debug overfit` sets it to, where it stands between a model and the examples that it learns.
    """
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class ModelConfig:
    """What every model's config has; a model adds its own keys."""

    name: str = option("", "the model")

    # Of a transformer, by the end of a module's path, which half of a matrix a device holds where the mesh has a
    # direction `tensor`: "columns", its outputs, or "rows", its inputs, of which those outputs are some.
    TENSOR: typing.ClassVar[Mapping[str, str]] = {}

    def adopt(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """A published file's arrays under the names and in the layout that the model has; here as they are."""
        return dict(weights)


@dataclass(frozen=True)
class DataConfig:
    """What every dataset's config has; a dataset adds its own keys."""

    name: str = option("", "the dataset")
    root: str = option("data", "folder of the datasets' files; embedded data need none")
    download: bool = option(False, "fetch missing files into root")
    batch_size: PositiveInt = option(64, "examples of one step, over all devices and micro-batches")
    workers: NonNegativeInt = option(0, "threads that read batches ahead; 0: none, the fastest for data in memory")
    skip_bad: bool = option(
        False, "leave out images, texts and rows of tables that cannot be read, and count them; false: they are errors"
    )
    on_device: bool = option(False, "keep the training data in the device's memory; needs data that fit there")


OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "muon")  # that every framework has


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate."""

    name: str = option("adamw", f"{', '.join(OPTIMIZERS)} (of matrices, adamw of the rest), or one of your own")
    learning_rate: PositiveFloat = option(1e-3, "the peak, after warm-up")
    min_learning_rate: NonNegativeFloat = option(0.0, "where cosine and linear schedules end")
    weight_decay: NonNegativeFloat = option(0.0, "of kernels and embeddings; biases and norms have none", overfit=0.0)
    momentum: Probability = option(0.9, "sgd, rmsprop, muon: momentum; adamw, adam: beta 1")
    nesterov: bool = option(False, "sgd: Nesterov's momentum, which muon always has")
    beta2: Probability = option(0.999, "adamw, adam: beta 2; rmsprop: decay of the mean square, often 0.99")
    schedule: Literal["constant", "cosine", "linear", "inverse_sqrt"] = option(
        "constant", "after warm-up", overfit="constant"
    )
    warmup_steps: NonNegativeInt = option(0, "steps of linear warm-up, a tenth of the run at most", overfit=0)
    schedule_steps: NonNegativeInt = option(0, "where the schedule ends; 0: with the run")
    clip_norm: NonNegativeFloat = option(0.0, "largest global norm of the gradient; 0: no limit")
    ema_decay: Probability = option(
        0.0,
        "evaluate an exponential moving average of the weights, of this decay a step, less at first; 0: the weights",
        overfit=0.0,
    )


@dataclass(frozen=True)
class TrainerConfig:
    """How long, and how often what happens. Counted in steps, that is updates of the task."""

    epochs: NonNegativeInt = option(1, "0: no limit; ends with max_steps, whichever comes first")
    min_steps: NonNegativeInt = option(0, "as many steps at least, however few the epochs have, as of a small table")
    max_steps: NonNegativeInt = option(0, "0: no limit")
    max_minutes: NonNegativeFloat = option(
        0.0, "this command stops after so long, with the state saved; the same command goes on; 0: no limit"
    )
    val_every: NonNegativeInt = option(0, "steps between validations; 0: once an epoch, a hundred times at most")
    log_every: NonNegativeInt = option(50, "steps between log entries; 0: once an epoch")
    checkpoint_every: NonNegativeInt = option(0, "steps between checkpoints; 0: once an epoch; the best is always kept")
    histograms: NonNegativeInt = option(
        10_000,
        "values, at most, that the histogram of a kernel or embedding at a validation is made of; biases and norms "
        "have none; 0: no histograms",
    )
    patience: NonNegativeInt = option(0, "stop after so many validations without a new best, after warm-up; 0: never")
    accumulate: PositiveInt = option(1, "micro-batches that a batch is cut into, to save memory")
    on_nan: Literal["stop", "skip"] = option(
        "stop", "where loss or gradient are not finite: stop the run, or skip the update and count it"
    )


@dataclass(frozen=True)
class MeshConfig:
    """What the devices of all nodes share: their number is the product of the three."""

    data: NonNegativeInt = option(0, "parts of a batch, each with a copy of the model; 0: as many as the others leave")
    fsdp: NonNegativeInt = option(
        1, "parts of a batch, with a part of the weights and of the optimizer's state each; 0: as many as are left"
    )
    tensor: PositiveInt = option(1, "parts of the kernels of transformers, which work on the same examples")


@dataclass(frozen=True)
class AcceleratorConfig:
    """The hardware. `--accelerator NAME` reads configs/accelerator/NAME.yaml."""

    name: str = option("auto", "the name of the settings")
    platform: Literal["auto", "cpu", "gpu", "tpu", "mps"] = option("auto", "auto: the best there is")
    devices: NonNegativeInt = option(1, "of each node; 0: all that are there")
    nodes: PositiveInt = option(1, "machines; what starts a process on each of them is in launch/")
    precision: Literal["float32", "bfloat16", "float16", "float64"] = option(
        "float32", "of the arithmetic; float16 with loss scaling, not on tpu; float64 on cpu, for proofs"
    )
    mesh: MeshConfig = MeshConfig()


Model = typing.TypeVar("Model", bound=ModelConfig, covariant=True)
Data = typing.TypeVar("Data", bound=DataConfig, covariant=True)


@dataclass(frozen=True)
class Config(typing.Generic[Model, Data]):
    """The whole config of a run. A task says which models and datasets its own has: `Config[GptConfig, TextConfig]`.

    `frameworks` holds the section of each framework that the project has, by its name; in files and options these stand
    at the top.
    """

    task: str
    preset: str
    model: Model
    data: Data
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    accelerator: AcceleratorConfig
    frameworks: Mapping[str, Any]
    framework: str = option("", "the framework that trains")
    name: FolderName = option("", "name of the run; without one: go on with an unfinished run, else number a new one")
    run_dir: str = option("runs", "folder of the runs")
    seed: Seed = option(0, "of weights, order, augmentation and dropout")
    resume: str = option(
        "auto", "auto: go on with the newest unfinished run of this config; never; or the PATH of a run to start from"
    )
    init: str = option(
        "", "PATH of a run, a safetensors file or a folder with one, whose weights to start from with a fresh optimizer"
    )
    init_skip: str = option(
        "", "weights to leave as they are at --init: names or their beginnings, separated by commas"
    )
    debug: Literal["none", "fast", "overfit", "profile"] = option(
        "none",
        "fast: three steps, to see that everything runs; overfit: learn one batch by heart, to see that it learns; "
        "profile: a trace of some steps",
    )


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain values, as it is written in YAML."""
    values = dataclasses.asdict(config)
    sections = values.pop("frameworks")
    return {**values, **sections}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
