"""Recordings and texts that cannot be trained on: one line, or counted and left out."""

import numpy as np
import pytest
import soundfile
from conftest import write_csv

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import files as data_files
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import load_config

OPTIONS = ["--data.root=.", "--data.path=said.csv", "--data.batch_size=4", "--data.mels=8", "--data.workers=0"]
OPTIONS += ["--data.sample_rate=8000", "--data.val_fraction=0.2", "--data.test_fraction=0.2", "--data.max_seconds=2"]
SKIP = "--data.skip_bad=true"


def sound(path, seconds=0.5, channels=1, rate=8000):
    shape = int(seconds * 8000), channels
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, shape), rate)


def no_sound(path):
    path.write_bytes(b"no sound at all")


def another_rate(path):
    sound(path)
    content = bytearray(path.read_bytes())
    content[24:28] = (16000).to_bytes(4, "little")
    path.write_bytes(content)


# (what makes the sound, what is said in it, the end of the line)
BAD = {
    "an empty text": (sound, "  ", ": the text is empty: write what is said, or leave the row out"),
    "no sound": (lambda path: sound(path, 0), "a b", "x.wav: there is no sound in it, the length is 0"),
    "another rate": (another_rate, "a b", "x.wav: its header contradicts itself: 16000 samples a second, but 16000 "),
    "stereo": (lambda path: sound(path, channels=2), "a b", "x.wav has 2 channels: save it with one, or --data.mix_"),
    "text instead": (no_sound, "a b", "x.wav is no sound that can be read"),
    "no file": (lambda path: None, "a b", "x.wav: No such file or directory"),
    "many words": (sound, "ab " * 10_000, ": the 29999 tokens of the text take 29999 frames, but the sound has 12"),
    "repeats": (sound, "aaaaaaa", ": the 7 tokens of the text take 13 frames, but the sound has 12, of 0.04 s"),
    "too long": (lambda path: sound(path, 3), "a b", ": 3.0 s of sound, but data.max_seconds = 2: raise it"),
}


@pytest.fixture
def load(project, monkeypatch):
    """`load(*options)` is what is read of the current folder."""

    def read(*options):
        monkeypatch.setattr(data_files, "_said", set())
        return tasks.find("speech_recognition").load(
            load_config("speech_recognition/manifest", [*OPTIONS, *options]), None
        )

    return read


@pytest.fixture
def rows(project):
    """Of twenty recordings."""
    for i in range(20):
        sound(project / f"{i}.wav", 0.4 + 0.01 * i)
    return [{"path": f"{i}.wav", "text": "ab a b"[: 1 + i % 5]} for i in range(20)]


@pytest.mark.parametrize("what", BAD)
def test_what_is_bad_is_one_line_with_its_row_or_left_out(load, project, rows, capsys, what):
    make, text, end = BAD[what]
    make(project / "x.wav")
    write_csv(project / "said.csv", [*rows[:7], {"path": "x.wav", "text": text}, *rows[7:]])
    with pytest.raises(InputError) as caught:
        load()
    assert str(caught.value).startswith("said.csv, row 9") and end in str(caught.value)
    found = load(SKIP)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("data.skip_bad leaves out 1 of 21: said.csv, row 9")] == said
    write_csv(project / "said.csv", rows)
    clean = load()
    assert sum(map(len, (found.train, found.val, found.test))) == 20
    assert found.spec["pieces"] == clean.spec["pieces"]


def test_a_text_in_another_encoding_is_one_line(load, project, rows):
    write_csv(project / "said.csv", rows)
    content = (project / "said.csv").read_bytes()
    (project / "said.csv").write_bytes(content + "0.wav,grün\n".encode("latin-1"))
    with pytest.raises(InputError, match="said.csv, row 22: byte 0xfc is no UTF-8 text: save the file as UTF-8"):
        load()


def test_a_character_that_training_lacks_is_one_line(load, project, rows):
    write_csv(project / "said.csv", rows)
    write_csv(project / "new.csv", [*rows[:3], {"path": "4.wav", "text": "x"}])
    with pytest.raises(InputError, match="new.csv, row 5 has 'x', for which the model has no token"):
        load("--data.test_path=new.csv")
    assert len(load("--data.test_path=new.csv", SKIP).test) == 3
    tokens = ("--data.tokens=bpe", "--data.vocabulary=256")
    assert len(load("--data.test_path=new.csv", *tokens).test) == 4  # as the line advises


def test_a_row_without_a_file_is_one_line(load, project, rows):
    write_csv(project / "said.csv", [*rows, {"path": " ", "text": "a"}])
    with pytest.raises(InputError, match="said.csv, row 22, column path: no sound file is named"):
        load()
    assert len(load(SKIP).train) == 13


def test_what_is_kept_of_bad_sounds_is_told_with_the_row_that_they_have_now(load, project, rows, capsys):
    for before in (0, 3):
        no_sound(project / "x.wav")
        write_csv(project / "said.csv", [*rows, {"path": "x.wav", "text": "a"}])
        table = (project / "said.csv").read_bytes()
        (project / "said.csv").write_bytes(table.replace(b"\r\n", (1 + before) * b"\r\n", 1))
        load(SKIP)
        assert f"said.csv, row {22 + before}: x.wav is no sound" in capsys.readouterr().err


def test_stereo_is_mixed_where_that_is_said(load, project, rows):
    sound(project / "3.wav", channels=2)
    write_csv(project / "said.csv", rows)
    assert len(load("--data.mix_channels=true").train) == 13


def test_where_nothing_is_left_that_is_said(load, project, rows):
    write_csv(project / "said.csv", [{**row, "text": " "} for row in rows])
    with pytest.raises(InputError, match="the text is empty.*: data.skip_bad leaves nothing, as all 20 are bad"):
        load(SKIP)


def test_a_line_of_librispeech_is_named(project, load):
    folder = project / "LibriSpeech" / "train-clean-100" / "1" / "2"
    folder.mkdir(parents=True)
    sound(folder / "1-2-0000.flac")
    (folder / "1-2.trans.txt").write_text("1-2-0000 A B\n1-2-0001\n")
    for subset in ("dev-clean", "test-clean"):
        (project / "LibriSpeech" / subset).symlink_to("train-clean-100")
    config = load_config("speech_recognition/librispeech", ["--data.root=.", "--data.mels=8"])
    with pytest.raises(InputError, match="1-2.trans.txt, row 2: the text is empty"):
        tasks.find("speech_recognition").load(config, None)
    (folder / "1-2.trans.txt").write_text("1-2-0000\tA\u2028B\r\n\r\n1-2-0001 \n", encoding="utf-8", newline="")
    with pytest.raises(InputError, match="1-2.trans.txt, row 3: the text is empty"):
        tasks.find("speech_recognition").load(config, None)
    (folder / "1-2.trans.txt").write_bytes(b"1-2-0000 A\n1-2-0001 \xff\n")
    with pytest.raises(InputError, match="1-2.trans.txt, row 2: byte 0xff is no UTF-8 text"):
        tasks.find("speech_recognition").load(config, None)
