"""Text classification: what models read of a text, the embedded names, and what people see."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, small, steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.bad import STRICT, Bad
from {{cookiecutter.package_name}}.engine.data.tables import OwnTableConfig
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.text_classification.tokens import encode, learn_word_pieces, read_word_pieces

TASK = tasks.find("text_classification")
FAST = ["--model.name=fasttext", "--model.buckets=500", "--model.width=8", "--data.length=64"]
NGRAMS = {"words": 1, "shortest": 1, "longest": 0, "buckets": 1000, "lower": True}


# N-grams.


def ngrams(text, length=40, **options):
    """The ids of a text without padding."""
    [row] = encode([text], {"ngrams": NGRAMS | options}, length)
    return row[row > 0].tolist()


def test_case_counts_where_it_is_asked_for():
    assert ngrams("Peso", lower=False) != ngrams("peso", lower=False)


def test_pairs_of_words_follow_the_words():
    one, two, three = (ngrams(word) for word in ("one", "two", "three"))
    found = ngrams("one two three", words=2)
    assert found[:3] == [*one, *two, *three] and len(found) == 5
    assert found[3:] == [ngrams("one two", words=2)[2], ngrams("two three", words=2)[2]]


def test_characters_know_the_ends_of_a_word():
    """Of " ab c ": six of one, five of two, four of three characters."""
    found = ngrams("ab  c", longest=3)
    assert len(found) == 2 + 6 + 5 + 4
    assert found[2] == found[5] == found[7] and len(set(found[2:])) == 15 - 2  # a blank is there three times


def test_what_a_text_lacks_is_zero():
    found = encode(["one two", ""], {"ngrams": NGRAMS}, 3)
    assert (found.dtype, found[0, 2], found[1].tolist()) == (np.int32, 0, [0, 0, 0])


def test_ids_leave_no_bucket_beyond_the_table():
    found = ngrams(" ".join(map(str, range(300))), length=300, buckets=3)
    assert set(found) == {1, 2}


# Word pieces.

TEXTS = ["Hello, World!", "unaffable hello", "naïve café", "el niño\tunder the world"] * 5


def pieces(texts, tokenizer, length=12):
    return [row[row > 0].tolist() for row in encode(texts, {"tokenizer.json": tokenizer}, length)]


def test_the_same_texts_give_the_same_tokenizer():
    """In other processes, too: each has other hashes."""
    code = f"import sys, json; from {learn_word_pieces.__module__} import learn_word_pieces as learn; "
    code += "print(learn(json.loads(sys.argv[1]), 90, True)[0])"
    command = [sys.executable, "-c", code, json.dumps(TEXTS)]
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=there)
    assert other.stdout.strip() == learn_word_pieces(TEXTS, 90, True)[0], other.stderr


def test_the_vocabulary_has_the_size_that_is_asked_for():
    tokenizer, count = learn_word_pieces(TEXTS, 60, True)
    assert count == 60 == len(json.loads(tokenizer)["model"]["vocab"])


def test_a_text_stands_between_two_marks():
    tokenizer, _ = learn_word_pieces(TEXTS, 200, True)
    vocabulary = json.loads(tokenizer)["model"]["vocab"]
    assert pieces(["hello, world"], tokenizer) == [
        [vocabulary[piece] for piece in ("[CLS]", "hello", ",", "world", "[SEP]")]
    ]


def test_a_text_that_is_too_long_still_ends_with_its_mark():
    tokenizer, _ = learn_word_pieces(TEXTS, 200, True)
    whole, short = pieces(["hello, world"], tokenizer), pieces(["hello, world"], tokenizer, 4)
    assert short == [[*whole[0][:3], whole[0][-1]]]


def test_lower_takes_case_and_accents():
    tokenizer, _ = learn_word_pieces(TEXTS, 200, True)
    assert pieces(["NAÏVE Café"], tokenizer) == pieces(["naive cafe"], tokenizer)


def test_case_and_accents_stay_where_that_is_asked_for():
    tokenizer, _ = learn_word_pieces(TEXTS, 200, False)
    assert pieces(["Hello"], tokenizer) != pieces(["hello"], tokenizer)
    assert pieces(["café"], tokenizer) != pieces(["cafe"], tokenizer)


# As bert-base-uncased has it, but smaller. The ids are those that transformers 5.23 gives (BertTokenizer).
VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] hello world un ##aff ##able , ! cafe 東 ##s the nino".split()
PUBLISHED = {
    "Hello, WORLD!": [2, 5, 10, 6, 11, 3],
    "unaffable cafés": [2, 7, 8, 9, 12, 14, 3],
    "El NIÑO 東京 [MASK]": [2, 1, 16, 13, 1, 4, 3],
    "": [2, 3],
}


def folder_of(path, vocabulary=VOCABULARY):
    """A folder of Hugging Face's with vocab.txt."""
    (path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
    return path


def test_a_tokenizer_of_hugging_face_gives_them_too(tmp_path):
    """With its own padding and length, which do not count."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(read_word_pieces(folder_of(tmp_path), True)[0])
    found.enable_truncation(3)
    found.enable_padding(length=30)
    found.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "vocab.txt").unlink()
    tokenizer, _ = read_word_pieces(tmp_path, False)  # what the file says counts
    assert pieces(list(PUBLISHED), tokenizer) == list(PUBLISHED.values())


def test_a_folder_says_whether_its_vocabulary_has_lower_case(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    tokenizer, _ = read_word_pieces(folder_of(tmp_path), False)
    assert pieces(list(PUBLISHED), tokenizer) == list(PUBLISHED.values())


def test_weights_that_come_with_word_pieces_need_them(complaint, tmp_path):
    words = ["train", "text_classification", "--framework", FRAMEWORKS[0], "--accelerator=cpu"]
    line = complaint(*words, "--model.name=bert_tiny", "--init", str(folder_of(tmp_path)))
    assert f"add --data.tokenizer {tmp_path}" in line


def test_transformers_gives_the_same_ids(tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    theirs = transformers.BertTokenizer.from_pretrained(folder_of(tmp_path))
    assert theirs(list(PUBLISHED))["input_ids"] == list(PUBLISHED.values())


def no_file(folder):
    (folder / "vocab.txt").unlink()


def other_bytes(folder):
    (folder / "vocab.txt").write_bytes(b"[PAD]\nna\xefve\n")


def other_kind(folder):
    (folder / "tokenizer.json").write_text("{}")


def other_padding(folder):
    folder_of(folder, VOCABULARY[::-1])


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (no_file, "no tokenizer.json and no vocab.txt there"),
        (other_bytes, "vocab.txt is no UTF-8 text"),
        (other_kind, "tokenizer.json is no BERT's tokenizer"),
        (other_padding, "[PAD]"),
    ],
)
def test_a_folder_without_a_tokenizer_of_bert_is_one_line(complaint, project, damage, part):
    folder = project / "bert"
    folder.mkdir()
    damage(folder_of(folder))
    words = ["train", "text_classification/names_bert", "--framework", FRAMEWORKS[0], "--accelerator=cpu"]
    line = complaint(*words, "--data.tokenizer=bert")
    assert part in line and "bert" in line


# The embedded names.


def load(*options):
    return TASK.load(load_config("text_classification", [*FAST, *options]), None)


@pytest.fixture(scope="module")
def names():
    return load()


def test_the_length_is_that_of_the_longest_training_text():
    found = load("--data.length=1000").train.arrays["tokens"]
    assert found.shape[1] == (found > 0).sum(1).max() < 1000


def test_a_saved_spec_is_taken_and_not_learnt_anew():
    config = load_config("text_classification", ["--model.name=bert_tiny", "--data.vocabulary=300"])
    spec = TASK.load(config, None).spec
    other = load_config("text_classification", ["--model.name=bert_tiny", "--data.vocabulary=200"])
    assert TASK.load(other, spec).spec == spec


# Runs.


@pytest.fixture(scope="module")
def trained(cli, tmp_path_factory):
    """(how the command ended, the run's folder) by framework: of fastText, on the names."""
    found = {}
    for framework in FRAMEWORKS:
        run_dir = tmp_path_factory.mktemp(framework)
        words = [*small("text_classification"), *FAST, *steps(60), "--model.max_characters=3", "--model.buckets=5000"]
        words.append("--optimizer.learning_rate=0.05")
        outcome = cli("train", "text_classification", "--framework", framework, *words, f"--run_dir={run_dir}")
        found[framework] = outcome, run_dir / "text_classification" / "default" / framework / "001"
    return found


@pytest.fixture
def folder(trained, framework):
    """A trained run; to be read only."""
    return trained[framework][1]


def test_a_result_has_metrics_that_are_keyed_as_the_tags_are(folder):
    names = ("loss", "accuracy", "macro_f1")
    assert set(read_result(folder)["metrics"]) == {f"{split}/{name}" for split in ("val", "test") for name in names}


def test_tensorboard_shows_texts_and_charts(folder):
    events = EventAccumulator(str(folder)).Reload()
    tags = set(events.Tags()["tensors"])
    assert {"val/examples", "val/confusion_matrix", "test/confusion_matrix", "test/per_class_accuracy"} <= tags
    table = events.Tensors("val/examples")[-1].tensor_proto.string_val[0].decode()
    assert table.startswith("| text | true | predicted | |\n") and table.count("\n") == 21


def named(given, spec, bad=STRICT):
    """What `predict` calls its inputs."""
    return TASK.inputs(given, spec, bad).names


def tokens_of(given, spec):
    return TASK.inputs(given, spec).source.arrays["tokens"].tolist()


def test_gaps_of_a_column_from_python_are_empty_texts(names, capsys):
    given = ["Peso", None, float("nan"), np.float64("nan"), ""]
    assert named(given, names.spec) == ["Peso", "", "", "", ""]
    assert capsys.readouterr().err == "inputs: 4 of 5 texts are empty\n"


@pytest.fixture
def tables(project):
    """Files to predict, and the spec of a run of a table whose column of texts is `message`."""
    (project / "new.csv").write_text('id;message;kind\n1;"one; two";x\n2;Peso;\n', encoding="utf-8")
    (project / "one.txt").write_text("\ufeffPeso\n", encoding="utf-8")
    (project / "other.TXT").write_text("id;message\n7;Peso\n")
    format = OwnTableConfig(delimiter=";").format()
    return {"length": 20, "ngrams": NGRAMS, "format": format, "column": "message"}


def test_the_rows_of_a_table_are_predicted(tables, project):
    for given in ("new.csv", project / "new.csv", [Path("new.csv")]):
        assert [name.partition("new.csv")[2] for name in named(given, tables)] == [", row 2", ", row 3"]
        assert tokens_of(given, tables) == tokens_of(["one; two", "Peso"], tables)


def test_a_txt_file_is_one_text_unless_its_first_row_names_the_column(tables):
    assert named(["one.txt", "other.TXT", "a text"], tables) == ["one.txt", "other.TXT, row 2", "a text"]
    assert tokens_of(["one.txt", "other.TXT"], tables) == tokens_of(["Peso", "Peso"], tables)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("wrong.csv", "wrong.csv has no column 'message': did you mean 'massage'?"),
        ("others.csv", "others.csv has no column 'message': choose from id, label"),
        ("nwe.csv", "nwe.csv: there is no such file"),
        (Path("nwe.csv"), "nwe.csv: No such file"),
        ("folder", "folder is a folder"),
        ("bytes.txt", "bytes.txt: byte 0xff is no UTF-8 text"),
        ("zero.txt", "zero.txt: a byte 0"),
        ("a\0b", "is no UTF-8 text"),
        ("comma.csv", "the first row is one cell with ',' in it: expected ';'"),
    ],
)
def test_what_cannot_be_read_is_named_and_left_out_where_that_is_asked_for(tables, project, given, part):
    (project / "wrong.csv").write_text("id;massage\n1;a\n")
    (project / "others.csv").write_text("id;label\n1;a\n")
    (project / "comma.csv").write_text("id,message\n1,a\n")
    (project / "folder").mkdir()
    (project / "bytes.txt").write_bytes(b"\xff")
    (project / "zero.txt").write_bytes(b"a\0")
    with pytest.raises(InputError, match=re.escape(part)):
        named(given, tables)
    bad = Bad(skip=True)
    assert named(["Peso", given, "new.csv"], tables, bad) == ["Peso", "new.csv, row 2", "new.csv, row 3"]
    assert bad.count == 1 and part in bad.first[0]


