"""Utterances as NumPy: features of the sound, frame by frame, and what was said, as tokens."""

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from ...engine.api import (
    STRICT,
    Bad,
    Batch,
    Config,
    DataConfig,
    Dataset,
    InputError,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Sound,
    Spec,
    closest,
    option,
)
from ...engine.data.batches import ahead
from ...engine.data.conversions import convert_once
from ...engine.data.download import Remote, locate_unpacked
from ...engine.data.files import read_bytes
from ...engine.data.folders import entries, say_left_out
from ...engine.data.tables import OwnTableConfig, find_table, read_table, to_format
from ...engine.data.texts import Bpe, Characters, Tokenizer, clean, code_points, of_spec
from ...models.conformer import ConformerConfig
from ...models.speech_rnn import SpeechRnnConfig, subsampled
from .decoding import least_frames
from .sound import Features, frame_count, log_mel, mel_filters, read_sound

MOST_GROUPS = 5  # shapes of training batches, by length
BATCHES = 20  # that a group has at least, as its last partial one is dropped
DIGITS_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
T = TypeVar("T")


@dataclass(frozen=True)
class SpeechDataConfig(DataConfig):
    """What every dataset of speech has."""

    sample_rate: PositiveInt = option(16000, "Hz; sounds of other rates are brought to it")
    mels: PositiveInt = option(80, "bands of the mel scale, from 0 Hz to half the rate")
    mel_scale: Literal["htk", "slaney"] = option("htk", "the formula of the mel scale")
    window: PositiveFloat = option(0.025, "seconds of a frame")
    hop: PositiveFloat = option(0.01, "seconds from one frame to the next")
    preemphasis: Probability = option(0.97, "share of the sample before that is taken off; 0: none")
    mix_channels: bool = option(False, "take the mean of several channels; false: they are an error")
    max_seconds: PositiveFloat = option(36.0, "the longest utterance that is trained and measured on")
    tokens: Literal["characters", "bpe"] = option("characters", "what is predicted: characters, or byte-level BPE")
    vocabulary: PositiveInt = option(1024, "bpe: tokens to learn from the training texts, the 256 bytes included")
    lower: bool = option(True, "read all texts in lower case")
    val_fraction: Probability = option(0.1, "share of the training utterances that is kept for validation")
    frequency_masks: NonNegativeInt = option(0, "SpecAugment: how many runs of bands are hidden")
    frequency_mask: NonNegativeInt = option(27, "bands of such a run, at most")
    time_masks: NonNegativeInt = option(0, "SpecAugment: how many runs of frames are hidden")
    time_mask: NonNegativeInt = option(100, "frames of such a run, at most")
    time_mask_share: Probability = option(0.05, "share of an utterance that such a run hides, at most")


@dataclass(frozen=True)
class DigitsLettersConfig(SpeechDataConfig):
    """Spoken digits and letters in strings of one to eight, made of the 36 recordings of captcha 0.7 (BSD-3)."""

    sample_rate: PositiveInt = option(8000, "Hz; sounds of other rates are brought to it")
    mels: PositiveInt = option(40, "bands of the mel scale, from 0 Hz to half the rate")
    max_seconds: PositiveFloat = option(10.0, "the longest utterance that is trained and measured on")
    examples: PositiveInt = option(4000, "utterances; a tenth is for validation, another for the test")


@dataclass(frozen=True)
class FileDataConfig(SpeechDataConfig):
    """What sounds in files have."""

    cache: str = option("", "folder where features are kept; empty: beside the sounds")


@dataclass(frozen=True)
class FsddConfig(FileDataConfig):
    """3,000 spoken digits of six voices (Jackson et al. 2018), in `<root>/fsdd/recordings/{digit}_{voice}_{take}.wav`.

    Takes 0 to 4 are the test, as its publisher says."""

    sample_rate: PositiveInt = option(8000, "Hz; sounds of other rates are brought to it")
    mels: PositiveInt = option(40, "bands of the mel scale, from 0 Hz to half the rate")
    max_seconds: PositiveFloat = option(10.0, "the longest utterance that is trained and measured on")
    digits: PositiveInt = option(1, "recordings of a voice are joined to strings of up to so many")


