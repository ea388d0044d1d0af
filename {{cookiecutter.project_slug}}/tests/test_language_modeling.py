"""Language modelling: Python's documentation, tokenizers, the loss and the metrics by GPT's formula, one's own text."""

import json
import math

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, small, steps, values_of
from test_gpt import published_logits

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.engine.data import texts
from {{cookiecutter.package_name}}.engine.data.texts import Bpe
from {{cookiecutter.package_name}}.models.gpt import TURNED
from {{cookiecutter.package_name}}.tasks.language_modeling import task
from {{cookiecutter.package_name}}.tasks.language_modeling.data import pydoc_text

TEXT = "".join(f"Am {i}. Tag grüßte Nr. {i * i % 97}: »Ach, {'so ' * (i % 3)}fünf €!«\n\n" for i in range(300))
OPTIONS = ["--data.path=text.txt", "--data.tokens=characters", "--data.val_fraction=0.1", "--data.test_fraction=0.1"]
SMALL = ["--model.layers=2", "--model.heads=2", "--model.width=8", "--model.context=16", "--model.dropout=0"]
SMALL += ["--data.batch_size=16", "--optimizer.learning_rate=0.01", "--trainer.val_every=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the text; to be read only."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the text; to be read only."""
    words = ["--framework", framework, *OPTIONS, *SMALL, *steps(60), f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "language_modeling/text", *words)


@pytest.fixture(scope="module")
def own(folder):
    """The text as the task reads it."""
    return task.load(load_config("language_modeling/text", [*OPTIONS, *SMALL, f"--data.root={folder}"]), None)


# Data.


def parts(found):
    """The three parts of a dataset as bytes; training has whole windows only."""
    pieces = texts.of_spec(found.spec).pieces
    starts = everything(found.train)["start"]
    windows = found.augment({"start": starts, "offset": np.zeros_like(starts)})["tokens"][:, :-1]
    kept = [row[i > 0 :] for split in (found.val, found.test) for i, row in enumerate(everything(split)["tokens"])]
    train, rest = (b"".join(pieces[k] for k in np.concatenate(rows).tolist() if k >= 0) for rows in (windows, kept))
    return train, rest


def test_the_embedded_text_is_cut_by_position():
    options = [*small("language_modeling"), "--data.val_fraction=0.1", "--data.test_fraction=0.1"]
    whole = pydoc_text().encode()
    train, rest = parts(task.load(load_config("language_modeling", options), None))
    assert len(whole) > 400_000 and whole.startswith(train) and whole.endswith(rest)
    assert [len(train), len(rest)] == pytest.approx([0.8 * len(whole), 0.2 * len(whole)], abs=70)


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_no_part_of_a_text_is_lost_or_changed(folder, tmp_path, kind):
    options = [*OPTIONS, *SMALL, f"--data.tokens={kind}", "--data.vocabulary=300", f"--data.cache={tmp_path}"]
    found = task.load(load_config("language_modeling/text", [*options, f"--data.root={folder}"]), None)
    train, rest = parts(found)
    assert TEXT.encode().startswith(train) and TEXT.encode().endswith(rest)
    assert len(train) + len(rest) == pytest.approx(len(TEXT.encode()), abs=60)
    assert found.spec["vocabulary"] == (300 if kind == "bpe" else len({*TEXT}))


def test_evaluation_predicts_every_token_but_the_first_once(own):
    batch = everything(own.val)
    inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
    assert batch["tokens"].dtype == np.int32 and batch["tokens"].shape[1] == 17
    assert np.array_equal(targets[targets >= 0], own.val.tokens[1:])
    assert np.array_equal(inputs[inputs >= 0][: len(own.val.tokens) - 1], own.val.tokens[:-1])


def test_training_windows_lie_anywhere_in_the_training_part(own):
    drawn = own.draw(np.random.default_rng(0), len(own.train))
    batch, places = own.augment({**everything(own.train), **drawn}), {*drawn["offset"].tolist()}
    pieces = texts.of_spec(own.spec).pieces
    assert places == {*range(16)} and batch["tokens"].shape == (len(own.train), 17)
    assert b"".join(pieces[token] for token in batch["tokens"][0])[:10] in parts(own)[0]


def test_characters_have_the_order_of_their_code_points(own):
    assert list(json.loads(own.spec["characters.json"])) == sorted({*TEXT})


def test_bytes_that_make_no_character_yet_are_held_back():
    tokenizer = Bpe.fit([], 256)
    euro = [tokenizer.pieces.index(bytes([byte])) for byte in "€a".encode()]
    assert list(texts.stream(euro, tokenizer)) == ["€", "a"]
    assert list(texts.stream(euro[:2], tokenizer)) == ["\ufffd"]


# Loss and metrics, by the formula of GPT-2 in NumPy.


def nats(run, rows):
    """Minus the logarithm of the probability that a run's model gives each token but the first: a list of arrays."""
    weights = {name: value.T if name.endswith(TURNED) else value for name, value in load(run).weights().items()}
    found = []
    for row in rows:
        row = row[row >= 0]
        logits = published_logits(weights, row[:-1])
        found.append(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(row) - 1), row[1:]])
    return found


