"""Matrix factorization in PyTorch."""

import torch
from torch import nn

from . import DEVIATION, MatrixFactorizationConfig


class MatrixFactorization(nn.Module):
    """rating = mean + unit * (bias of the user + bias of the item + product of their vectors).

    The last row of each table is that of unknown users and items: zeros, which no training touches.

    Args:
        users, items: how many are known.
        mean, unit: of the ratings in training, their mean and deviation: so ratings of any range are learnt alike.
        lowest, highest: the range that ratings are in.
    """

    def __init__(
        self,
        config: MatrixFactorizationConfig,
        users: int,
        items: int,
        mean: float,
        unit: float,
        lowest: float,
        highest: float,
    ):
        super().__init__()
        self.mean, self.unit, self.lowest, self.highest = mean, unit, lowest, highest
        self.user_vectors = vectors(users, config.width)
        self.item_vectors = vectors(items, config.width)
        self.user_bias = nn.Parameter(torch.zeros(users + 1))
        self.item_bias = nn.Parameter(torch.zeros(items + 1))

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int [batch] each -> (rating, not clipped, and the squares of all that it is made of): float [batch] each."""
        p, q = self.user_vectors(user), self.item_vectors(item)
        b, c = self.user_bias[user], self.item_bias[item]
        return self.mean + self.unit * (b + c + (p * q).sum(-1)), b**2 + c**2 + (p**2).sum(-1) + (q**2).sum(-1)

    def every_item(self, user: torch.Tensor) -> torch.Tensor:
        """int [batch] -> the ratings of all known items, not clipped: float [batch, items]."""
        p, q = self.user_vectors(user), self.item_vectors.weight[:-1]
        return self.mean + self.unit * (self.user_bias[user][:, None] + self.item_bias[:-1] + p @ q.T)


def vectors(rows: int, width: int) -> nn.Embedding:
    """A table of so many vectors, and one of zeros after them."""
    table = nn.Embedding(rows + 1, width)
    nn.init.normal_(table.weight, std=DEVIATION)
    nn.init.zeros_(table.weight[-1])
    return table
