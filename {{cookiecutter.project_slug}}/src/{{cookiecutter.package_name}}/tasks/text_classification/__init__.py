"""Text classification: which of the classes does a text belong to?"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...engine.api import STRICT, Arrays, Bad, Batch, Field, InputError, Inputs, Overfit, Signature, Spec, Task
from ...engine.classification import charts, describe, logits
from ...engine.data.tables import to_cell
from ...models.bert import VARIANTS, BertConfig, check_length
from ...models.fasttext import FastTextConfig
from .data import (
    AgNewsConfig,
    CsvConfig,
    ImdbConfig,
    NamesConfig,
    Sst2Config,
    TextClassifierConfig,
    load,
    read_beginning,
)
from .files import texts_of
from .tokens import encode, has_word_pieces


def inputs(given: Iterable[str | Path] | str | Path, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`tokens`: int32 [n, spec["length"]], of texts, and of those in files: see `texts_of`.

    A string is a file where there is one of this name, else a text; None and nan, as a table's gaps, are empty texts.
    `bad` takes what cannot be read. Raises InputError for anything else.
    """
    every: list[Any] = [given] if isinstance(given, str | Path) or not isinstance(given, Iterable) else [*given]
    found = [one if isinstance(one, str | Path) or to_cell(one) else "" for one in every]
    if not found or not all(isinstance(one, str | Path) for one in found):
        kinds = ", ".join(sorted({type(one).__name__ for one in found})) or "nothing"
        raise InputError(f"inputs: one text or several are wanted, or files of them, not {kinds}")
    texts = texts_of(found, spec, bad)
    return Inputs(Arrays(tokens=encode([text for text, _ in texts], spec, spec["length"])), [name for _, name in texts])


def signature(spec: Spec) -> Signature:
    if "ngrams" in spec:
        about = "the text's n-grams, 1 + CRC-32 modulo buckets - 1 each, as `ngrams` in `spec.json` has them, then 0"
    else:
        about = "the text's pieces by `tokenizer.json`, from [CLS] to [SEP], then 0"
    return Signature({"tokens": Field("int32", (spec["length"],), about)}, {"logits": logits(spec)})


def check(config: TextClassifierConfig) -> None:
    """What the model reads with."""
    model, data = config.model, config.data
    if isinstance(data, CsvConfig) and data.text == data.label:
        raise InputError(f"data.text and data.label are both {data.text!r}: these are two columns")
    if isinstance(model, FastTextConfig):
        if data.tokenizer:
            raise InputError(
                f"data.tokenizer = {data.tokenizer!r}: fasttext reads n-grams: choose a --model.name bert_..."
            )
        if model.buckets < 2:
            raise InputError(f"model.buckets = {model.buckets}: the first row is for no n-gram, so 2 is the least")
        if model.max_characters and model.max_characters < model.min_characters:
            raise InputError(
                f"model.max_characters = {model.max_characters} is less than model.min_characters = "
                f"{model.min_characters}: raise it, or 0 for words alone"
            )
    elif not data.tokenizer and config.init and has_word_pieces(Path(config.init)):
        raise InputError(f"--init {config.init} is for the word pieces there: add --data.tokenizer {config.init}")
    elif data.length < 3:
        raise InputError(f"data.length = {data.length}: two tokens stand for the ends of a text, so 3 is the least")
    else:
        check_length(model, data.length)


def examples(batch: Batch, outputs: Batch, spec: Spec, count: int = 20) -> dict[str, str]:
    """A table in Markdown of the beginnings of the first texts, with true and predicted labels."""
    rows = ["| text | true | predicted | |", "|---|---|---|---|"]
    predicted = outputs["logits"].argmax(1)
    for text, label, guess in zip(batch["text"][:count], batch["label"], predicted, strict=False):
        shown = " ".join(read_beginning(text).split()).replace("|", "\\|")
        wrong = "" if label == guess else "wrong"
        rows.append(f"| {shown} | {spec['classes'][label]} | {spec['classes'][guess]} | {wrong} |")
    return {"examples": "\n".join(rows)}


task = Task(
    name="text_classification",
    title="Text classification",
    models={"fasttext": FastTextConfig, **dict.fromkeys(VARIANTS, BertConfig)},
    datasets={
        "names": NamesConfig,
        "ag_news": AgNewsConfig,
        "imdb": ImdbConfig,
        "sst2": Sst2Config,
        "csv": CsvConfig,
    },
    monitor="val/accuracy",
    mode="max",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    charts=charts,
    check=check,
    signature=signature,
    overfit=Overfit(steps=200, loss=0.1),
)
