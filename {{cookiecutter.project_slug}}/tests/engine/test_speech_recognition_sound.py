"""Sound into features, against scipy and other formulas; and log-probabilities into text, against all alignments."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import soundfile

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.tasks.speech_recognition.decoding import (
    align,
    beam_search,
    decode,
    greedy,
    least_frames,
)
from {{cookiecutter.package_name}}.tasks.speech_recognition.sound import (
    FLOOR,
    Features,
    frame_count,
    log_mel,
    mel_filters,
    read_sound,
    resample,
    spectrogram,
)

PLAIN = {"rate": 8000, "mels": 20, "scale": "htk", "window": 0.025, "hop": 0.01, "preemphasis": 0.0, "mix": False}


def features(**options):
    return Features(**{**PLAIN, **options})


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples)


# Features.


@pytest.mark.parametrize("samples", [200, 279, 280, 1000, 8000])
def test_the_spectrogram_is_that_of_scipy(samples):
    sound = noise(samples)
    frequencies, _, expected = scipy.signal.stft(
        sound, 8000, "hann", 200, 120, 256, detrend=False, boundary=None, padded=False, scaling="spectrum"
    )
    window = scipy.signal.get_window("hann", 200)
    found = spectrogram(sound, features())
    assert len(frequencies) == found.shape[1] == 129
    assert found == pytest.approx(np.abs(expected.T * window.sum()) ** 2, rel=1e-10, abs=1e-14)
    assert len(found) == frame_count(samples, features())


@pytest.mark.parametrize("samples", [1, 7, 199])
def test_what_is_shorter_than_a_window_is_one_frame_with_silence_behind_it(samples):
    sound = noise(samples)
    assert np.array_equal(spectrogram(sound, features()), spectrogram(np.pad(sound, (0, 200 - samples)), features()))
    assert frame_count(samples, features()) == len(log_mel(sound, features())) == 1


def test_preemphasis_takes_a_share_of_the_sample_before_off():
    sound = noise(500)
    expected = scipy.signal.lfilter([1, -0.97], [1], sound)
    found = spectrogram(sound, features(preemphasis=0.97))
    assert found == pytest.approx(spectrogram(expected, features()), rel=1e-9)


def hertz(mel, scale):
    """Of a mel, by O'Shaughnessy's formula with e as its base, or by the table of Slaney's Auditory Toolbox."""
    if scale == "htk":
        return 700 * math.expm1(mel / 1127.010480)
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


@pytest.mark.parametrize(("scale", "top"), [("htk", 1127.010480 * math.log1p(4000 / 700)), ("slaney", None)])
def test_filters_are_triangles_between_the_middles_of_their_neighbours(scale, top):
    top = top or 15 + 27 * math.log(4) / math.log(6.4)
    found = mel_filters(features(scale=scale))
    edges = [hertz(top * i / 21, scale) for i in range(22)]
    for band in range(20):
        for i in range(129):
            place = np.interp(i * 31.25, edges[band : band + 3], [0, 1, 0], left=0, right=0)
            assert found[band, i] == pytest.approx(place, abs=1e-5)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_a_filter_that_would_be_empty_is_refused(scale):
    with pytest.raises(InputError, match=r"data.mels = 200: \d+ bands lie between two frequencies of a window of 256"):
        mel_filters(features(mels=200, scale=scale))
    assert mel_filters(features(mels=200, scale=scale, window=0.3)).any(1).all()


def test_each_band_has_mean_0_and_deviation_1_whatever_the_loudness():
    sound = noise(8000)
    found = log_mel(sound, features()).astype(np.float64)
    power = np.log(np.maximum(spectrogram(sound - sound.mean(), features()) @ mel_filters(features()).T, FLOOR))
    assert found == pytest.approx((power - power.mean(0)) / (power.std(0) + 1e-3), abs=3e-3)
    assert found == pytest.approx(log_mel(5 * sound, features()).astype(np.float64), abs=4e-3)


def test_a_constant_in_the_samples_changes_nothing():
    sound = noise(8000)
    assert log_mel(sound + 0.1, features()).astype(float) == pytest.approx(log_mel(sound, features()).astype(float))


def test_silence_has_features_of_0():
    assert np.array_equal(log_mel(np.zeros(1000), features()), np.zeros((11, 20)))


# Files.


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_24")])
def test_a_file_gives_the_samples_that_were_written(tmp_path, name, subtype):
    sound = noise(1000)
    soundfile.write(tmp_path / name, sound, 8000, subtype)
    assert read_sound(tmp_path / name, features()) == pytest.approx(sound, abs=2**-15)


def test_a_tone_stays_one_at_another_rate(tmp_path):
    times = np.arange(16000) / 16000
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * times), 16000)
    found = read_sound(tmp_path / "a.wav", features())
    assert len(found) == 8000
    assert found[200:-200] == pytest.approx(0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)[200:-200], abs=2e-3)


def test_tones_that_the_rate_cannot_have_are_gone():
    high = np.sin(2 * np.pi * 6000 * np.arange(16000) / 16000)
    assert np.abs(resample(high, 16000, 8000)[200:-200]).max() < 0.01


