"""Weights of a model, from one twin to the other."""

from flax import nnx
from torch import nn

from ..lightning import weights as lightning_weights
from ..nnx import weights as nnx_weights


def to_nnx(net: nn.Module, model: nnx.Module) -> None:
    """Puts all weights of the torch module into its twin. Raises InputError where names or shapes differ."""
    nnx_weights.put(lightning_weights.get(net), model, type(net).__name__)


def to_lightning(model: nnx.Module, net: nn.Module) -> None:
    """Puts all weights of the NNX model into its twin. Raises InputError where names or shapes differ."""
    lightning_weights.put(nnx_weights.get(model), net, type(model).__name__)
