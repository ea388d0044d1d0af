"""Pairs of texts as NumPy: tokens of the source and of the target, padded to one of a few lengths."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from ...engine.api import (
    Bad,
    Batch,
    Config,
    DataConfig,
    Dataset,
    InputError,
    PositiveInt,
    Probability,
    Spec,
    closest,
    option,
    say_once,
)
from ...engine.data.conversions import convert_once
from ...engine.data.download import Remote, locate
from ...engine.data.files import find_own
from ...engine.data.tables import DELIMITERS, Format
from ...engine.data.texts import Bpe, clean
from ...models.transformer import BOS, EOS, PAD, SPECIAL, TransformerConfig
from .files import Files, Pair, read_pairs

BLOCK = 1 << 14  # pairs that are split into tokens at once
SPLITS, SIDES = ("train", "val", "test"), ("source", "target")
ABOUT = "about.json"
STEP = 4  # lengths to which texts are padded are multiples of it


@dataclass(frozen=True)
class TextConfig(DataConfig):
    """What every dataset of pairs has."""

    vocabulary: PositiveInt = option(4096, "tokens of byte-level BPE, learnt from both sides, the 256 bytes included")
    groups: PositiveInt = option(6, "lengths to which texts are padded, each its own compiled program, at most")


@dataclass(frozen=True)
class NumbersConfig(TextConfig):
    """Numbers below a million in the words of two languages, by num2words."""

    source: str = option("en", "the language that is read, as num2words calls it")
    target: str = option("es", "the language that is written")
    count: PositiveInt = option(20_000, "numbers that are drawn, of all magnitudes alike; of equal ones one is left")
    val_fraction: Probability = option(0.03, "share of the numbers that is kept for validation")
    test_fraction: Probability = option(0.06, "share that is kept for the test")


@dataclass(frozen=True)
class FileConfig(TextConfig):
    """What pairs in files have."""

    cache: str = option("", "folder where converted text is kept; empty: beside the text")


@dataclass(frozen=True)
class Multi30kConfig(FileConfig):
    """29,000 captions of pictures (Elliott et al. 2016), in `<root>/multi30k/`: train, val and
    test_2016_flickr, each as .en.gz and .de.gz."""

    source: Literal["en", "de"] = option("en", "the language that is read")
    target: Literal["en", "de"] = option("de", "the language that is written")
    verify: bool = option(True, "check the files' md5")


@dataclass(frozen=True)
class Wmt14Config(FileConfig):
    """4.5 million sentences (Bojar et al. 2014), in `<root>/wmt14/{train,val,test}.{en,de}`."""

    source: Literal["en", "de"] = option("en", "the language that is read")
    target: Literal["en", "de"] = option("de", "the language that is written")


@dataclass(frozen=True)
class ParallelConfig(FileConfig):
    """Your own pairs: a table, or two files that have a sentence a line, also as .gz."""

    path: str = option("", "a table, in the working folder or in root")
    source_path: str = option("", "or a file of the sentences that are read")
    target_path: str = option("", "and one of their translations, line by line")
    source: str = option("source", "the language that is read; of a table the column, by name or as 1, 2, ...")
    target: str = option("target", "the language that is written, or its column; with numbers no row names columns")
    delimiter: Literal[",", ";", "|", "tab"] = option("tab", "what stands between the cells of a table")
    quotes: bool = option(False, 'whether "..." may hold a delimiter or a line break; false: quotes are text')
    val_path: str = option("", "a table to validate on, in place of val_fraction")
    val_source_path: str = option("", "or two files")
    val_target_path: str = option("", "to validate on")
    test_path: str = option("", "a table to test on, in place of test_fraction")
    test_source_path: str = option("", "or two files")
    test_target_path: str = option("", "to test on")
    val_fraction: Probability = option(0.05, "share of the pairs that is kept for validation")
    test_fraction: Probability = option(0.05, "share that is kept for the test")


MULTI30K = [
    Remote(f"{name}.gz", f"https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/{name}.gz", md5)
    for name, md5 in {
        "train.en": "0065d13af80720a55ca8153d126e6627",
        "train.de": "81ff90b99829c0cd4b1b587d394afd39",
        "val.en": "2b69aa9253948ac9f67e94917272dd40",
        "val.de": "6e0e229eb049e3fc99a1ef02fb2d5f91",
        "test_2016_flickr.en": "ff2c0fcb4893a13bd73414306bc250ae",
        "test_2016_flickr.de": "efd67d314d98489b716b145475101932",
    }.items()
]
WMT14_URL = "https://nlp.stanford.edu/projects/nmt/"

TranslationConfig = Config[TransformerConfig, NumbersConfig | Multi30kConfig | Wmt14Config | ParallelConfig]


class Ragged(NamedTuple):
    """Texts of several lengths in one array, int [tokens], in memory or mapped into it, and where each begins and the
    last one ends, int64 [texts + 1]."""

    tokens: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """int32 [len(indices), length]: of each text the beginning, EOS, PAD."""
        starts, found = self.starts[indices], np.minimum(self.lengths[indices], length - 1)
        places = np.arange(length)
        inside = places < found[:, None]
        # An empty array has no place to look at.
        at = np.where(inside, starts[:, None] + places, 0)
        tokens = self.tokens[at].astype(np.int32) + SPECIAL if len(self.tokens) else np.zeros(at.shape, np.int32)
        return np.where(inside, tokens, np.where(places == found[:, None], EOS, PAD)).astype(np.int32)


class Split(NamedTuple):
    """Pairs of texts, of the source and of the target, and a digest of them."""

    texts: tuple[Ragged, Ragged]
    digest: str


class Pairs:
    """`source`: int32 [batch, length], with EOS after each text, then PAD. `target`: int32 [batch, length + 1], with
    BOS in front, too.

    Args:
        split: where the texts are.
        bounds: the lengths to which texts are padded, EOS included. What is longer than the last is cut off.
        chosen: which of the split's pairs these are, int [examples].

    Attributes:
        groups: int [examples], of each the first bound that holds both of its texts.
    """

    def __init__(self, split: Split, bounds: Sequence[int], chosen: np.ndarray):
        self.split, self.texts, self.bounds, self.chosen = split, split.texts, np.asarray(bounds), chosen
        lengths = longest(split.texts)[chosen]
        self.groups = np.minimum(np.searchsorted(self.bounds, lengths), len(bounds) - 1).astype(np.int32)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        length = int(self.bounds[self.groups[indices].max()])
        source, target = (text.padded(self.chosen[indices], length) for text in self.texts)
        return {"source": source, "target": np.pad(target, ((0, 0), (1, 0)), constant_values=BOS)}

    def digest(self) -> str:
        return hashlib.blake2b(self.split.digest.encode() + self.chosen.tobytes(), digest_size=16).hexdigest()


def load(config: TranslationConfig, spec: Spec | None = None) -> Dataset:
    """Pairs that the model cannot hold are left out of training, and cut off in evaluation; both are told.

    The spec: `vocabulary`, `length`, how many tokens a translation has at most, `bounds`, see `Pairs`, `source` and
    `target`, the languages, `pieces`, the bytes of each token as characters of Latin-1, and the tokenizer.
    """
    data, context = config.data, config.model.context
    tokenizer = Bpe(spec[Bpe.FILE]) if spec else None
    if isinstance(data, NumbersConfig):
        pairs = _numbers(data)
        tokenizer = tokenizer or Bpe.fit((f" {text}" for pair in pairs[0] for text in pair), data.vocabulary)
        splits = [_split(part, tokenizer) for part in pairs]
    else:
        tokenizer, splits = _of_files(data, tokenizer)
    fits = [longest(split.texts) <= context for split in splits]
    for name, fit in zip(SPLITS, fits, strict=True):
        if not fit.all():
            does = "are left out" if name == "train" else "are cut off"
            say_once(
                f"long {name}",
                f"{name}: {(~fit).sum():,} of {len(fit):,} pairs {does}, as they have more tokens than model.context = "
                f"{context}",
            )
    if not fits[0].any():
        raise InputError(f"model.context = {context}: all {len(fits[0]):,} training pairs have more tokens: raise it")
    lengths = longest(splits[0].texts)[fits[0]]
    if spec is None:
        spec = {
            "vocabulary": SPECIAL + len(tokenizer.pieces),
            "length": context,
            "bounds": to_bounds(lengths, context, data.groups, data.batch_size),
            "source": data.source,
            "target": data.target,
            "pieces": [piece.decode("latin-1") for piece in tokenizer.pieces],
            Bpe.FILE: tokenizer.content,
        }
    chosen = [np.flatnonzero(fits[0]), *(np.arange(len(fit)) for fit in fits[1:])]
    train, val, test = (Pairs(split, spec["bounds"], some) for split, some in zip(splits, chosen, strict=True))
    weights = (train.texts[1].lengths[train.chosen] + 1).astype(np.float64)
    return Dataset(train, val, test, spec, weights=weights)


def longest(texts: tuple[Ragged, Ragged]) -> np.ndarray:
    """int [pairs], tokens of the longer of the two texts, EOS included."""
    return np.maximum(texts[0].lengths, texts[1].lengths) + 1


def to_bounds(lengths: np.ndarray, context: int, count: int, least: int) -> list[int]:
    """The lengths to which texts are padded: at most so many that hold these, each for `least` of them, or one for all;
    and the context, for longer ones."""
    shares = 1 - (1 - np.arange(1, count + 1) / count) ** 2  # fewer of the long ones, whose lengths lie far apart
    found = {min(context, -(-int(length) // STEP) * STEP) for length in np.quantile(lengths, shares, method="higher")}
    bounds = [max(found)]
    for bound in sorted(found, reverse=True)[1:]:
        if ((bound < lengths) & (lengths <= bounds[0])).sum() >= least <= (lengths <= bound).sum():
            bounds.insert(0, bound)
    return sorted({*bounds, context})


def encode(texts: Sequence[str], tokenizer: Bpe) -> list[np.ndarray]:
    """A blank in front makes the first word one as others are; `to_text` takes it away."""
    return tokenizer.encode_each([f" {text}" for text in texts])


def _split(pairs: Sequence[Pair], tokenizer: Bpe) -> Split:
    def split(texts: Sequence[str]) -> Ragged:
        found = encode(texts, tokenizer)
        return Ragged(np.concatenate(found), np.cumsum([0, *map(len, found)]))

    source, target = (split(texts) for texts in zip(*pairs, strict=True))
    return Split((source, target), digest((source, target)))


def digest(sides: Iterable[Ragged]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for side in sides:
        found.update(np.ascontiguousarray(side.tokens.astype(np.int32)).data)
        found.update(side.starts.tobytes())
    return found.hexdigest()


def _numbers(data: NumbersConfig) -> list[list[Pair]]:
    """Those for training, validation, test: none is in two of them."""
    from num2words import CONVERTER_CLASSES, num2words  # only when asked for

    for key, name in (("source", data.source), ("target", data.target)):
        if name not in CONVERTER_CLASSES:
            raise InputError(f"data.{key} = {name!r}: num2words has {closest(name, sorted(CONVERTER_CLASSES))}")
    rng = np.random.Generator(np.random.PCG64(0))
    numbers = rng.permutation(np.unique(np.exp(rng.uniform(0, np.log(1e6), data.count)).astype(np.int64)))
    counts = [round(len(numbers) * share) for share in (data.val_fraction, data.test_fraction)]
    if 0 in counts or sum(counts) >= len(numbers):
        raise InputError(
            f"data.val_fraction = {data.val_fraction} and data.test_fraction = {data.test_fraction} of "
            f"{len(numbers)} numbers leave none for a part"
        )
    val, test, train = np.split(numbers, np.cumsum(counts))
    return [
        [(clean(num2words(n, lang=data.source)), clean(num2words(n, lang=data.target))) for n in part.tolist()]
        for part in (train, val, test)
    ]


def find_files(data: FileConfig) -> list[Files | None]:
    """Of training, validation and test; None where a part of the training file is cut off for it."""
    root = Path(data.root)
    if isinstance(data, Multi30kConfig):
        locate(root / "multi30k", MULTI30K, download=data.download, verify=data.verify)
        return [
            Files(tuple(root / "multi30k" / f"{name}.{language}.gz" for language in (data.source, data.target)))
            for name in ("train", "val", "test_2016_flickr")
        ]
    if isinstance(data, Wmt14Config):
        folder = root / "wmt14"
        found = [
            Files(tuple(folder / f"{name}.{language}" for language in (data.source, data.target))) for name in SPLITS
        ]
        missing = [path.name for files in found for path in files.paths if not path.is_file()]
        if missing:
            raise InputError(f"{folder} lacks {', '.join(missing)}: put them there under these names, from {WMT14_URL}")
        return list(found)
    assert isinstance(data, ParallelConfig)
    return [_own(data, prefix) for prefix in ("", "val_", "test_")]


def _own(data: ParallelConfig, prefix: str) -> Files | None:
    """What the three keys of a split name."""
    keys = [f"{prefix}{key}" for key in ("path", "source_path", "target_path")]
    table, source, target = (getattr(data, key) for key in keys)
    if table:
        form = Format(DELIMITERS[data.delimiter], data.quotes)
        return Files((find_own(data.root, table, f"data.{keys[0]}"),), (data.source, data.target), form)
    if not source and not target and prefix:
        return None
    return Files(tuple(find_own(data.root, getattr(data, key), f"data.{key}") for key in keys[1:]))


def _of_files(data: FileConfig, tokenizer: Bpe | None) -> tuple[Bpe, list[Split]]:
    """(the tokenizer, fitted on the training text unless there is one; the splits)."""
    train, *held = find_files(data)
    assert train
    shares = [0.0 if files else getattr(data, f"{name}_fraction") for name, files in zip(SPLITS[1:], held, strict=True)]
    if tokenizer is None:

        def fit(folder: Path) -> None:
            pairs = _sorted_out(read_pairs(train, Bad(data.skip_bad)), shares)
            texts = (f" {text}" for part, pair in pairs if part == 0 for text in pair)
            found = Bpe.fit(tqdm(texts, "fitting bpe", unit=" texts", delay=2, disable=None), data.vocabulary)
            (folder / Bpe.FILE).write_text(found.content, encoding="utf-8")

        kept = _keep(data, train, f"bpe {data.vocabulary} {shares}", fit)
        tokenizer = Bpe((kept / Bpe.FILE).read_text(encoding="utf-8"))
    splits = _converted(data, train, tokenizer, shares)
    for i, files in enumerate(held, 1):
        if files:
            splits[i] = _converted(data, files, tokenizer, [0.0, 0.0])[0]
    for i, name in enumerate(SPLITS):
        if not len(splits[i].texts[0].lengths):
            raise InputError(
                f"{train}: nothing is left for the {name} part: bring more, or change data.{name}_fraction"
            )
    return tokenizer, splits


def _sorted_out(pairs: Iterable[Pair], shares: Sequence[float]) -> Iterator[tuple[int, Pair]]:
    """With the number of the split that each falls into: which, is a property of its place, not of the run's seed."""
    rng = np.random.Generator(np.random.PCG64(0))
    for pair in pairs:
        drawn = rng.random()
        yield (1 if drawn < shares[0] else 2 if drawn < sum(shares) else 0), pair


