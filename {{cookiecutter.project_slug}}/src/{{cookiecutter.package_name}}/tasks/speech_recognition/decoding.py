"""From log-probabilities of tokens, frame by frame, to the tokens that were said (CTC, Graves et al. 2006).

Token 0 is the blank. What is said is what is left of the tokens of all frames when repeats are joined and blanks taken
away.
"""

from collections import defaultdict

import numpy as np

LIKELIEST = 40  # tokens of a frame that a beam goes on with


def decode(log_probs: np.ndarray, beam: int) -> np.ndarray:
    """float [frames, tokens] -> the tokens, int [length]. beam: 1 for the greedy way."""
    return greedy(log_probs) if beam == 1 else beam_search(log_probs, beam)


def greedy(log_probs: np.ndarray) -> np.ndarray:
    """Of the likeliest token of each frame."""
    best = log_probs.argmax(1)
    return best[(best != np.append(-1, best[:-1])) & (best != 0)]


def beam_search(log_probs: np.ndarray, beam: int) -> np.ndarray:
    """The likeliest of all beginnings that are kept, `beam` of them after each frame: prefix beam search (Hannun et al.
    2014), without a language model.

    Of a beginning the probabilities of all ways to say it are summed up, apart for those that end in a blank.
    """
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}  # ending in a blank, and in its last token
    for frame in log_probs.astype(np.float64):
        tokens = np.argsort(-frame, kind="stable")[:LIKELIEST]
        tokens = tokens[tokens != 0]
        found: dict[tuple[int, ...], tuple[float, float]] = defaultdict(lambda: (-np.inf, -np.inf))
        for prefix, (in_blank, in_token) in kept.items():
            both = np.logaddexp(in_blank, in_token)
            # The same beginning: a blank, or its last token once more.
            blank, token = found[prefix]
            again = in_token + frame[prefix[-1]] if prefix else -np.inf
            found[prefix] = (np.logaddexp(blank, both + frame[0]), np.logaddexp(token, again))
            for c in tokens.tolist():
                # Its last token a second time only after a blank.
                before = in_blank if prefix and c == prefix[-1] else both
                blank, token = found[(*prefix, c)]
                found[(*prefix, c)] = (blank, np.logaddexp(token, before + frame[c]))
        best = sorted(found, key=lambda prefix: (-np.logaddexp(*found[prefix]), prefix))[:beam]
        kept = {prefix: found[prefix] for prefix in best}
    return np.array(next(iter(kept)), np.int64)


def align(log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The frame in which each token begins, int [length], in the likeliest of all ways to say them (Viterbi).

    log_probs: float [frames, tokens], of which there are enough for these.
    """
    states = np.zeros(2 * len(tokens) + 1, np.int64)  # a blank before, between and after
    states[1::2] = tokens
    skips = np.zeros(len(states), bool)  # where the blank before may be left out
    skips[3::2] = tokens[1:] != tokens[:-1]
    score = np.full(len(states), -np.inf)
    score[:2] = log_probs[0, states[:2]]
    came = np.zeros((len(log_probs), len(states)), np.int64)  # from how many states before
    for t in range(1, len(log_probs)):
        one, two = np.append(-np.inf, score[:-1]), np.append([-np.inf, -np.inf], score[:-2])[: len(states)]
        ways = np.stack([score, one, np.where(skips, two, -np.inf)])
        came[t] = ways.argmax(0)
        score = ways.max(0) + log_probs[t, states]
    state = len(states) - 1
    if len(tokens) and score[state - 1] > score[state]:
        state -= 1
    begins = np.zeros(len(tokens), np.int64)
    for t in range(len(log_probs) - 1, -1, -1):
        if state % 2:
            begins[state // 2] = t
        state -= came[t, state]
    return begins


def least_frames(tokens: np.ndarray) -> int:
    """How many frames it takes to say them: one each, and a blank between two that are the same."""
    return len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
