"""What a task's `nnx.py` has: functions of these names. They are compiled, so no Python on values of arrays in them."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
from clu.metrics import Collection
from flax import nnx

from ..config import Config
from ..data import sources
from ..data.sources import Spec
from ..task import Loss

Batch = dict[str, jax.Array]  # leading axis = example


class Twin(Protocol):
    def create_model(self, config: Config, spec: Spec, *, rngs: nnx.Rngs, **dtypes: Any) -> nnx.Module:
        """Made whole: what appears only in a step is refused.

        dtypes: `dtype` of the arithmetic and `param_dtype`, for every layer.
        """

    def losses(self, config: Config) -> Mapping[str, Loss]:
        """By name, in the order in which they are applied in a step.

        Their functions are (model, batch, rngs) -> (sum, weight), see `task.Loss`; `rngs` draws dropout, all else that
        is random comes in the batch.
        """

    def create_metrics(self, spec: Spec) -> type[Collection]:
        """By the names of their tags."""

    def eval_step(self, model: nnx.Module, batch: Batch, metrics: type[Collection]) -> Collection:
        """Those of a batch, of the examples whose `mask` is true."""

    def predict_step(self, model: nnx.Module, batch: Batch, **options: Any) -> Batch:
        """The outputs, leading axis = example. options: those of the task's `decoding`, constants of the program."""

    def generate(self, model: nnx.Module, batch: sources.Batch, *, seed: int, **options: Any) -> Iterator[Batch]:
        """Only of a task that has `stream`: pieces of output, as they come. options: those of the task."""
