"""Miniatures of every layout of speech, through train, evaluate and predict."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import small, steps
from helpers import with_one_framework

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.speech_recognition import to_text

TASK = "speech_recognition"
# As small as in other tests, of a dataset of one's own.
SMALL = ["--model.name=rnn", "--model.layers=1", "--model.width=8", "--model.channels=2", "--model.subsampling=2"]
SMALL += ["--data.mels=8", "--data.batch_size=4", "--data.workers=0", "--accelerator=cpu", "--data.root=."]


def write_sound(path, seconds, rate=8000, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate)), rate)


def fsdd(root, takes=8, voices=("george", "jackson")):
    for digit in range(10):
        for voice in voices:
            for take in range(takes):
                path = root / "fsdd" / "recordings" / f"{digit}_{voice}_{take}.wav"
                write_sound(path, 0.2 + 0.01 * digit, seed=digit)


def librispeech(root):
    """Three subsets of two chapters of three utterances each."""
    for subset in ("train-clean-100", "dev-clean", "test-clean"):
        for speaker, chapter in ((103, 1240), (26, 495)):
            folder = root / "LibriSpeech" / subset / str(speaker) / str(chapter)
            lines = []
            for i in range(3):
                name = f"{speaker}-{chapter}-{i:04}"
                write_sound(folder / f"{name}.flac", 0.6 + 0.1 * i, 16000, i)
                lines.append(f"{name} THE CAT'S HAT{' SAT' * i}")
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("\n".join(lines) + "\n")
        (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("; the readers\n")


def manifest(root, delimiter=","):
    rows = [delimiter.join(["file", "said"])]
    for i in range(12):
        write_sound(root / "own" / "sounds" / f"{i}.wav", 0.4 + 0.05 * i, 11025, i)
        rows.append(delimiter.join([f"sounds/{i}.wav", f"wörd {'abc'[i % 3]}"]))
    (root / "own" / "said.table").write_text("\n".join(rows) + "\n", encoding="utf-8")


def load(preset, *options):
    return tasks.find(TASK).load(load_config(f"{TASK}/{preset}", [*SMALL, *options]), None)


def texts(source, spec):
    return [to_text(row, spec) for row in source[np.arange(len(source))]["reference"]]


def train_evaluate_predict(cli, preset, sound, framework, *options):
    words = [f"--framework={framework}", *SMALL, *steps(2), "--trainer.val_every=0", "--trainer.patience=0", *options]
    outcome = cli("train", f"{TASK}/{preset}", *words, "--name=mini", "--optimizer.warmup_steps=0")
    assert outcome.code == 0, outcome.err
    run = f"runs/{TASK}/{preset}/{framework}/mini"
    metrics = json.loads(Path(run, "result.json").read_text())["metrics"]
    outcome = cli("evaluate", run)
    assert outcome.code == 0, outcome.err
    assert f"{metrics['test/wer']:.4f}" in outcome.out
    outcome = cli("predict", run, sound)
    assert outcome.code == 0 and str(sound) in outcome.out, outcome.err


@with_one_framework
def test_fsdd(cli, project, framework):
    fsdd(project)
    train_evaluate_predict(cli, "fsdd", "fsdd/recordings/3_george_0.wav", framework)


def test_of_fsdd_takes_0_to_4_are_the_test(project):
    fsdd(project)
    found = load("fsdd")
    assert [len(found.train) + len(found.val), len(found.test)] == [60, 100]
    assert sorted(texts(found.test, found.spec)) == sorted(10 * [*map(str, range(10))])
    assert {*texts(found.train, found.spec)} <= {*map(str, range(10))}


def test_digits_of_a_voice_are_joined_within_their_part(project):
    fsdd(project)
    single, joined = load("fsdd"), load("fsdd", "--data.digits=3")
    lengths = [len(text.split()) for text in texts(joined.train, joined.spec)]
    assert {*lengths} == {1, 2, 3} and len(joined.train) == len(single.train)
    longer = np.array(lengths) > 1
    assert (joined.train.frames[longer] > single.train.frames[longer]).all()
    assert np.array_equal(joined.train.frames[~longer], single.train.frames[~longer])


@with_one_framework
def test_librispeech(cli, project, framework):
    librispeech(project)
    sound = "LibriSpeech/test-clean/103/1240/103-1240-0000.flac"
    train_evaluate_predict(cli, "librispeech", sound, framework)


def test_librispeech_has_its_texts_in_files_beside_the_sounds(project):
    librispeech(project)
    found = load("librispeech", "--data.train=train-clean-100, dev-clean")
    assert [len(found.train), len(found.val), len(found.test)] == [12, 6, 6]
    assert texts(found.test, found.spec)[:3] == ["the cat's hat", "the cat's hat sat", "the cat's hat sat sat"]
    assert found.test.frames[:3].tolist() == [58, 68, 78]


def test_a_subset_that_is_not_there_is_named(project):
    with pytest.raises(InputError, match="LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt: fetch them with"):
        load("librispeech")
    with pytest.raises(InputError, match="LibriSpeech/train-clear-100 is not there: did you mean"):
        load("librispeech", "--data.train=train-clear-100")


def test_fsdd_that_is_not_there_is_one_line(project):
    with pytest.raises(InputError, match="fsdd/recordings is not there: put the folder `recordings` of https://"):
        load("fsdd")


@with_one_framework
@pytest.mark.parametrize(("delimiter", "key"), [(",", ","), ("\t", "tab")])
def test_a_manifest(cli, project, framework, delimiter, key):
    manifest(project, delimiter)
    options = ["--data.path=own/said.table", f"--data.delimiter={key}", "--data.sound=file", "--data.text=said"]
    train_evaluate_predict(cli, "manifest", "own/sounds/3.wav", framework, *options)


def test_rows_of_a_manifest_go_to_one_part_each_and_sounds_are_resampled(project):
    manifest(project)
    found = load("manifest", "--data.path=own/said.table", "--data.sound=file", "--data.text=said")
    parts = [found.train, found.val, found.test]
    frames = np.sort(np.concatenate([part.frames for part in parts]))
    samples = [int(np.ceil(int(11025 * (0.4 + 0.05 * i)) * 640 / 441)) for i in range(12)]
    assert frames.tolist() == [1 + (count - 400) // 160 for count in samples]
    assert "wörd a" in texts(found.train, found.spec)


def test_a_letter_is_one_character_however_it_is_written(project):
    manifest(project)
    options = ["--data.path=own/said.table", "--data.sound=file", "--data.text=said"]
    first = load("manifest", *options).fingerprint()
    path = project / "own" / "said.table"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[::2] = [unicodedata.normalize("NFD", line).replace(" ", "\u00a0 ") for line in lines[::2]]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert load("manifest", *options).fingerprint() == first


def test_bpe_is_learnt_of_the_training_texts(project):
    manifest(project)
    options = ["--data.path=own/said.table", "--data.sound=file", "--data.text=said", "--data.tokens=bpe"]
    found = load("manifest", *options, "--data.vocabulary=258")
    assert len(found.spec["pieces"]) == 259 and texts(found.train, found.spec)[0].startswith("wörd ")


def test_features_are_kept_and_made_again_where_a_sound_or_a_setting_is_another(project):
    manifest(project)
    options = ["--data.path=own/said.table", "--data.sound=file", "--data.text=said", "--data.cache=kept"]
    first = load("manifest", *options)
    made = sorted((project / "kept").iterdir())
    again = load("manifest", *options)
    assert sorted((project / "kept").iterdir()) == made and again.fingerprint() == first.fingerprint()
    load("manifest", *options, "--data.mels=9")
    assert len(list((project / "kept").iterdir())) == 2 * len(made)
    for path in (project / "own" / "sounds").iterdir():
        write_sound(path, 1.0, 11025, 99)
    assert load("manifest", *options).fingerprint() != first.fingerprint()


def test_hidden_bands_and_frames_are_those_that_were_drawn(project):
    options = [*small(TASK), "--data.frequency_masks=1", "--data.time_masks=1"]
    found = tasks.find(TASK).load(load_config(TASK, options), None)
    batch = found.train[np.arange(3)]
    drawn = {"frequency": np.full((3, 1, 2), 0.5), "time": np.zeros((3, 1, 2))}
    drawn["time"][:, 0] = 0.0, 0.999
    changed = found.augment({**batch, **drawn})["features"]
    most = np.minimum(100, 0.05 * batch["frames"])
    for before, after, width in zip(batch["features"], changed, np.floor(0.999 * (most + 1)).astype(int), strict=True):
        assert not after[:width].any() and not after[:, 3:9].any()  # of 12 bands 6, in the middle
        seen = [0, 1, 2, 9, 10, 11]
        assert np.array_equal(after[width:, seen], before[width:, seen])
    assert found.draw(np.random.default_rng(0), 5).keys() == {"frequency", "time"}
