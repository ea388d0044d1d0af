"""What the models read of a text: the ids of its n-grams (fastText) or of its word pieces (BERT). 0 is padding."""

import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...engine.api import InputError

PAD, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"  # as BERT has them
WHOLE, PIECES, SETTINGS = "tokenizer.json", "vocab.txt", "tokenizer_config.json"  # files in Hugging Face's layout
AT_ONCE = 1000  # texts, of which the library makes large objects


def encode(texts: Sequence[str], spec: Mapping[str, Any], length: int) -> np.ndarray:
    """int32 [texts, length]: of each text the first tokens, then 0. spec: what `ngram_spec` or a tokenizer's are."""
    rows = _ngrams(texts, **spec["ngrams"]) if "ngrams" in spec else _word_pieces(texts, spec["tokenizer.json"], length)
    found = np.zeros((len(texts), length), np.int32)
    for i, row in enumerate(_shown(rows, len(texts), "tokens")):
        found[i, : len(row)] = row[:length]
    return found


def _ngrams(
    texts: Sequence[str], words: int, shortest: int, longest: int, buckets: int, lower: bool
) -> Iterator[list[int]]:
    """Words, n-grams of up to `words` words, and n-grams of characters, of which blanks between and around words are
    some; where there are too many, those of characters are cut off.

    A word is a run of letters and digits, or another character. The hash, CRC-32, is the same everywhere.
    """

    def bucket(gram: str) -> int:
        return zlib.crc32(gram.encode()) % (buckets - 1) + 1

    for text in texts:
        found = re.findall(r"\w+|[^\w\s]", text.lower() if lower else text)
        spans = [slice(i, i + n) for n in range(1, words + 1) for i in range(len(found) - n + 1)]
        row = [bucket(f"word {' '.join(found[span])}") for span in spans]
        whole = f" {' '.join(found)} "
        sizes = range(shortest, longest + 1) if found else ()
        yield row + [bucket(whole[i : i + n]) for n in sizes for i in range(len(whole) - n + 1)]


def _word_pieces(texts: Sequence[str], tokenizer: str, length: int) -> Iterator[list[int]]:
    """[CLS], the word pieces, [SEP]; of longer texts so many pieces that [SEP] still has a place."""
    splitter = _tokenizers().Tokenizer.from_str(tokenizer)
    splitter.enable_truncation(length)
    for i in range(0, len(texts), AT_ONCE):
        yield from (found.ids for found in splitter.encode_batch_fast(texts[i : i + AT_ONCE]))


def learn_word_pieces(texts: Sequence[str], size: int, lower: bool) -> tuple[str, int]:
    """A tokenizer as BERT's (Devlin et al. 2018), of the most frequent pieces of words, as JSON; and how many it has.

    The same texts give the same tokenizer: by itself, the library numbers characters within words at random.
    """
    library = _tokenizers()
    tokenizer = _bert({UNKNOWN: 0}, lower)
    special = [PAD, UNKNOWN, BEGIN, END]
    shown = _shown(texts, len(texts), "characters")
    within = {c for text in shown for c in re.findall(r"(?<=\S)\S", tokenizer.normalizer.normalize_str(text))}
    given = [*special, *(f"##{c}" for c in sorted(within))]
    trainer = library.trainers.WordPieceTrainer(vocab_size=size, special_tokens=given, show_progress=False)
    tokenizer.train_from_iterator(_shown(texts, len(texts), "word pieces"), trainer)
    return _finished(_bert(tokenizer.get_vocab(), lower))


def has_word_pieces(folder: Path) -> bool:
    """Whether `read_word_pieces` would find any."""
    return any((folder / name).is_file() for name in (WHOLE, PIECES))


def read_word_pieces(folder: Path, lower: bool) -> tuple[str, int]:
    """The tokenizer of a BERT in Hugging Face's layout, as JSON, and its number of pieces: `tokenizer.json`, or
    `vocab.txt`, whose line i is piece i, with BERT's own rules, and lower where `tokenizer_config.json` says nothing.

    Raises:
        InputError: where there is neither, or another kind of tokenizer.
    """
    if not has_word_pieces(folder):
        raise InputError(f"data.tokenizer = {str(folder)!r}: no {WHOLE} and no {PIECES} there")
    path, settings = next(folder / name for name in (WHOLE, PIECES) if (folder / name).is_file()), folder / SETTINGS
    try:
        text = path.read_text(encoding="utf-8")
        if path.name == WHOLE:
            return _finished(_tokenizers().Tokenizer.from_str(text))
        if settings.is_file():
            lower = json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", lower)
        lines = text.removesuffix("\n").split("\n")  # not at other ends of lines, which may be pieces
        return _finished(_bert({piece: i for i, piece in enumerate(lines)}, lower))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text") from error
    except Exception as error:  # of no class of its own
        raise InputError(f"{path} is no BERT's tokenizer: {error}") from error


def _shown(what: Iterable[Any], count: int, name: str) -> Iterable[Any]:
    """With a bar on a terminal, where it takes long."""
    return tqdm(what, name, count, delay=2, leave=False, disable=None)


def _bert(vocabulary: Mapping[str, int], lower: bool):
    """BERT's rules: text is cleaned and split at blanks and punctuation; where lower, it loses case and accents."""
    library = _tokenizers()
    tokenizer = library.Tokenizer(library.models.WordPiece(dict(vocabulary), unk_token=UNKNOWN))
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _finished(tokenizer) -> tuple[str, int]:
    """Raises ValueError where it lacks what BERT's has."""
    library = _tokenizers()
    ids = {piece: tokenizer.token_to_id(piece) for piece in (PAD, UNKNOWN, BEGIN, END, MASK)}
    if ids[MASK] is None:  # only pre-training needs it
        del ids[MASK]
    if ids[PAD] != 0 or None in ids.values():
        raise ValueError(f"its pieces are {ids}, but all of these are wanted and {PAD} as 0")
    tokenizer.add_special_tokens([*ids])  # as text they are not cut up
    vocabulary = tokenizer.get_vocab()
    count = max(vocabulary.values()) + 1  # there may be gaps, as where a line of vocab.txt is there twice
    if count > 2 * len(vocabulary):  # a number too large would fill the memory
        raise ValueError(f"it has {len(vocabulary)} pieces, but one of them is number {count - 1}")
    tokenizer.post_processor = library.processors.BertProcessing((END, ids[END]), (BEGIN, ids[BEGIN]))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer.to_str(), count


def _tokenizers():
    """The library, whose threads give the same as one would; without the variable it warns of them at each fork."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import tokenizers

    return tokenizers
