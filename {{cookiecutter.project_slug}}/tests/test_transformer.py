"""The Transformer as the paper has it: the same in NumPy, by formulas of its own, and searches without a cache."""

import itertools
import math

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.models.transformer import VARIANTS, TransformerConfig, check_sizes, penalty

CONFIG = TransformerConfig("transformer_tiny", layers=2, heads=2, width=8, hidden=12, context=6, dropout=0.0)
VOCABULARY = 9
PAD, BOS, EOS = range(3)
SOURCE = np.array([[5, 3, 8, EOS, PAD], [4, EOS, PAD, PAD, PAD], [6, 7, 3, 4, EOS]])
TARGET = np.array([[BOS, 4, 4, 7], [BOS, 8, PAD, PAD], [BOS, 3, 6, 5]])


def shapes(config, vocabulary):
    """Every parameter's, as in files."""
    width, found = config.width, {"embedding.weight": (vocabulary, config.width)}

    def norm(name):
        found.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    for side, attentions in (("encoder", ("attention",)), ("decoder", ("attention", "cross"))):
        for i in range(config.layers):
            block = f"{side}.{i}"
            for name in attentions:
                parts = ("query", "key", "value", "output")
                found.update({f"{block}.{name}.{part}.weight": (width, width) for part in parts})
                norm(f"{block}.{name}_norm")
            layers = {"hidden": (config.hidden, width), "output": (width, config.hidden)}
            for name, shape in layers.items():
                found.update({f"{block}.feed_forward.{name}.weight": shape})
                found.update({f"{block}.feed_forward.{name}.bias": shape[:1]})
            norm(f"{block}.feed_forward_norm")
        if config.pre_norm:
            norm(f"{side}_norm")
    return found


def some_weights(config=CONFIG, vocabulary=VOCABULARY, seed=0):
    """Numbers so large that every part of the network tells in the logits; EOS is seldom the likeliest token."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes(config, vocabulary).items():
        if name.endswith("norm.weight"):
            found[name] = rng.normal(1.0, 0.2, shape)
        else:
            found[name] = rng.normal(0.0, 1.0 if name == "embedding.weight" else 0.7 if len(shape) > 1 else 0.1, shape)
    found["embedding.weight"][EOS] = 0
    return found


def reference(config, weights, source, target):
    """Logits, float64 [batch, target, vocabulary], after Vaswani et al. (2017)."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def by_head(x):
        return x.reshape(*x.shape[:2], config.heads, -1).transpose(0, 2, 1, 3)

    def attend(name, x, memory, mask):
        read = {"query": x, "key": memory, "value": memory}
        q, k, v = (by_head(linear(f"{name}.{part}", y)) for part, y in read.items())
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(config.width / config.heads)
        scores = np.exp(scores - scores.max(-1, keepdims=True)) * mask
        y = scores / scores.sum(-1, keepdims=True) @ v
        return linear(f"{name}.output", y.transpose(0, 2, 1, 3).reshape(x.shape))

    def add(name, x, part, *more):
        y = x + part(name, norm(f"{name}_norm", x) if config.pre_norm else x, *more)
        return y if config.pre_norm else norm(f"{name}_norm", y)

    def attend_itself(name, x, mask):
        return attend(name, x, x, mask)

    def feed_forward(name, x):
        return linear(f"{name}.output", np.maximum(linear(f"{name}.hidden", x), 0))

    def embed(tokens):
        half = config.width // 2
        angles = np.arange(tokens.shape[1])[:, None] / 10_000 ** (np.arange(half) / half)
        return w["embedding.weight"][tokens] * math.sqrt(config.width) + np.hstack([np.sin(angles), np.cos(angles)])

    seen = (source != PAD)[:, None, None]
    memory = embed(source)
    for i in range(config.layers):
        memory = add(f"encoder.{i}.attention", memory, attend_itself, seen)
        memory = add(f"encoder.{i}.feed_forward", memory, feed_forward)
    memory = norm("encoder_norm", memory) if config.pre_norm else memory
    x, causal = embed(target), np.tri(target.shape[1])
    for i in range(config.layers):
        x = add(f"decoder.{i}.attention", x, attend_itself, causal)
        x = add(f"decoder.{i}.cross", x, attend, memory, seen)
        x = add(f"decoder.{i}.feed_forward", x, feed_forward)
    x = norm("decoder_norm", x) if config.pre_norm else x
    return x @ w["embedding.weight"].T