@dataclass(frozen=True)
class LibriSpeechConfig(FileDataConfig):
    """Read books (Panayotov et al. 2015), in `<root>/LibriSpeech/<subset>/<speaker>/<chapter>/*.flac`."""

    train: str = option("train-clean-100", "subsets to train on, separated by commas")
    val: str = option("dev-clean", "subsets to validate on")
    test: str = option("test-clean", "subsets to test on")
    verify: bool = option(True, "check the archives' md5")


@dataclass(frozen=True)
class ManifestConfig(FileDataConfig, OwnTableConfig):
    """A table of your own, whose first row names the columns: sound files, and what is said in them."""

    path: str = option("", "the table, in the working folder or in root")
    sound: str = option("path", "the column of sound files, as paths from the table's folder")
    text: str = option("text", "the column of texts")
    test_fraction: Probability = option(0.1, "share of the rows that is kept for the test")
    test_path: str = option("", "a table to test on, in place of test_fraction of the rows")


SpeechConfig = Config[
    SpeechRnnConfig | ConformerConfig, DigitsLettersConfig | FsddConfig | LibriSpeechConfig | ManifestConfig
]

FSDD = "https://github.com/Jakobovski/free-spoken-digit-dataset"
FSDD_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav", re.IGNORECASE)
FSDD_TEST_TAKES = 5
# Of each archive of LibriSpeech its md5, and a file that is in it.
LIBRISPEECH = {
    "train-clean-100": ("2a93770f6d5c6c964bc36631d331a522", "103/1240/103-1240.trans.txt"),
    "train-clean-360": ("c0e676e450a7ff2f54aeade5171606fa", "14/208/14-208.trans.txt"),
    "train-other-500": ("d1a0fd59409feb2c614ce4d30c387708", "20/205/20-205.trans.txt"),
    "dev-clean": ("42e2234ba48799c1f50f24a7926300a1", "84/121123/84-121123.trans.txt"),
    "dev-other": ("c8d0bcc9cca99d4f8b62fcc847357931", "116/288045/116-288045.trans.txt"),
    "test-clean": ("32fa31d27d2e1cad72775fee3f4849a9", "61/70968/61-70968.trans.txt"),
    "test-other": ("fb5a50374b501bb3bac4815ee91d3135", "367/130732/367-130732.trans.txt"),
}


class Said(NamedTuple):
    """An utterance: its sounds, one after the other, as files; what is said; and where that stands, for errors."""

    sounds: tuple[Path, ...]
    text: str
    place: str


class Sounds(NamedTuple):
    """Features of many utterances one after the other, float16 [frames, mels]; where each begins, and the end, int64
    [utterances + 1]; and what is wrong with each, "" for nothing."""

    features: np.ndarray
    starts: np.ndarray
    faults: Sequence[str]


class Part(NamedTuple):
    """Utterances that can be learnt or measured: features, what is said, and what gives the sound itself."""

    sounds: Sounds
    rows: np.ndarray  # which of the sounds
    texts: list[str]
    places: list[str]
    hear: Callable[[int], np.ndarray]  # row -> float [samples]


def load(config: SpeechConfig, spec: Spec | None = None) -> Dataset:
    """`features`: float32 [batch, frames, mels], `frames`: int32 [batch], how many of them are real, `labels`: int32
    [batch, length], tokens from 1 on, then 0, `reference`: the same in the length that all batches have.

    The alphabet or the BPE, and the bounds by which utterances are grouped, are those of the training utterances.
    """
    data, features = config.data, features_of(config.data)
    mel_filters(features)  # may refuse
    parts, bad = READERS[type(data)](data, features)
    tokenizer = of_spec(spec) if spec else _fit(config, parts[0])
    splits = [_checked(config, part, tokenizer, bad) for part in parts]
    bad.say(sum(len(rows) for _, rows, _ in splits))
    for name, (_, rows, _) in zip(("train on", "validate on", "test on"), splits, strict=True):
        if not len(rows):
            raise InputError(f"{data.name}: there is no utterance to {name}: bring more, or raise that part's share")
    longest = longest_frames(data, features)
    if spec:
        bounds = [tuple(bound) for bound in spec["bounds"]]
    else:
        bounds = _bounds([_sizes(split) for split in splits], data.batch_size, longest)
    reference = subsampled(longest, config.model.subsampling)
    train, val, test = (Utterances(*split, [*bounds, (longest, reference)]) for split in splits)
    found = {
        "features": vars(features),
        "bounds": [list(bound) for bound in bounds],
        "longest": longest,
        "subsampling": config.model.subsampling,
        "pieces": ["", *(piece.decode("latin-1") for piece in tokenizer.pieces)],
        tokenizer.FILE: tokenizer.content,
    }
    weights = _sizes(splits[0])[1].astype(np.float64)
    drawn = isinstance(data, DigitsLettersConfig)
    hear, row = parts[1].hear, int(splits[1][1][val.groups.argmin()])  # the first that is validated

    def charts() -> dict[str, Sound]:
        return {"val/sound": Sound(hear(row), features.rate)}

    return Dataset(train, val, test, found, *spec_augment(data), weights, drawn, charts)


