"""What a column of cells looks like: numbers, numbers with words among them, names, or texts; what to do about it."""

import dataclasses
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .tables import Format

FEW = 50  # names: so many may be a category's
ODD = 0.2  # share of cells: so many may be words among numbers
SHOWN = 5
# Decimal and thousands as they are written in some countries.
WRITTEN = [(",", ""), (",", "."), (",", "space"), (".", ","), (".", "'"), (".", "space"), (",", "'")]


@dataclass(frozen=True)
class Look:
    """What a column looks like.

    Attributes:
        kind: "numbers"; "written": numbers of another form; "words": numbers with few words among them; "names", of
            which there are few; "texts", an identifier, too.
        about: the same in words, with an example.
        words: that stand among numbers.
    """

    kind: Literal["numbers", "written", "words", "names", "texts"]
    about: str = ""
    words: list[str] = field(default_factory=list)


def look_at(cells: Sequence[str], format: Format) -> Look:
    """cells: of a column, or of its first rows."""
    cells = [cell for cell in cells if not format.is_gap(cell)]
    odd = Counter(cell for cell in cells if np.isnan(format.number(cell)))
    if not odd:
        return Look("numbers")
    if options := _other_form(cells, format):
        return Look("written", f"numbers with {options}")
    if sum(odd.values()) <= ODD * len(cells) and len(odd) <= SHOWN:
        return Look("words", f"numbers, but {sum(odd.values()):,} of {len(cells):,} rows have {_some(odd)}", [*odd])
    distinct = len(set(cells))
    if distinct <= FEW and distinct <= len(cells) / 2:
        return Look("names", f"{distinct} names as {_some(Counter(cells))}")
    kind = "an identifier, another in each row" if distinct == len(cells) else f"{distinct:,} different texts"
    return Look("texts", kind)


def advice(looks: Mapping[str, Look], format: Format, categorical: Sequence[str], drop: Sequence[str]) -> str:
    """Of columns that should be numbers and are none: options to copy, and what each column looks like.

    categorical, drop: what these options are now.
    """
    names, texts = ([name for name, look in looks.items() if look.kind == kind] for kind in ("names", "texts"))
    words = list(dict.fromkeys(word for look in looks.values() for word in look.words))
    options = {
        "categorical": [*categorical, *names] if names else [],
        "drop": [*drop, *texts] if texts else [],
        "missing": [*format.missing, *words] if words else [],
    }
    copied = [f"--data.{key} {listed(found)}" for key, found in options.items() if found]
    remarks = [f"{name}: {look.about}" for name, look in looks.items()]
    more = f"; and {len(remarks) - SHOWN} more" if len(remarks) > SHOWN else ""
    return f"{f'add {chr(32).join(copied)} ' if copied else ''}({'; '.join(remarks[:SHOWN])}{more})"


def listed(names: Sequence[str]) -> str:
    """As a list that a shell and `tables.split_names` take."""
    return shlex.quote(",".join(f'"{name}"' if "," in name else name for name in names))


def _other_form(cells: Sequence[str], format: Format) -> str:
    """The options by which all cells are numbers, "" where none are."""
    for decimal, thousands in WRITTEN:
        other = dataclasses.replace(format, decimal=decimal, thousands=thousands)
        if not any(np.isnan(other.number(cell)) for cell in cells):
            found = {"decimal": decimal} if decimal != "." else {}
            found |= {"thousands": thousands} if thousands else {}
            return " ".join(f"--data.{key} {shlex.quote(value)}" for key, value in found.items())
    return ""


def _some(counts: Mapping[str, int]) -> str:
    return ", ".join(repr(name) for name in sorted(counts, key=lambda name: -counts[name])[:3])
