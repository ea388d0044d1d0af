"""Runs of language modelling on a miniature of each layout of files: what they measure, show and write."""

import numpy as np
import pytest
from conftest import FRAMEWORKS, small, steps, values_of
from safetensors.numpy import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_gpt import published_weights
from test_language_modeling_texts import TEXT, gpt2_tokenizer, write

from {{cookiecutter.package_name}} import load
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data import texts
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result, read_spec

TASK = tasks.find("language_modeling")
CITIZEN = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n"
TINY = ("--model.heads=2", "--model.width=8", "--data.batch_size=8", "--trainer.log_every=2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with texts, and with a published model and its tokenizer; to be read only."""
    folder = tmp_path_factory.mktemp("files")
    write(folder / "tiny_shakespeare" / "input.txt", CITIZEN * 40)
    write(folder / "books" / "1.txt", TEXT)
    write(folder / "books" / "2.txt", TEXT.lower())
    _, model = gpt2_tokenizer(folder)
    save_file(published_weights(np.float32, vocabulary=300), model / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def plays(files, cli, tmp_path_factory):
    """A run of characters on tiny Shakespeare, by framework; to be read only."""
    options = (f"--data.root={files}", "--data.verify=false", "--model.layers=1", "--model.context=16")
    options += ("--data.val_fraction=0.3",)
    return {name: run(cli, tmp_path_factory, name, "tiny_shakespeare", *options) for name in FRAMEWORKS}


@pytest.fixture(scope="module")
def tuned(files, cli, tmp_path_factory):
    """A run of byte-level BPE on a folder of files, which began with a published model."""
    options = [f"--data.root={files}", "--data.path=books", f"--init={files}/old", f"--data.tokenizer={files}/old"]
    options += ["--model.layers=2", "--model.context=6", "--data.val_fraction=0.1", "--data.test_fraction=0.1"]
    return {name: run(cli, tmp_path_factory, name, "gpt2", *options) for name in FRAMEWORKS}


def run(cli, tmp_path_factory, framework, preset, *options):
    """Of eight steps; its folder."""
    run_dir = tmp_path_factory.mktemp(framework)
    words = ("train", f"{TASK.name}/{preset}", "--framework", framework, "--accelerator=cpu", f"--run_dir={run_dir}")
    events = ("--trainer.val_every=4", "--trainer.accumulate=1", "--optimizer.warmup_steps=0")
    events += ("--optimizer.learning_rate=0.01", "--accelerator.precision=float32")
    outcome = cli(*words, *TINY, *steps(8), *events, *options)
    assert outcome.code == 0, outcome.err
    return run_dir / TASK.name / preset / framework / "001"


@pytest.fixture(params=["plays", "tuned"])
def folder(request, framework):
    return request.getfixturevalue(request.param)[framework]


def test_a_run_learns(folder):
    first, *_, last = values_of(folder, "val/loss").values()
    assert last < first


def test_evaluation_gives_the_same_again(cli, folder):
    outcome = cli("evaluate", folder, "--data.batch_size=5")
    printed = {line.split()[0]: float(line.split()[1]) for line in outcome.out.splitlines()}
    expected = {tag: value for tag, value in read_result(folder)["metrics"].items() if tag.startswith("test/")}
    assert printed == pytest.approx(expected, abs=1e-4, rel=1e-5)


def test_the_tokenizer_is_kept_in_the_run(plays, tuned, files, framework):
    found = read_spec(plays[framework]), read_spec(tuned[framework])
    assert [piece.decode() for piece in texts.of_spec(found[0]).pieces] == sorted({*CITIZEN})
    assert found[1]["tokenizer.json"] == texts.Bpe.read(files / "old").content


# What TensorBoard gets.


def test_it_shows_a_text_of_validation_with_what_the_model_took_for_likelier(folder):
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Tensors("val/examples")] == [4, 8]
    text = events.Tensors("val/examples")[0].tensor_proto.string_val[0].decode()
    assert "⏎" in text and "    " in text


def test_the_projector_gets_the_vectors_of_tokens(folder):
    labels = (folder / "projector" / "wte_embedding_labels.tsv").read_text(encoding="utf-8").splitlines()
    assert len(labels) == read_spec(folder)["vocabulary"] and "" not in labels


# Text that goes on.


def test_a_text_depends_on_the_seed_alone(cli, plays, framework):
    words = ("predict", plays[framework], "--prompt=All:", "--tokens=40", "--top_k=0")
    first, again, other = (cli(*words, *seed).out for seed in ((), (), ("--seed=1",)))
    assert first == again != other


PROMPTS = {
    "too long": ("S" * 17, "the prompt has 17 tokens, but the model's context is 16: shorten it"),
    "of unknown characters": ("Sp日", "the prompt has '日', for which the model has no token"),
    "no UTF-8": ("S\udcff", "expected text in UTF-8"),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_a_prompt_that_cannot_be_read_is_one_line(complaint, plays, case):
    prompt, expected = PROMPTS[case]
    assert expected in complaint("predict", plays[FRAMEWORKS[0]], "--prompt", prompt)


@pytest.mark.parametrize("given", ["", [""], None, 3, [b"x"]])
def test_inputs_that_are_no_texts_are_one_line(plays, given):
    with pytest.raises(InputError, match="texts are wanted|the prompt is empty"):
        load(plays[FRAMEWORKS[0]]).outputs(given)


def test_weights_of_another_vocabulary_are_one_line(complaint, files, framework):
    words = ("train", TASK.name, *small(TASK.name), "--framework", framework, f"--init={files}/old/model.safetensors")
    line = complaint(*words, "--model.layers=2", "--model.width=8", "--model.context=6")
    assert "wte.weight is [300, 8] and should be" in line
