"""The Transformer in PyTorch."""

import math

import torch
import torch.distributed as dist
from torch import nn

from ..layers.torch import attention
from . import BOS, EOS, EPSILON, EXTRA, PAD, TransformerConfig, penalty

Kept = tuple[torch.Tensor, torch.Tensor]  # keys and values, float [batch, keys, heads, width of a head]
Cache = list[tuple[Kept, Kept]]  # of each block: of the tokens so far, and of the source


class Transformer(nn.Module):
    """int [batch, source], int [batch, target] -> logits of the token after each of the target, float [batch, target,
    vocabulary]; without a target, the translation, int [batch, context].

    Texts of the source end with EOS, those of the target begin with BOS; then comes PAD, as after a translation's EOS.
    One matrix embeds both and is the last layer's kernel, as in the paper; it begins with normal numbers of deviation
    width^-0.5, other kernels as Glorot and Bengio (2010) have it. Unlike in the paper, attention's probabilities have
    no dropout: not every fused call can do that.
    """

    def __init__(self, config: TransformerConfig, vocabulary: int):
        super().__init__()
        self.context, self.width, self.label_smoothing = config.context, config.width, config.label_smoothing
        self.embedding = nn.Embedding(vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.encoder_norm = nn.LayerNorm(config.width, EPSILON) if config.pre_norm else None
        self.decoder_norm = nn.LayerNorm(config.width, EPSILON) if config.pre_norm else None

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor | None = None,
        beam: int = 1,
        length_penalty: float = 0.0,
    ) -> torch.Tensor:
        seen = source != PAD
        memory = self.encode(source, seen[:, None, None])
        if target is None:  # in here, as where weights are in parts, they are whole while the model is called
            return translate(self, memory, seen, beam, length_penalty)
        x, _ = self.decode(target, memory, seen[:, None, None])
        return self.logits(x)

    def encode(self, source: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """float [batch, source, width]. seen: bool [batch, 1, 1, source]."""
        x = self.embed(source, positions(source.shape[1], self.width, self.embedding.weight))
        for block in self.encoder:
            x = block(x, seen)
        return self.encoder_norm(x) if self.encoder_norm else x

    def decode(
        self,
        tokens: torch.Tensor,
        memory: torch.Tensor,
        seen: torch.Tensor,
        cache: Cache | None = None,
        position: int = 0,
    ) -> tuple[torch.Tensor, Cache]:
        """float [batch, tokens, width]. With a cache, whose first `position` tokens were read, one token; the new cache
        comes second."""
        places = positions(position + tokens.shape[1], self.width, self.embedding.weight)[position:]
        x, after = self.embed(tokens, places), []
        for i, block in enumerate(self.decoder):
            x, kept = block(x, memory, seen, cache[i] if cache else None)
            after.append(kept)
        return self.decoder_norm(x) if self.decoder_norm else x, after

    def embed(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) * math.sqrt(self.width)
        return self.dropout(x + places.to(x.dtype))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.embedding.weight)


