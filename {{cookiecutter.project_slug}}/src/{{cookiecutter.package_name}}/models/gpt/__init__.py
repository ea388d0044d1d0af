"""GPT (Radford et al. 2018, 2019): a Transformer that reads from left to right, with normalization in front (pre-norm).

Attributes are named as Hugging Face names those of GPT-2, so weights go by path.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...engine.api import ModelConfig, PositiveInt, Probability, option

EPSILON = 1e-5
DEVIATION = 0.02

# Kernels that Hugging Face's files of GPT-2 hold as [input, output].
TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


@dataclass(frozen=True)
class GptConfig(ModelConfig):
    """The smallest; the others have other defaults of the same keys."""

    layers: PositiveInt = option(3, "Transformer blocks")
    heads: PositiveInt = option(3, "attention heads of a block")
    width: PositiveInt = option(48, "numbers that stand for a token; a multiple of heads")
    context: PositiveInt = option(64, "most tokens that are seen at once, the length of a training example")
    bias: bool = option(True, "biases in linear layers and norms, as published weights have them")
    dropout: Probability = option(0.0, "of embeddings, and of what each half of a block adds", overfit=0.0)

    TENSOR = {"attn.c_attn": "columns", "attn.c_proj": "rows", "mlp.c_fc": "columns", "mlp.c_proj": "rows"}

    def adopt(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a GPT2Model or GPT2LMHeadModel. Of more positions than `context`, the first are taken."""
        named = {name.removeprefix("transformer."): value for name, value in weights.items()}
        first = named.get("h.0.attn.c_attn.weight")  # three times as wide as it is high, or the other way round
        turned = TURNED if first is not None and first.shape[0] < first.shape[-1] else ()
        found = {}
        for name, value in named.items():
            if name.endswith((".attn.bias", ".attn.masked_bias")) or name == "lm_head.weight":
                continue  # the causal mask; and the last layer, whose weights are those of the embedding
            if name == "wpe.weight":
                value = value[: self.context]
            found[name] = value.T if name.endswith(turned) else value
        return found


def variant(layers: int, heads: int, width: int, context: int) -> type[GptConfig]:
    """A GptConfig with these defaults."""
    sizes = {"layers": layers, "heads": heads, "width": width, "context": context}
    fields = [
        (item.name, item.type, option(sizes[item.name], item.metadata["help"]))
        for item in dataclasses.fields(GptConfig)
        if item.name in sizes
    ]
    return dataclasses.make_dataclass("GptConfig", fields, bases=(GptConfig,), frozen=True)


VARIANTS: dict[str, type[GptConfig]] = {
    "gpt_nano": GptConfig,
    "gpt_micro": variant(layers=4, heads=4, width=128, context=64),
    "gpt_mini": variant(layers=6, heads=6, width=192, context=256),
    "gpt2": variant(layers=12, heads=12, width=768, context=1024),
    "gpt2_medium": variant(layers=24, heads=16, width=1024, context=1024),
}
