"""BERT (Devlin et al. 2018; its smaller sizes by Turc et al. 2019), as a classifier of texts.

Of the files of Hugging Face's transformers, weights are renamed by `BertConfig.adopt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...engine.api import InputError, ModelConfig, PositiveInt, Probability, option

EPSILON = 1e-12
DEVIATION = 0.02

# Parts of the names in published files and those that they have here, replaced from top to bottom.
RENAMED = {
    "encoder.layer.": "layers.",
    "attention.self.": "",
    "attention.output.LayerNorm": "attention_norm",
    "attention.output.dense": "attention_output",
    "intermediate.dense": "intermediate",
    "output.LayerNorm": "output_norm",
    "output.dense": "output",
    "LayerNorm": "norm",
    "pooler.dense": "pooler",
    "norm.gamma": "norm.weight",
    "norm.beta": "norm.bias",
}


@dataclass(frozen=True)
class BertConfig(ModelConfig):
    positions: PositiveInt = option(512, "tokens of the longest text that the table of positions is for")
    dropout: Probability = option(0.1, "of embeddings, of what each layer adds, and before the classifier", overfit=0.0)

    TENSOR = {
        **dict.fromkeys(("query", "key", "value", "intermediate"), "columns"),
        **dict.fromkeys(("attention_output", "output"), "rows"),
    }

    def adopt(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a BertModel, or of one with a head: what pre-training alone needs is left out.

        A file of a BertModel or of pre-training has no `classifier`. Names that the model has itself stay.

        Raises:
            InputError: where the table of positions is not of as many as `positions`.
        """
        found = {}
        for name, value in weights.items():
            if name.startswith("cls.") or name.endswith("embeddings.position_ids"):
                continue
            name = name.removeprefix("bert.")
            for old, new in RENAMED.items():
                name = name.replace(old, new)
            found[name] = value
        rows = len(found.get("embeddings.position_embeddings.weight", range(self.positions)))
        if rows != self.positions:
            raise InputError(f"the weights are for {rows} positions: --model.positions {rows} takes them")
        return found


class Variant(NamedTuple):
    """Number of layers, numbers that stand for a token, and attention heads, each for 64 of these."""

    layers: int
    width: int
    heads: int


VARIANTS = {
    "bert_tiny": Variant(2, 128, 2),
    "bert_mini": Variant(4, 256, 4),
    "bert_small": Variant(4, 512, 8),
    "bert_medium": Variant(8, 512, 8),
    "bert_base": Variant(12, 768, 12),
}


def check_length(config: BertConfig, length: int) -> None:
    """Raises InputError where texts of so many tokens are longer than the table of positions."""
    if length > config.positions:
        what = f"texts of {length} tokens are longer than model.positions = {config.positions}"
        raise InputError(f"{what}: raise it or lower data.length")
