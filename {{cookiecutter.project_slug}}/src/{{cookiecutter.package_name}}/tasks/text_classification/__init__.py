"""Text classification: which of the classes does a text belong to?"""

from collections.abc import Iterable
from pathlib import Path

from ...classification import charts, describe, logits
from ...config import Config
from ...data.bad import STRICT, Bad
from ...data.sources import Arrays, Batch, Spec
from ...errors import InputError
from ...models.bert import VARIANTS, BertConfig, check_length
from ...models.fasttext import FastTextConfig
from ...task import Field, Inputs, Overfit, Signature, Task
from .data import AgNewsConfig, CsvConfig, ImdbConfig, NamesConfig, Sst2Config, load, read_beginning
from .tokens import encode, has_word_pieces


def inputs(given: Iterable[str] | str, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`tokens`: int32 [n, spec["length"]], of texts. Raises InputError for anything else."""
    texts = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        kinds = ", ".join(sorted({type(text).__name__ for text in texts})) or "nothing"
        raise InputError(f"inputs: one text or several are wanted, not {kinds}")
    if any("\ud800" <= c <= "\udfff" for text in texts for c in text):  # what a shell makes of other bytes
        raise InputError("inputs: a text is no UTF-8")
    names = [" ".join(text.split()) for text in texts]  # a line each
    return Inputs(Arrays(tokens=encode(texts, spec, spec["length"])), names)


def signature(spec: Spec) -> Signature:
    if "ngrams" in spec:
        about = "the text's n-grams, 1 + CRC-32 modulo buckets - 1 each, as `ngrams` in `spec.json` has them, then 0"
    else:
        about = "the text's pieces by `tokenizer.json`, from [CLS] to [SEP], then 0"
    return Signature({"tokens": Field("int32", (spec["length"],), about)}, {"logits": logits(spec)})


def check(config: Config) -> None:
    """What the model reads with."""
    model, data = config.model, config.data
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
