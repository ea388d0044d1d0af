"""What several families share, twice as they are."""

from ...engine.api import InputError

# Of batch normalization (Ioffe and Szegedy, 2015).
EPSILON = 1e-5
MOMENTUM = 0.1  # the weight of a batch in the running statistics


def check_values(values: int) -> None:
    """values: how many a batch has of one channel. Raises InputError where they have no variance."""
    if values < 2:
        raise InputError(
            "batch normalization has a single value of each channel to train on: "
            "raise data.batch_size or lower trainer.accumulate"
        )
