"""Speech recognition: spoken digits and letters, the loss by all alignments, the metrics, one's own recordings."""

import itertools
import math

import numpy as np
import pytest
import soundfile
from conftest import everything, first_loss, metrics_of, small, steps, values_of, write_csv
from test_speech_rnn import rnn_log_probs

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches, eval_batches
from {{cookiecutter.package_name}}.tasks.speech_recognition import scores, task, to_text
from {{cookiecutter.package_name}}.tasks.speech_recognition.data import features_of
from {{cookiecutter.package_name}}.tasks.speech_recognition.sound import log_mel

TONES = {"a": 300, "b": 700, "c": 1500}  # the words of a language, in Hz
OPTIONS = ["--data.path=said.csv", "--data.test_path=new.csv", "--data.sound=file", "--data.text=words"]
SMALL = ["--model.name=rnn", "--model.cell=gru", "--model.layers=1", "--model.width=16", "--model.channels=4"]
SMALL += ["--model.dropout=0", "--model.subsampling=2", "--data.sample_rate=8000", "--data.mels=12", "--data.hop=0.02"]
SMALL += ["--data.window=0.03", "--data.max_seconds=1.5", "--data.time_masks=0", "--data.frequency_masks=0"]
SMALL += ["--data.batch_size=8", "--optimizer.learning_rate=0.02", "--trainer.val_every=40", "--trainer.log_every=1"]


