"""The face of the engine: what the rooms of the owner, `tasks/`, `models/` and `extensions/`, import from it.

Beside these names they import what a framework's folder has for its half of a task (`module`, `manual`, `metrics`) and
the readers of their kind of data (`data.files`, `data.folders`, `data.tables`, `data.images`, `classification`). See
README.md.
"""

from .config import (
    Config,
    DataConfig,
    ModelConfig,
    NonNegativeFloat,
    NonNegativeInt,
    OptimizerConfig,
    PositiveFloat,
    PositiveInt,
    Probability,
    Seed,
    option,
)
from .data.bad import STRICT, Bad
from .data.files import say_once
from .data.sources import Arrays, Batch, Dataset, Source, Spec
from .errors import InputError
from .meant import closest
from .task import THRESHOLDS, Charts, Field, Inputs, Loss, Overfit, PrecisionRecall, Signature, Sound, Task, listed

__all__ = [
    "STRICT",
    "THRESHOLDS",
    "Arrays",
    "Bad",
    "Batch",
    "Charts",
    "Config",
    "DataConfig",
    "Dataset",
    "Field",
    "InputError",
    "Inputs",
    "Loss",
    "ModelConfig",
    "NonNegativeFloat",
    "NonNegativeInt",
    "OptimizerConfig",
    "Overfit",
    "PositiveFloat",
    "PositiveInt",
    "PrecisionRecall",
    "Probability",
    "Seed",
    "Signature",
    "Sound",
    "Source",
    "Spec",
    "Task",
    "closest",
    "listed",
    "option",
    "say_once",
]
