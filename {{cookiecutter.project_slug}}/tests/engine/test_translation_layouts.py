"""Translation on a miniature of every layout of files: Multi30k, WMT14, two files and tables of one's own."""

import gzip
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, everything
from helpers import with_one_framework

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.tasks.translation.scores import to_text

TASK = tasks.find("translation")
SMALL = ["--accelerator=cpu", "--model.name=transformer_tiny", "--model.layers=1", "--model.heads=2"]
SMALL += ["--model.width=8", "--model.hidden=8", "--model.context=64", "--data.batch_size=4", "--data.vocabulary=300"]
SMALL += ["--trainer.accumulate=1", "--data.groups=2"]

# As they stand in the files of Multi30k: a sentence a line, most with a point, some with blanks or quotes.
EN = [
    "Two young, White males are outside near many bushes.",
    "A little girl climbing into a wooden playhouse.",
    'A man in a "blue" shirt is standing on a ladder cleaning a window. ',
    "Two men are at the stove preparing food",
]
DE = [
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "Ein kleines Mädchen klettert in ein Spielhaus aus Holz.",
    'Ein Mann in einem "blauen" Hemd steht auf einer Leiter und putzt ein Fenster.',
    "Zwei Männer stehen am Herd und bereiten Essen zu. ",
]
COUNTS = {"train": 24, "val": 4, "test": 3}


def load(preset, *options):
    """The dataset of a preset."""
    return TASK.load(load_config(f"translation/{preset}", [*SMALL, *options]), None)


