"""Text as NumPy: tokens, int32 [batch, context + 1], of which each but the first is to be predicted."""

import codecs
import functools
import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, NamedTuple

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
    option,
    say_once,
)
from ...engine.data.conversions import convert_once
from ...engine.data.download import Remote, locate
from ...engine.data.files import find_own
from ...engine.data.folders import CONVERTED, entries, say_left_out, sort_out
from ...engine.data.texts import KINDS, Bpe, Characters, Tokenizer, of_spec
from ...models.gpt import GptConfig

PARTS = ("train", "val", "test")
BLOCK = 1 << 20  # bytes that are read at once: what the library holds of their tokens is 200 times as much
Keep = Callable[[str, Callable[[Path], None]], Path]  # (settings, what writes into a folder) -> that folder
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class TextDataConfig(DataConfig):
    """What every text has. Its beginning is for training, its end for the test."""

    tokens: Literal["characters", "bpe"] = option("characters", "what is predicted: characters, or byte-level BPE")
    vocabulary: PositiveInt = option(4096, "bpe: tokens to train on the training part, the 256 bytes included")
    tokenizer: str = option(
        "", "bpe: PATH of one to take instead: a tokenizer.json, or a folder with it or with vocab.json and merges.txt"
    )
    val_fraction: Probability = option(0.1, "share of the text that is kept for validation")
    test_fraction: Probability = option(0.1, "share that is kept for the test; 0: validation is the test, too")


@dataclass(frozen=True)
class PydocConfig(TextDataConfig):
    """Half a million characters of English: the texts of Python's own `help()`, which every Python has."""


@dataclass(frozen=True)
class FileDataConfig(TextDataConfig):
    """What texts in files have."""

    cache: str = option("", "folder where converted text is kept; empty: beside the text")


@dataclass(frozen=True)
class TinyShakespeareConfig(FileDataConfig):
    """A million characters of Shakespeare's plays (Karpathy 2015), in `<root>/tiny_shakespeare/input.txt`."""

    verify: bool = option(True, "check the file's md5")


@dataclass(frozen=True)
class TextConfig(FileDataConfig):
    """UTF-8 files of your own."""

    path: str = option(
        "text", "a file, a folder of .txt files, or a pattern as 'books/**/*.txt': from the working folder, or in root"
    )
    test_path: str = option("", "a file, folder or pattern to test on, in place of the text's end")


TINY_SHAKESPEARE = Remote(
    "input.txt",
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "6fb458f1232090904fb40fe944165e91",
)


class Part(NamedTuple):
    """Tokens, int [n], in memory or mapped into it, and a digest of them."""

    tokens: np.ndarray
    digest: str