def test_the_loss_is_the_mean_cross_entropy_of_a_token(run):
    loss, batch, _ = first_loss(run)
    assert batch["tokens"].shape == (16, 17)
    assert loss == pytest.approx(np.concatenate(nats(run, batch["tokens"])).mean(), rel=1e-5)


def test_metrics_are_those_over_all_tokens_of_the_split(run, own):
    batch = everything(own.test)
    found = np.concatenate(nats(run, batch["tokens"]))
    expected = {"loss": found.mean(), "perplexity": math.exp(found.mean())}
    expected["bits_per_byte"] = found.sum() / math.log(2) / batch["bytes"].sum()
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_it_learns_which_characters_follow(run, own):
    first, *_, last = values_of(run, "val/loss").values()
    assert last < first < math.log(own.spec["vocabulary"])


# Text that goes on.


def test_prediction_prints_what_follows_the_prompt(run, cli):
    outcome = cli("predict", run, "--prompt", "Am 1", "--tokens=7", "--temperature=0")
    assert outcome.code == 0, outcome.err
    assert outcome.out == load(run).predict("Am 1", tokens=7, temperature=0)[0]["output"] + "\n"


def test_without_temperature_each_token_is_the_likeliest(run, own):
    """Of what is read: when the context is full, its last half is read anew."""
    weights = {name: value.T if name.endswith(TURNED) else value for name, value in load(run).weights().items()}
    alphabet = json.loads(own.spec["characters.json"])
    text, start = [alphabet.index(character) for character in "Am 1. Tag"], 0
    for _ in range(20):
        start = start if len(text) - start <= 16 else len(text) - 8
        text.append(int(published_logits(weights, np.array(text[start:]))[-1].argmax()))
    expected = "".join(alphabet[token] for token in text[9:])
    assert load(run).predict("Am 1. Tag", tokens=20, temperature=0) == [{"input": "Am 1. Tag", "output": expected}]


def test_text_is_drawn_by_the_seed(run):
    one, same, other = (load(run, seed=seed).predict("Am 1", tokens=30)[0]["output"] for seed in (0, 0, 1))
    assert len(one) == 30 and one == same != other


# What is wrong, and what is shown.


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--model.heads=3", "model.width = 8 is not divisible by model.heads = 3"),
        ("--data.path=none.txt", "data.path = 'none.txt': there is neither none.txt nor"),
        ("--data.test_fraction=0.95", "leave nothing for training"),
    ],
)
def test_options_that_do_not_fit_are_one_line(complaint, framework, folder, option, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", *OPTIONS, *SMALL, option)
    assert part in complaint("train", "language_modeling/text", *words)


def test_a_guess_stands_below_the_token_that_it_should_have_been():
    spec = {"characters.json": json.dumps("\nab")}
    batch, outputs = {"tokens": np.array([[2, 1, 0, 2, 2, -1]])}, {"token": np.array([[1, 1, 1, 2, 2]])}
    *_, above, below = task.examples(batch, outputs, spec)["examples"].splitlines()
    assert (above, below.rstrip()) == ("    a⏎bb", "     aa")
