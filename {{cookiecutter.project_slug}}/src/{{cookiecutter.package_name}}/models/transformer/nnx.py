"""The Transformer in Flax NNX."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import attention
from . import BOS, EOS, EPSILON, EXTRA, PAD, TransformerConfig, penalty

Kept = tuple[jax.Array, jax.Array]  # keys and values, float [batch, keys, heads, width of a head]
Cache = Sequence[tuple[Kept, Kept]]  # of each block: of the tokens so far, and of the source

# Of E[x^2] - E[x]^2, the faster form of the variance, float32 would leave too little.
LayerNorm = functools.partial(nnx.LayerNorm, epsilon=EPSILON, use_fast_variance=False)
Linear = functools.partial(nnx.Linear, kernel_init=nnx.initializers.xavier_uniform())


class Transformer(nnx.Module):
    """int [batch, source], int [batch, target] -> logits of the token after each of the target, float [batch, target,
    vocabulary]; without a target, the translation, int [batch, context].

    Texts of the source end with EOS, those of the target begin with BOS; then comes PAD, as after a translation's EOS.
    One matrix embeds both and is the last layer's kernel, as in the paper; it begins with normal numbers of deviation
    width^-0.5, other kernels as Glorot and Bengio (2010) have it. Unlike in the paper, attention's probabilities have
    no dropout: not every fused call can do that.
    """

    def __init__(self, config: TransformerConfig, vocabulary: int, *, rngs: nnx.Rngs, **dtypes):
        options = {"rngs": rngs, **dtypes}
        self.context, self.width, self.label_smoothing = config.context, config.width, config.label_smoothing
        normal = nnx.initializers.normal(config.width**-0.5)
        self.embedding = nnx.Embed(vocabulary, config.width, embedding_init=normal, **options)
        self.dropout = nnx.Dropout(config.dropout)
        self.encoder = nnx.List([EncoderBlock(config, **options) for _ in range(config.layers)])
        self.decoder = nnx.List([DecoderBlock(config, **options) for _ in range(config.layers)])
        self.encoder_norm = LayerNorm(config.width, **options) if config.pre_norm else None
        self.decoder_norm = LayerNorm(config.width, **options) if config.pre_norm else None

    def __call__(
        self,
        source: jax.Array,
        target: jax.Array | None = None,
        beam: int = 1,
        length_penalty: float = 0.0,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        seen = source != PAD
        memory = self.encode(source, seen[:, None, None], rngs)
        if target is None:
            return translate(self, memory, seen, beam, length_penalty)
        x, _ = self.decode(target, memory, seen[:, None, None], rngs=rngs)
        return self.logits(x)

    def encode(self, source: jax.Array, seen: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        """float [batch, source, width]. seen: bool [batch, 1, 1, source]."""
        x = self.embed(source, positions(source.shape[1], self.width), rngs)
        for block in self.encoder:
            x = block(x, seen, rngs)
        return self.encoder_norm(x) if self.encoder_norm else x

    def decode(
        self,
        tokens: jax.Array,
        memory: jax.Array,
        seen: jax.Array,
        cache: Cache | None = None,
        position: int | jax.Array = 0,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, Cache]:
        """float [batch, tokens, width]. With a cache, whose first `position` tokens were read, one token; the new cache
        comes second."""
        if cache is None:
            places = positions(tokens.shape[1], self.width)
        else:
            places = positions(self.context, self.width)[position][None]
        x, after = self.embed(tokens, places, rngs), []
        for i, block in enumerate(self.decoder):
            x, kept = block(x, memory, seen, cache[i] if cache else None, position, rngs)
            after.append(kept)
        return self.decoder_norm(x) if self.decoder_norm else x, after

    def embed(self, tokens: jax.Array, places: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = self.embedding(tokens) * math.sqrt(self.width)
        return self.dropout(x + places.astype(x.dtype), rngs=rngs)

    def logits(self, x: jax.Array) -> jax.Array:
        return self.embedding.attend(x)

    def create_cache(self, memory: jax.Array, length: int) -> Cache:
        """An empty one, for so many tokens, with what is read of the source."""
        caches = []
        for block in self.decoder:
            read = block.cross.keep(memory)
            k, v = (jnp.zeros((x.shape[0], length, *x.shape[2:]), x.dtype) for x in read)
            caches.append(((k, v), read))
        return caches


class Block(nnx.Module):
    """Where normalization stands: after each sum, or `pre_norm` in front of each part."""

    pre_norm: bool
    dropout: nnx.Dropout

    def before(self, norm: nnx.LayerNorm, x: jax.Array) -> jax.Array:
        """What a part gets."""
        return norm(x) if self.pre_norm else x

    def after(self, norm: nnx.LayerNorm, x: jax.Array, y: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        """With what the part gives, y."""
        x = x + self.dropout(y, rngs=rngs)
        return x if self.pre_norm else norm(x)


class EncoderBlock(Block):
    """float [batch, source, width] -> the same. seen: bool [batch, 1, 1, source]."""

    def __init__(self, config: TransformerConfig, **options):
        self.pre_norm, self.dropout = config.pre_norm, nnx.Dropout(config.dropout)
        self.attention = Attention(config, **options)
        self.attention_norm = LayerNorm(config.width, **options)
        self.feed_forward = FeedForward(config, **options)
        self.feed_forward_norm = LayerNorm(config.width, **options)

    def __call__(self, x: jax.Array, seen: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        y = self.before(self.attention_norm, x)
        x = self.after(self.attention_norm, x, self.attention(y, self.attention.keep(y), seen), rngs)
        y = self.before(self.feed_forward_norm, x)
        return self.after(self.feed_forward_norm, x, self.feed_forward(y), rngs)


class DecoderBlock(Block):
    """float [batch, target, width] -> the same; with a cache of a token, and of what is kept those up to `position`
    are seen. The new cache comes second."""

    def __init__(self, config: TransformerConfig, **options):
        self.pre_norm, self.dropout = config.pre_norm, nnx.Dropout(config.dropout)
        self.attention = Attention(config, **options)
        self.attention_norm = LayerNorm(config.width, **options)
        self.cross = Attention(config, **options)
        self.cross_norm = LayerNorm(config.width, **options)
        self.feed_forward = FeedForward(config, **options)
        self.feed_forward_norm = LayerNorm(config.width, **options)

    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array,
        seen: jax.Array,
        cache: tuple[Kept, Kept] | None,
        position: int | jax.Array,
        rngs: nnx.Rngs | None,
    ) -> tuple[jax.Array, tuple[Kept, Kept]]:
        y = self.before(self.attention_norm, x)
        kept = self.attention.keep(y)
        if cache is None:
            y, read = self.attention(y, kept, causal=True), self.cross.keep(memory)
        else:
            write = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=position, axis=1)
            (k, v), read = cache
            kept = write(k, kept[0]), write(v, kept[1])
            y = self.attention(y, kept, (jnp.arange(k.shape[1]) <= position)[None, None, None])
        x = self.after(self.attention_norm, x, y, rngs)
        y = self.before(self.cross_norm, x)
        x = self.after(self.cross_norm, x, self.cross(y, read, seen), rngs)
        y = self.before(self.feed_forward_norm, x)
        return self.after(self.feed_forward_norm, x, self.feed_forward(y), rngs), (kept, read)


class Attention(nnx.Module):
    """float [batch, queries, width] -> the same, of keys and values that were kept. Without biases, as in the paper."""

    def __init__(self, config: TransformerConfig, **options):
        self.heads = config.heads
        self.query = Linear(config.width, config.width, use_bias=False, **options)
        self.key = Linear(config.width, config.width, use_bias=False, **options)
        self.value = Linear(config.width, config.width, use_bias=False, **options)
        self.output = Linear(config.width, config.width, use_bias=False, **options)

    def keep(self, x: jax.Array) -> Kept:
        return self.split(self.key(x)), self.split(self.value(x))

    def split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], self.heads, -1)

    def __call__(self, x: jax.Array, kept: Kept, mask: jax.Array | None = None, causal: bool = False) -> jax.Array:
        y = attention(self.split(self.query(x)), *kept, mask, causal)
        return self.output(y.reshape(x.shape))


class FeedForward(nnx.Module):
    """float [..., width] -> the same."""

    def __init__(self, config: TransformerConfig, **options):
        self.hidden = Linear(config.width, config.hidden, **options)
        self.output = Linear(config.hidden, config.width, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.output(nnx.relu(self.hidden(x)))


def positions(length: int, width: int) -> jax.Array:
    """float [length, width]: sines of the position at falling frequencies, then cosines; at least in float32."""
    half = width // 2
    dtype = jnp.result_type(float)
    rates = jnp.exp(jnp.arange(half, dtype=dtype) * (-math.log(10_000) / half))
    angles = jnp.arange(length, dtype=dtype)[:, None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def translate(model: Transformer, memory: jax.Array, seen: jax.Array, beam: int, length_penalty: float) -> jax.Array:
    """int [batch, context]. seen: bool [batch, source], whose tokens a translation outnumbers by EXTRA at most."""
    limits = jnp.minimum(seen.sum(1) + EXTRA, model.context)
    length = min(seen.shape[1] + EXTRA, model.context)
    if beam == 1:
        return greedy(model, memory, seen, limits, length)
    return beam_search(model, memory, seen, limits, length, beam, length_penalty)


def greedy(model: Transformer, memory: jax.Array, seen: jax.Array, limits: jax.Array, length: int) -> jax.Array:
    """The likeliest token each time. A loop that ends when every text has its EOS, or as many tokens as it may have."""
    tokens = jnp.full((len(memory), 1 + model.context), PAD).at[:, 0].set(BOS)
    done = jnp.zeros(len(memory), bool)

    def going(state):
        i, _, done, _ = state
        return (i < length) & ~done.all()

    def step(state):
        i, tokens, done, cache = state
        scores, cache = choices(model, tokens[:, i], memory, seen, cache, i)
        token = jnp.where(done, PAD, scores.argmax(-1))
        tokens = tokens.at[:, i + 1].set(token)
        return i + 1, tokens, done | (token == EOS) | (i + 1 >= limits), cache

    _, tokens, _, _ = jax.lax.while_loop(going, step, (0, tokens, done, model.create_cache(memory, length)))
    return tokens[:, 1:]


def beam_search(
    model: Transformer,
    memory: jax.Array,
    seen: jax.Array,
    limits: jax.Array,
    length: int,
    beam: int,
    length_penalty: float,
) -> jax.Array:
    """Follows the `beam` likeliest beginnings, and gives the ended text of the best score: the logarithm of its
    probability divided by a penalty of its length; where none has ended, the likeliest beginning.

    Of beginnings and their next tokens twice as many are looked at, as half of them may end. Of equal ones the first
    is taken. A text is done when no beginning can reach the best score.
    """
    count = len(memory)
    memory, seen = (jnp.repeat(x, beam, 0) for x in (memory, seen))
    tokens = jnp.full((count, beam, 1 + model.context), PAD).at[:, :, 0].set(BOS)
    best, best_score = tokens[:, 0], jnp.full(count, -jnp.inf, jnp.result_type(float))
    scores = jnp.full((count, beam), -jnp.inf, best_score.dtype).at[:, 0].set(0)
    done = jnp.zeros(count, bool)

    def going(state):
        i, _, _, _, _, done, _ = state
        return (i < length) & ~done.all()

    def step(state):
        i, tokens, scores, best, best_score, done, cache = state
        found, cache = choices(model, tokens[:, :, i].reshape(-1), memory, seen, cache, i)
        vocabulary = found.shape[-1]
        found = scores[:, :, None] + nnx.log_softmax(found).reshape(count, beam, -1)
        values, indices = jax.lax.top_k(found.reshape(count, -1), 2 * beam)
        parents, token = indices // vocabulary, indices % vocabulary
        candidates = jnp.take_along_axis(tokens, parents[:, :, None], 1).at[:, :, i + 1].set(token)

        ended = jnp.where(token == EOS, values / penalty(i + 1, length_penalty), -jnp.inf)
        first = ended.argmax(1)[:, None]
        score = jnp.take_along_axis(ended, first, 1)[:, 0]
        better = ~done & (score > best_score)
        best = jnp.where(better[:, None], jnp.take_along_axis(candidates, first[:, :, None], 1)[:, 0], best)
        best_score = jnp.where(better, score, best_score)

        scores, kept = jax.lax.top_k(jnp.where(token == EOS, -jnp.inf, values), beam)
        tokens = jnp.take_along_axis(candidates, kept[:, :, None], 1)
        rows = (beam * jnp.arange(count)[:, None] + jnp.take_along_axis(parents, kept, 1)).reshape(-1)
        cache = [(jax.tree.map(lambda x: x[rows], own), read) for own, read in cache]

        full = i + 1 >= limits
        unended = ~done & full & jnp.isneginf(best_score)
        best = jnp.where(unended[:, None], tokens[:, 0], best)
        done = done | full | (best_score >= scores[:, 0] / penalty(limits, length_penalty))
        return i + 1, tokens, scores, best, best_score, done, cache

    state = (0, tokens, scores, best, best_score, done, model.create_cache(memory, length))
    _, _, _, best, _, _, _ = jax.lax.while_loop(going, step, state)
    return best[:, 1:]


def choices(
    model: Transformer, tokens: jax.Array, memory: jax.Array, seen: jax.Array, cache: Cache, position: jax.Array
) -> tuple[jax.Array, Cache]:
    """(logits of the token after each, int [batch], at `position`, at least in float32; the new cache)."""
    x, cache = model.decode(tokens[:, None], memory, seen[:, None, None], cache, position)
    logits = model.logits(x[:, 0])
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)).at[:, :EOS].set(-jnp.inf), cache
