"""BERT in PyTorch."""

import torch
from torch import nn

from ..layers.torch import attention
from . import DEVIATION, EPSILON, VARIANTS, BertConfig, check_length


class BertClassifier(nn.Module):
    """int32 [batch, tokens <= length], padded with 0 at the end -> logits, float [batch, classes].

    Begins with numbers from a normal distribution of deviation 0.02, cut off at two of them, and biases of 0. Unlike
    in the paper, attention's probabilities have no dropout: not every fused call can do that.
    """

    def __init__(self, config: BertConfig, vocabulary: int, length: int, classes: int):
        super().__init__()
        check_length(config, length)
        layers, width, heads = VARIANTS[config.name]
        self.embeddings = Embeddings(vocabulary, config.positions, width, config.dropout)
        self.layers = nn.ModuleList(Layer(width, heads, config.dropout) for _ in range(layers))
        self.pooler = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, classes)
        self.apply(truncated_normal)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = tokens != 0
        mask[:, 0] = True  # a row of padding only sees that
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        x = torch.tanh(self.pooler(x[:, 0]))
        return self.classifier(self.dropout(x))


class Embeddings(nn.Module):
    """int32 [batch, tokens] -> float [batch, tokens, width]: the sum of three tables, of which the type is always 0."""

    def __init__(self, vocabulary: int, positions: int, width: int, dropout: float):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        types = torch.zeros_like(positions)
        x = self.word_embeddings(tokens) + self.position_embeddings(positions) + self.token_type_embeddings(types)
        return self.dropout(self.norm(x))


class Layer(nn.Module):
    """float [batch, tokens, width] -> the same; mask: bool [batch, 1, 1, tokens], true where a token is seen."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, EPSILON)
        self.intermediate = nn.Linear(width, 4 * width)
        self.output = nn.Linear(4 * width, width)
        self.output_norm = nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (y.unflatten(-1, (-1, self.head_width)) for y in (self.query(x), self.key(x), self.value(x)))
        y = self.attention_output(attention(q, k, v, mask).flatten(2))
        x = self.attention_norm(x + self.dropout(y))
        y = self.output(nn.functional.gelu(self.intermediate(x), approximate="none"))
        return self.output_norm(x + self.dropout(y))


def truncated_normal(module: nn.Module) -> None:
    """Initialises a linear layer or an embedding."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
