"""Text classification on a miniature of every layout of files: AG News, IMDb, SST-2, tables of one's own."""

import hashlib
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS
from helpers import with_one_framework
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.download import Remote
from {{cookiecutter.package_name}}.engine.data.sources import Arrays
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result, read_spec
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.text_classification import data
from {{cookiecutter.package_name}}.tasks.text_classification.data import CsvConfig, _classes, read_beginning

TASK = tasks.find("text_classification")
SMALL = ["--accelerator=cpu", "--data.batch_size=16", "--model.buckets=300", "--model.width=4"]


def load(preset, *options):
    """The dataset of a preset."""
    return TASK.load(load_config(f"text_classification/{preset}", list(options)), None)


def refused(*words):
    with pytest.raises(InputError) as caught:
        load(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shown(source, spec):
    """(text, class) of each example."""
    rows = zip(source.arrays["text"], source.arrays["label"], strict=True)
    return [(read_beginning(text), spec["classes"][label]) for text, label in rows]


def assert_commands_work(cli, preset, framework, classes, *options):
    """train, evaluate and predict."""
    outcome = cli(
        "train", f"text_classification/{preset}", "--framework", framework, *options, "--debug=fast", "--name=a"
    )
    assert outcome.code == 0, outcome.err
    folder = f"runs/text_classification/{preset}/{framework}/a"
    result = read_result(Path(folder))
    assert cli("evaluate", folder).out.split()[:2] == ["test/accuracy", f"{result['metrics']['test/accuracy']:.4f}"]
    predicted = cli("predict", folder, "some text").out.splitlines()
    assert predicted[0].split() == ["input", "label", "probability"]
    assert any(f"  {name}  " in predicted[1] for name in classes)


# AG News: no names of columns, every cell in quotes, quotes within doubled, and backslashes as they are.

NEWS = [
    '"3","Wall St. Bears Claw Back Into the Black (Reuters)","Reuters - Short-sellers, Wall Street\'s band."',
    '"1","Six ""brave"" men","AP - It was \\$5, they said\\again."',
    '"4","Comets, Asteroids","Planets around the sun, &lt;b&gt; and #39;more"',
    '"2","Olympics","Späte Tore, 東京"',
]
KINDS = ["World", "Sports", "Business", "Sci/Tech"]


@pytest.fixture(scope="session")
def news(tmp_path_factory):
    """The folder that holds `ag_news/`; to be read only."""
    root = tmp_path_factory.mktemp("news")
    (root / "ag_news").mkdir()
    for name, count in (("train", 10), ("test", 3)):
        (root / "ag_news" / f"{name}.csv").write_bytes("".join(f"{row}\n" for row in NEWS * count).encode())
    return root


def test_ag_news_has_title_and_description_in_one_text(news):
    found = load("ag_news", f"--data.root={news}", "--data.verify=false")
    rows = shown(found.test, found.spec)
    assert rows[1] == ('Six "brave" men AP - It was \\$5, they said\\again.', "World")
    assert rows[3] == ("Olympics Späte Tore, 東京", "Sports")
    assert [kind for _, kind in rows[:4]] == ["Business", "World", "Sci/Tech", "Sports"]


def test_ag_news_has_its_splits(news):
    found = load("ag_news", f"--data.root={news}", "--data.verify=false")
    assert (len(found.train), len(found.val), len(found.test)) == (36, 4, 12)
    assert found.spec["classes"] == KINDS


def test_ag_news_is_verified(news):
    assert "has md5" in refused("ag_news", f"--data.root={news}")


def test_ag_news_that_is_missing_names_its_files_place_and_source(tmp_path):
    line = refused("ag_news", f"--data.root={tmp_path}")
    assert "train.csv, test.csv" in line and str(tmp_path / "ag_news") in line
    assert "CharCnn_Keras" in line and "--data.download true" in line


@with_one_framework
def test_ag_news_with_fasttext(cli, project, framework, news):
    assert_commands_work(cli, "ag_news", framework, KINDS, *SMALL, f"--data.root={news}", "--data.verify=false")


@with_one_framework
def test_ag_news_with_bert(cli, project, framework, news):
    options = ["--accelerator=cpu", "--data.batch_size=16", "--model.name=bert_tiny", "--data.vocabulary=150"]
    options += ["--data.length=24", f"--data.root={news}", "--data.verify=false"]
    assert_commands_work(cli, "ag_news_bert", framework, KINDS, *options)
    [run] = project.glob("runs/*/*/*/a")
    assert (run / "fitted" / "tokenizer.json").is_file() and read_spec(run)["vocabulary"] == 150


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ('"5","a","b"', "row 41, column 1: label '5': choose from 1, 2, 3, 4"),
        ('"1","a"', "row 41: 2 columns, expected 3"),
        ('"1","a","b" c', "row 41"),
    ],
)
def test_rows_that_are_not_of_ag_news_are_one_line(complaint, project, news, row, part):
    shutil.copytree(news, project / "data")
    with (project / "data" / "ag_news" / "train.csv").open("a") as file:
        file.write(f"{row}\n")
    words = ["train", "text_classification/ag_news", "--framework", FRAMEWORKS[0], "--accelerator=cpu"]
    assert part in complaint(*words, "--data.verify=false")


