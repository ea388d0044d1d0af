"""GPT in PyTorch."""

import torch
from torch import nn

from ..layers.torch import attention
from . import DEVIATION, EPSILON, GptConfig

Cache = list[tuple[torch.Tensor, torch.Tensor]]  # of each block, the keys and values of what was read so far


class GPT(nn.Module):
    """int [batch, length <= context] -> logits of the token after each, float [batch, length, vocabulary].

    Begins as GPT-2: normal with deviation 0.02, on the way into a sum divided by the root of the number of sums; biases
    of 0. The embedding of tokens is the last layer's kernel, too. Unlike in the paper, attention's probabilities have
    no dropout: not every fused call can do that.
    """

    def __init__(self, config: GptConfig, vocabulary: int):
        super().__init__()
        self.context, self.heads, self.width = config.context, config.heads, config.width
        self.wte = embedding(vocabulary, config.width)
        self.wpe = embedding(config.context, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.ln_f = nn.LayerNorm(config.width, EPSILON, bias=config.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.logits(self.read(tokens))

    def read(self, tokens: torch.Tensor, cache: Cache | None = None, position: int = 0) -> torch.Tensor:
        """float [batch, length, width]. With a cache, whose first `position` tokens were read: these and the new ones.

        It is changed in place.
        """
        positions = torch.arange(position, position + tokens.shape[1], device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe(positions))
        for i, block in enumerate(self.h):
            x = block(x, cache[i] if cache else None, position)
        return self.ln_f(x)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.wte.weight)

    def create_cache(self, batch: int) -> Cache:
        """An empty one, for `context` tokens."""
        shape = (batch, self.context, self.heads, self.width // self.heads)
        return [(self.wte.weight.new_zeros(shape), self.wte.weight.new_zeros(shape)) for _ in self.h]


class Block(nn.Module):
    """float [batch, length, width] -> the same."""

    def __init__(self, config: GptConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, EPSILON, bias=config.bias)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.width, EPSILON, bias=config.bias)
        self.mlp = MLP(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor] | None, position: int) -> torch.Tensor:
        x = x + self.drop(self.attn(self.ln_1(x), cache, position))
        return x + self.drop(self.mlp(self.ln_2(x)))


class Attention(nn.Module):
    """float [batch, length, width] -> the same. Of a cache's keys and values, those up to the query are seen."""

    def __init__(self, config: GptConfig):
        super().__init__()
        self.heads, self.head_width = config.heads, config.width // config.heads
        self.c_attn = linear(config, config.width, 3 * config.width)
        # Queries, keys and values, one after the other: where it is cut, each of them is.
        self.c_attn.parts = 3  # type: ignore[assignment]  # an attribute that a linear layer has not
        self.c_proj = linear(config, config.width, config.width, into_sum=True)

    def forward(self, x: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor] | None, position: int) -> torch.Tensor:
        q, k, v = (y.unflatten(-1, (-1, self.head_width)) for y in self.c_attn(x).chunk(3, -1))
        if cache is None:
            y = attention(q, k, v, causal=True)
        else:
            end = position + x.shape[1]
            for old, new in zip(cache, (k, v), strict=True):
                old[:, position:end] = new
            seen = torch.arange(end, device=x.device) <= torch.arange(position, end, device=x.device)[:, None]
            k, v = (old[:, :end].to(q.dtype) for old in cache)
            y = attention(q, k, v, seen)
        return self.c_proj(y.flatten(2))


class MLP(nn.Module):
    """float [..., width] -> the same; GELU in its tanh form."""

    def __init__(self, config: GptConfig):
        super().__init__()
        self.c_fc = linear(config, config.width, 4 * config.width)
        self.c_proj = linear(config, 4 * config.width, config.width, into_sum=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(nn.functional.gelu(self.c_fc(x), approximate="tanh"))


def linear(config: GptConfig, inputs: int, outputs: int, into_sum: bool = False) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=config.bias)
    nn.init.normal_(layer.weight, std=DEVIATION / (2 * config.layers) ** 0.5 if into_sum else DEVIATION)
    if config.bias:
        nn.init.zeros_(layer.bias)
    return layer


def embedding(count: int, width: int) -> nn.Embedding:
    layer = nn.Embedding(count, width)
    nn.init.normal_(layer.weight, std=DEVIATION)
    return layer
