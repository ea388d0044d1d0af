"""Metrics that several tasks need and torchmetrics lacks."""

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ..task import THRESHOLDS


class ProbabilityCounts(Metric):
    """int64 [2, THRESHOLDS], for precision and recall of the second of two classes; see `PrecisionRecall`."""

    full_state_update = False
    counts: torch.Tensor

    def __init__(self):
        super().__init__()
        self.add_state("counts", torch.zeros(2, THRESHOLDS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # What is no number counts as 0: the loss tells of it.
        bins = (logits.softmax(-1)[:, 1].nan_to_num() * (THRESHOLDS - 1)).long()
        self.counts.index_put_((labels.long(), bins), torch.ones_like(bins), accumulate=True)

    def compute(self) -> torch.Tensor:
        return self.counts


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
