"""Sound files into features: logarithms of the power in bands of the mel scale, frame by frame."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...engine.api import InputError

SUFFIXES = (".wav", ".flac")
RATES = (1000, 384000)  # what a recording of speech may have, in Hz
LONGEST = 2**31  # samples of a file
FLOOR = 1e-6  # of the power, for a sound from -1 to 1, below which there is silence
# What libsndfile notes of a WAV file's header.
ODD_RATE = re.compile(r"Bytes/sec\s*: (\d+) \(should be (\d+)\)")
CUT_OFF = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
BLOCK = re.compile(r"Block Align\s*: (\d+)")
ENDLESS = 2**31 - 2**16  # bytes: what is written while it is recorded has such a length
WIDTHS = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # bytes of a sample


@dataclass(frozen=True)
class Features:
    """How sound becomes features, which a run keeps.

    Attributes:
        rate: samples of a second, to which every sound is brought.
        mels: bands, from 0 Hz to half the rate.
        scale: how the mel scale is computed.
        window, hop: length of a frame, and from one to the next, in seconds.
        preemphasis: share of the sample before that is taken off, which lifts high tones; 0: none.
        mix: whether the channels of a sound become one.
    """

    rate: int
    mels: int
    scale: Literal["htk", "slaney"]
    window: float
    hop: float
    preemphasis: float
    mix: bool

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Samples of a window, of a hop, and of the Fourier transform, a power of two."""
        window, hop = round(self.window * self.rate), round(self.hop * self.rate)
        return window, hop, 1 << (window - 1).bit_length()


def read_sound(path: Path | str, features: Features) -> np.ndarray:
    """float32 [samples], -1 to 1, at the rate of the features, of a WAV or FLAC file.

    Raises:
        InputError: for a file that cannot be read, is empty, has a header that contradicts itself, samples that are no
            numbers, or several channels that are not to be mixed.
    """
    import soundfile  # takes a moment

    try:
        with open(path, "rb") as opened, soundfile.SoundFile(opened) as file:
            rate, fault = file.samplerate, contradiction(file.extra_info, file.samplerate, file.channels, file.subtype)
            if len(file) > LONGEST:  # as FLAC that came in a stream says, whose length is not known
                raise InputError(f"{path}: a length of {len(file):,} samples, which cannot be: save it anew")
            samples = file.read(len(file), dtype="float32", always_2d=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except soundfile.SoundFileError as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        raise InputError(f"{path} is no sound that can be read ({reason}): save it as WAV or FLAC") from error
    if fault:
        raise InputError(f"{path}: {fault}")
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(f"{path}: a rate of {rate} Hz, which no speech has: save it anew with the rate that it has")
    if not len(samples):
        raise InputError(f"{path}: there is no sound in it, the length is 0")
    if samples.shape[1] > 1 and not features.mix:
        raise InputError(f"{path} has {samples.shape[1]} channels: save it with one, or --data.mix_channels true")
    mono = samples.mean(1)
    if not np.isfinite(mono).all():
        raise InputError(f"{path}: a sample that is no finite number")
    return resample(mono, rate, features.rate)


def contradiction(notes: str, rate: int, channels: int, subtype: str) -> str:
    """What is wrong with a header, of which libsndfile has noted this; "" for nothing."""
    if found := ODD_RATE.search(notes):
        return (
            f"its header contradicts itself: {rate} samples a second, but {found[1]} bytes a second, not {found[2]}: "
            "save it anew with the rate that it has"
        )
    if (found := CUT_OFF.search(notes)) and int(found[1]) < ENDLESS:
        return f"its header says {found[1]} bytes of sound, but {found[2]} are there: fetch it again, or save it anew"
    width = channels * WIDTHS.get(subtype, 0)
    if (found := BLOCK.search(notes)) and width and int(found[1]) != width:
        return (
            f"its header contradicts itself: {channels} channels of {subtype} take {width} bytes, but it says "
            f"{found[1]}: save it anew"
        )
    return ""


def resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """float32 [samples] at another rate, without tones that it cannot have."""
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly  # takes a moment

    common = math.gcd(rate, wanted)
    return resample_poly(sound, wanted // common, rate // common).astype(np.float32)


def log_mel(sound: np.ndarray, features: Features) -> np.ndarray:
    """float16 [frames, mels]: the logarithm of the power in each band, of which each has mean 0 and deviation 1 over
    the sound, so that neither loudness nor the microphone matters; nor does a constant in the samples.

    float16 is precise enough, and takes half of the room. A sound shorter than a window is filled up with silence.
    """
    sound = sound.astype(np.float64)
    power = spectrogram(sound - sound.mean(), features)
    found = np.log(np.maximum(power @ mel_filters(features).T, FLOOR))
    return ((found - found.mean(0)) / (found.std(0) + 1e-3)).astype(np.float16)


def spectrogram(sound: np.ndarray, features: Features) -> np.ndarray:
    """float64 [frames, frequencies]: the power of each window, by a Hann window, of those that lie in the sound."""
    window, hop, size = features.sizes
    if features.preemphasis:
        sound = np.append(sound[0], sound[1:] - features.preemphasis * sound[:-1])
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return np.abs(np.fft.rfft(frames * hann, size)) ** 2


def frame_count(samples: int, features: Features) -> int:
    """How many frames `log_mel` makes of so many samples."""
    window, hop, _ = features.sizes
    return 1 + max(0, samples - window) // hop


def mel_filters(features: Features) -> np.ndarray:
    """float64 [mels, frequencies]: triangles of height 1, from the middle of the band before to that of the next one.

    Raises InputError where a band has none of the frequencies.
    """
    _, _, size = features.sizes
    to_mel, to_hertz = SCALES[features.scale]
    edges = to_hertz(np.linspace(0.0, to_mel(np.array(features.rate / 2)), features.mels + 2))
    frequencies = np.arange(size // 2 + 1) * features.rate / size
    low, middle, high = (edges[i : i + features.mels, None] for i in range(3))
    filters = np.maximum(0.0, np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle)))
    if empty := (~filters.any(1)).sum():
        raise InputError(
            f"data.mels = {features.mels}: {empty} bands lie between two frequencies of a window of {size} samples at "
            f"{features.rate} Hz: fewer bands or a longer data.window"
        )
    return filters


def _htk_mel(hertz: np.ndarray) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _htk_hertz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _slaney_mel(hertz: np.ndarray) -> np.ndarray:
    """Linear up to 1,000 Hz, 15 mel; above, 27 mel are a factor of 6.4."""
    above = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / np.log(6.4)
    return np.where(hertz < 1000.0, hertz * 3.0 / 200.0, above)


def _slaney_hertz(mel: np.ndarray) -> np.ndarray:
    above = 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, above)


SCALES = {"htk": (_htk_mel, _htk_hertz), "slaney": (_slaney_mel, _slaney_hertz)}  # there, and back
