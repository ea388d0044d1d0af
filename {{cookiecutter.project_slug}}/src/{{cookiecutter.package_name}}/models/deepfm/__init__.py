"""DeepFM (Guo et al. 2017): a factorization machine and a perceptron over the same embeddings."""

from dataclasses import dataclass

from ...engine.api import ModelConfig, PositiveInt, Probability, option


@dataclass(frozen=True)
class DeepFMConfig(ModelConfig):
    width: PositiveInt = option(16, "of the embeddings")
    layers: PositiveInt = option(3, "hidden layers of the perceptron")
    hidden: PositiveInt = option(400, "units of each of them")
    dropout: Probability = option(0.0, "after each of them", overfit=0.0)
