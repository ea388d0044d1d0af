"""Multi-layer perceptron for tables, whose categories are embedded (Guo and Berkhahn, 2016)."""

from dataclasses import dataclass

from ...engine.api import ModelConfig, PositiveInt, Probability, option


@dataclass(frozen=True)
class TabularConfig(ModelConfig):
    hidden: PositiveInt = option(128, "units of each hidden layer")
    layers: PositiveInt = option(2, "hidden layers")
    dropout: Probability = option(0.0, "after each hidden layer", overfit=0.0)
    embedding: PositiveInt = option(
        16, "largest width of a categorical column's vectors; half its categories, if fewer"
    )

    def widths(self, categories: list[int]) -> list[int]:
        """Of the vectors of each categorical column, by how many categories it has."""
        return [min(self.embedding, (count + 1) // 2) for count in categories]
