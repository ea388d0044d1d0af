"""Multi-layer perceptron for tables, whose categories are embedded (Guo and Berkhahn, 2016), and whose numbers may be
encoded piece by piece (Gorishniy, Rubachev and Babenko 2022, "On Embeddings for Numerical Features").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...engine.api import ModelConfig, NonNegativeInt, PositiveInt, Probability, option


@dataclass(frozen=True)
class TabularConfig(ModelConfig):
    hidden: PositiveInt = option(128, "units of each hidden layer")
    layers: PositiveInt = option(2, "hidden layers")
    dropout: Probability = option(0.0, "after each hidden layer", overfit=0.0)
    embedding: PositiveInt = option(
        16, "largest width of a categorical column's vectors; half its categories, if fewer"
    )
    bins: NonNegativeInt = option(0, "of the piecewise linear encoding of each number; 0: numbers as they are")

    def widths(self, categories: list[int]) -> list[int]:
        """Of the vectors of each categorical column, by how many categories it has."""
        return [min(self.embedding, (count + 1) // 2) for count in categories]


class Pieces(NamedTuple):
    """Bins of numbers, each an array [pieces]: the number's column, where a bin begins, how wide it is, and between
    which two values its share is kept."""

    columns: np.ndarray
    starts: np.ndarray
    widths: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def bin_edges(numbers: np.ndarray, bins: int) -> list[list[float]]:
    """Of each column, float32 [rows, columns], the edges of bins that hold about as many rows each.

    Where values repeat, or there are few, there are fewer bins; of a column that does not vary there is none.
    """
    quantiles = np.quantile(numbers.astype(np.float32), np.linspace(0, 1, bins + 1), axis=0, method="nearest")
    return [np.unique(column).tolist() for column in quantiles.T]


def pieces(edges: Sequence[Sequence[float]]) -> Pieces:
    """The bins of all columns. The first one of a column goes on below its start, and the last one above its end."""
    rows = [
        (column, start, end - start, 0.0 if i else -np.inf, 1.0 if i + 2 < len(found) else np.inf)
        for column, found in enumerate(edges)
        for i, (start, end) in enumerate(zip(found[:-1], found[1:], strict=True))
    ]
    columns, *bounds = zip(*rows, strict=True) if rows else ([],) * 5
    return Pieces(np.array(columns, np.int64), *(np.array(bound, np.float32) for bound in bounds))
