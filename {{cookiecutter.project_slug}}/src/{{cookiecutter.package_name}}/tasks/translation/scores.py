"""Tokens as text again, and how close translations come to their references."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...engine.api import Spec, say_once
from ...models.transformer import EOS, SPECIAL


def to_text(tokens: np.ndarray, pieces: Sequence[str]) -> str:
    """Of int [tokens], up to EOS. pieces: the bytes of each token, as characters of Latin-1."""
    ends = np.flatnonzero(tokens == EOS)
    found = tokens[: ends[0]] if len(ends) else tokens
    joined = "".join(pieces[token - SPECIAL] for token in found.tolist() if token >= SPECIAL)
    return joined.encode("latin-1").decode(errors="replace").strip()


def scores(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, float]:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) over a split by sacrebleu, 0 to 100, and the share of
    translations that are their reference, letter by letter."""
    from sacrebleu.metrics import BLEU, CHRF  # takes a moment, so only when asked for

    texts, references = (
        [to_text(row, spec["pieces"]) for row in arrays[name]] for name in ("hypotheses", "references")
    )
    found = {"exact_match": sum(map(str.__eq__, texts, references)) / len(texts)}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        found[name] = metric.corpus_score(texts, [references]).score
        say_once(f"signature of {name}", f"{name} is sacrebleu's, {metric.get_signature()}")
    return found