def test_channels_are_mixed_only_where_that_is_said(tmp_path):
    both = np.stack([noise(500), noise(500, 1)], 1)
    soundfile.write(tmp_path / "a.wav", both, 8000, "FLOAT")
    with pytest.raises(InputError, match="a.wav has 2 channels: save it with one, or --data.mix_channels true"):
        read_sound(tmp_path / "a.wav", features())
    assert read_sound(tmp_path / "a.wav", features(mix=True)) == pytest.approx(both.mean(1), abs=1e-6)


def test_a_file_that_can_only_be_read_in_order_is_read_whole(tmp_path):
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3200) / 8000)
    soundfile.write(tmp_path / "a.wav", sound, 8000, "GSM610")
    assert read_sound(tmp_path / "a.wav", features())[200:3200] == pytest.approx(sound[200:], abs=0.1)


def test_a_length_that_was_not_known_when_it_was_written_is_that_of_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1000), 8000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    assert len(read_sound(tmp_path / "a.wav", features())) == 1000


def write(path, what):
    """A file that is bad in some way."""
    soundfile.write(path, noise(0 if what == "empty" else 400), 8000, "FLOAT" if what == "nan" else "PCM_16")
    content = bytearray(path.read_bytes())
    if what == "text":
        content = bytearray(b"no sound at all")
    elif what == "nan":
        content[-4:] = np.float32("nan").tobytes()
    elif what == "rate":
        content[24:28] = (44100).to_bytes(4, "little")
    elif what == "no rate":
        content[24:32] = (1).to_bytes(4, "little") + (2).to_bytes(4, "little")
    elif what == "bits":
        content[34:36] = (8).to_bytes(2, "little")
    elif what == "cut off":
        content = content[:500]
    elif what == "no length":
        soundfile.write(path, noise(400), 8000, format="FLAC")
        content = bytearray(path.read_bytes())
        content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("empty", "a.wav: there is no sound in it, the length is 0"),
        ("text", "a.wav is no sound that can be read"),
        ("nan", "a.wav: a sample that is no finite number"),
        ("rate", "a.wav: its header contradicts itself: 44100 samples a second, but 16000 bytes a second, not 88200"),
        ("no rate", "a.wav: a rate of 1 Hz, which no speech has"),
        ("bits", "a.wav: its header contradicts itself: 1 channels of PCM_U8 take 1 bytes, but it says 2: save it"),
        ("cut off", "a.wav: its header says 800 bytes of sound, but 456 are there: fetch it again, or save it anew"),
        ("no length", "a.wav: a length of 9,223,372,036,854,775,807 samples, which cannot be: save it anew"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, what, part):
    write(tmp_path / "a.wav", what)
    with pytest.raises(InputError, match=part) as caught:
        read_sound(tmp_path / "a.wav", features())
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="a.wav: No such file or directory"):
        read_sound(tmp_path / "a.wav", features())


# Decoding, by all alignments: of what each frame can be, what is left of it.


def collapse(path):
    return tuple(token for token, _ in itertools.groupby(path) if token)


def likelihoods(log_probs):
    """{tokens: the sum over all alignments}, and {tokens: the likeliest alignment}."""
    sums, best = {}, {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        score = log_probs[np.arange(len(path)), path].sum()
        said = collapse(path)
        sums[said] = sums.get(said, 0) + math.exp(score)
        best[said] = max(best.get(said, (-math.inf,)), (score, path))
    return sums, best


def random_log_probs(seed, frames=5, tokens=4):
    logits = np.random.default_rng(seed).normal(0, 2, (frames, tokens))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("seed", range(20))
def test_a_wide_beam_finds_the_likeliest_of_all_texts(seed):
    sums, _ = likelihoods(log_probs := random_log_probs(seed))
    assert tuple(beam_search(log_probs, 1000)) == max(sums, key=sums.get)


def test_a_beam_finds_what_the_greedy_way_does_not():
    """Graves' example: nothing is the likeliest alignment, but of those of `1` there are more."""
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(log_probs).tolist() == [] and decode(log_probs, 2).tolist() == [1]
    assert decode(log_probs, 1).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_way_is_the_likeliest_alignment(seed):
    log_probs = random_log_probs(seed)
    assert tuple(greedy(log_probs)) == collapse(log_probs.argmax(1))


@pytest.mark.parametrize("seed", range(5))
def test_tokens_begin_where_the_likeliest_alignment_has_them(seed):
    log_probs = random_log_probs(seed, tokens=3)
    for said, (_, path) in likelihoods(log_probs)[1].items():
        begins = [i for i, token in enumerate(path) if token and (i == 0 or path[i - 1] != token)]
        assert align(log_probs, np.array(said, int)).tolist() == begins, (said, path)


def test_so_many_frames_are_needed_as_the_shortest_alignment_has():
    log_probs = random_log_probs(0, frames=4, tokens=3)
    possible = likelihoods(log_probs)[0]
    for said in itertools.chain.from_iterable(itertools.product((1, 2), repeat=n) for n in range(6)):
        assert (said in possible) == (least_frames(np.array(said, int)) <= 4)