def test_bad_rows_of_a_table_to_predict_are_left_out_where_that_is_asked_for(tables, project):
    (project / "new.csv").write_text("id;message\n1;a;b\n2;b\n")
    bad = Bad(skip=True)
    assert named("new.csv", tables, bad) == ["new.csv, row 3"] and bad.count == 1
    with pytest.raises(InputError, match="row 2: 3 columns, expected 2"):
        named("new.csv", tables)


def test_a_blank_makes_a_text_of_the_name_of_a_file(tables):
    assert named(" new.csv", tables) == ["new.csv"]
    assert tokens_of(" new.csv", tables) == tokens_of("new.csv ", tables) != tokens_of("new.csv", tables)


def test_a_folder_of_txt_files_is_read_where_the_run_has_such(tables, project, capsys):
    for name, text in {"neg/0.txt": "Awful.<br />Really", "pos/1.TXT": "Fine", "2.txt": "", "pos/x.md": ""}.items():
        (project / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "new" / name).write_text(text)
    spec = {**tables, "column": None}
    assert named("new", spec) == ["new/2.txt", "new/neg/0.txt", "new/pos/1.TXT"]
    said = capsys.readouterr().err.splitlines()
    assert said == ["new/pos: 1 of 2 entries is left out: 1 .md", "inputs: 1 of 3 texts is empty"]
    assert tokens_of("new", spec) == tokens_of(["", "Awful. Really", "Fine"], spec)
    with pytest.raises(InputError, match="new.csv: the run's texts are .txt files"):
        named("new.csv", spec)


