"""Translation: number words, pairs in files, the loss and the searches by the Transformer's formulas, the scores."""

import gzip

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, small, steps, values_of
from num2words import num2words
from sacrebleu import corpus_bleu, corpus_chrf
from test_transformer import beam_search, greedy, reference

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.engine.data.texts import Bpe
from {{cookiecutter.package_name}}.models.transformer import BOS, EOS, PAD, SPECIAL
from {{cookiecutter.package_name}}.tasks.translation import task
from {{cookiecutter.package_name}}.tasks.translation.data import encode, to_bounds
from {{cookiecutter.package_name}}.tasks.translation.scores import scores, to_text

DIGITS = "zero one two three four five six seven eight nine".split()
ZIFFERN = "null eins zwei drei vier fünf sechs sieben acht neun".split()
OPTIONS = ["--data.source_path=a.en", "--data.target_path=a.de", "--data.source=en", "--data.target=de"]
OPTIONS += ["--data.test_source_path=b.en.gz", "--data.test_target_path=b.de.gz"]
SMALL = ["--model.layers=1", "--model.heads=2", "--model.width=16", "--model.hidden=32", "--model.context=20"]
SMALL += ["--model.dropout=0", "--data.batch_size=16", "--data.vocabulary=300", "--data.groups=2"]
SMALL += ["--optimizer.learning_rate=0.01", "--trainer.val_every=20"]


def pairs(count, seed):
    """Digits in words, from last to first in the other language."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 10, rng.integers(1, 5)) for _ in range(count)]
    return [(" ".join(DIGITS[i] for i in row), " ".join(ZIFFERN[i] for i in row[::-1])) for row in rows]


NEW = pairs(20, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the files; to be read only, but for what is converted."""
    folder = tmp_path_factory.mktemp("texts")
    for path, rows, opener in (("a.{}", pairs(200, 0), open), ("b.{}.gz", NEW, gzip.open)):
        for i, language in enumerate(("en", "de")):
            with opener(folder / path.format(language), "wt", encoding="utf-8") as file:
                file.writelines(f"{row[i]}\n" for row in rows)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the files; to be read only."""
    words = ["--framework", framework, *OPTIONS, *SMALL, *steps(60), f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "translation/parallel", *words)


@pytest.fixture(scope="module")
def own(folder):
    """The files as the task reads them."""
    return task.load(load_config("translation/parallel", [*OPTIONS, *SMALL, f"--data.root={folder}"]), None)


def shown(source, spec):
    """(source, target) of each example, as text."""
    batch = everything(source)
    rows = zip(batch["source"], batch["target"], strict=True)
    return [tuple(to_text(tokens, spec["pieces"]) for tokens in row) for row in rows]


# Data.


def test_numbers_are_in_words_and_in_one_split_only():
    found = task.load(load_config("translation", small("translation")), None)
    known = {num2words(n): num2words(n, lang="es") for n in range(1000)}
    splits = [shown(split, found.spec) for split in (found.train, found.val, found.test)]
    assert all(target == known[source] for rows in splits for source, target in rows if source in known)
    assert len({source for rows in splits for source, _ in rows}) == sum(map(len, splits))


def test_files_are_read_line_by_line(own):
    assert shown(own.test, own.spec) == NEW
    assert {*shown(own.train, own.spec), *shown(own.val, own.spec)} == {*pairs(200, 0)}
    assert len(own.train) + len(own.val) == 200 and 0 < len(own.val) < 40


def test_a_batch_is_padded_to_a_length_that_its_group_has(own):
    bounds, train = own.spec["bounds"], own.train
    for group in np.unique(train.groups):
        batch = train[np.flatnonzero(train.groups == group)]
        assert batch["source"].shape[1] == bounds[group] == batch["target"].shape[1] - 1
        longest = max((batch["source"] != PAD).sum(1).max(), (batch["target"] != PAD).sum(1).max() - 1)
        assert longest <= bounds[group] and (group == 0 or longest > bounds[group - 1])
    assert batch["source"].dtype == batch["target"].dtype == np.int32


def test_texts_begin_and_end_with_tokens_of_their_own(own):
    batch = own.test[np.arange(3)]
    assert (batch["target"][:, 0] == BOS).all() and (batch["source"][:, 0] >= SPECIAL).all()
    for row in [*batch["source"], *batch["target"]]:
        assert (row == EOS).sum() == 1 and not row[np.flatnonzero(row == EOS)[0] + 1 :].any()


def test_an_example_weighs_as_many_tokens_as_its_target_has(own):
    batch = everything(own.train)
    assert own.weights.tolist() == (batch["target"][:, 1:] != PAD).sum(1).tolist()


def test_few_lengths_hold_all_texts():
    lengths = np.repeat(np.arange(2, 41), np.arange(40, 1, -1))
    assert to_bounds(lengths, 64, 1, 1) == [40, 64] and to_bounds(lengths, 40, 1, 1) == [40]
    bounds = to_bounds(lengths, 64, 6, 1)
    assert bounds == sorted(bounds) and 4 < len(bounds) <= 7 and bounds[-2:] == [40, 64]


def test_every_length_has_a_batch_of_texts():
    lengths = np.repeat([4, 9, 30, 60], [3, 50, 40, 8])
    assert to_bounds(lengths, 64, 6, 1) == [12, 32, 60, 64]
    assert to_bounds(lengths, 64, 6, 16) == [12, 60, 64]
    assert to_bounds(lengths, 64, 6, 100) == [60, 64]


def test_tokens_give_their_text_again():
    tokenizer = Bpe.fit([], 256)
    pieces = [piece.decode("latin-1") for piece in tokenizer.pieces]
    for text in ("", "Tür", "a  b €", "日本"):
        [tokens] = encode([text], tokenizer)
        assert to_text(np.array([*(tokens + SPECIAL), EOS, 7, PAD]), pieces) == text


# The loss and the translations, by the formulas of the Transformer in NumPy.


def weights_of(run):
    """(the config of a run's model, its weights)."""
    found = load(run)
    return found.config.model, found.weights()


def test_the_loss_is_the_mean_smoothed_cross_entropy_of_a_token(run):
    loss, batch, _ = first_loss(run)
    model, weights = weights_of(run)
    logits = reference(model, weights, batch["source"], batch["target"][:, :-1])
    targets, vocabulary = batch["target"][:, 1:], logits.shape[-1]
    wanted = 0.9 * np.eye(vocabulary)[targets] + 0.1 / vocabulary
    nats = np.log(np.exp(logits).sum(-1)) - (wanted * logits).sum(-1)
    assert model.label_smoothing == 0.1
    assert loss == pytest.approx(nats[targets != PAD].mean(), rel=1e-5)


def test_prediction_takes_the_likeliest_token_each_time(run, own):
    model, weights = weights_of(run)
    found = load(run).outputs([source for source, _ in NEW[:5]])["tokens"]
    expected = [greedy(model, weights, row[row != PAD]) for row in own.test[np.arange(5)]["source"]]
    assert found.tolist() == expected


def test_a_beam_is_followed_where_it_is_asked_for(run, own):
    model, weights = weights_of(run)
    found = load(run).predict([source for source, _ in NEW[:5]], beam=3, length_penalty=1.0)
    rows = [beam_search(model, weights, row[row != PAD], 3, 1.0) for row in own.test[np.arange(5)]["source"]]
    assert [row["translation"] for row in found] == [to_text(np.array(row), own.spec["pieces"]) for row in rows]


def test_metrics_are_those_of_the_translations_of_the_split(run):
    texts = [row["translation"] for row in load(run).predict([source for source, _ in NEW])]
    references = [target for _, target in NEW]
    expected = {
        "bleu": corpus_bleu(texts, [references]).score,
        "chrf": corpus_chrf(texts, [references]).score,
        "exact_match": np.mean([a == b for a, b in zip(texts, references, strict=True)]),
    }
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_it_learns_to_translate(run):
    first, *_, last = values_of(run, "val/loss").values()
    assert last < first


def test_scores_are_of_texts_up_to_their_end():
    spec = {"pieces": [" a", " b"]}
    rows = np.array([[3, EOS, 4], [3, 4, EOS]])
    found = scores({"hypotheses": rows, "references": np.array([[3, EOS, PAD], [3, 3, EOS]])}, spec)
    assert found["exact_match"] == 0.5 and found.keys() == {"bleu", "chrf", "exact_match"}


# Commands, what is wrong, and what is shown.


def test_texts_are_translated_one_a_line(run, cli):
    outcome = cli("predict", run, "one two", "three", "--beam=2", "--target=de")
    assert outcome.code == 0, outcome.err
    expected = load(run).predict(["one two", "three"], beam=2)
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == ["input", "one", "three"]
    assert [line.rstrip().endswith(row["translation"]) for line, row in zip(lines[1:], expected, strict=True)]


def test_a_file_stands_for_its_lines(run, folder, project):
    found = load(run)
    expected = found.predict([source for source, _ in NEW])
    assert found.predict(str(folder / "b.en.gz")) == expected
    (project / "one.GZ").write_bytes(gzip.compress(b"one\r\n\r\n"))
    assert found.predict(["one.GZ", " one.GZ"])[0] == found.predict("one")[0]
    assert [row["input"] for row in found.predict(["one.GZ", " one.GZ"])] == ["one", " one.GZ"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"one\n\xff\n", "a.txt, row 2: byte 0xff is no UTF-8 text"),
        (b"one\n\n" + b"nine " * 100, "a.txt, row 3: 'nine nine"),
        (b"\n", "no inputs: there is no text in the files"),
    ],
)
def test_a_line_that_cannot_be_translated_is_named(run, cli, project, content, part):
    (project / "a.txt").write_bytes(content)
    outcome = cli("predict", run, "a.txt")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and part in outcome.err


