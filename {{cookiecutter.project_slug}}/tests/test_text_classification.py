"""Text classification: names of 15 languages, what models read of a text, the loss and the metrics, one's own texts."""

import json

import numpy as np
import pytest
from conftest import everything, first_loss, metrics_of, small, steps, values_of, write_csv

from {{cookiecutter.package_name}} import load, load_config
from {{cookiecutter.package_name}}.tasks.text_classification import task
from {{cookiecutter.package_name}}.tasks.text_classification.data import beginnings
from {{cookiecutter.package_name}}.tasks.text_classification.tokens import encode, learn_word_pieces, read_word_pieces

WORDS = {"fruit": "apple pear plum cherry".split(), "tool": "hammer saw drill file".split(), "sea": "wave tide".split()}
CLASSES = sorted(WORDS)
OPTIONS = ["--data.path=texts.csv", "--data.test_path=new.csv", "--data.text=message", "--data.label=kind"]
SMALL = ["--model.name=fasttext", "--model.width=8", "--model.buckets=500", "--model.max_characters=0"]
SMALL += ["--data.batch_size=16", "--data.length=16", "--optimizer.learning_rate=0.05", "--trainer.val_every=20"]


def messages(count, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        kind = CLASSES[i % 3]
        rows.append(
            {"message": f"{rng.choice(['the', 'a'])} {rng.choice(WORDS[kind])}, {rng.integers(9)}", "kind": kind}
        )
    return rows


NEW = messages(20, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What holds the tables; to be read only."""
    folder = tmp_path_factory.mktemp("tables")
    write_csv(folder / "texts.csv", messages(120, 0))
    write_csv(folder / "new.csv", NEW)
    return folder


@pytest.fixture(scope="module")
def run(framework, folder, trained, tmp_path_factory):
    """A run on the texts, which is tested on the new ones; to be read only."""
    words = ["--framework", framework, *OPTIONS, *SMALL, *steps(60), f"--data.root={folder}"]
    return trained(tmp_path_factory.mktemp("run"), "text_classification/csv", *words)


# Data.


@pytest.fixture(scope="module")
def names():
    return task.load(load_config("text_classification", small("text_classification")), None)


def texts_of(source):
    return [row.tobytes().rstrip(b"\0").decode() for row in everything(source)["text"]]


def test_names_are_of_fifteen_languages_and_none_is_in_two_splits(names):
    splits = [names.train, names.val, names.test]
    assert len(names.spec["classes"]) == 15 and {"German", "Polish", "Turkish"} <= set(names.spec["classes"])
    assert {(batch["tokens"].dtype.name, batch["label"].dtype.name) for batch in map(everything, splits)} == {
        ("int32", "int32")
    }
    train, val, test = (set(texts_of(split)) for split in splits)
    assert len(train) > 8000 and not train & val and not train & test and not val & test


def test_a_name_is_of_its_language(names):
    splits = [names.train, names.val, names.test]
    labels = np.concatenate([everything(split)["label"] for split in splits])
    found = dict(zip(sum(map(texts_of, splits), []), labels, strict=True))
    assert [names.spec["classes"][found[name]] for name in ("Deutschland", "Allemagne")] == ["German", "French"]
    assert "Tyskland" not in found  # Danish and Swedish


def ngrams(text, length=40, **options):
    """The numbers of a text's n-grams."""
    given = {"words": 1, "shortest": 1, "longest": 0, "buckets": 1000, "lower": True}
    [row] = encode([text], {"ngrams": given | options}, length)
    return row[row > 0].tolist()


def test_a_word_has_the_same_number_everywhere_and_always():
    """Or a trained model's words would be others."""
    assert ngrams("Peso") == [ngrams("the peso")[1]] == [114]
    assert ngrams("one, two") == [*ngrams("one"), *ngrams(","), *ngrams("two")]
    assert ngrams("one two three", length=2) == ngrams("one two")


def test_pairs_of_words_and_characters_of_words_follow_the_words():
    one, two = ngrams("one"), ngrams("two")
    assert ngrams("one two", words=2)[:2] == [*one, *two] and len(ngrams("one two", words=2)) == 3
    assert len(ngrams("ab", longest=3)) == 1 + 4 + 3 + 2  # of " ab " so many of one, two and three characters


# As bert-base-uncased has it, but smaller. The numbers are those that transformers 5.23 gives (BertTokenizer).
VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] hello world un ##aff ##able , ! cafe 東 ##s the nino".split()
PUBLISHED = {
    "Hello, WORLD!": [2, 5, 10, 6, 11, 3],
    "unaffable cafés": [2, 7, 8, 9, 12, 14, 3],
    "El NIÑO 東京 [MASK]": [2, 1, 16, 13, 1, 4, 3],
    "": [2, 3],
}


def pieces(texts, tokenizer, length=12):
    return [row[row > 0].tolist() for row in encode(texts, {"tokenizer.json": tokenizer}, length)]


def test_a_vocabulary_of_hugging_face_gives_the_published_numbers(tmp_path):
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCABULARY), encoding="utf-8")
    tokenizer, count = read_word_pieces(tmp_path, True)
    assert pieces(list(PUBLISHED), tokenizer) == list(PUBLISHED.values()) and count == len(VOCABULARY)


