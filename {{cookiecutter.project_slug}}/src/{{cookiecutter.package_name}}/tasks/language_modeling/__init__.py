"""Language modelling: which token comes next?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Batch,
    Field,
    InputError,
    Inputs,
    NonNegativeFloat,
    NonNegativeInt,
    Overfit,
    PositiveInt,
    Signature,
    Spec,
    Task,
    option,
)
from ...engine.data import texts
from ...models.gpt import VARIANTS
from .data import LanguageConfig, PydocConfig, TextConfig, TinyShakespeareConfig, load


@dataclass(frozen=True)
class GenerateOptions:
    prompt: str = option("", "the text that is continued")
    tokens: PositiveInt = option(200, "how many tokens are added")
    temperature: NonNegativeFloat = option(0.8, "below 1 likely tokens become likelier; 0: always the likeliest")
    top_k: NonNegativeInt = option(50, "only so many of the likeliest are chosen from; 0: all")


def inputs(given: Sequence[str] | str, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`tokens`: int32 [n, context], of texts; -1 after the end. Raises InputError for texts that are longer."""
    prompts = [given] if isinstance(given, str) else given
    if not isinstance(prompts, Sequence) or not all(isinstance(text, str) for text in prompts):
        raise InputError(f"inputs of type {type(given).__name__}: texts are wanted")
    if not all(prompts):
        raise InputError("the prompt is empty: give at least one character")
    tokenizer, context = texts.of_spec(spec), spec["context"]
    rows = np.full((len(prompts), context), -1, np.int32)
    for row, text in zip(rows, prompts, strict=True):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"the prompt {text!r} is no UTF-8 text")
        found = np.concatenate(list(tokenizer.encode([text], "the prompt")))
        if len(found) > context:
            raise InputError(f"the prompt has {len(found)} tokens, but the model's context is {context}: shorten it")
        row[: len(found)] = found
    return Inputs(Arrays(tokens=rows), prompts)


def signature(spec: Spec) -> Signature:
    shape, file = (spec["context"],), next(kind.FILE for kind in texts.KINDS.values() if kind.FILE in spec)
    return Signature(
        {"tokens": Field("int32", shape, f"of a text's beginning, by `{file}`, then -1")},
        {
            "token": Field("int32", shape, "the likeliest one after each"),
            "probability": Field("float32", shape, "of that, 0 to 1"),
        },
    )


def stream(pieces: Iterator[Batch], spec: Spec) -> Iterator[str]:
    """`token`: int32 [1] -> text, as it comes."""
    return texts.stream((int(piece["token"][0]) for piece in pieces), texts.of_spec(spec))


def examples(batch: Batch, outputs: Batch, spec: Spec, count: int = 4, columns: int = 96) -> dict[str, str]:
    """The first windows of validation, and below each what the model took for likelier, token by token."""
    pieces = [texts.shown(piece) for piece in texts.of_spec(spec).pieces]
    lines = ["Text of validation, and below it the likeliest next token wherever that is another one."]
    for window, guesses in zip(batch["tokens"][:count], outputs["token"][:count], strict=True):
        above = below = ""
        lines += [""]
        for token, guess in zip(window[1:], guesses, strict=True):
            if token < 0:
                break
            width = max(len(pieces[token]), len(pieces[guess]) * (guess != token))
            if len(above) + width > columns:
                lines, above, below = [*lines, f"    {above}", f"    {below}"], "", ""
            above += pieces[token].ljust(width)
            below += (pieces[guess] if guess != token else "").ljust(width)
        lines += [f"    {above}", f"    {below}"]
    return {"examples": "\n".join(lines)}


def embeddings(spec: Spec, count: int = 1000) -> dict[str, tuple[list[str], list[list[str]]]]:
    """The vectors of the first tokens, which are the most frequent ones of BPE."""
    labels = [[texts.shown(piece).replace(" ", "␣")] for piece in texts.of_spec(spec).pieces[:count]]
    return {"wte/embedding": (["token"], labels)}


def check(config: LanguageConfig) -> None:
    model, data = config.model, config.data
    if model.width % model.heads:
        raise InputError(f"model.width = {model.width} is not divisible by model.heads = {model.heads}")
    if config.init and not data.tokenizer and texts.Bpe.stands_in(Path(config.init)):
        raise InputError(
            f"--init {config.init} is for the tokens there: add --data.tokens bpe --data.tokenizer {config.init}"
        )
    if data.tokenizer and data.tokens != "bpe":
        raise InputError(f"data.tokenizer = {data.tokenizer!r} is for data.tokens = bpe, which is {data.tokens!r}")
    if data.tokens == "bpe" and not data.tokenizer and data.vocabulary < 256:
        raise InputError(f"data.vocabulary = {data.vocabulary}: byte-level BPE has at least the 256 bytes")
    if data.val_fraction + data.test_fraction >= 1 and not getattr(data, "test_path", ""):
        raise InputError(
            f"data.val_fraction = {data.val_fraction} and data.test_fraction = {data.test_fraction} leave nothing for "
            "training"
        )


task = Task(
    name="language_modeling",
    title="Language modelling",
    models=VARIANTS,
    datasets={"pydoc": PydocConfig, "tiny_shakespeare": TinyShakespeareConfig, "text": TextConfig},
    monitor="val/loss",
    mode="min",
    load=load,
    inputs=inputs,
    stream=stream,
    examples=examples,
    signature=signature,
    embeddings=embeddings,
    check=check,
    options=GenerateOptions,
    overfit=Overfit(steps=200, loss=0.5),
)
