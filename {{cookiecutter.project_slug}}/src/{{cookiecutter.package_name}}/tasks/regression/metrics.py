"""The metrics of regression, from sums that are cheap to keep and to add up over batches and devices."""

from collections.abc import Callable
from typing import Any

# Of what is added up, for each example with prediction p and target t, both standardised as the training targets are,
# so that r2 does not vanish in the rounding of large targets: 1, (p - t)^2, |p - t|, t, t^2.
SUMS = 5


def formulas(scale: float) -> dict[str, Callable[..., Any]]:
    """Each metric by its name, as a function of the sums. `loss` is that of training; mse, mae are in the data's unit.

    r2 = 1 - (sum of squared errors) / (sum of squared deviations of the targets from their mean over the split), which
    has no value where all targets of a split are equal.

    Args:
        scale: the standard deviation of the training targets.
    """
    return {
        "loss": lambda n, square, absolute, t, t_square: square / n,
        "mse": lambda n, square, absolute, t, t_square: square / n * scale**2,
        "mae": lambda n, square, absolute, t, t_square: absolute / n * scale,
        "r2": lambda n, square, absolute, t, t_square: 1 - square / (t_square - t**2 / n),
    }