class Block(nn.Module):
    """Where normalization stands: after each sum, or `pre_norm` in front of each part."""

    pre_norm: bool
    dropout: nn.Dropout

    def before(self, norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
        """What a part gets."""
        return norm(x) if self.pre_norm else x

    def after(self, norm: nn.LayerNorm, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """With what the part gives, y."""
        x = x + self.dropout(y)
        return x if self.pre_norm else norm(x)


class EncoderBlock(Block):
    """float [batch, source, width] -> the same. seen: bool [batch, 1, 1, source]."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.pre_norm, self.dropout = config.pre_norm, nn.Dropout(config.dropout)
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.width, EPSILON)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, EPSILON)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        y = self.before(self.attention_norm, x)
        x = self.after(self.attention_norm, x, self.attention(y, self.attention.keep(y), seen))
        y = self.before(self.feed_forward_norm, x)
        return self.after(self.feed_forward_norm, x, self.feed_forward(y))


class DecoderBlock(Block):
    """float [batch, target, width] -> the same; after what a cache has kept, a token. The new cache comes second."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.pre_norm, self.dropout = config.pre_norm, nn.Dropout(config.dropout)
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.width, EPSILON)
        self.cross = Attention(config)
        self.cross_norm = nn.LayerNorm(config.width, EPSILON)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, EPSILON)

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, seen: torch.Tensor, cache: tuple[Kept, Kept] | None
    ) -> tuple[torch.Tensor, tuple[Kept, Kept]]:
        y = self.before(self.attention_norm, x)
        kept = self.attention.keep(y)
        if cache is None:
            read = self.cross.keep(memory)
        else:
            before, read = cache
            kept = torch.cat([before[0], kept[0]], 1), torch.cat([before[1], kept[1]], 1)
        x = self.after(self.attention_norm, x, self.attention(y, kept, causal=cache is None))
        y = self.before(self.cross_norm, x)
        x = self.after(self.cross_norm, x, self.cross(y, read, seen))
        y = self.before(self.feed_forward_norm, x)
        return self.after(self.feed_forward_norm, x, self.feed_forward(y)), (kept, read)


