"""Small convolutional network: two convolutions with pooling, one hidden layer (after LeNet-5, LeCun et al. 1998)."""

from dataclasses import dataclass

from ...engine.api import ModelConfig, PositiveInt, Probability, option


@dataclass(frozen=True)
class ConvNetConfig(ModelConfig):
    width: PositiveInt = option(32, "channels of the first convolution; the second has twice as many")
    hidden: PositiveInt = option(128, "units of the hidden layer")
    dropout: Probability = option(0.0, "after the hidden layer", overfit=0.0)