class File(NamedTuple):
    """A piece of the text: its name, its size in bytes, and how it is opened."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


LanguageConfig = Config[GptConfig, PydocConfig | TinyShakespeareConfig | TextConfig]


def load(config: LanguageConfig, spec: Spec | None = None) -> Dataset:
    """Examples are `context` tokens and the one after; to train on, `augment` reads them where they are drawn."""
    data, context = config.data, config.model.context
    held = isinstance(data, TextConfig) and data.test_path
    if isinstance(data, FileDataConfig):
        text, keep = _own(data, "path", [data.val_fraction] if held else _shares(data))
        tokenizer = of_spec(spec) if spec else text.kept_tokenizer(keep)
        parts = text.kept_tokens(tokenizer, keep)
    else:
        content = pydoc_text().encode()
        text = Text([File("pydoc_data.topics", len(content), lambda: io.BytesIO(content))], data, _shares(data))
        tokenizer = of_spec(spec) if spec else text.tokenizer()
        tokens = [np.concatenate(list(blocks)) for blocks in text.tokens(tokenizer)]
        parts = [Part(found, _digest([found])) for found in tokens]
    texts = [text] * 3
    if isinstance(data, TextConfig) and held:
        texts[2], keep = _own(data, "test_path", [])
        parts += texts[2].kept_tokens(tokenizer, keep)
    if len(parts) == 2:
        say_once("test", f"data.test_fraction = 0: the validation part of {text.name} is the test, too")
        parts.append(parts[1])
    for name, part, of, least in zip(PARTS, parts, texts, (context + 1, 2, 2), strict=True):
        if len(part.tokens) < least:
            raise InputError(
                f"{of.name}: the {name} part has {len(part.tokens)} tokens, but model.context = {context} needs {least}"
            )
    sizes = np.array([len(piece) for piece in tokenizer.pieces], np.int32)
    train = parts[0].tokens

    def draw(rng: np.random.Generator, n: int) -> Batch:
        return {"offset": rng.integers(0, context, n)}

    def augment(batch: Batch) -> Batch:
        """Each start is moved, so that with time an example begins everywhere."""
        return read_windows(train, sizes, (batch["start"] + batch["offset"]) % (len(train) - context), context)

    found = {"context": context, "vocabulary": len(tokenizer.pieces), tokenizer.FILE: tokenizer.content}
    val, test = (Windows(part, sizes, context) for part in parts[1:])
    return Dataset(Starts(parts[0], context), val, test, found, draw, augment)


class Starts:
    """Where training examples begin: one for each `context` tokens."""

    def __init__(self, part: Part, context: int):
        self.part, self.count, self.context = part, (len(part.tokens) - 1) // context, context

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: np.ndarray) -> Batch:
        return {"start": indices * self.context}

    def digest(self) -> str:
        """Of the tokens in which they lie."""
        return self.part.digest


class Windows:
    """One after the other, so that every token but the first is predicted once. See `read_windows`."""

    def __init__(self, part: Part, sizes: np.ndarray, context: int):
        self.part, self.tokens, self.sizes, self.context = part, part.tokens, sizes, context

    def __len__(self) -> int:
        return -(-(len(self.tokens) - 1) // self.context)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        return read_windows(self.tokens, self.sizes, indices * self.context, self.context)

    def digest(self) -> str:
        """Of the tokens."""
        return self.part.digest


def read_windows(tokens: np.ndarray, sizes: np.ndarray, starts: np.ndarray, context: int) -> Batch:
    """`tokens`: int32 [batch, context + 1], -1 after the end of the text. `bytes`: int32 [batch], of all but the first.

    sizes: the bytes of each token of the vocabulary.
    """
    places = starts[:, None] + np.arange(context + 1)
    found = tokens[np.minimum(places, len(tokens) - 1)].astype(np.int32)
    inside = places < len(tokens)
    number = np.where(inside, sizes[found], 0)[:, 1:].sum(1, dtype=np.int32)
    return {"tokens": np.where(inside, found, np.int32(-1)), "bytes": number}


def pydoc_text() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


class Text:
    """UTF-8 files as one text, in parts by position: training, validation, test.

    Args:
        shares: of the text, for each part but the first.

    Raises InputError where the parts would be empty.
    """

    def __init__(self, files: Sequence[File], data: TextDataConfig, shares: Sequence[float]):
        self.files, self.data = files, data
        self.name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
        size = sum(file.size for file in files)
        if not size:
            raise InputError(f"{self.name}: there is no text, the size is 0")
        # Where each part ends, in bytes of the whole.
        self.ends = [int(size * functools.reduce(float.__sub__, shares[i:], 1.0)) for i in range(len(shares) + 1)]
        if sorted({0, *self.ends}) != [0, *self.ends]:
            raise InputError(
                f"{self.name}: of {size} bytes, data.val_fraction = {data.val_fraction} and data.test_fraction = "
                f"{data.test_fraction} leave nothing for a part"
            )

    def read(self, what: str) -> Iterator[tuple[int, str]]:
        """(part, text), block by block; a character that lies across two parts belongs to the second.

        Raises:
            InputError: for a file that cannot be read, or is no UTF-8.
        """
        place, part = 0, 0
        with tqdm(desc=what, total=self.ends[-1], unit="B", unit_scale=True, delay=2, disable=None) as bar:
            for file in self.files:
                decoder, row = codecs.getincrementaldecoder("utf-8-sig")(), 1
                try:
                    with file.open() as stream:
                        while part < len(self.ends) and (block := stream.read(min(BLOCK, self.ends[part] - place))):
                            text = decoder.decode(block)
                            if "\0" in text:
                                row += text[: text.index("\0")].count("\n")
                                what = "a byte 0, which is no text: save the file as UTF-8"
                                raise InputError(f"{file.name}, row {row}: {what}")
                            yield part, text
                            row, place = row + text.count("\n"), place + len(block)
                            bar.update(len(block))
                            part += place == self.ends[part]
                        decoder.decode(b"", final=True)
                except UnicodeDecodeError as error:
                    row += error.object[: error.start].count(b"\n")
                    byte = error.object[error.start]
                    raise InputError(
                        f"{file.name}, row {row}: byte 0x{byte:02x} is no UTF-8 text: save the file as UTF-8"
                    ) from error
                except OSError as error:
                    raise InputError(f"{file.name}: {error.strerror}") from error

    def tokenizer(self) -> Tokenizer:
        """As the config asks for. The alphabet is that of the whole text; BPE is trained on the training part."""
        if self.data.tokenizer:
            return Bpe.read(Path(self.data.tokenizer))
        blocks = self.read(f"fitting {self.data.tokens}")
        if self.data.tokens == "characters":
            return Characters.fit(text for _, text in blocks)
        training = itertools.takewhile(lambda block: block[0] == 0, blocks)
        return Bpe.fit((text for _, text in training), self.data.vocabulary)

    def kept_tokenizer(self, keep: Keep) -> Tokenizer:
        """The same, fitted once."""
        if self.data.tokenizer:
            return self.tokenizer()
        kind = KINDS[self.data.tokens]

        def fit(folder: Path) -> None:
            (folder / kind.FILE).write_text(self.tokenizer().content, encoding="utf-8")

        settings = f"bpe {self.data.vocabulary} {self.ends}" if kind is Bpe else "characters"
        return kind((keep(settings, fit) / kind.FILE).read_text(encoding="utf-8"))

    def tokens(self, tokenizer: Tokenizer) -> Iterator[Iterator[np.ndarray]]:
        """Of each part, block by block."""
        for _, blocks in itertools.groupby(self.read("splitting into tokens"), lambda block: block[0]):
            found = tokenizer.encode((text for _, text in blocks), self.name)
            yield (tokens.astype(_dtype(tokenizer)) for tokens in found)

    def kept_tokens(self, tokenizer: Tokenizer, keep: Keep) -> list[Part]:
        """Of each part, made once and mapped into memory. The digests are kept with them: to read all takes minutes."""
        names = [f"{name}.bin" for name in PARTS[: len(self.ends)]]

        def convert(folder: Path) -> None:
            digests = []
            for name, blocks in zip(names, self.tokens(tokenizer), strict=True):
                with (folder / name).open("wb") as file:
                    digests.append(_digest(blocks, file))
            (folder / "digests.json").write_text(json.dumps(digests))

        digest = hashlib.sha256(tokenizer.content.encode()).hexdigest()
        folder, dtype = keep(f"tokens and digests {digest} {self.ends}", convert), _dtype(tokenizer)
        paths = [folder / name for name in names]
        # An empty file cannot be mapped.
        tokens = [np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype) for path in paths]
        return list(map(Part, tokens, json.loads((folder / "digests.json").read_text(encoding="utf-8"))))


def _digest(blocks: Iterable[np.ndarray], file: BinaryIO | None = None) -> str:
    """Of tokens, which are written into the file on the way."""
    found = hashlib.blake2b(digest_size=16)
    for tokens in blocks:
        found.update(np.ascontiguousarray(tokens).data)
        if file:
            tokens.tofile(file)
    return found.hexdigest()


def _dtype(tokenizer: Tokenizer) -> type[np.integer]:
    return np.uint16 if len(tokenizer.pieces) <= 1 << 16 else np.int32


def _shares(data: TextDataConfig) -> list[float]:
    return [data.val_fraction, data.test_fraction] if data.test_fraction else [data.val_fraction]


def _own(data: FileDataConfig, key: str, shares: Sequence[float]) -> tuple[Text, Keep]:
    """The text that a key names, and what keeps what is made of it."""
    paths, folder = _find(data, key)
    files = [File(str(path), path.stat().st_size, _opening(path)) for path in paths]
    keep = functools.partial(convert_once, Path(data.cache) if data.cache else folder, paths)
    return Text(files, data, shares), keep


def _opening(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _find(data: FileDataConfig, key: str) -> tuple[list[Path], Path]:
    """The files of the text in order, and the folder that they are in."""
    if isinstance(data, TinyShakespeareConfig):
        folder = Path(data.root) / "tiny_shakespeare"
        return locate(folder, [TINY_SHAKESPEARE], download=data.download, verify=data.verify), folder
    name, bad = getattr(data, key), Bad(data.skip_bad)
    try:
        path = find_own(data.root, name, f"data.{key}", lambda path: path.is_file() or bool(_matches(path)[0]))
    except InputError as error:
        raise InputError(
            f"{error} that is a UTF-8 file, a folder of .txt files or a pattern of files; data.root is {data.root}"
        ) from error
    except ValueError as error:  # ** beside other characters
        raise InputError(f"data.{key} = {name!r}: {error}") from error
    if path.is_file():
        return [path], path.parent
    found, folder = _matches(path)
    if path.is_dir():
        inside = entries(path, [".txt"], bad)
        left = inside.folders
    else:
        inside = sort_out(found, [""], bad)
        # A folder that a pattern fits as it fits what is in it is not left out.
        left = [one for one in inside.folders if not any(Path(one) in Path(file).parents for file in inside.files)]
    say_left_out([(path, inside._replace(folders=left))])
    bad.say(len(inside.files))
    return [Path(file) for file in inside.files], folder


def _matches(path: Path) -> tuple[list[Path], Path]:
    """What a folder or a pattern stands for: the files, links to nothing, and folders that a pattern fits; nothing if
    there is no file and no such link. Then the folder that they are in. A suffix may be in any case."""
    folder, pattern = path, "[!.]*.txt"
    if not path.is_dir():
        fixed = list(itertools.takewhile(lambda part: not GLOB.search(part), path.parts))
        folder, pattern = Path(*fixed), str(Path(*path.parts[len(fixed) :]))
    if pattern == ".":
        return [], folder
    found = sorted(folder.glob(re.sub(r"\.[A-Za-z0-9]+$", _any_case, pattern)))
    found = [one for one in found if not any(CONVERTED.fullmatch(name) for name in one.relative_to(folder).parts)]
    return (found if any(one.is_file() or not one.exists() for one in found) else []), folder


def _any_case(suffix: re.Match[str]) -> str:
    return "".join(f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in suffix[0])