def test_word_pieces_are_as_many_as_are_asked_for_and_stand_between_two_marks():
    tokenizer, count = learn_word_pieces(["hello, world", "hello the world"] * 5, 40, True)
    vocabulary = json.loads(tokenizer)["model"]["vocab"]
    assert count == len(vocabulary) <= 40
    assert pieces(["hello, world"], tokenizer) == [
        [vocabulary[piece] for piece in ("[CLS]", "hello", ",", "world", "[SEP]")]
    ]


# Loss and metrics.


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_the_loss_is_the_mean_cross_entropy(run):
    loss, batch, outputs = first_loss(run)
    logs = log_softmax(outputs["logits"])
    assert loss == pytest.approx(-logs[np.arange(16), batch["label"]].mean(), rel=1e-4, abs=1e-6)


def test_metrics_are_those_of_the_predictions(run):
    logits = load(run).outputs([row["message"] for row in NEW])["logits"]
    truth, found = np.array([CLASSES.index(row["kind"]) for row in NEW]), logits.argmax(1)
    right = np.array([((truth == k) & (found == k)).sum() for k in range(3)])
    f1 = 2 * right / (np.bincount(truth, minlength=3) + np.bincount(found, minlength=3))
    expected = {"accuracy": (truth == found).mean(), "macro_f1": f1.mean()}
    expected["loss"] = -log_softmax(logits)[np.arange(20), truth].mean()
    assert {name: metrics_of(run)[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_it_learns_what_a_word_stands_for(run):
    first, *_, last = values_of(run, "val/loss").values()
    assert last < first and metrics_of(run)["test/accuracy"] > 0.8


# Predictions.


def test_texts_and_the_rows_of_a_table_are_predicted(run, folder, cli):
    outcome = cli("predict", run, "A Pear", "the hammer", folder / "new.csv")
    assert outcome.code == 0, outcome.err
    header, *rows = outcome.out.splitlines()
    assert header.split() == ["input", "label", "probability"]
    assert [row.split()[-2] for row in rows[:2]] == ["fruit", "tool"]
    assert [row.split()[-2] for row in rows[2:]] == [row["label"] for row in load(run).predict(folder / "new.csv")]
    assert len(rows) == 22 and rows[2].startswith(f"{folder / 'new.csv'}, row 2 ")


def test_a_prediction_does_not_depend_on_those_beside_it(run):
    model = load(run)
    [alone] = model.predict("a wave")
    assert alone["label"] == "sea" and 1 / 3 < alone["probability"] <= 1
    assert model.predict(["a wave", "x"])[0] == alone | {"probability": pytest.approx(alone["probability"], rel=1e-4)}


# What is wrong, and what is shown.


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--data.text=massage"], "has no column 'massage': did you mean 'message'?"),
        (["--data.tokenizer=bert"], "--model.name bert_"),
        (["--data.text=kind"], "data.text and data.label are both 'kind'"),
    ],
)
def test_options_that_do_not_fit_are_one_line(complaint, framework, folder, options, part):
    words = ("--framework", framework, "--accelerator=cpu", f"--data.root={folder}", *OPTIONS, *options)
    assert part in complaint("train", "text_classification/csv", *words)


def test_examples_are_a_table_of_texts_and_labels():
    texts = ["one | two\nthree", "é" * 100, "four"]
    batch = {"text": beginnings(texts), "label": np.array([0, 1, 1])}
    logits = np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    shown = task.examples(batch, {"logits": logits}, {"classes": ["yes", "no"]})["examples"]
    first, second, third = shown.splitlines()[2:]
    assert first == "| one \\| two three | yes | yes |  |"
    assert second == f"| {'é' * 60}… | no | yes | wrong |" and third == "| four | no | no |  |"
