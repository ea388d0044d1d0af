"""Translation: what does a text say in another language?"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Batch,
    InputError,
    Inputs,
    Overfit,
    Spec,
    Task,
    option,
)
from ...engine.data.texts import Bpe, clean, shown
from ...models.transformer import SPECIAL, VARIANTS, BeamOptions, check_sizes
from .data import (
    Multi30kConfig,
    NumbersConfig,
    ParallelConfig,
    Ragged,
    TranslationConfig,
    Wmt14Config,
    encode,
    load,
)
from .files import read_lines
from .scores import scores, to_text

TABLES = (".csv", ".tsv")  # which `predict` does not read


@dataclass(frozen=True)
class TranslateOptions(BeamOptions):
    target: str = option("", "the language that is wanted, so that a run of another one is told")


def inputs(given: Sequence[str | Path] | str | Path, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`source`: int32 [n, length], of texts: the shortest of the run's lengths that holds all of them.

    A string is a file, of a text a line, where there is one of this name, else a text; its empty lines are passed over.
    `bad` takes texts that are empty, no text, or longer than the model can hold. Raises InputError for anything else.
    """
    every = [given] if isinstance(given, str | Path) else given
    if not isinstance(every, Sequence) or not every or not all(isinstance(one, str | Path) for one in every):
        raise InputError(f"inputs of type {type(given).__name__}: one text or several are wanted, or files of them")
    tokenizer = Bpe(spec[Bpe.FILE])
    names, tokens = [], []
    for place, text in (row for one in every for row in _texts(one)):
        try:
            if isinstance(text, InputError):
                raise text
            tokens.append(_encoded(text, place, tokenizer, spec["length"]))
            names.append(text)
        except InputError as error:
            bad.add(error)
    if not bad.count and not names:
        raise InputError("no inputs: there is no text in the files")
    bad.say(len(names))
    source = Ragged(np.concatenate(tokens), np.cumsum([0, *map(len, tokens)]))
    length = min(bound for bound in spec["bounds"] if bound > source.lengths.max())
    return Inputs(Arrays(source=source.padded(np.arange(len(names)), length)), names)


def _texts(one: str | Path) -> Iterator[tuple[str, str | InputError]]:
    """Where each stands, for an error, and the text or what is wrong with it."""
    if not os.path.isfile(one) and isinstance(one, str):
        yield "", one
        return
    if Path(one).suffix.lower() in TABLES:
        raise InputError(f"{one} is a table: a file that has a text a line is wanted")
    for row, text in read_lines(Path(one)):
        if text:
            yield f"{one}, row {row}: ", text


def _encoded(text: str, place: str, tokenizer: Bpe, length: int) -> np.ndarray:
    line = clean(text)
    what = line if len(line) <= 40 else f"{line[:40]}..."
    if not line:
        raise InputError(f"{place}a text is empty: there is nothing to translate")
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in text):
        raise InputError(f"{place}{what!r} is no UTF-8 text")
    [found] = encode([line], tokenizer)
    if len(found) >= length:
        raise InputError(
            f"{place}{what!r} has {len(found)} tokens, and with its end the model holds {length}: translate it "
            "sentence by sentence"
        )
    return found


def check_options(names: Sequence[str], spec: Spec, target: str, **options: Any) -> None:
    """Raises InputError where the run translates into another language than `target`."""
    if target and target != spec["target"]:
        raise InputError(f"--target {target}: the run translates from {spec['source']} into {spec['target']}")


def describe(names: Sequence[str], outputs: Batch, spec: Spec, **options: Any) -> list[dict[str, Any]]:
    """tokens: int [n, length] -> the translation of each text."""
    texts = (to_text(row, spec["pieces"]) for row in outputs["tokens"])
    return [{"input": name, "translation": text} for name, text in zip(names, texts, strict=True)]


def examples(batch: Batch, outputs: Batch, spec: Spec, count: int = 20) -> dict[str, str]:
    """A table in Markdown of the first texts, with their references and translations."""
    rows = ["| source | reference | translation |", "|---|---|---|"]
    columns = (batch["source"], batch["target"], outputs["tokens"])
    for row in zip(*(column[:count] for column in columns), strict=True):
        cells = (" ".join(to_text(tokens, spec["pieces"]).split()).replace("|", "\\|") for tokens in row)
        rows.append(f"| {' | '.join(cells)} |")
    return {"examples": "\n".join(rows)}


def embeddings(spec: Spec, count: int = 1000) -> dict[str, tuple[list[str], list[list[str]]]]:
    """The vectors of the first tokens, which are the most frequent ones of BPE."""
    special = [["(pad)"], ["(begin)"], ["(end)"]]
    labels = [[shown(piece.encode("latin-1")).replace(" ", "␣")] for piece in spec["pieces"][: count - SPECIAL]]
    return {"embedding/embedding": (["token"], special + labels)}


def check(config: TranslationConfig) -> None:
    check_sizes(config.model)
    data = config.data
    if data.vocabulary < 256:
        raise InputError(f"data.vocabulary = {data.vocabulary}: byte-level BPE has at least the 256 bytes")
    if not isinstance(data, ParallelConfig) and data.source == data.target:
        raise InputError(f"data.source and data.target are both {data.source!r}: these are two languages")
    if isinstance(data, ParallelConfig):
        _check_paths(data)


def _check_paths(data: ParallelConfig) -> None:
    for prefix, what in (("", "train on"), ("val_", "validate on"), ("test_", "test on")):
        table, source, target = (getattr(data, f"{prefix}{key}") for key in ("path", "source_path", "target_path"))
        if source and source == target:
            raise InputError(
                f"data.{prefix}source_path and data.{prefix}target_path are both {source!r}: give two files"
            )
        if table and (source or target):
            raise InputError(
                f"data.{prefix}path = {table!r} is a table, and data.{prefix}source_path, data.{prefix}target_path are "
                "two files: give one of the two"
            )
        if bool(source) != bool(target):
            raise InputError(
                f"data.{prefix}source_path = {source!r} and data.{prefix}target_path = {target!r}: give both"
            )
        if not (table or source or prefix):
            raise InputError(f"nothing to {what}: give data.path, a table, or data.source_path and data.target_path")
        if table and data.source == data.target:
            raise InputError(f"data.source and data.target are both {data.source!r}: these are two columns")
    if data.val_fraction + data.test_fraction >= 1:
        raise InputError(
            f"data.val_fraction = {data.val_fraction} and data.test_fraction = {data.test_fraction} leave nothing for "
            "training"
        )


task = Task(
    name="translation",
    title="Translation",
    models=VARIANTS,
    datasets={
        "numbers": NumbersConfig,
        "multi30k": Multi30kConfig,
        "wmt14": Wmt14Config,
        "parallel": ParallelConfig,
    },
    monitor="val/chrf",  # BLEU is 0 where texts are single words
    mode="max",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    scores=scores,
    embeddings=embeddings,
    check=check,
    options=TranslateOptions,
    check_options=check_options,
    decoding=("beam", "length_penalty"),
    overfit=Overfit(steps=200, loss=0.5),
)