def _converted(data: FileConfig, files: Files, tokenizer: Bpe, shares: Sequence[float]) -> list[Split]:
    """The three splits of the pairs, made once and mapped into memory."""
    dtype = np.dtype(np.uint16 if len(tokenizer.pieces) <= 1 << 16 else np.int32)

    def convert(folder: Path) -> None:
        bad, sides = Bad(data.skip_bad), [(split, side) for split in SPLITS for side in SIDES]
        lengths: dict[tuple[str, str], list[int]] = {key: [] for key in sides}
        pairs = tqdm(read_pairs(files, bad), "splitting into tokens", unit=" pairs", delay=2, disable=None)
        numbered = _sorted_out(pairs, shares)
        with contextlib.ExitStack() as stack:
            written = {key: stack.enter_context(_tokens(folder, *key).open("wb")) for key in sides}
            while block := list(islice(numbered, BLOCK)):
                for i, split in enumerate(SPLITS):
                    some = [pair for part, pair in block if part == i]
                    for side, texts in zip(SIDES, zip(*some, strict=True), strict=bool(some)):
                        found = encode(texts, tokenizer)
                        np.concatenate(found).astype(dtype).tofile(written[split, side])
                        lengths[split, side] += map(len, found)
        for key, counts in lengths.items():
            np.save(_starts(folder, *key), np.cumsum([0, *counts]))
        digests = [digest(_mapped(folder, split, dtype)) for split in SPLITS]
        (folder / ABOUT).write_text(json.dumps([bad.to_text(), digests]))

    settings = f"{hashlib.sha256(tokenizer.content.encode()).hexdigest()} {shares}"
    folder = _keep(data, files, settings, convert)
    left_out, digests = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    splits = [Split(_mapped(folder, split, dtype), found) for split, found in zip(SPLITS, digests, strict=True)]
    Bad.from_text(left_out).say(sum(len(split.texts[0].lengths) for split in splits))
    return splits


def _keep(data: FileConfig, files: Files, settings: str, convert: Callable[[Path], None]) -> Path:
    folder = Path(data.cache) if data.cache else files.paths[0].parent
    return convert_once(folder, files.paths, f"{settings} {files[1:]} {data.skip_bad}", convert)


def _tokens(folder: Path, split: str, side: str) -> Path:
    return folder / f"{split}.{side}.bin"


def _starts(folder: Path, split: str, side: str) -> Path:
    return folder / f"{split}.{side}.npy"


def _mapped(folder: Path, split: str, dtype: np.dtype) -> tuple[Ragged, Ragged]:
    def mapped(side: str) -> Ragged:
        path = _tokens(folder, split, side)
        # An empty file cannot be mapped.
        tokens = np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
        return Ragged(tokens, np.load(_starts(folder, split, side)))

    return mapped(SIDES[0]), mapped(SIDES[1])