def features_of(data: SpeechDataConfig) -> Features:
    """Raises InputError for settings that make none."""
    if data.hop * data.sample_rate < 1 or data.window * data.sample_rate < 2:
        raise InputError(
            f"data.window = {data.window} and data.hop = {data.hop} are in seconds: at {data.sample_rate} Hz these are "
            "less than two samples, or one"
        )
    return Features(
        data.sample_rate, data.mels, data.mel_scale, data.window, data.hop, data.preemphasis, data.mix_channels
    )


def longest_frames(data: SpeechDataConfig, features: Features) -> int:
    return frame_count(round(data.max_seconds * features.rate), features)


class Utterances:
    """A source of some utterances.

    Args:
        labels: the tokens of each, int.
        bounds: (frames, tokens) of each group's batches, the smallest first; what fits into none before is of the last.
    """

    def __init__(self, sounds: Sounds, rows: np.ndarray, labels: list[np.ndarray], bounds: Sequence[tuple[int, int]]):
        self.sounds, self.rows, self.labels, self.bounds = sounds, rows, labels, bounds
        self.frames = lengths(sounds, rows)
        # The first group with room for its frames, and for its tokens.
        room = zip(np.array(bounds).T, _sizes((sounds, rows, labels)), strict=True)
        self.groups = np.max([np.searchsorted(bound, size) for bound, size in room], 0)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray) -> Batch:
        frames, tokens = self.bounds[int(self.groups[indices].max())]
        labels = padded([self.labels[i] for i in indices.tolist()], self.bounds[-1][1])
        return {
            "features": gather(self.sounds, self.rows[indices], frames),
            "frames": self.frames[indices],
            "labels": labels[:, :tokens],
            "reference": labels,
        }

    def digest(self) -> str:
        """Of all lengths and tokens, and of the features of some."""
        found = hashlib.blake2b(digest_size=16)
        for one in self.labels:
            found.update(one.astype(np.int32).tobytes() + b"|")
        found.update(self.frames.tobytes())
        some = np.unique(np.linspace(0, len(self) - 1, 64).astype(np.int64))
        found.update(gather(self.sounds, self.rows[some], int(self.frames[some].max())).tobytes())
        return found.hexdigest()


def lengths(sounds: Sounds, rows: np.ndarray) -> np.ndarray:
    """int32 [rows], in frames."""
    return np.diff(sounds.starts)[rows].astype(np.int32)


def gather(sounds: Sounds, rows: np.ndarray, frames: int) -> np.ndarray:
    """float32 [rows, frames, mels], of which what is behind the end is 0."""
    found = np.zeros((len(rows), frames, sounds.features.shape[1]), np.float32)
    for one, row in zip(found, rows.tolist(), strict=True):
        start, end = sounds.starts[row : row + 2]
        one[: end - start] = sounds.features[start:end]
    return found


def padded(labels: Sequence[np.ndarray], length: int) -> np.ndarray:
    """int32 [rows, length], 0 after the end of each."""
    found = np.zeros((len(labels), length), np.int32)
    for row, one in zip(found, labels, strict=True):
        row[: len(one)] = one
    return found


