"""What is known of a split from its scores' histogram, which takes the same memory for any number of examples.

Bins go over the logit. `counts`: [2, BINS], how many examples without and with a click have their score in each bin;
`predicted`: [BINS], the sum of their probabilities.
"""

from typing import NamedTuple

import numpy as np

BINS = 2**14
EXTENT = 16.0  # logits beyond -EXTENT and EXTENT are in the first and the last bin


class Group(NamedTuple):
    """Neighbouring scores: how many examples, the mean of their probabilities, and the share that was clicked."""

    examples: int
    predicted: float
    observed: float


def auc(counts: np.ndarray) -> float:
    """The probability that of a random example with a click and one without, the first has the higher score.

    Two in one bin count half. nan where all examples are of one kind.
    """
    others, clicks = np.asarray(counts, np.float64)
    below = np.cumsum(others) - others / 2
    pairs = clicks.sum() * others.sum()
    return float((clicks * below).sum() / pairs) if pairs else np.nan


def calibration(counts: np.ndarray, predicted: np.ndarray) -> float:
    """Clicks as predicted (the sum of probabilities) over clicks that happened: 1 is right. nan without any."""
    clicks = np.asarray(counts[1], np.float64).sum()
    return float(np.asarray(predicted, np.float64).sum() / clicks) if clicks else np.nan


def reliability(counts: np.ndarray, predicted: np.ndarray, groups: int) -> list[Group]:
    """The examples in order of their scores, cut into groups of about the same size; one bin is not cut."""
    counts, predicted = np.asarray(counts, np.float64), np.asarray(predicted, np.float64)
    examples = counts.sum(0)
    # A bin belongs where its middle is.
    group = ((np.cumsum(examples) - examples / 2) * (groups / examples.sum())).astype(int)
    sizes, clicks, sums = (np.bincount(group, values, groups) for values in (examples, counts[1], predicted))
    return [Group(int(sizes[i]), sums[i] / sizes[i], clicks[i] / sizes[i]) for i in np.flatnonzero(sizes)]


def by_probability(counts: np.ndarray, n: int) -> np.ndarray:
    """int [2, n]: of the examples without and with a click, how many have a probability from i / (n - 1) on.

    Those of the next are not among them. A bin belongs where its middle is.
    """
    logits = (np.arange(BINS) + 0.5) * (2 * EXTENT / BINS) - EXTENT
    places = ((n - 1) / (1 + np.exp(-logits))).astype(int)
    return np.stack([np.bincount(places, weights=row, minlength=n) for row in np.asarray(counts)]).astype(np.int64)
