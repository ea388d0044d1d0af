"""Speech recognition: what is said in a recording?"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Batch,
    Field,
    InputError,
    Inputs,
    Overfit,
    PositiveInt,
    Signature,
    Spec,
    Task,
    option,
)
from ...engine.data.folders import entries, say_left_out
from ...models.conformer import VARIANTS, ConformerConfig, check_sizes
from ...models.speech_rnn import SpeechRnnConfig, subsampled
from .data import (
    DigitsLettersConfig,
    FsddConfig,
    LibriSpeechConfig,
    ManifestConfig,
    SpeechConfig,
    gather,
    load,
    pack,
)
from .decoding import align, decode, greedy
from .sound import SUFFIXES, Features, log_mel, read_sound

SHOWN = 20  # utterances of validation, as text


@dataclass(frozen=True)
class DecodeOptions:
    beam: PositiveInt = option(1, "beginnings of a text that are kept from frame to frame; 1: the greedy way")


def inputs(given: Sequence[str | Path] | str | Path, spec: Spec, bad: Bad = STRICT) -> Inputs:
    """`features`: float32 [n, frames, mels], `frames`: int32 [n], of sound files, and of those in folders.

    `bad` takes what cannot be read. Raises InputError for anything else.
    """
    every = [given] if isinstance(given, str | Path) else given
    if not isinstance(every, Sequence) or not all(isinstance(one, str | Path) for one in every):
        raise InputError(f"inputs of type {type(given).__name__}: paths of sound files are wanted")
    features, found, names = Features(**spec["features"]), [], []
    for path in (path for one in every for path in _files(str(one), bad)):
        try:
            found.append(log_mel(read_sound(path, features), features))
            names.append(path)
        except InputError as error:
            bad.add(error)
    if not found:
        bad.say(0)
        raise InputError("no inputs: paths of sound files are wanted")
    frames = np.array([len(one) for one in found], np.int32)
    # The shapes that training has, or of longer ones a multiple of the largest.
    bounds, most = [bound for bound, _ in spec["bounds"]], int(frames.max())
    longest = next((bound for bound in bounds if bound >= most), -(-most // bounds[-1]) * bounds[-1])
    return Inputs(Arrays(features=gather(pack(found), np.arange(len(found)), longest), frames=frames), names)


def _files(path: str, bad: Bad) -> list[str]:
    if not path:
        raise InputError("an input is empty: paths of sound files are wanted")
    if not os.path.isdir(path):
        return [path]
    inside = entries(path, SUFFIXES, bad)
    say_left_out([(path, inside)])
    if not inside.files:
        raise InputError(f"{path} has no {' or '.join(SUFFIXES)} files")
    return inside.files


def describe(names: Sequence[str], outputs: Batch, spec: Spec, beam: int = 1) -> list[dict[str, Any]]:
    """What is said in each, and when each of its words begins, in seconds."""
    rows = []
    second = spec["features"]["hop"] * spec["subsampling"]
    for name, log_probs, frames in zip(names, outputs["log_probs"], outputs["lengths"].tolist(), strict=True):
        real = np.asarray(log_probs[:frames], np.float64)
        tokens = decode(real, beam)
        words = [f"{begin * second:.2f} {word}" for begin, word in words_of(tokens, align(real, tokens), spec)]
        rows.append({"input": name, "text": to_text(tokens, spec), "words": ", ".join(words)})
    return rows


def to_text(tokens: np.ndarray, spec: Spec) -> str:
    """Of tokens, int [length]; 0 is nothing."""
    pieces = spec["pieces"]
    return "".join(pieces[token] for token in tokens.tolist()).encode("latin-1").decode(errors="replace").strip()


def words_of(tokens: np.ndarray, begins: np.ndarray, spec: Spec) -> list[tuple[int, str]]:
    """(the frame in which it begins, the word) of each word."""
    content, places = b"", []
    for token, begin in zip(tokens.tolist(), begins.tolist(), strict=True):
        piece = spec["pieces"][token].encode("latin-1")
        content += piece
        places += [begin] * len(piece)
    found, start = [], 0
    for word in content.split():
        start = content.index(word, start)
        found.append((places[start], word.decode(errors="replace")))
        start += len(word)
    return found


def scores(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, float]:
    """Rates of words and of characters that are wrong, missing or too many, of all that were said."""
    import jiwer  # takes a moment

    references, hypotheses = ([to_text(row, spec) for row in arrays[name]] for name in ("references", "hypotheses"))
    return {"wer": float(jiwer.wer(references, hypotheses)), "cer": float(jiwer.cer(references, hypotheses))}


def examples(batch: Batch, outputs: Batch, spec: Spec) -> dict[str, np.ndarray | str]:
    """What was said and what was heard of the first utterances, and the features of the first."""
    rows = ["| said | heard |", "|---|---|"]
    for labels, log_probs, frames in zip(
        batch["labels"][:SHOWN], outputs["log_probs"], outputs["lengths"], strict=False
    ):
        texts = to_text(labels, spec), to_text(greedy(log_probs[:frames]), spec)
        rows.append("| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |")
    return {"examples": "\n".join(rows), "spectrogram": picture(batch["features"][0, : batch["frames"][0]])}


def picture(features: np.ndarray, scale: int = 3) -> np.ndarray:
    """float [frames, mels] -> uint8 [height, width, 3]: time from left to right, low tones below, -3 to 3 from dark to
    light."""
    grey = np.clip((features.T[::-1].astype(np.float64) + 3) * 255 / 6, 0, 255).astype(np.uint8)
    return np.kron(grey, np.ones((scale, scale), np.uint8))[..., None].repeat(3, -1)


def signature(spec: Spec) -> Signature:
    features, frames = spec["features"], spec["bounds"][-1][0]
    fewer, tokens = subsampled(frames, spec["subsampling"]), len(spec["pieces"])
    made = (
        f"log-mel features of {features['rate']} Hz, `features` in `spec.json`, each band with mean 0 and deviation 1; "
        "0 after the end"
    )
    return Signature(
        {
            "features": Field("float32", (frames, features["mels"]), made),
            "frames": Field("int32", (), "how many of them are real"),
        },
        {
            "log_probs": Field("float32", (fewer, tokens), "of each token, `pieces` in `spec.json`; 0 is CTC's blank"),
            "lengths": Field("int32", (), "how many of these are real"),
        },
    )


def check(config: SpeechConfig) -> None:
    if isinstance(config.model, ConformerConfig):
        check_sizes(config.model)
    if config.data.tokens == "bpe" and config.data.vocabulary < 256:
        raise InputError(f"data.vocabulary = {config.data.vocabulary}: byte-level BPE has at least the 256 bytes")


task = Task(
    name="speech_recognition",
    title="Speech recognition",
    models={"rnn": SpeechRnnConfig, **VARIANTS},
    datasets={
        "digits_letters": DigitsLettersConfig,
        "fsdd": FsddConfig,
        "librispeech": LibriSpeechConfig,
        "manifest": ManifestConfig,
    },
    monitor="val/wer",
    mode="min",
    load=load,
    inputs=inputs,
    describe=describe,
    examples=examples,
    scores=scores,
    signature=signature,
    check=check,
    options=DecodeOptions,
    overfit=Overfit(steps=400, loss=0.3),
)