def next_scores(config, weights, source, beginnings):
    """Logarithms of the probabilities of the token after each beginning, float64 [beginnings, vocabulary]: neither PAD
    nor BOS can follow."""
    targets = np.array([[BOS, *beginning] for beginning in beginnings])
    logits = reference(config, weights, np.repeat(source[None], len(targets), 0), targets)[:, -1]
    logits[:, [PAD, BOS]] = -np.inf
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def padded(tokens, length):
    return [*tokens, *[PAD] * (length - len(tokens))]


def greedy(config, weights, source):
    """The likeliest token each time, read anew each time: a list of as many as the context has."""
    found = []
    while EOS not in found and len(found) < config.context:
        found.append(int(next_scores(config, weights, source, [found])[0].argmax()))
    return padded(found, config.context)


def exhaustive(config, weights, source, strength):
    """The best of all texts that end within the context."""
    vocabulary = len(weights["embedding.weight"])
    best, best_score = None, -np.inf
    beginnings, scores = [()], np.zeros(1)
    for length in range(1, config.context + 1):
        found = scores[:, None] + next_scores(config, weights, source, beginnings)
        i = int(found[:, EOS].argmax())
        if (score := found[i, EOS] / ((5 + length) / 6) ** strength) > best_score:
            best, best_score = [*beginnings[i], EOS], score
        beginnings = [(*beginning, token) for beginning in beginnings for token in range(EOS + 1, vocabulary)]
        scores = found[:, EOS + 1 :].ravel()
    return padded(best, config.context)


def beam_search(config, weights, source, beam, strength):
    """As it is described: twice as many are looked at as are followed."""
    live, best, best_score = [(0.0, ())], None, -np.inf
    for length in range(1, config.context + 1):
        found = next_scores(config, weights, source, [tokens for _, tokens in live])
        every = [
            (score + found[i, token], (*tokens, token))
            for (i, (score, tokens)), token in itertools.product(enumerate(live), range(found.shape[1]))
        ]
        every = sorted(every, key=lambda one: -one[0])[: 2 * beam]
        for score, tokens in every:
            if tokens[-1] == EOS and score / ((5 + length) / 6) ** strength > best_score:
                best, best_score = tokens, score / ((5 + length) / 6) ** strength
        live = [one for one in every if one[1][-1] != EOS][:beam]
    return padded(best or live[0][1], config.context)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_padding_and_what_follows_change_nothing(pre_norm):
    config = TransformerConfig("", layers=2, heads=2, width=8, hidden=12, pre_norm=pre_norm)
    weights = some_weights(config)
    whole = reference(config, weights, SOURCE, TARGET)
    assert reference(config, weights, SOURCE[1:2, :2], TARGET[1:2, :2]) == pytest.approx(whole[1:2, :2], abs=1e-12)
    assert np.ptp(whole) > 1


def test_a_beam_that_holds_every_beginning_finds_the_best_text():
    """There are 27 of three tokens, each with four that follow: 54 are followed, twice as many looked at."""
    config = TransformerConfig("", layers=1, heads=2, width=8, hidden=12, context=4)
    for seed in range(3):
        weights = some_weights(config, 6, seed)
        source = np.array([3, 5, EOS])
        assert beam_search(config, weights, source, 54, 0.6) == exhaustive(config, weights, source, 0.6)


def test_the_penalty_is_that_of_the_paper():
    assert penalty(1, 0.6) == 1 and penalty(7, 1.0) == 2 and penalty(100, 0.0) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_every_size_has_heads_that_divide_its_width(name):
    check_sizes(VARIANTS[name](name=name))


def test_the_base_is_that_of_the_paper():
    """Of 65 million parameters with 37,000 tokens (Vaswani et al. 2017, table 3)."""
    config = VARIANTS["transformer_base"](name="transformer_base")
    assert (config.layers, config.width, config.hidden, config.heads) == (6, 512, 2048, 8)
    assert (config.dropout, config.label_smoothing, config.pre_norm) == (0.1, 0.1, False)
    assert sum(map(math.prod, shapes(config, 37_000).values())) == pytest.approx(65e6, rel=0.05)


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        ({"width": 10, "heads": 4}, "model.width = 10 is not divisible by model.heads = 4"),
        ({"width": 9, "heads": 3}, "model.width = 9 is odd"),
        ({"context": 1}, "model.context = 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, part):
    with pytest.raises(InputError, match=part):
        check_sizes(TransformerConfig("", **sizes))