# IMDb: a file a review, named after its number and its rating, UTF-8, no line's end, <br /> between paragraphs.


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """The folder that holds `aclImdb/`, with what else the archive has; to be read only."""
    root = tmp_path_factory.mktemp("imdb")
    for split, count in (("train", 12), ("test", 4)):
        for label, rating, word in (("pos", 9, "Brilliant"), ("neg", 2, "Awful")):
            folder = root / "aclImdb" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                text = f"{word} film, number {i}.<br /><br />“Café” scenes."
                (folder / f"{i}_{rating}.txt").write_bytes(text.encode())
        (root / "aclImdb" / split / "labeledBow.feat").write_text("9 0:9\n")
    (root / "aclImdb" / "train" / "unsup").mkdir()
    (root / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("Not labelled.")
    for split, label, name in (
        ("train", "neg", "0_3"),
        ("train", "pos", "0_9"),
        ("test", "neg", "0_2"),
        ("test", "pos", "0_10"),
    ):
        (root / "aclImdb" / split / label / f"{name}.txt").write_bytes(b"The first.")
    return root


def test_imdb_has_a_text_for_each_file(reviews):
    found = load("imdb", f"--data.root={reviews}")
    rows = shown(found.test, found.spec)
    assert (len(found.train) + len(found.val), len(rows)) == (25, 9)
    assert rows[1] == ("Awful film, number 1.  “Café” scenes.", "negative")
    assert found.spec["classes"] == ["negative", "positive"]
    assert {kind for text, kind in rows if text.startswith("Brilliant")} == {"positive"}


def test_imdb_is_downloaded_and_unpacked_where_that_is_asked_for(reviews, tmp_path, monkeypatch):
    path = tmp_path / "elsewhere" / "aclImdb_v1.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(reviews / "aclImdb", "aclImdb")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(data, "IMDB_ARCHIVE", Remote(path.name, path.as_uri(), md5))
    assert len(load("imdb", f"--data.root={tmp_path / 'data'}", "--data.download=true").test) == 9


def test_imdb_that_is_missing_names_its_place_and_source(tmp_path):
    line = refused("imdb", f"--data.root={tmp_path}")
    assert str(tmp_path) in line and "aclImdb_v1.tar.gz from https://ai.stanford.edu" in line


def test_a_review_that_is_no_text_names_its_file(reviews, tmp_path):
    shutil.copytree(reviews, tmp_path / "data")
    (tmp_path / "data/aclImdb/train/pos/7_9.txt").write_bytes(b"na\xefve")
    line = refused("imdb", f"--data.root={tmp_path / 'data'}")
    assert str(tmp_path / "data/aclImdb/train/pos/7_9.txt") in line and "byte 0xef" in line


def test_folders_without_reviews_are_said_to_be_so(tmp_path):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            (tmp_path / "aclImdb" / split / label).mkdir(parents=True)
    assert "have no .txt files" in refused("imdb", f"--data.root={tmp_path}")


@with_one_framework
def test_imdb_works(cli, project, framework, reviews):
    assert_commands_work(cli, "imdb", framework, ["negative", "positive"], *SMALL, f"--data.root={reviews}")


# SST-2: names of columns, tabs, nothing quoted, and quotes as they stand.

PHRASES = [
    "hide new secretions from the parental units \t0\n",
    "that loves its characters\t1\n",
    '"good" , but `` not\t0\n',
]


@pytest.fixture(scope="session")
def phrases(tmp_path_factory):
    """The folder that holds `SST-2/`, with what else the archive has; to be read only."""
    folder = tmp_path_factory.mktemp("sst") / "SST-2"
    folder.mkdir()
    (folder / "train.tsv").write_bytes(("sentence\tlabel\n" + "".join(PHRASES * 10)).encode())
    (folder / "dev.tsv").write_bytes(("sentence\tlabel\n" + "".join(PHRASES * 2)).encode())
    (folder / "test.tsv").write_bytes(b"index\tsentence\n0\tuneasy mishmash\n")
    return folder.parent


def test_sst2_tests_on_dev(phrases):
    found = load("sst2", f"--data.root={phrases}")
    assert shown(found.test, found.spec) == 2 * [
        ("hide new secretions from the parental units", "negative"),
        ("that loves its characters", "positive"),
        ('"good" , but `` not', "negative"),
    ]
    assert (len(found.train), len(found.val)) == (27, 3)


def test_sst2_is_unpacked_from_its_archive(phrases, tmp_path, monkeypatch):
    path = tmp_path / "SST-2.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("train.tsv", "dev.tsv", "test.tsv"):
            packed.write(phrases / "SST-2" / name, f"SST-2/{name}")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(data, "SST2_ARCHIVE", Remote(path.name, "https://nowhere.example/SST-2.zip", md5))
    assert len(load("sst2", f"--data.root={tmp_path}").test) == 6


def test_sst2_that_is_missing_names_its_files_place_and_source(tmp_path):
    line = refused("sst2", f"--data.root={tmp_path}")
    assert "SST-2/train.tsv, SST-2/dev.tsv" in line and "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip" in line


@with_one_framework
def test_sst2_works(cli, project, framework, phrases):
    assert_commands_work(cli, "sst2", framework, ["negative", "positive"], *SMALL, f"--data.root={phrases}")
    events = EventAccumulator(f"runs/text_classification/sst2/{framework}/a").Reload()
    rows = make_ndarray(events.Tensors("test/precision_recall")[-1].tensor_proto)  # of the second of two classes
    labels = load("sst2", f"--data.root={phrases}").test[np.arange(6)]["label"]
    assert rows[:4, 0].tolist() == [labels.sum(), 6 - labels.sum(), 0, 0]  # all are told to be of it


# Tables of one's own.

LETTERS = ["good day\nsir", "bad, very bad", "so so", 'a "fine" one']


def table(labels, delimiter=",", names=("id", "message", "kind")):
    """The text of a file: of each label a row with one of the letters."""

    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"'

    rows = [(str(i), quoted(LETTERS[i % 4]), label) for i, label in enumerate(labels)]
    return "".join(f"{delimiter.join(row)}\r\n" for row in [names, *rows])


COLUMNS = ["--data.text=message", "--data.label=kind"]


@pytest.fixture
def own(project):
    """`own(labels)` writes data/texts.csv; `data.path` and the columns as options."""

    def write(labels, name="texts.csv", **options):
        (project / "data").mkdir(exist_ok=True)
        (project / "data" / name).write_bytes(table(labels, **options).encode("utf-8-sig"))
        return ["--data.path=texts.csv", *COLUMNS]

    return write


def test_a_table_of_ones_own_is_read_by_the_names_of_its_columns(own):
    found = load("csv", *own(["yes", "no", "no", "yes"] * 10))
    assert found.spec["classes"] == ["no", "yes"]
    assert (len(found.train), len(found.val), len(found.test)) == (29, 3, 8)
    every = {row for split in (found.train, found.val, found.test) for row in shown(split, found.spec)}
    assert every == {("good day\nsir", "yes"), ("bad, very bad", "no"), ("so so", "no"), ('a "fine" one', "yes")}


def test_labels_that_are_numbers_are_in_their_order(own):
    assert load("csv", *own(["10", "9", "1"] * 10)).spec["classes"] == ["1", "9", "10"]


def test_labels_with_and_without_point_zero_are_one(own):
    """As pandas writes a column of whole numbers that has gaps."""
    own(["1", "0"], "held.csv")
    found = load("csv", *own(["1.0", "0.0", "1", "0"] * 10), "--data.test_path=held.csv")
    assert (found.spec["classes"], found.test.arrays["label"].tolist()) == (["0", "1"], [1, 0])


def test_labels_of_published_data_may_have_point_zero_too(news, phrases, tmp_path):
    shutil.copytree(news / "ag_news", tmp_path / "ag_news")
    shutil.copytree(phrases / "SST-2", tmp_path / "SST-2")
    path = tmp_path / "ag_news/test.csv"
    path.write_text(path.read_text(encoding="utf-8").replace('"3"', '"3.0"'), encoding="utf-8")
    path = tmp_path / "SST-2/dev.tsv"
    path.write_text(path.read_text().replace("\t1", "\t1.0"))
    options = [f"--data.root={tmp_path}", "--data.verify=false"]
    for preset, root in (("ag_news", news), ("sst2", phrases)):
        expected = load(preset, f"--data.root={root}", "--data.verify=false")
        assert load(preset, *options).fingerprint() == expected.fingerprint()


def test_runs_know_how_files_of_their_texts_are_written(news, reviews, phrases, own):
    specs = {
        "ag_news": load("ag_news", f"--data.root={news}", "--data.verify=false").spec,
        "imdb": load("imdb", f"--data.root={reviews}").spec,
        "sst2": load("sst2", f"--data.root={phrases}").spec,
        "csv": load("csv", *own(["a", "b"] * 10, delimiter="|"), "--data.delimiter=|").spec,
    }
    assert {name: spec["column"] for name, spec in specs.items()} == {
        "ag_news": "",
        "imdb": None,
        "sst2": "sentence",
        "csv": "message",
    }
    formats = {name: (spec["format"]["delimiter"], spec["format"]["quotes"]) for name, spec in specs.items()}
    assert formats == {"ag_news": (",", True), "imdb": (",", True), "sst2": ("\t", False), "csv": ("|", True)}


def test_rows_that_a_quote_may_have_swallowed_are_told_with_the_option_where_there_is_one(own, project, news, capsys):
    options = own(["a", "b"])
    rows = [f"{i},text {i},{'ab'[i % 2]}" for i in range(30)]
    rows[3], rows[9] = '3,"text 3,a', '9,text 9",b'
    (project / "data/texts.csv").write_text("\n".join(["id,message,kind", *rows]) + "\n")
    load("csv", *options)
    line = capsys.readouterr().err
    assert "row 5: a quoted cell goes over 7 lines and holds ','" in line and "--data.quotes false" in line
    shutil.copytree(news / "ag_news", project / "news/ag_news")
    with (project / "news/ag_news/train.csv").open("a") as file:
        file.write('"1","a,\nb","c"\n')
    load("ag_news", "--data.root=news", "--data.verify=false")
    line = capsys.readouterr().err
    assert "goes over 2 lines" in line and "--data" not in line


def test_labels_that_are_equal_as_numbers_have_one_order_too():
    labels = Arrays(label=np.array(["02", "1", "2", "01"], object))
    assert _classes(CsvConfig(), labels) == ["01", "1", "02", "2"]


def test_a_table_may_have_tabs(own):
    options = own(["a", "b"] * 10, delimiter="\t")
    assert len(load("csv", *options, "--data.delimiter=tab").train) == 14


def test_quotes_may_be_part_of_the_text(project, own):
    options = own(["a", "b"])
    rows = [f'{i};"hm, he said;{"ab"[i % 2]}' for i in range(20)]
    (project / "data" / "texts.csv").write_text("\n".join(["id;message;kind", *rows]), encoding="utf-8")
    found = load("csv", *options, "--data.delimiter=;", "--data.quotes=false")
    assert shown(found.test, found.spec)[0][0] == '"hm, he said'


def test_a_file_of_its_own_may_be_the_test(own):
    options = own(["a", "b"] * 10)
    own(["b", "a", "a"], "held.csv")
    found = load("csv", *options, "--data.test_path=held.csv")
    assert (len(found.train) + len(found.val), found.test.arrays["label"].tolist()) == (20, [1, 0, 0])


def test_a_run_is_tested_on_another_file(cli, own, project):
    options = own(["a", "b"] * 20)
    own(["b", "a", "a"], "held.csv")
    words = ["--framework", FRAMEWORKS[0], *SMALL, "--debug=fast", *options, "--data.test_path=texts.csv"]
    assert cli("train", "text_classification/csv", *words).code == 0
    [run] = project.glob("runs/*/*/*/001")
    outcome = cli("evaluate", run, "--data.test_path=held.csv")
    assert outcome.code == 0 and "| 2 |" in outcome.out, outcome.err  # two examples of a


def test_a_run_is_not_evaluated_on_a_table_that_has_changed_but_on_a_file_of_its_own(cli, own, framework):
    options = own(["a", "b"] * 20)
    own(["b", "a", "a"], "held.csv")
    words = ["train", "text_classification/csv", "--framework", framework, *SMALL, *options, "--name=one"]
    assert cli(*words, "--trainer.max_steps=2", "--trainer.epochs=0").code == 0
    run = f"runs/text_classification/csv/{framework}/one"
    assert cli("evaluate", run).code == 0
    for labels in (["a", "b"] * 20 + ["a"], ["b", "a"] * 20):
        own(labels)
        done = cli("evaluate", run)
        assert done.code == 2 and "the data have changed" in done.err and "--data.test_path" in done.err
        assert cli(*words, "--trainer.max_steps=4", "--trainer.epochs=0").code == 2
        done = cli("evaluate", run, "--data.test_path=held.csv")
        assert done.code == 0 and "| 2 |" in done.out, done.err
    done = cli("predict", run, "data/held.csv", "some text", "--output", "p.csv")
    assert done.code == 0, done.err
    names = [line.partition(",a,")[0].partition(",b,")[0] for line in Path("p.csv").read_text().splitlines()]
    # The first text has a line break in it.
    assert names[1:] == ['"data/held.csv, row 2"', '"data/held.csv, row 4"', '"data/held.csv, row 5"', "some text"]


@with_one_framework
def test_a_table_of_ones_own_works(cli, own, framework):
    assert_commands_work(cli, "csv", framework, ["a", "b"], *SMALL, *own(["a", "b"] * 20))


def spoil(old, new):
    return lambda content: content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("damage", "options", "part"),
    [
        (spoil(b'so so",no', b'so so",'), [], "row 5, column kind: no label"),
        (spoil(b'so so",no', b'so so",no,more'), [], "row 5: 4 columns, expected 3"),
        (spoil(b"so so", b"so \xe9"), [], "row 5: byte 0xe9 is no UTF-8 text"),
        (lambda content: b"", [], "texts.csv is empty"),
        (lambda content: content.splitlines()[0], [], "no rows below"),
        (spoil(b"message", b"text"), [], "no column 'message'"),
        (bytes, ["--data.path=other.csv"], "data.path = 'other.csv': there is neither other.csv nor data/other.csv"),
        (bytes, ["--data.path="], "data.path = ''"),
        (bytes, ["--data.test_fraction=0"], "data.test_fraction = 0"),
        (lambda content: content.replace(b",yes", b",no"), [], "the label 'no': there is nothing to tell apart"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(complaint, own, project, damage, options, part):
    words = own(["yes", "no", "no", "yes"] * 10)
    path = project / "data" / "texts.csv"
    path.write_bytes(damage(path.read_bytes()))
    words = ["train", "text_classification/csv", "--framework", FRAMEWORKS[0], *SMALL, *words, *options]
    assert part in complaint(*words)


def test_a_label_that_training_lacks_names_its_place(own):
    options = own(["yes", "no"] * 10)
    own(["yes", "nope"], "held.csv")
    line = refused("csv", *options, "--data.test_path=held.csv")
    assert "held.csv, row 4, column kind: 'nope', the label of a text for the test" in line and "'no'?" in line
