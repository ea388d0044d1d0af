"""Memory for time: the backward pass computes a block's activations once more instead of keeping them."""

import functools

from flax import nnx

from ..errors import InputError


def recompute(model: nnx.Module, name: str) -> None:
    """Has each block of a model, a part of an `nnx.List` that has parts itself, keep its inputs only.

    Raises InputError where it has none.
    """
    lists = [module for _, module in nnx.iter_modules(model) if isinstance(module, nnx.List)]
    blocks = [part for parts in lists for part in parts if isinstance(part, nnx.Module) and len(_modules(part)) > 1]
    if not blocks:
        raise InputError(f"nnx.remat = True, but model.name = {name!r} has no blocks to compute twice")
    for block in blocks:
        object.__setattr__(block, "__class__", _recomputed(type(block)))  # what Python calls stands in the class


@functools.cache  # a new class would be a new program
def _recomputed(block: type) -> type:
    return type(block.__name__, (block,), {"__call__": nnx.remat(block.__call__)})


def _modules(part: nnx.Module) -> list[nnx.Module]:
    return [module for _, module in nnx.iter_modules(part)]
