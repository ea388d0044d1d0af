"""Metrics that several tasks need and torchmetrics lacks."""

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Collected(Metric):
    """An output of every example that it is given, [examples, ...]: of all batches of one shape, and of any dtype."""

    full_state_update = False
    values: list[torch.Tensor]

    def __init__(self):
        super().__init__()
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, values: torch.Tensor) -> None:
        self.values.append(values)

    def compute(self) -> torch.Tensor:
        return dim_zero_cat(self.values)
