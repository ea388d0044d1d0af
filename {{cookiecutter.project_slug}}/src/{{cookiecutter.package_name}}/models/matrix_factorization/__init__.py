"""Matrix factorization with biases (Koren, Bell and Volinsky, "Matrix Factorization Techniques", 2009)."""

from dataclasses import dataclass

from ...engine.api import ModelConfig, NonNegativeFloat, PositiveInt, option

# Of the vectors at the beginning: their products are then small beside the biases, which are learnt first.
DEVIATION = 0.1


@dataclass(frozen=True)
class MatrixFactorizationConfig(ModelConfig):
    width: PositiveInt = option(32, "numbers in a user's and in an item's vector")
    l2: NonNegativeFloat = option(
        0.02, "weight of the squared vectors and biases of each rating's user and item in the loss", overfit=0.0
    )