def test_a_table_is_not_translated_as_text(run, cli, project):
    (project / "a.tsv").write_text("en\tde\n")
    outcome = cli("predict", run, "a.tsv")
    assert outcome.code == 2 and "a.tsv is a table: a file that has a text a line is wanted" in outcome.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["one", "--target=fr"], "--target fr: the run translates from en into de"),
        ([""], "a text is empty"),
        (["nine " * 10_000], "has 10000 tokens, and with its end the model holds 20"),
        (["one", "--beam=0"], "beam"),
    ],
)
def test_what_cannot_be_translated_is_one_line(run, cli, words, part):
    outcome = cli("predict", run, *words)
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and part in outcome.err


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--model.heads=3", "model.width = 16 is not divisible by model.heads = 3"),
        ("--data.source_path=", "data.source_path = '' and data.target_path = 'a.de': give both"),
        ("--data.target_path=none", "data.target_path = 'none': there is neither none nor"),
        ("--data.vocabulary=100", "byte-level BPE has at least the 256 bytes"),
    ],
)
def test_options_that_do_not_fit_are_one_line(complaint, framework, folder, option, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", *OPTIONS, *SMALL, option)
    assert part in complaint("train", "translation/parallel", *words)


def test_examples_are_a_table():
    spec = {"pieces": [" a", " |", " c"]}
    batch = {"source": np.array([[3, EOS]]), "target": np.array([[BOS, 4, EOS]])}
    table = task.examples(batch, {"tokens": np.array([[3, 5, EOS]])}, spec)["examples"]
    assert table.splitlines()[-1] == "| a | \\| | a c |"