def write_speech(folder, table, count, seed):
    """Recordings of words of 0.16 s and pauses, and a table that says what they are."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(count):
        words = rng.choice([*TONES], rng.integers(1, 4)).tolist()
        sound = [np.zeros(rng.integers(400, 900))]
        for word in words:
            sound += [np.sin(2 * np.pi * TONES[word] * np.arange(1300) / 8000), np.zeros(rng.integers(400, 900))]
        whole = 0.3 * np.concatenate(sound)
        soundfile.write(folder / f"{table}{i}.wav", whole + rng.normal(0, 0.01, len(whole)), 8000)
        rows.append({"file": f"{table}{i}.wav", "words": " ".join(words).upper()})
    write_csv(folder / f"{table}.csv", rows)
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the recordings; only what was made of them is written there."""
    folder = tmp_path_factory.mktemp("speech")
    write_speech(folder, "said", 60, 0)
    write_speech(folder, "new", 13, 1)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the recordings, which is tested on the new ones; to be read only."""
    words = ["--framework", framework, *OPTIONS, *SMALL, *steps(120), f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "speech_recognition/manifest", *words)


@pytest.fixture(scope="module")
def own(folder):
    """The recordings as the task reads them."""
    return task.load(load_config("speech_recognition/manifest", [*OPTIONS, *SMALL, f"--data.root={folder}"]), None)


# Data.


def texts_of(source, spec):
    return [to_text(row, spec) for row in everything(source)["labels"]]


def test_digits_and_letters_are_strings_of_one_to_eight():
    found = task.load(load_config("speech_recognition", small("speech_recognition")), None)
    splits = [texts_of(split, found.spec) for split in (found.train, found.val, found.test)]
    words = [text.split() for texts in splits for text in texts]
    assert {*map(len, words)} == {*range(1, 9)}
    assert {*itertools.chain(*words)} == {*"0123456789abcdefghijklmnopqrstuvwxyz"}
    assert not {*splits[0]} & {text for text in splits[2] if len(text) > 5}


def test_what_is_behind_the_end_of_a_sound_is_0(own):
    batch = everything(own.train)
    assert batch["features"].dtype == np.float32 and batch["features"].shape[2] == 12
    for features, frames in zip(batch["features"], batch["frames"].tolist(), strict=True):
        assert not features[frames:].any() and features[:frames].any(1).all()


def test_texts_are_read_in_lower_case_and_0_is_the_blank(own):
    assert own.spec["pieces"] == ["", " ", "a", "b", "c"]
    labels = everything(own.test)["labels"]
    assert labels.dtype == np.int32 and labels.max() == 4
    assert own.weights.tolist() == (everything(own.train)["labels"] > 0).sum(1).tolist()


def test_utterances_of_a_group_are_of_one_shape():
    options = [*small("speech_recognition"), "--data.examples=300", "--data.batch_size=4"]
    config = load_config("speech_recognition", options)
    found = task.load(config, None)
    bounds, frames = [bound for bound, _ in found.spec["bounds"]], found.train.frames
    assert 1 < len(bounds) <= 5 and bounds == sorted(bounds)
    for group, bound in enumerate(bounds):
        inside = np.flatnonzero(found.train.groups == group)
        assert len(inside) >= 40 and frames[inside].max() <= bound
        assert found.train[inside[:2]]["features"].shape[1] == bound
    batches = TrainBatches(found, 4, seed=0)
    assert {batches[step]["features"].shape[1] for step in range(batches.steps_per_epoch)} == {*bounds}


# Loss and metrics, by all alignments and by formulas in NumPy.


def negative_log_likelihood(log_probs, labels):
    """By the forward recursion in probabilities (Graves et al. 2006)."""
    states = [0, *itertools.chain(*((label, 0) for label in labels))]
    alpha = np.zeros(len(states))
    alpha[:2] = np.exp(log_probs[0, states[:2]])
    for frame in np.exp(log_probs[1:]):
        before = alpha.copy()
        for s, token in enumerate(states):
            ways = before[s] + (before[s - 1] if s else 0)
            ways += before[s - 2] if s > 1 and token and token != states[s - 2] else 0
            alpha[s] = ways * frame[token]
    return -math.log(alpha[-1] + alpha[-2])


def nats(run, batch):
    """Of each utterance, by the formulas: (negative log-likelihood, tokens)."""
    weights, found = load(run).weights(), []
    for features, frames, labels in zip(batch["features"], batch["frames"], batch["labels"], strict=True):
        said = labels[labels > 0].tolist()
        log_probs = rnn_log_probs(weights, features[:frames], "gru", 2)
        found.append((negative_log_likelihood(log_probs, said), len(said)))
    return np.array(found)


def test_the_loss_is_the_mean_negative_log_likelihood_of_a_token(run):
    loss, batch, _ = first_loss(run)
    total, tokens = nats(run, batch).sum(0)
    assert loss == pytest.approx(total / tokens, rel=1e-4)


def test_metrics_are_those_over_all_tokens_and_words_of_the_split(run, own, folder):
    batch = everything(own.test)
    found = load(run).predict([str(folder / f"new{i}.wav") for i in range(len(own.test))])
    total, tokens = nats(run, batch).sum(0)
    said = [to_text(labels, own.spec).split() for labels in batch["labels"]]
    wrong = sum(distance(one, row["text"].split()) for one, row in zip(said, found, strict=True))
    assert metrics_of(run)["test/loss"] == pytest.approx(total / tokens, rel=1e-4)
    assert metrics_of(run)["test/wer"] == pytest.approx(wrong / sum(map(len, said)), abs=1e-6)


def distance(one, other):
    """How many words are to be changed, put in, or left out (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row, before = [i], row
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def test_rates_are_those_of_all_words_together():
    spec = {"pieces": ["", " ", "a", "b", "é".encode().decode("latin-1")]}
    arrays = {"references": np.array([[2, 1, 3, 1, 4], [2, 0, 0, 0, 0]]), "hypotheses": np.zeros((2, 5), int)}
    arrays["hypotheses"][0, :3] = [2, 1, 4]
    assert scores(arrays, spec) == pytest.approx({"wer": 2 / 4, "cer": 3 / 6})


def test_it_learns_to_recognise_words(run):
    first, *_, last = values_of(run, "val/wer").values()
    assert last < 0.3 < first


# Predictions.


def test_prediction_says_what_is_said_and_when(run, folder, cli):
    outcome = cli("predict", run, folder / "new0.wav", "--beam=4")
    assert outcome.code == 0, outcome.err
    head, row = outcome.out.splitlines()
    assert head.split() == ["input", "text", "words"]
    [found] = load(run).predict(str(folder / "new0.wav"), beam=4)
    assert row.split() == [str(folder / "new0.wav"), *found["text"].split(), *found["words"].split()]
    times = [float(part.split()[0]) for part in found["words"].split(", ")]
    assert times == sorted(times) and [part.split()[1] for part in found["words"].split(", ")] == found["text"].split()


def test_a_folder_stands_for_the_recordings_in_it(run, tmp_path, folder):
    for name in ("b.wav", "a.wav"):
        (tmp_path / name).write_bytes((folder / "new1.wav").read_bytes())
    rows = load(run).predict(str(tmp_path))
    assert [row["input"] for row in rows] == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert rows[0]["text"] == rows[1]["text"]


# What is wrong, and what is shown.


@pytest.mark.parametrize(
    ("name", "part"),
    [("", "an input is empty: paths of sound files"), ("none.wav", "none.wav: No such file or directory")],
)
def test_what_cannot_be_heard_is_one_line(run, cli, name, part):
    outcome = cli("predict", run, name)
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and part in outcome.err


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--data.mels=200", "data.mels = 200: "),
        ("--data.path=none.csv", "data.path = 'none.csv': there is neither none.csv nor"),
        ("--data.text=file", "data.sound and data.text are both 'file'"),
        ("--data.tokens=bpe --data.vocabulary=100", "data.vocabulary = 100: byte-level BPE has at least the 256 bytes"),
    ],
)
def test_options_that_do_not_fit_are_one_line(complaint, framework, folder, option, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", *OPTIONS, *SMALL, *option.split())
    assert part in complaint("train", "speech_recognition/manifest", *words)


def test_validation_shows_texts_and_the_features_of_the_first(own):
    batch = own.val[np.arange(2)]
    log_probs = np.full((2, batch["features"].shape[1], 5), -9.0)
    log_probs[:, 0, 3] = log_probs[:, 1:, 0] = 0
    outputs = {"log_probs": log_probs, "lengths": batch["frames"]}
    found = task.examples(batch, outputs, own.spec)
    assert found["examples"].splitlines()[2] == f"| {to_text(batch['labels'][0], own.spec)} | b |"
    assert found["spectrogram"].shape == (36, 3 * batch["frames"][0], 3) and found["spectrogram"].dtype == np.uint8


@pytest.mark.parametrize("preset", ["default", "manifest"])
def test_the_sound_that_is_heard_is_that_of_the_first_spectrogram(preset, folder):
    words = [*OPTIONS, *SMALL, f"--data.root={folder}"] if preset == "manifest" else ["--data.examples=200"]
    config = load_config(f"speech_recognition/{preset}", words)
    data = task.load(config, None)
    batch = next(eval_batches(data.val, 4))
    sound = data.charts()["val/sound"]
    features = features_of(config.data)
    assert sound.rate == 8000
    assert log_mel(sound.samples, features) == pytest.approx(batch["features"][0, : batch["frames"][0]], abs=1e-2)
