"""Multi-layer perceptron with one hidden layer."""

from dataclasses import dataclass

from ...engine.api import ModelConfig, PositiveInt, Probability, option


@dataclass(frozen=True)
class MLPConfig(ModelConfig):
    hidden: PositiveInt = option(128, "units of the hidden layer")
    dropout: Probability = option(0.0, "after the hidden layer", overfit=0.0)