def spec_augment(
    data: SpeechDataConfig,
) -> tuple[Callable[[np.random.Generator, int], Batch] | None, Callable[[Batch], Batch] | None]:
    """SpecAugment (Park et al. 2019): runs of bands and of frames are hidden, that is 0, the mean.

    (what draws, what hides); none of both where nothing is hidden.
    """
    counts = {"frequency": data.frequency_masks, "time": data.time_masks}
    if not any(counts.values()):
        return None, None

    def draw(rng: np.random.Generator, n: int) -> Batch:
        """Of each run, where it begins and how long it is, as shares."""
        return {name: rng.random((n, count, 2)) for name, count in counts.items()}

    def augment(batch: Batch) -> Batch:
        drawn = {name: batch.pop(name) for name in counts}
        features, frames = batch["features"], batch["frames"]
        bands = hidden(drawn["frequency"], np.full(len(frames), features.shape[2]), data.frequency_mask)
        most = np.minimum(data.time_mask, data.time_mask_share * frames)
        times = hidden(drawn["time"], frames, most)
        keep = ~times(features.shape[1])[:, :, None] & ~bands(features.shape[2])[:, None]
        return {**batch, "features": features * keep}

    return draw, augment


def hidden(drawn: np.ndarray, sizes: np.ndarray, most: np.ndarray | int) -> Callable[[int], np.ndarray]:
    """Of runs, drawn: float [batch, runs, 2], in sizes: int [batch], of `most`: what is hidden, bool [batch, size]."""
    widths = np.floor(drawn[..., 1] * (np.minimum(most, sizes) + 1)[:, None])
    starts = np.floor(drawn[..., 0] * (sizes[:, None] - widths + 1))

    def of(size: int) -> np.ndarray:
        places = np.arange(size)
        return ((places >= starts[..., None]) & (places < (starts + widths)[..., None])).any(1)

    return of


def _sizes(split: tuple[Sounds, np.ndarray, list[np.ndarray]]) -> np.ndarray:
    """int [2, utterances]: frames and tokens of each."""
    sounds, rows, labels = split
    return np.stack([lengths(sounds, rows), [len(one) for one in labels]])


