"""What a person may have meant by a name that there is not."""

import difflib
import re
from collections.abc import Sequence

SURE = 3  # of a likeness


def closest(name: str, choices: Sequence[str]) -> str:
    """The end of an error's line: the nearest choice, or all of them."""
    lower = {choice.lower(): choice for choice in choices}
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, 1, 0.6)]
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}"


def meant(name: str, choices: Sequence[str]) -> list[str]:
    """The keys that a person may mean by another one, the likeliest first: `lr` is learning_rate, in any section.

    A section that is there counts: only a name that is sure is looked for elsewhere.
    """
    section, _, last = name.rpartition(".")
    if section in choices and not any(key.startswith(f"{section}.") for key in choices):  # keys for a value
        return [section]
    own = [key for key in choices if key.rpartition(".")[0] == section] if section else list(choices)
    for keys, least in ((own, SURE), (choices, SURE), (own or choices, 1)):
        found = {key: _likeness(last, key.rpartition(".")[2]) for key in keys}
        best = max(found.values(), default=0)
        if best >= least:
            near = {key: key.rpartition(".")[2] for key in found if found[key] == best}
            return sorted(near, key=lambda key: (len(_words(near[key])), -_ratio(last, near[key])))[:3]
    return []


def _likeness(given: str, name: str) -> int:
    """4: the same letters; 3: short for it, as lr; 2: a slip, or a part of it; 1: a word in common; 0: no."""
    a, b = ([word.removesuffix("s") or word for word in _words(text)] for text in (given, name))
    if "".join(_words(given)) == "".join(_words(name)):
        return 4
    if len(given) > (1 if len(_words(name)) > 1 else 2) and _shortens("".join(_words(given)), _words(name)):
        return 3
    common = [(x, y) for x in a for y in b if min(len(x), len(y)) > 2 and (x.startswith(y) or y.startswith(x))]
    shared = [{pair[i] for pair in common} for i in (0, 1)]
    if _ratio(given, name) > 0.7 or set(a) == shared[0] or set(b) == shared[1]:
        return 2
    return int(bool(common))


def _words(name: str) -> list[str]:
    """Of batch_size, batch-size and batchSize: batch, size."""
    return [word.lower() for word in re.findall(r"[A-Z]?[^\W_A-Z]+|[A-Z]+", name)]


def _shortens(text: str, words: Sequence[str]) -> bool:
    """Whether a text is made of beginnings of all the words, in their order."""
    if not words:
        return not text
    ends = range(1, len(words[0]) + 1)
    return any(text[:end] == words[0][:end] and _shortens(text[end:], words[1:]) for end in ends if end <= len(text))


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()
