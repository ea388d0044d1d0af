"""Text into tokens and back: characters, or byte-level BPE (Sennrich et al. 2015, as in GPT-2).

A tokenizer has `pieces`, the UTF-8 bytes of each token, which joined give the text again; and `FILE`, its name in a
run's `fitted/`, where it is kept as `content`.
"""

import codecs
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .sources import Spec

PIECE = 1 << 16  # characters of a piece that a thread splits into tokens
SIGNS = {"\n": "⏎", "\t": "⇥"}
BOUNDARY = re.compile(r"(?<=\S)(?=\s)")  # where byte-level BPE begins a new word, whatever comes before


class Characters:
    """A token for each character of an alphabet, in the order of their code points."""

    FILE = "characters.json"

    def __init__(self, content: str):
        """content: the alphabet, a text in JSON."""
        self.content, alphabet = content, json.loads(content)
        self.pieces = [character.encode() for character in alphabet]
        self._codes = code_points(alphabet)

    @classmethod
    def fit(cls, texts: Iterable[str]) -> "Characters":
        alphabet: set[str] = set()
        for text in texts:
            alphabet.update(text)
        return cls(json.dumps("".join(sorted(alphabet))))

    def encode(self, texts: Iterable[str], where: str) -> Iterator[np.ndarray]:
        """Tokens, int, of the texts in order. Raises InputError, beginning with `where`, for unknown characters."""
        for codes in map(code_points, texts):
            tokens = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
            if unknown := sorted({chr(code) for code in codes[self._codes[tokens] != codes]}):
                shown = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
                raise InputError(f"{where} has {shown}, for which the model has no token: no training text has it")
            yield tokens


class Bpe:
    """Byte-level BPE, of a `tokenizer.json` as the library `tokenizers` has it. Every text can be split into it."""

    FILE = "tokenizer.json"
    PARTS = ("vocab.json", "merges.txt")  # the same in two files, as older folders have it

    def __init__(self, content: str):
        from tokenizers import Tokenizer  # takes a moment, so only when asked for

        self.content, self._tokenizer = content, Tokenizer.from_str(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        characters = {character: byte for byte, character in enumerate(byte_characters())}
        added = {token: piece.content.encode() for token, piece in self._tokenizer.get_added_tokens_decoder().items()}
        vocabulary = self._tokenizer.get_vocab()
        count = max(vocabulary.values(), default=0) + 1
        if count > 2 * len(vocabulary):  # a number too large would fill the memory
            raise InputError(f"there are {len(vocabulary)} tokens, but one of them is number {count - 1}")
        self.pieces = [b""] * count
        for piece, token in vocabulary.items():
            try:
                self.pieces[token] = added.get(token) or bytes(characters[character] for character in piece)
            except KeyError as error:
                raise InputError(f"{piece!r} in the vocabulary: this is no byte-level BPE as GPT-2 has it") from error

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int) -> "Bpe":
        """The most frequent pairs are joined until there are `vocabulary` tokens, or nothing is left to join."""
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        tokenizer = _byte_level(Tokenizer(models.BPE()))
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str())

    @classmethod
    def stands_in(cls, folder: Path) -> bool:
        """Whether `read` would find one."""
        return (folder / cls.FILE).is_file() or all((folder / part).is_file() for part in cls.PARTS)

    @classmethod
    def read(cls, path: Path) -> "Bpe":
        """path: a `tokenizer.json`, or a folder with it, or with `vocab.json` and `merges.txt`."""
        from tokenizers import Tokenizer, models

        file = path / cls.FILE if path.is_dir() else path
        try:
            if file.is_file():
                return cls(file.read_text(encoding="utf-8"))
            if not cls.stands_in(path):
                raise InputError(f"no {cls.FILE} there, nor {' with '.join(cls.PARTS)}")
            tokenizer = _byte_level(Tokenizer(models.BPE.from_file(*(str(path / part) for part in cls.PARTS))))
            tokenizer.add_special_tokens([end for end in ["<|endoftext|>"] if tokenizer.token_to_id(end) is not None])
            return cls(tokenizer.to_str())
        except InputError as error:
            raise InputError(f"data.tokenizer = {str(path)!r}: {error}") from error
        except Exception as error:  # the library raises no narrower one
            raise InputError(f"data.tokenizer = {str(path)!r}: {' '.join(str(error).split())}") from error

    def encode(self, texts: Iterable[str], where: str) -> Iterator[np.ndarray]:
        """Tokens, int, of the texts, which are split as if they were one.

        Raises InputError, beginning with `where`, unless the tokens give the same text again.
        """
        rest = ""
        for text in texts:
            pieces = list(cut(rest + text))
            rest = pieces.pop() if len(pieces[-1]) < 16 * PIECE else ""  # without blanks it may be all
            yield self._encode(pieces, where)
        yield self._encode([rest], where)

    def encode_each(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokens, int, of every text by itself."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int64) for one in found]

    def _encode(self, texts: list[str], where: str) -> np.ndarray:
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokens = np.concatenate([np.array(one.ids, np.int64) for one in found]) if found else np.array([], np.int64)
        given, got = (b"".join(parts) for parts in ([t.encode() for t in texts], [self.pieces[t] for t in tokens]))
        if given != got:
            i = next((i for i, pair in enumerate(zip(given, got, strict=False)) if len({*pair}) > 1), len(got))
            raise InputError(
                f"{where}: the tokenizer changes {given[i : i + 20].decode(errors='replace')!r}: take one that keeps "
                "text as it is, as that of GPT-2 does"
            )
        return tokens


Tokenizer = Characters | Bpe
KINDS: dict[str, type[Tokenizer]] = {"characters": Characters, "bpe": Bpe}


def of_spec(spec: Spec) -> Tokenizer:
    """The tokenizer that a run keeps."""
    return next(kind(spec[kind.FILE]) for kind in KINDS.values() if kind.FILE in spec)


def shown(piece: bytes) -> str:
    """A token on one line."""
    text = piece.decode(errors="replace")
    return "".join(c if c.isprintable() else SIGNS.get(c, repr(c)[1:-1]) for c in text)


def stream(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Pieces of text as tokens come; bytes of a character that is not whole yet are held back."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if text := decoder.decode(tokenizer.pieces[token]):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def cut(text: str) -> Iterator[str]:
    """Pieces of some PIECE characters, each with the tokens that it has in the text; the last may be longer."""
    start = 0
    while found := BOUNDARY.search(text, start + PIECE):
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def clean(text: str) -> str:
    """With one character for each letter where Unicode has one (NFC), and one blank between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary: itself, or where that is not to be seen, the
    next one from 256 on."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def _byte_level(tokenizer):
    from tokenizers import decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