def _bounds(splits: Sequence[np.ndarray], batch_size: int, longest: int) -> list[tuple[int, int]]:
    """(frames, tokens) of the batches of each group, by the frames and tokens of training, validation and test.

    Of training the groups are about as large, and none is small; the last has room for all.
    """
    frames, tokens = np.concatenate(splits, 1)
    sizes = np.minimum(-(-frames // 8) * 8, longest)  # so that lengths that are almost the same have one shape
    trained = sizes[: splits[0].shape[1]]
    groups = max(1, min(MOST_GROUPS, len(trained) // (BATCHES * batch_size)))
    least, ends = len(trained) / groups / 2, [0]
    for end in np.quantile(trained, np.arange(1, groups) / groups, method="higher"):
        if ((trained > ends[-1]) & (trained <= end)).sum() >= least and (trained > end).sum() >= least:
            ends.append(int(end))
    ends = [*ends[1:], int(sizes.max())]
    return [(end, int(tokens[sizes <= end].max())) for end in ends]


def _fit(config: SpeechConfig, part: Part) -> Tokenizer:
    """Of the training texts without those that cannot be aligned: characters tell that by themselves."""
    if config.data.tokens == "bpe":
        return Bpe.fit(part.texts, config.data.vocabulary)
    pairs = zip(part.texts, _frames_left(config, part), strict=True)
    return Characters.fit([text for text, there in pairs if least_frames(code_points(text)) <= there] or part.texts)


def encode(tokenizer: Tokenizer, text: str, place: str) -> np.ndarray:
    """Tokens, int, from 1 on: 0 is the blank. Raises InputError for characters that there are no tokens for."""
    try:
        return 1 + np.concatenate(list(tokenizer.encode([text], place)))
    except InputError as error:
        raise InputError(f"{error}; trained with --data.tokens bpe, a model has tokens for all") from error


def _checked(
    config: SpeechConfig, part: Part, tokenizer: Tokenizer, bad: Bad
) -> tuple[Sounds, np.ndarray, list[np.ndarray]]:
    """Without what CTC cannot align, which `bad` takes: an utterance has at least as many frames as it takes to say
    its tokens."""
    rows, labels = [], []
    for row, text, place, there in zip(part.rows, part.texts, part.places, _frames_left(config, part), strict=True):
        try:
            if (least := least_frames(tokens := encode(tokenizer, text, place))) > there:
                raise InputError(
                    f"{place}: the {len(tokens)} tokens of the text take {least} frames, but the sound has {there}, of "
                    f"{config.data.hop * config.model.subsampling:g} s: is this its text? Or lower model.subsampling"
                )
        except InputError as error:
            bad.add(error)
            continue
        rows.append(row)
        labels.append(tokens)
    return part.sounds, np.array(rows, np.int64), labels


def _frames_left(config: SpeechConfig, part: Part) -> list[int]:
    """Of each utterance, after the model's subsampling."""
    return subsampled(lengths(part.sounds, part.rows), config.model.subsampling).tolist()


# Reading.


def _digits_letters(data: DigitsLettersConfig, features: Features) -> tuple[list[Part], Bad]:
    """Recordings in random order, faster or slower, louder or softer, with pauses, in noise."""
    import captcha  # has the recordings beside it

    folder = Path(captcha.__file__).parent / "data"
    recordings = [read_sound(folder / symbol.upper() / "default.wav", features) for symbol in DIGITS_LETTERS]
    voice = [trimmed(sound, features.rate) for sound in recordings]
    held = max(1, data.examples // 10)
    parts = []
    for i, count in enumerate((max(1, data.examples - 2 * held), held, held)):
        strings = functools.partial(spoken_strings, voice, i, features.rate)
        made = list(itertools.islice(strings(), count))
        sounds = pack(log_mel(sound, features) for sound, _ in made)
        texts = [" ".join(DIGITS_LETTERS[symbol] for symbol in symbols) for _, symbols in made]
        hear = functools.partial(_spoken_again, strings)
        parts.append(Part(sounds, np.arange(count), texts, texts, hear))
    return parts, STRICT


def spoken_strings(voice: Sequence[np.ndarray], part: int, rate: int) -> Iterator[tuple[np.ndarray, list[int]]]:
    rng = np.random.Generator(np.random.PCG64([0, part]))
    while True:
        yield spoken(voice, rng, rate)


def _spoken_again(strings: Callable[[], Iterator[tuple[np.ndarray, list[int]]]], row: int) -> np.ndarray:
    return next(itertools.islice(strings(), row, None))[0]


def trimmed(sound: np.ndarray, rate: int) -> np.ndarray:
    """Without the silence before and after: where in 10 ms there is less than a 20th of the loudest."""
    size = rate // 100
    loudness = np.sqrt(np.convolve(sound**2, np.ones(size) / size, "same"))
    loud = np.flatnonzero(loudness > 0.05 * loudness.max())
    return sound[loud[0] : loud[-1] + 1]


def spoken(voice: Sequence[np.ndarray], rng: np.random.Generator, rate: int) -> tuple[np.ndarray, list[int]]:
    """(float [samples], which recordings they are): a string of one to eight."""
    symbols = rng.integers(0, len(voice), rng.integers(1, 9)).tolist()
    pieces = [np.zeros(rng.integers(0, rate // 10))]
    for symbol in symbols:
        sound = voice[symbol]
        places = np.arange(0, len(sound) - 1, rng.uniform(0.85, 1.15))
        pieces += [rng.uniform(0.3, 1.0) * np.interp(places, np.arange(len(sound)), sound)]
        pieces += [np.zeros(rng.integers(0, rate // 10))]
    whole = np.concatenate(pieces)
    return whole + rng.normal(0, rng.uniform(0.001, 0.02), len(whole)), symbols


def pack(features: Iterable[np.ndarray]) -> Sounds:
    """In memory."""
    found = list(features)
    starts = np.cumsum([0, *map(len, found)])
    return Sounds(np.concatenate(found), starts, [""] * len(found))


def _fsdd(data: FsddConfig, features: Features) -> tuple[list[Part], Bad]:
    folder = Path(data.root) / "fsdd" / "recordings"
    if not folder.is_dir():
        raise InputError(f"{folder} is not there: put the folder `recordings` of {FSDD} there")
    bad = Bad(data.skip_bad)
    inside = entries(folder, (".wav",), bad)
    say_left_out([(folder, inside)])
    train: list[tuple[str, Said]] = []
    test: list[tuple[str, Said]] = []
    for path in map(Path, inside.files):
        if match := FSDD_NAME.fullmatch(path.name):
            digit, voice, take = match[1], match[2], int(match[3])
            (test if take < FSDD_TEST_TAKES else train).append((voice, Said((path,), digit, str(path))))
        else:
            bad.add(InputError(f"{path}: its name is not that of a recording, as 7_jackson_32.wav"))
    if not train or not test:
        raise InputError(
            f"{folder}: {len(train)} recordings to train on, takes {FSDD_TEST_TAKES} and above, and {len(test)} to test"
        )
    kept, val = split(train, data.val_fraction)
    groups = [joined(part, data.digits, i) for i, part in enumerate((kept, val, test))]
    return _parts(data, features, folder, groups, bad)


def joined(recordings: Sequence[tuple[str, Said]], most: int, seed: int) -> list[Said]:
    """Of each recording, with its voice, a string that begins with it, of one to `most` of that voice."""
    rng = np.random.Generator(np.random.PCG64([1, seed]))
    voices: dict[str, list[Said]] = {}
    for voice, said in recordings:
        voices.setdefault(voice, []).append(said)
    found = []
    for voice, first in recordings:
        others = rng.integers(0, len(voices[voice]), rng.integers(0, most)).tolist()
        all_ = [first, *(voices[voice][i] for i in others)]
        sounds = tuple(path for said in all_ for path in said.sounds)
        found.append(Said(sounds, " ".join(said.text for said in all_), first.place))
    return found


def _librispeech(data: LibriSpeechConfig, features: Features) -> tuple[list[Part], Bad]:
    root, bad = Path(data.root), Bad(data.skip_bad)
    groups = []
    for names in (data.train, data.val, data.test):
        subsets = [name.strip() for name in names.split(",") if name.strip()]
        found: list[Said] = []
        for subset in subsets:
            found += _read_subset(root, subset, data)
        if not found:
            raise InputError(f"{root / 'LibriSpeech'}: nothing in {names!r}: name subsets that are there")
        groups.append(found)
    return _parts(data, features, root / "LibriSpeech", groups, bad)


def _read_subset(root: Path, subset: str, data: LibriSpeechConfig) -> Iterator[Said]:
    folder = root / "LibriSpeech" / subset
    if not folder.is_dir():
        if subset not in LIBRISPEECH:
            raise InputError(f"{folder} is not there: {closest(subset, list(LIBRISPEECH))}")
        md5, first = LIBRISPEECH[subset]
        archive = Remote(f"{subset}.tar.gz", f"https://www.openslr.org/resources/12/{subset}.tar.gz", md5)
        members = [f"LibriSpeech/{subset}/{first}"]
        locate_unpacked(root, archive, members, download=data.download, verify=data.verify)
    for path in sorted(folder.glob("*/*/*.trans.txt")):
        for number, line in enumerate(_lines(path), 1):
            if words := line.split(maxsplit=1):
                yield Said((path.parent / f"{words[0]}.flac",), "".join(words[1:]), f"{path}, row {number}")


def _lines(path: Path) -> list[str]:
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, row {row}: byte 0x{content[error.start]:02x} is no UTF-8 text: save the file as UTF-8"
        ) from error


def _manifest(data: ManifestConfig, features: Features) -> tuple[list[Part], Bad]:
    if data.sound == data.text:
        raise InputError(f"data.sound and data.text are both {data.text!r}: these are two columns")
    bad = Bad(data.skip_bad)
    path = find_table(data)
    rows = _rows(path, data, bad)
    if data.test_path:
        test = _rows(find_table(data, "test_path"), data, bad)
    else:
        rows, test = split(rows, data.test_fraction)
    train, val = split(rows, data.val_fraction)
    return _parts(data, features, path.parent, [train, val, test], bad)


def _rows(path: Path, data: ManifestConfig, bad: Bad) -> list[Said]:
    table = read_table(path, to_format(data.format()), bad=bad)
    found = []
    for sound, text, line in zip(table.column(data.sound), table.column(data.text), table.lines, strict=True):
        if sound:
            found.append(Said((path.parent / sound,), text, f"{path}, row {line}"))
        else:
            bad.add(InputError(f"{path}, row {line}, column {data.sound}: no sound file is named"))
    return found


def split(rows: Sequence[T], fraction: float) -> tuple[list[T], list[T]]:
    """(the rest, a random `fraction`). Which ones does not depend on the run's seed."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(rows))
    cut = round(len(rows) * fraction)
    return [rows[i] for i in np.sort(order[cut:])], [rows[i] for i in np.sort(order[:cut])]


READERS: dict[type, Callable[[Any, Features], tuple[list[Part], Bad]]] = {
    DigitsLettersConfig: _digits_letters,
    FsddConfig: _fsdd,
    LibriSpeechConfig: _librispeech,
    ManifestConfig: _manifest,
}


def _parts(
    data: FileDataConfig, features: Features, folder: Path, groups: Sequence[Sequence[Said]], bad: Bad
) -> tuple[list[Part], Bad]:
    """Of training, validation and test, those that can be read, and have a text."""
    cache = Path(data.cache) if data.cache else folder
    told = [_told(group, data.lower, bad) for group in groups]
    sounds = [convert(group, features, cache, data.workers, data.skip_bad) for group in told]
    longest, parts = longest_frames(data, features), []
    for group, found in zip(told, sounds, strict=True):
        frames, rows = np.diff(found.starts), []
        for i, (said, fault) in enumerate(zip(group, found.faults, strict=True)):
            if not fault and frames[i] > longest:
                length = f"{frames[i] * data.hop:.1f} s"
                fault = f"{said.place}: {length} of sound, but data.max_seconds = {data.max_seconds:g}: raise it"
            if fault:
                bad.add(InputError(fault))
            else:
                rows.append(i)
        texts, places = [group[i].text for i in rows], [group[i].place for i in rows]
        hear = functools.partial(_heard, group, features)
        parts.append(Part(found, np.array(rows, np.int64), texts, places, hear))
    return parts, bad


def _heard(group: Sequence[Said], features: Features, row: int) -> np.ndarray:
    return np.concatenate([read_sound(path, features) for path in group[row].sounds])


def _told(group: Iterable[Said], lower: bool, bad: Bad) -> list[Said]:
    """With texts without what is not to be heard: blanks at the ends, several where one is enough, how a letter is
    made up of characters, capitals."""
    found = []
    for said in group:
        text = clean(said.text.lower() if lower else said.text)
        if text:
            found.append(said._replace(text=text))
        else:
            bad.add(InputError(f"{said.place}: the text is empty: write what is said, or leave the row out"))
    return found


def convert(group: Sequence[Said], features: Features, cache: Path, workers: int, skip: bool) -> Sounds:
    """Features of utterances, made once, and mapped into memory. Unless `skip`, the first fault is raised."""

    def read(said: Said) -> np.ndarray | str:
        try:
            return log_mel(_heard([said], features, 0), features)
        except InputError as error:
            if not skip:
                raise InputError(_placed(str(error), said)) from error
            return str(error)

    def write(folder: Path) -> None:
        faults, sizes = [], [0]
        with (folder / "features").open("wb") as file:
            bar = tqdm(group, "reading sounds", delay=2, leave=False, disable=None)
            for found in ahead(read, bar, workers):
                fault = found if isinstance(found, str) else ""
                faults.append(fault)
                sizes.append(0 if fault else len(found))
                file.write(b"" if isinstance(found, str) else found.tobytes())
        np.save(folder / "starts.npy", np.cumsum(sizes))
        (folder / "faults.json").write_text(json.dumps(faults), encoding="utf-8")

    paths = list(dict.fromkeys(path for said in group for path in said.sounds))
    there = [path for path in paths if path.is_file()]
    number = {path: i for i, path in enumerate(paths)}
    settings = features, [path.name for path in paths], [[number[path] for path in said.sounds] for said in group]
    made = convert_once(cache, there, repr(settings), write)
    starts = np.load(made / "starts.npy")
    faults = json.loads((made / "faults.json").read_text(encoding="utf-8"))
    shape = (int(starts[-1]), features.mels)
    flat = np.memmap(made / "features", np.float16, "r", shape=shape) if shape[0] else np.zeros(shape, np.float16)
    return Sounds(flat, starts, [fault and _placed(fault, said) for fault, said in zip(faults, group, strict=True)])


def _placed(fault: str, said: Said) -> str:
    """A file may stand for itself, or in a row."""
    return fault if fault.startswith(said.place) else f"{said.place}: {fault}"