def test_rows_as_those_of_ag_news_have_no_header(tables, project):
    (project / "news.csv").write_text('"3","Title","Body, more"\n')
    spec = {**tables, "format": OwnTableConfig().format(), "column": ""}
    assert named("news.csv", spec) == ["news.csv, row 1"]
    assert tokens_of("news.csv", spec) == tokens_of("Title Body, more", spec)


@pytest.mark.parametrize(("given", "part"), [([], "nothing"), (["a", 3], "int, str"), (5, "int"), ([b"a"], "bytes")])
def test_other_inputs_are_refused(names, given, part):
    with pytest.raises(InputError, match=f"or files of them, not {part}"):
        TASK.inputs(given, names.spec)


def test_bytes_that_are_no_text_are_refused(names):
    with pytest.raises(InputError, match="no UTF-8"):
        TASK.inputs("a\udcff", names.spec)


# What is wrong.


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--model.max_characters=2", "--model.min_characters=3"], "model.max_characters = 2 is less than"),
        (["--data.tokenizer=bert"], "--model.name bert_"),
        (["--model.buckets=1"], "model.buckets = 1"),
        (["--model.name=bert_tiny", "--data.length=2"], "data.length = 2"),
        (["--data.val_fraction=0"], "data.val_fraction = 0"),
        (["--data.name=csv", "--data.path=a.csv", "--data.label=text"], "data.text and data.label are both 'text'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(complaint, options, part):
    words = ["train", "text_classification", "--framework", FRAMEWORKS[0], "--accelerator=cpu"]
    assert part in complaint(*words, *options)
