"""The tabular perceptron in PyTorch."""

from collections.abc import Sequence

import torch
from torch import nn

from ..layers.torch import he_normal
from . import TabularConfig, pieces


class Tabular(nn.Module):
    """numeric: float [batch, numbers], categorical: int [batch, columns] -> float [batch].

    Args:
        numbers: how many numeric inputs there are; 0: `numeric` is None.
        categories: how many categories each categorical column has; empty: `categorical` is None. Number 0 is what is
            missing; the number after the last, what training has not seen.
        edges: of the bins of each numeric input, where `bins` of the config are wanted.

    The last layer sees the inputs, too: linear regression, to which the hidden layers add what is not linear (Cheng et
    al. 2016, "Wide & Deep Learning"). Its kernel begins at 0, and so does every prediction.
    """

    def __init__(
        self, config: TabularConfig, numbers: int, categories: list[int], edges: Sequence[Sequence[float]] = ()
    ):
        super().__init__()
        widths = config.widths(categories)
        self.encode = PiecewiseLinear(edges) if edges else None
        numbers = self.encode.size if self.encode else numbers
        self.embed = nn.ModuleList([Categories(*size) for size in zip(categories, widths, strict=True)])
        sizes = [numbers + sum(widths), *[config.hidden] * config.layers]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.hidden = nn.ModuleList([he_normal(nn.Linear(inputs, outputs)) for inputs, outputs in pairs])
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(sizes[0] + sizes[-1], 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> torch.Tensor:
        columns = [] if numeric is None else [self.encode(numeric) if self.encode else numeric]
        if categorical is not None:
            columns += [embed(categorical[:, i]) for i, embed in enumerate(self.embed)]
        inputs = x = torch.cat(columns, 1).to(self.output.weight.dtype)
        for hidden in self.hidden:
            x = self.dropout(torch.relu(hidden(x)))
        return self.output(torch.cat([inputs, x], 1)).squeeze(1)


class PiecewiseLinear(nn.Module):
    """float [batch, columns] -> float [batch, size]: of each bin, the share of it that lies below the number."""

    columns: torch.Tensor
    starts: torch.Tensor
    widths: torch.Tensor
    lowest: torch.Tensor
    highest: torch.Tensor

    def __init__(self, edges: Sequence[Sequence[float]]):
        super().__init__()
        found = pieces(edges)
        self.size = len(found.columns)
        for name, values in found._asdict().items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = (x[:, self.columns] - self.starts) / self.widths
        return torch.clamp(shares, self.lowest, self.highest)


class Categories(nn.Embedding):
    """Vectors of a column's categories, int [batch] -> float [batch, width].

    Number 0, of what is missing, begins as zeros, the mean of the others. That after the last, of what training has not
    seen, is the mean of the others as they are.
    """

    def __init__(self, count: int, width: int):
        super().__init__(count, width)
        nn.init.normal_(self.weight)
        with torch.no_grad():
            self.weight[0] = 0

    def forward(self, number: torch.Tensor) -> torch.Tensor:
        vectors = torch.cat([self.weight, self.weight[1:].mean(0, keepdim=True)])
        return nn.functional.embedding(number, vectors)
