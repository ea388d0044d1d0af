"""Texts and their labels, as NumPy."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...engine.api import (
    STRICT,
    Arrays,
    Bad,
    Config,
    DataConfig,
    Dataset,
    InputError,
    PositiveInt,
    Probability,
    Spec,
    closest,
    option,
)
from ...engine.data.download import Remote, locate, locate_unpacked
from ...engine.data.tables import Format, OwnTableConfig, find_table, read_rows, read_table, to_format
from ...models.bert import BertConfig
from ...models.fasttext import FastTextConfig
from .files import list_texts, read_review, say_empty
from .tokens import encode, learn_word_pieces, read_word_pieces

SHOWN = 120  # bytes of a text that a batch carries for people to read


@dataclass(frozen=True)
class TextConfig(DataConfig):
    """What every dataset of texts has."""

    val_fraction: Probability = option(0.1, "share of the training texts that is kept for validation")
    length: PositiveInt = option(256, "tokens of a text, what follows is cut off: n-grams (fastText), pieces (BERT)")
    lower: bool = option(True, "read all in lower case, BERT also without accents")
    vocabulary: PositiveInt = option(8000, "BERT: word pieces to learn from the training texts")
    tokenizer: str = option("", "BERT: folder with a tokenizer.json or a vocab.txt, whose word pieces to take instead")


@dataclass(frozen=True)
class NamesConfig(TextConfig):
    """12,376 names of countries, languages, currencies and scripts in 15 languages, of Babel 2.18 (Unicode CLDR)."""


@dataclass(frozen=True)
class AgNewsConfig(TextConfig):
    """127,600 news of four kinds (Zhang et al. 2015), in `<root>/ag_news/{train,test}.csv`."""

    verify: bool = option(True, "check the files' md5; false for files of your own in the same format")


@dataclass(frozen=True)
class ImdbConfig(TextConfig):
    """50,000 film reviews, good or bad (Maas et al. 2011), in `<root>/aclImdb/{train,test}/{neg,pos}/*.txt`."""

    verify: bool = option(True, "check the archive's md5")


@dataclass(frozen=True)
class Sst2Config(TextConfig):
    """68,221 phrases of film reviews, good or bad (Socher et al. 2013; of GLUE), in `<root>/SST-2/{train,dev}.tsv`."""

    verify: bool = option(True, "check the archive's md5")


@dataclass(frozen=True)
class CsvConfig(TextConfig, OwnTableConfig):
    """A table of your own, whose first row names the columns."""

    path: str = option("", "the file, in the working folder or in root")
    text: str = option("text", "the column of texts")
    label: str = option("label", "the column of labels")
    test_fraction: Probability = option(0.2, "share of the rows that is kept for the test")
    test_path: str = option("", "a file to test on, in place of test_fraction of the rows")


AG_NEWS_FILES = [
    Remote(
        f"{name}.csv",
        f"https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/{name}.csv",
        md5,
    )
    for name, md5 in {
        "train": "b1a00f826fdfbd249f79597b59e1dc12",
        "test": "d52ea96a97a2d943681189a97654912d",
    }.items()
]
IMDB_ARCHIVE = Remote(
    "aclImdb_v1.tar.gz",
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "7c2ac02c03563afcf9b574c7e56c153a",
)
SST2_ARCHIVE = Remote(
    "SST-2.zip", "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip", "9f81648d4199384278b86e315dac217c"
)
LANGUAGES = "cs da de en es fi fr hu it nl pl pt sv tr vi".split()  # those in Latin letters, so that it is not easy
# What stands in the files, and what it means; where nothing is said, labels are as they stand in the training texts.
LABELS = {
    AgNewsConfig: dict(zip("1234", ["World", "Sports", "Business", "Sci/Tech"], strict=True)),
    ImdbConfig: {"neg": "negative", "pos": "positive"},
    Sst2Config: {"0": "negative", "1": "positive"},
}
SST2 = OwnTableConfig(delimiter="tab", quotes=False)
# How files of the same kind are written, and the column of the texts: "" where rows are as those of AG News, and None
# where a text is a file.
FILES: dict[type, tuple[OwnTableConfig, str | None]] = {
    NamesConfig: (OwnTableConfig(), "text"),
    AgNewsConfig: (OwnTableConfig(), ""),
    ImdbConfig: (OwnTableConfig(), None),
    Sst2Config: (SST2, "sentence"),
}


TextClassifierConfig = Config[
    FastTextConfig | BertConfig, NamesConfig | AgNewsConfig | ImdbConfig | Sst2Config | CsvConfig
]


def load(config: TextClassifierConfig, spec: Spec | None = None) -> Dataset:
    """`tokens`: int32 [n, length], `label`: int32 [n], `text`: uint8 [n, 120], the beginning in UTF-8, to be shown.

    What splits texts into tokens is learnt from the training texts, and the length is that of the longest of them, or
    `data.length`. The spec: `classes`, `length`, what `_fit` gives, and `format` and `column`, see `FILES`.
    """
    data = config.data
    everything, test = _read(data)
    train, val = everything.split(data.val_fraction)
    val = Arrays(
        **val[np.random.Generator(np.random.PCG64(0)).permutation(len(val))]
    )  # the first are shown: of all kinds
    if not len(val) or not len(test):
        key, count = ("test", len(everything) + len(test)) if not len(test) else ("val", len(everything))
        share = getattr(data, f"{key}_fraction")
        raise InputError(f"data.{key}_fraction = {share} of {count} texts leaves none: raise it, or bring more texts")
    texts = train.arrays["text"].tolist()
    if spec is None:
        fitted = _fit(config, texts)
        tokens = encode(texts, fitted, data.length)
        length = int(np.flatnonzero(tokens.any(0)).max(initial=0)) + 1
        tokens = tokens[:, :length].copy()
        form, column = (data, data.text) if isinstance(data, CsvConfig) else FILES[type(data)]
        written = {"format": form.format(), "column": column}
        spec = {"classes": _classes(data, train), "length": length, **written, **fitted}
    else:
        tokens = encode(texts, spec, spec["length"])
    known, classes = spec, spec["classes"]

    def held(split: Arrays, purpose: str) -> Arrays:
        return _arrays(split, encode(split.arrays["text"].tolist(), known, known["length"]), classes, purpose)

    return Dataset(_arrays(train, tokens, classes, "training"), held(val, "validation"), held(test, "the test"), spec)


def beginnings(texts: Sequence[str]) -> np.ndarray:
    """uint8 [texts, 120]: of each the first bytes in UTF-8, then 0."""
    joined = b"".join(text.encode()[:SHOWN].ljust(SHOWN, b"\0") for text in texts)
    return np.frombuffer(joined, np.uint8).reshape(len(texts), SHOWN)


def read_beginning(row: np.ndarray) -> str:
    """The text of a row of `beginnings`."""
    found = row.tobytes().rstrip(b"\0")
    return found.decode(errors="ignore") + ("…" if len(found) == SHOWN else "")


def _fit(config: TextClassifierConfig, texts: list[str]) -> dict[str, Any]:
    """`vocabulary`: how many tokens there are, and what `encode` wants to know."""
    data, model = config.data, config.model
    if isinstance(model, FastTextConfig):
        ngrams = {
            "words": model.word_ngrams,
            "shortest": model.min_characters,
            "longest": model.max_characters,
            "buckets": model.buckets,
            "lower": data.lower,
        }
        return {"vocabulary": model.buckets, "ngrams": ngrams}
    if data.tokenizer:
        tokenizer, count = read_word_pieces(Path(data.tokenizer), data.lower)
    else:
        tokenizer, count = learn_word_pieces(texts, data.vocabulary, data.lower)
    return {"vocabulary": count, "tokenizer.json": tokenizer}


def _classes(config: TextConfig, train: Arrays) -> list[str]:
    """Raises InputError where there is only one."""
    if type(config) in LABELS:
        return list(LABELS[type(config)].values())
    found = set(train.arrays["label"])
    if len(found) == 1:
        raise InputError(f"all training texts have the label {found.pop()!r}: there is nothing to tell apart")
    numbers = all(label.isascii() and label.isdecimal() for label in found)
    return sorted(sorted(found), key=(lambda label: (len(label.lstrip("0")), label.lstrip("0"))) if numbers else str)


def _arrays(split: Arrays, tokens: np.ndarray, classes: list[str], purpose: str) -> Arrays:
    """Raises InputError for a label that is none of `classes`."""
    index = {name: i for i, name in enumerate(classes)}
    for label, place in zip(split.arrays["label"], split.arrays["place"], strict=True):
        if label not in index:
            raise InputError(
                f"{place}: {label!r}, the label of a text for {purpose}, is that of no training text: "
                f"{closest(label, classes)}"
            )
    label = np.array([index[label] for label in split.arrays["label"]], np.int32)
    return Arrays(tokens=tokens, label=label, text=beginnings(split.arrays["text"].tolist()))


def _read(config: TextConfig) -> tuple[Arrays, Arrays]:
    """(the texts to train and validate on, those to test on): `text`, `label` and `place`, for errors, all str."""
    readers: dict[type, Callable[[Any], tuple[Arrays, Arrays]]] = {
        NamesConfig: _names,
        AgNewsConfig: _ag_news,
        ImdbConfig: _imdb,
        Sst2Config: _sst2,
        CsvConfig: _csv,
    }
    return readers[type(config)](config)


def _texts(
    found: Iterable[tuple[str, str, str]], where: str, known: Mapping[str, str] | None = None, bad: Bad = STRICT
) -> Arrays:
    """Of (text, label, place), in a file or folder `where`. known: the class of each label; without it, labels are
    classes. bad: takes what has no such label. How many are empty is told."""

    def class_of(label: str, place: str) -> str:
        if not label:
            raise InputError(f"{place}: no label")
        if known and label not in known:
            raise InputError(f"{place}: label {label!r}: {closest(label, list(known))}")
        return known[label] if known else label

    rows = []
    for text, label, place in found:
        try:
            rows.append((text, class_of(label, place), place))
        except InputError as error:
            bad.add(error)
    bad.say(len(rows))
    texts, classes, places = (np.array(column, object) for column in zip(*rows, strict=True))
    say_empty(texts.tolist(), where)
    return Arrays(text=texts, label=classes, place=places)


def _names(config: NamesConfig) -> tuple[Arrays, Arrays]:
    """Those that only one of the languages has. The same name in large and small letters is one."""
    from babel import Locale  # only when asked for

    found: dict[str, dict[str, str]] = {}
    for locale in map(Locale, LANGUAGES):
        for table in (locale.territories, locale.languages, locale.currencies, locale.scripts):
            for name in table.values():
                found.setdefault(name.casefold(), {})[str(locale.english_name)] = name
    owned = sorted(item for owners in found.values() if len(owners) == 1 for item in owners.items())
    return _texts(((name, language, "") for language, name in owned), "names").split(0.2)


def _ag_news(config: AgNewsConfig) -> tuple[Arrays, Arrays]:
    """Rows of class, title and description, without names of columns."""
    paths = locate(Path(config.root) / "ag_news", AG_NEWS_FILES, download=config.download, verify=config.verify)
    format = to_format(FILES[AgNewsConfig][0].format(), own=False)

    def read(path: Path) -> Arrays:
        bad = Bad(config.skip_bad)
        rows = read_rows(path, format, columns=3, bad=bad)
        found = (
            (f"{title} {body}", format.code(label.strip()), f"{path}, row {i}, column 1")
            for i, (label, title, body) in rows
        )
        return _texts(found, str(path), LABELS[AgNewsConfig], bad)

    return read(paths[0]), read(paths[1])


def _imdb(config: ImdbConfig) -> tuple[Arrays, Arrays]:
    """A file a review."""
    root = Path(config.root)
    folders = [root / "aclImdb" / split / label for split in ("train", "test") for label in ("neg", "pos")]
    if not all(folder.is_dir() for folder in folders):
        firsts = ["train/neg/0_3.txt", "train/pos/0_9.txt", "test/neg/0_2.txt", "test/pos/0_10.txt"]
        members = [f"aclImdb/{first}" for first in firsts]
        locate_unpacked(root, IMDB_ARCHIVE, members, download=config.download, verify=config.verify)

    def read(folders: list[Path]) -> Arrays:
        bad = Bad(config.skip_bad)
        paths = list_texts(folders, bad)
        if not paths:
            raise InputError(f"{folders[0]} and {folders[1]} have no .txt files")
        found = ((text, path.parent.name, str(path)) for path, text in _read_texts(paths, bad))
        return _texts(found, str(folders[0].parent), LABELS[ImdbConfig], bad)

    return read(folders[:2]), read(folders[2:])


def _read_texts(paths: Iterable[Path], bad: Bad) -> Iterator[tuple[Path, str]]:
    for path in tqdm(list(paths), "reading texts", delay=2, leave=False, disable=None):
        try:
            yield path, read_review(path)
        except InputError as error:
            bad.add(error)


def _sst2(config: Sst2Config) -> tuple[Arrays, Arrays]:
    """What stands in test.tsv has no labels, so `dev.tsv` is the test."""
    names = ["SST-2/train.tsv", "SST-2/dev.tsv"]
    root = Path(config.root)
    paths = locate_unpacked(root, SST2_ARCHIVE, names, download=config.download, verify=config.verify)
    known = LABELS[Sst2Config]
    format = to_format(SST2.format(), own=False)
    train, test = (_columns(path, "sentence", "label", format, known, Bad(config.skip_bad)) for path in paths)
    return train, test


def _csv(config: CsvConfig) -> tuple[Arrays, Arrays]:
    format = to_format(config.format())

    def read(key: str) -> Arrays:
        return _columns(find_table(config, key), config.text, config.label, format, bad=Bad(config.skip_bad))

    everything = read("path")
    return (everything, read("test_path")) if config.test_path else everything.split(config.test_fraction)


def _columns(
    path: Path, text: str, label: str, format: Format, known: Mapping[str, str] | None = None, bad: Bad = STRICT
) -> Arrays:
    table = read_table(path, format, bad=bad)
    texts = ("" if text in format.missing else text for text in table.column(text))
    rows = enumerate(zip(texts, table.codes(label), strict=True))
    found = ((text, code, table.where(i, label)) for i, (text, code) in rows)
    return _texts(found, str(path), known, bad)