class Attention(nn.Module):
    """float [batch, queries, width] -> the same, of keys and values that were kept. Without biases, as in the paper."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.heads, self.head_width = config.heads, config.width // config.heads
        self.query = linear(config.width, config.width, bias=False)
        self.key = linear(config.width, config.width, bias=False)
        self.value = linear(config.width, config.width, bias=False)
        self.output = linear(config.width, config.width, bias=False)

    def keep(self, x: torch.Tensor) -> Kept:
        return self.split(self.key(x)), self.split(self.value(x))

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.head_width))

    def forward(
        self, x: torch.Tensor, kept: Kept, mask: torch.Tensor | None = None, causal: bool = False
    ) -> torch.Tensor:
        y = attention(self.split(self.query(x)), *kept, mask, causal)
        return self.output(y.flatten(2))


class FeedForward(nn.Module):
    """float [..., width] -> the same."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.hidden = linear(config.width, config.hidden)
        self.output = linear(config.hidden, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(nn.functional.relu(self.hidden(x)))


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def positions(length: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """float [length, width]: sines of the position at falling frequencies, then cosines; at least in float32."""
    half = width // 2
    dtype = torch.promote_types(like.dtype, torch.float32)
    rates = torch.exp(torch.arange(half, dtype=dtype, device=like.device) * (-math.log(10_000) / half))
    angles = torch.arange(length, dtype=dtype, device=like.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def translate(
    model: Transformer, memory: torch.Tensor, seen: torch.Tensor, beam: int, length_penalty: float
) -> torch.Tensor:
    """int [batch, context]. seen: bool [batch, source], whose tokens a translation outnumbers by EXTRA at most."""
    limits = (seen.sum(1) + EXTRA).clamp(max=model.context)
    length = min(seen.shape[1] + EXTRA, model.context)
    if beam == 1:
        return greedy(model, memory, seen, limits, length)
    return beam_search(model, memory, seen, limits, length, beam, length_penalty)


def greedy(
    model: Transformer, memory: torch.Tensor, seen: torch.Tensor, limits: torch.Tensor, length: int
) -> torch.Tensor:
    """The likeliest token each time. A loop that ends when every text has its EOS, or as many tokens as it may have."""
    tokens = torch.full((len(memory), 1 + model.context), PAD, device=memory.device)
    tokens[:, 0] = BOS
    done, cache = torch.zeros(len(memory), dtype=torch.bool, device=memory.device), None
    for i in range(length):
        scores, cache = choices(model, tokens[:, i], memory, seen, cache, i)
        token = torch.where(done, PAD, scores.argmax(-1))
        tokens[:, i + 1] = token
        done = done | (token == EOS) | (i + 1 >= limits)
        if everywhere(done):
            break
    return tokens[:, 1:]


def beam_search(
    model: Transformer,
    memory: torch.Tensor,
    seen: torch.Tensor,
    limits: torch.Tensor,
    length: int,
    beam: int,
    length_penalty: float,
) -> torch.Tensor:
    """Follows the `beam` likeliest beginnings, and gives the ended text of the best score: the logarithm of its
    probability divided by a penalty of its length; where none has ended, the likeliest beginning.

    Of beginnings and their next tokens twice as many are looked at, as half of them may end. Of equal ones the first
    is taken. A text is done when no beginning can reach the best score.
    """
    count, device = len(memory), memory.device
    memory, seen = (x.repeat_interleave(beam, 0) for x in (memory, seen))
    tokens = torch.full((count, beam, 1 + model.context), PAD, device=device)
    tokens[:, :, 0] = BOS
    dtype = torch.promote_types(memory.dtype, torch.float32)
    best, best_score = tokens[:, 0], torch.full((count,), -math.inf, dtype=dtype, device=device)
    scores = torch.full((count, beam), -math.inf, dtype=dtype, device=device)
    scores[:, 0] = 0
    done, cache = torch.zeros(count, dtype=torch.bool, device=device), None
    for i in range(length):
        found, cache = choices(model, tokens[:, :, i].flatten(), memory, seen, cache, i)
        vocabulary = found.shape[-1]
        found = scores[:, :, None] + found.log_softmax(-1).unflatten(0, (count, beam))
        values, indices = top(found.flatten(1), 2 * beam)
        parents, token = indices // vocabulary, indices % vocabulary
        candidates = tokens.take_along_dim(parents[:, :, None], 1)
        candidates[:, :, i + 1] = token

        ended = torch.where(token == EOS, values / penalty(i + 1, length_penalty), -math.inf)
        first = ended.argmax(1)[:, None]
        score = ended.take_along_dim(first, 1)[:, 0]
        better = ~done & (score > best_score)
        best = torch.where(better[:, None], candidates.take_along_dim(first[:, :, None], 1)[:, 0], best)
        best_score = torch.where(better, score, best_score)

        scores, kept = top(torch.where(token == EOS, -math.inf, values), beam)
        tokens = candidates.take_along_dim(kept[:, :, None], 1)
        rows = (beam * torch.arange(count, device=device)[:, None] + parents.take_along_dim(kept, 1)).flatten()
        cache = [((own[0][rows], own[1][rows]), read) for own, read in cache]

        full = i + 1 >= limits
        unended = ~done & full & best_score.isneginf()
        best = torch.where(unended[:, None], tokens[:, 0], best)
        done = done | full | (best_score >= scores[:, 0] / penalty(limits, length_penalty))
        if everywhere(done):
            break
    return best[:, 1:]


def choices(
    model: Transformer,
    tokens: torch.Tensor,
    memory: torch.Tensor,
    seen: torch.Tensor,
    cache: Cache | None,
    position: int,
) -> tuple[torch.Tensor, Cache]:
    """(logits of the token after each, int [batch], at `position`, at least in float32; the new cache)."""
    x, cache = model.decode(tokens[:, None], memory, seen[:, None, None], cache, position)
    logits = model.logits(x[:, 0])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits[:, :EOS] = -math.inf
    return logits, cache


def top(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest values of each row, float [batch, n], and their places; of equal ones the first, unlike topk.

    Where a row has fewer above minus infinity, that follows.
    """
    rest, found, places = values.clone(), [], []
    for _ in range(count):
        value, place = rest.max(1, keepdim=True)  # of equal ones the first
        found.append(value)
        places.append(place)
        rest.scatter_(1, place, -math.inf)
    return torch.cat(found, 1), torch.cat(places, 1)


def everywhere(done: torch.Tensor) -> bool:
    """Whether all texts are done, those of other processes too: where weights are in parts, these call the model in
    step."""
    found = done.all()
    if dist.is_initialized():
        found = found.int()
        dist.all_reduce(found, dist.ReduceOp.MIN)
    return bool(found)
