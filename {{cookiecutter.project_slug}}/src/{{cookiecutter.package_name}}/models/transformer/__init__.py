"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): an encoder and a decoder."""

import dataclasses
from dataclasses import dataclass

from ...engine.api import InputError, ModelConfig, NonNegativeFloat, PositiveInt, Probability, option

EPSILON = 1e-6
PAD, BOS, EOS = 0, 1, 2  # tokens that fill up, begin and end a text
SPECIAL = 3  # how many these are; a text's own tokens follow them
EXTRA = 50  # tokens by which a translation may be longer than its source, as in the paper


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """The smallest; the others have other defaults of the same keys."""

    layers: PositiveInt = option(2, "blocks of the encoder, and of the decoder")
    heads: PositiveInt = option(4, "heads of each attention")
    width: PositiveInt = option(128, "numbers that stand for a token; a multiple of heads")
    hidden: PositiveInt = option(512, "numbers between the two linear layers of a block")
    context: PositiveInt = option(64, "most tokens of a text, with that of its end; no weight depends on it")
    pre_norm: bool = option(False, "normalization in front of each part of a block, and not after it, as in the paper")
    dropout: Probability = option(0.1, "of embeddings, and of what each part of a block adds", overfit=0.0)
    label_smoothing: Probability = option(
        0.1, "of a target, the share that all tokens of the vocabulary have alike", overfit=0.0
    )

    TENSOR = {**dict.fromkeys(("query", "key", "value", "hidden"), "columns"), "output": "rows"}


def variant(**sizes: int) -> type[TransformerConfig]:
    """A TransformerConfig with these defaults."""
    fields = [
        (item.name, item.type, option(sizes[item.name], item.metadata["help"]))
        for item in dataclasses.fields(TransformerConfig)
        if item.name in sizes
    ]
    return dataclasses.make_dataclass("TransformerConfig", fields, bases=(TransformerConfig,), frozen=True)


VARIANTS: dict[str, type[TransformerConfig]] = {
    "transformer_tiny": TransformerConfig,
    "transformer_small": variant(layers=3, heads=4, width=256, hidden=1024, context=128),
    "transformer_base": variant(layers=6, heads=8, width=512, hidden=2048, context=256),
}


@dataclass(frozen=True)
class BeamOptions:
    """How a translation is looked for."""

    beam: PositiveInt = option(1, "beginnings that are followed at once; 1: always the likeliest token; often 4")
    length_penalty: NonNegativeFloat = option(
        0.6, "with a beam: how much longer translations are preferred; 0: not at all"
    )


def check_sizes(config: TransformerConfig) -> None:
    """Raises InputError where heads or positions do not fit into the width."""
    if config.width % config.heads:
        raise InputError(f"model.width = {config.width} is not divisible by model.heads = {config.heads}")
    if config.width % 2:
        raise InputError(f"model.width = {config.width} is odd: half of it is for the sines of positions")
    if config.context < 2:
        raise InputError(f"model.context = {config.context}: a token and that of the end are 2")


def penalty(length, strength: float):
    """What the logarithm of the probability of so many tokens is divided by (Wu et al. 2016)."""
    return ((5 + length) / 6) ** strength