def refused(*words):
    with pytest.raises(InputError) as caught:
        load(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shown(source, spec):
    """(source, target) of each example, as text."""
    batch = everything(source)
    rows = zip(batch["source"], batch["target"], strict=True)
    return [tuple(to_text(tokens, spec["pieces"]) for tokens in row) for row in rows]


def assert_commands_work(cli, preset, framework, *options):
    """train, evaluate and predict."""
    words = ["--framework", framework, *SMALL, *options]
    outcome = cli("train", f"translation/{preset}", *words, "--debug=fast", "--name=a")
    assert outcome.code == 0, outcome.err
    folder = f"runs/translation/{preset}/{framework}/a"
    result = read_result(Path(folder))
    found = dict(line.split() for line in cli("evaluate", folder).out.splitlines() if line.startswith("test/"))
    assert found.keys() == {f"test/{name}" for name in ("bleu", "chrf", "exact_match", "loss")}
    assert found["test/chrf"] == f"{result['metrics']['test/chrf']:.4f}"
    predicted = cli("predict", folder, "Two men", "A girl.", "--beam=2").out.splitlines()
    assert [line.split()[0] for line in predicted] == ["input", "Two", "A"]


def write(root, folder, names, opener=open, suffix=""):
    """Files of both languages, under the names of the three splits."""
    (root / folder).mkdir(parents=True)
    for (_, count), name in zip(COUNTS.items(), names, strict=True):
        for language, lines in (("en", EN), ("de", DE)):
            with opener(root / folder / f"{name}.{language}{suffix}", "wb") as file:
                file.write("".join(f"{lines[i % 4]}\n" for i in range(count)).encode())


@pytest.fixture(scope="session")
def captions(tmp_path_factory):
    """The folder that holds `multi30k/`; to be read only, but for what is converted."""
    root = tmp_path_factory.mktemp("captions")
    write(root, "multi30k", ("train", "val", "test_2016_flickr"), gzip.open, ".gz")
    return root


@pytest.fixture(scope="session")
def news(tmp_path_factory):
    """The folder that holds `wmt14/`; to be read only, but for what is converted."""
    root = tmp_path_factory.mktemp("news")
    write(root, "wmt14", ("train", "val", "test"))
    return root


PAIRS = [(source.strip(), target.strip()) for source, target in zip(EN, DE, strict=True)]


@pytest.mark.parametrize("preset", ["multi30k", "wmt14"])
def test_published_splits_are_read_in_either_direction(preset, captions, news):
    options = [f"--data.root={captions}", "--data.verify=false"] if preset == "multi30k" else [f"--data.root={news}"]
    found = load(preset, *options)
    assert shown(found.test, found.spec) == PAIRS[:3] and shown(found.val, found.spec) == PAIRS
    assert shown(found.train, found.spec) == PAIRS * 6
    turned = load(preset, *options, "--data.source=de", "--data.target=en")
    assert shown(turned.test, turned.spec) == [(target, source) for source, target in PAIRS[:3]]
    assert (turned.spec["source"], turned.spec["target"]) == ("de", "en")


def test_multi30k_is_verified(captions):
    assert "has md5" in refused("multi30k", f"--data.root={captions}")


def test_multi30k_that_is_missing_names_its_files_place_and_source(tmp_path):
    line = refused("multi30k", f"--data.root={tmp_path}")
    assert "train.en.gz, train.de.gz" in line and str(tmp_path / "multi30k") in line
    assert "multi30k/dataset" in line and "--data.download true" in line


def test_wmt14_that_is_missing_names_its_files_place_and_source(tmp_path):
    line = refused("wmt14", f"--data.root={tmp_path}")
    assert "lacks train.en, train.de, val.en" in line and str(tmp_path / "wmt14") in line and "https://nlp" in line


@with_one_framework
def test_multi30k_works(cli, project, framework, captions):
    assert_commands_work(cli, "multi30k", framework, f"--data.root={captions}", "--data.verify=false")


@with_one_framework
def test_wmt14_works(cli, project, framework, news):
    assert_commands_work(cli, "wmt14", framework, f"--data.root={news}")


def test_conversion_is_kept_where_it_is_told_and_made_anew_for_other_files(captions, tmp_path):
    root, cache = tmp_path / "data", tmp_path / "cache"
    shutil.copytree(captions / "multi30k", root / "multi30k")
    options = [f"--data.root={root}", "--data.verify=false", f"--data.cache={cache}"]
    first = load("multi30k", *options)
    made = sorted(cache.iterdir())
    again = load("multi30k", *options)
    assert sorted(cache.iterdir()) == made and again.fingerprint() == first.fingerprint()
    with gzip.open(root / "multi30k/val.de.gz", "wb") as file:
        file.write("\n".join(["Anders.", *DE[1:]]).encode())
    other = load("multi30k", *options)
    changed = {name for name, value in other.fingerprint().items() if value != first.fingerprint()[name]}
    assert changed == {"val"} and shown(other.val, other.spec)[0][1] == "Anders."


# One's own.


@pytest.fixture
def own(project):
    """Writes data/pairs.tsv and two files, of twenty pairs; gives the options for the two files."""
    (project / "data").mkdir()
    rows = [(f"{i} {source}", f"{i} {target}") for i, (source, target) in enumerate(PAIRS * 5)]
    table = "".join(f"{i}\t{source}\t{target}\n" for i, (source, target) in enumerate(rows))
    (project / "data/pairs.tsv").write_text(f"id\ten\tde\n{table}", encoding="utf-8")
    (project / "data/bare.tsv").write_text(table, encoding="utf-8")
    for i, language in enumerate(("en", "de")):
        (project / f"data/a.{language}").write_text("".join(f"{row[i]}\n" for row in rows), encoding="utf-8")
    return ["--data.source_path=a.en", "--data.target_path=a.de", "--data.source=en", "--data.target=de"]


FRACTIONS = ["--data.val_fraction=0.2", "--data.test_fraction=0.2"]


def test_two_files_and_a_table_with_or_without_names_are_the_same(own):
    names = ["--data.source=en", "--data.target=de"]
    found = [
        load("parallel", *own, *FRACTIONS),
        load("parallel", "--data.path=pairs.tsv", *names, *FRACTIONS),
        load("parallel", "--data.path=bare.tsv", "--data.source=2", "--data.target=3", *FRACTIONS),
    ]
    assert found[0].fingerprint() == found[1].fingerprint() == found[2].fingerprint()
    splits = [shown(split, found[0].spec) for split in (found[0].train, found[0].val, found[0].test)]
    assert len({*splits[0], *splits[1], *splits[2]}) == 20 == sum(map(len, splits)) and min(map(len, splits)) > 0


def test_files_and_tables_of_their_own_may_be_validation_and_test(own, project):
    (project / "data/val.tsv").write_text("en\tde\none\teins\n", encoding="utf-8")
    test = ["--data.test_source_path=a.de", "--data.test_target_path=a.en"]
    found = load("parallel", *own, "--data.val_path=val.tsv", *test)
    assert shown(found.val, found.spec) == [("one", "eins")]
    assert (len(found.train), len(found.test)) == (20, 20) and shown(found.test, found.spec)[0][1] == f"0 {PAIRS[0][0]}"


def test_a_table_may_have_commas_and_quotes(project):
    rows = [f'"hello, {i}","hallo, ""{i}"""' for i in range(30)]
    (project / "a.csv").write_text("\n".join(["en,de", *rows]), encoding="utf-8")
    options = ["--data.path=a.csv", "--data.source=en", "--data.target=de", "--data.delimiter=,", "--data.quotes=true"]
    found = load("parallel", *options, *FRACTIONS)
    rows = [row for split in (found.train, found.val, found.test) for row in shown(split, found.spec)]
    assert ("hello, 7", 'hallo, "7"') in rows and len(rows) == 30


def test_a_files_last_line_needs_no_end_and_lines_may_end_as_on_windows(own, project):
    before = load("parallel", *own, *FRACTIONS).fingerprint()
    path = project / "data/a.en"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert load("parallel", *own, *FRACTIONS).fingerprint() == before


def test_blanks_and_how_a_letter_is_written_make_no_difference(own, project):
    before = load("parallel", *own, *FRACTIONS).fingerprint()
    path = project / "data/a.de"
    text = unicodedata.normalize("NFD", path.read_text(encoding="utf-8")).replace(" ", "\u00a0\t")
    path.write_text(text, encoding="utf-8")
    assert load("parallel", *own, *FRACTIONS).fingerprint() == before


def test_characters_that_end_a_line_elsewhere_do_not_here(own, project):
    path = project / "data/a.en"
    path.write_text(path.read_text(encoding="utf-8").replace("men are", "men\u2028are\x85"), encoding="utf-8")
    found = load("parallel", *own, *FRACTIONS)
    assert len(found.train) + len(found.val) + len(found.test) == 20


@with_one_framework
def test_ones_own_pairs_work(cli, own, framework):
    assert_commands_work(cli, "parallel", framework, *own, *FRACTIONS)


def test_a_run_is_tested_on_other_files(cli, own, project):
    words = ["--framework", FRAMEWORKS[0], *SMALL, "--debug=fast", *own, *FRACTIONS, "--name=a"]
    assert cli("train", "translation/parallel", *words).code == 0
    (project / "new.tsv").write_text("en\tde\none\teins\n", encoding="utf-8")
    outcome = cli("evaluate", f"runs/translation/parallel/{FRAMEWORKS[0]}/a", "--data.test_path=new.tsv")
    assert outcome.code == 0 and "test/bleu" in outcome.out, outcome.err


def test_a_run_keeps_its_tokens(own, project):
    """Where one is evaluated, nothing is fitted."""
    config = load_config("translation/parallel", [*SMALL, *own, *FRACTIONS])
    found = TASK.load(config, None)
    (project / "data/a.en").write_text("other\n" * 20, encoding="utf-8")
    again = TASK.load(config, found.spec)
    assert again.spec == found.spec
    assert np.array_equal(everything(again.test)["target"], everything(found.test)["target"])
