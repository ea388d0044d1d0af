"""Searches: what is searched and refused, what a kill leaves, and what is told at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import FRAMEWORKS, history, steps
from helpers import MODE, MONITOR, SMALL, TASK

from {{cookiecutter.package_name}}.engine import apart, registry, runs
from {{cookiecutter.package_name}}.engine.config import flatten, to_dict
from {{cookiecutter.package_name}}.engine.folder import FOLDER_FILE, read_config, read_record, write_json
from {{cookiecutter.package_name}}.engine.tune import space

optuna = pytest.importorskip("optuna", reason="needs the extra [tune]")
pytest.importorskip("matplotlib", reason="needs the extra [tune]")

from {{cookiecutter.package_name}}.engine.tune import study  # noqa: E402  # which imports both

RATE = "optimizer.learning_rate"
SEARCH = RATE + ": {low: 1e-4, high: 1e-2, log: true}\ndata.batch_size: [4, 8]\n"
FRAMEWORK = FRAMEWORKS[0]
PLACE = f"{TASK}/default"
WORDS = ("tune", TASK, *SMALL, *steps(4), "--trainer.val_every=2", "--trainer.log_every=1", "--framework", FRAMEWORK)


@pytest.fixture
def search(project):
    (project / "search.yaml").write_text(SEARCH, encoding="utf-8")
    return "--search=search.yaml"


class Pretended:
    """In place of training: runs of the values that are told, of the end that is told."""

    def __init__(self):
        self.words, self.values, self.codes = [], {}, {}

    def __call__(self, words, unwanted=None):
        number = len(self.words)
        self.words.append(words)
        if code := self.codes.get(number, 0):
            return code, None
        config = registry.load_config(TASK, words[1:])
        folder = Path(config.run_dir, PLACE, config.framework, config.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
        values = self.values.get(number, [1.0 + number, 1.0 + number])
        for i in range(len(values)):
            lines = [
                json.dumps({"step": 2 * j, "seconds": 0.1, MONITOR: value}) for j, value in enumerate(values[: i + 1])
            ]
            (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
            if unwanted and unwanted():
                return 143, None
        best = (max if MODE == "max" else min)(values)
        write_json(folder / "result.json", {"steps": 4, "seconds": 0.1, "metrics": {MONITOR: best}})
        return 0, folder

    def of(self, key):
        """An option's values."""
        return [[word.partition("=")[2] for word in words if word.startswith(f"--{key}=")][-1] for words in self.words]

    def names(self):
        return [words[words.index("--name") + 1] for words in self.words]


@pytest.fixture
def pretended(monkeypatch):
    monkeypatch.setattr(study, "train_apart", pretended := Pretended())
    return pretended


def found(project, name="001"):
    return json.loads((project / f"runs/{PLACE}/tune/{name}/result.json").read_text())


# A search.


def test_trials_are_runs_with_names_and_values_of_the_space(cli, project, search, pretended):
    outcome = cli(*WORDS, search, "--trials=3")
    assert outcome.code == 0, outcome.err
    assert pretended.names() == ["tune-001-001", "tune-001-002", "tune-001-003"]
    assert all(1e-4 <= float(value) <= 1e-2 for value in pretended.of(RATE)) and len({*pretended.of(RATE)}) == 3
    assert {*pretended.of("data.batch_size")} <= {"4", "8"}


def test_the_best_is_told_as_a_config_that_train_takes(cli, project, search, pretended):
    pretended.values = {1: [5.0, 5.0], 2: [5.0, 5.0]} if MODE == "min" else {1: [0.1, 0.1], 2: [0.1, 0.1]}
    outcome = cli(*WORDS, search, "--trials=3")
    file = project / f"runs/{PLACE}/tune/001/{FRAMEWORK}.yaml"
    assert (
        file.read_text() in outcome.out
        and f"# {MONITOR} 1.0000, the best of 3 trials: run tune-001-001.\n" in outcome.out
    )
    config = flatten(to_dict(registry.load_config(TASK, [f"--config={file}"])))
    assert [str(config[key]) for key in (RATE, "data.batch_size")] == [
        pretended.of(RATE)[0],
        pretended.of("data.batch_size")[0],
    ]
    assert list(flatten(yaml.safe_load(file.read_text()))) == [RATE, "data.batch_size"]
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_listed_the_best_first(cli, project, search, pretended):
    pretended.values = {0: [3.0, 3.0], 1: [1.0, 1.0], 2: [2.0, 2.0]}
    lines = cli(*WORDS, search, "--trials=3").out.splitlines()
    order = [line.split()[0][-3:] for line in lines[1:4]]
    assert order == (["001", "003", "002"] if MODE == "max" else ["002", "003", "001"])


def test_a_trial_that_falls_behind_is_pruned_and_its_run_stopped(cli, project, search, pretended):
    worse = [-100.0] * 9 if MODE == "max" else [100.0] * 9
    pretended.values = {6: worse}
    outcome = cli(*WORDS, search, "--trials=8")
    assert "trial 7 of 8: pruned" in outcome.err
    assert len((project / f"runs/{PLACE}/{FRAMEWORK}/tune-001-007/metrics.jsonl").read_text().splitlines()) == 2
    assert found(project)[FRAMEWORK]["trials"] == 8 and found(project)[FRAMEWORK]["completed"] < 8


def test_without_pruning_every_trial_gets_to_its_end(cli, project, search, pretended):
    pretended.values = {6: [-100.0] * 3 if MODE == "max" else [100.0] * 3}
    cli(*WORDS, search, "--trials=8", "--prune=false")
    assert found(project)[FRAMEWORK]["completed"] == 8


def test_a_crash_is_a_failed_trial(cli, project, search, pretended):
    pretended.codes = {1: 139}
    outcome = cli(*WORDS, search, "--trials=3")
    assert outcome.code == 0 and "trial 2 of 3: failed with exit code 139" in outcome.err
    assert (found(project)[FRAMEWORK]["trials"], found(project)[FRAMEWORK]["completed"]) == (3, 2)


def test_a_search_of_which_nothing_comes_is_an_error(cli, project, search, pretended):
    pretended.codes = dict.fromkeys(range(3), 1)
    outcome = cli(*WORDS, search, "--trials=3")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1].endswith(f"none of 3 trials of {FRAMEWORK} got to its end")


@pytest.mark.parametrize("code", [2, 130, 143])
def test_after_a_signal_or_bad_input_the_same_command_goes_on_with_the_same_trial(
    cli, project, search, pretended, code
):
    pretended.codes = {0: code}
    first = cli(*WORDS, search, "--trials=2")
    again = cli(*WORDS, search, "--trials=2")
    assert (first.code, first.out, again.code) == (code, "", 0)
    assert pretended.names() == ["tune-001-001", "tune-001-001", "tune-001-002"]
    assert pretended.of(RATE)[0] == pretended.of(RATE)[1]
    assert found(project)[FRAMEWORK]["trials"] == 2


def test_what_is_searched_does_not_depend_on_interruptions(cli, project, search, pretended):
    cli(*WORDS, search, "--trials=4", "--name=whole")
    whole = pretended.of(RATE)
    pretended.words.clear()
    pretended.codes = {2: 143}
    assert [cli(*WORDS, search, "--trials=4", "--name=cut").code for _ in range(2)] == [143, 0]
    assert [*pretended.of(RATE)[:2], *pretended.of(RATE)[3:]] == whole


def test_more_trials_go_on_with_a_search_that_is_done(cli, project, search, pretended):
    cli(*WORDS, search, "--trials=2")
    outcome = cli(*WORDS, search, "--trials=3")
    assert outcome.code == 0 and pretended.names() == [f"tune-001-00{i}" for i in (1, 2, 3)]


def test_the_same_command_begins_a_new_search_where_one_is_done(cli, project, search, pretended):
    cli(*WORDS, search, "--trials=1")
    cli(*WORDS, search, "--trials=1")
    assert pretended.names() == ["tune-001-001", "tune-002-001"]


def test_several_workers_share_the_trials(cli, project, search, pretended, monkeypatch):
    """The second one comes while the first trains its second trial."""
    began, ends = [], []

    def train(words, unwanted=None):
        if len(pretended.words) == 1 and not began:
            began.append(True)
            ends.append(cli(*WORDS, search, "--trials=4", "--name=both"))
        return pretended(words, unwanted)

    monkeypatch.setattr(study, "train_apart", train)
    outcome = cli(*WORDS, search, "--trials=4", "--name=both")
    assert [outcome.code, ends[0].code] == [0, 0]
    assert "1 trials are other workers'" in ends[0].out and "other workers'" not in outcome.out
    assert sorted(pretended.names()) == [f"tune-both-00{i}" for i in (1, 2, 3, 4)]
    assert found(project, "both")[FRAMEWORK]["trials"] == 4


def test_a_journal_that_was_cut_short_is_read(cli, project, search, pretended):
    pretended.codes = {1: 143}
    cli(*WORDS, search, "--trials=2")
    with (project / f"runs/{PLACE}/tune/001/journal.log").open("a") as file:
        file.write('{"op_code":6,"wor')
    assert cli(*WORDS, search, "--trials=2").code == 0
    assert pretended.names() == ["tune-001-001", "tune-001-002", "tune-001-002"]


@pytest.mark.skipif(len(FRAMEWORKS) < 2, reason="one framework")
def test_each_framework_is_searched_by_itself(cli, project, search, pretended):
    outcome = cli("tune", TASK, *SMALL, search, "--trials=2")
    assert outcome.code == 0, outcome.err
    assert [words[words.index("--framework") + 1] for words in pretended.words] == [x for x in FRAMEWORKS for _ in "ab"]
    assert list(found(project)) == FRAMEWORKS
    assert pretended.of(RATE)[0] == pretended.of(RATE)[2]  # the same ones are tried first


# A grid.


def test_a_grid_runs_every_combination(cli, project, pretended):
    outcome = cli(*WORDS, "--grid", f"--{RATE}=1e-3,3e-3", "--seed=0,1,2")
    assert outcome.code == 0, outcome.err
    rates, seeds = pretended.of(RATE), pretended.of("seed")
    assert list(zip(rates, seeds, strict=True)) == [(rate, seed) for rate in ("0.001", "0.003") for seed in "012"]
    assert outcome.out.splitlines()[0].startswith("run ") and outcome.out.count("learning_rate=0.003") == 3


def test_a_grid_goes_on_after_an_interruption(cli, project, pretended):
    pretended.codes = {1: 130}
    assert [cli(*WORDS, "--grid", "--seed=5,6,7").code for _ in range(2)] == [130, 0]
    assert pretended.of("seed") == ["5", "6", "7", "6"]
    assert [pretended.names()[i] for i in (1, 3)] == ["tune-001-002", "tune-001-002"]


def test_in_a_grid_a_value_with_a_comma_stands_in_quotes():
    found = space.split(['--data.drop="a,b",c', '--data.categorical="city,type"', "--trainer.epochs=3"])
    assert found == ({"data.drop": ["a,b", "c"]}, ["--data.categorical=city,type", "--trainer.epochs=3"])


# What is refused, before anything is written.


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("optimizer.learning_rte: [1, 2]", ["unknown option --optimizer.learning_rte", "did you mean"]),
        (f"{RATE}: [0.1, big]", [f"--{RATE} big: expected a number > 0"]),
        (f"{RATE}: 0.1", [RATE + " = 0.1: a list of values is wanted, or {low: ..., high: ...}"]),
        (f"{RATE}: []", ["a list of values is wanted"]),
        (f"{RATE}: [[0.1]]", [f"{RATE} = [0.1]: each value is one word or number"]),
        (f"{RATE}: [0.1, 1e-1]", [f"{RATE}: 0.1 stands there twice"]),
        (RATE + ": {low: 1}", [RATE + ": a range is {low: ..., high: ...}, of numbers"]),
        (RATE + ": {low: 1, high: 1}", ["low = 1.0 is not below high = 1.0"]),
        (RATE + ": {low: 1, hihg: 2}", ["unknown 'hihg': did you mean 'high'?"]),
        ("optimizer.weight_decay: {low: 0, high: 2, log: true}", ["log = true is for low > 0"]),
        ("data.batch_size: {low: 1, high: 2.5}", ["--data.batch_size 2.5: expected a whole number >= 1"]),
        ("data.batch_size: {low: 1, high: 9, step: 0}", ["--data.batch_size 0: expected a whole number >= 1"]),
        ("optimizer.name: {low: adam, high: sgd}", ["optimizer.name: a range is {low: ..., high: ...}, of numbers"]),
        ("name: [a, b]", ["name is not to be searched"]),
        ("- a", ["expected keys with values, found list"]),
        ("", ["nothing to search"]),
        (f"{RATE}: [", ["is not YAML"]),
    ],
)
def test_a_bad_search_file_is_told_in_one_line_with_its_name(complaint, project, text, complaints):
    (project / "bad.yaml").write_text(text)
    line = complaint(*WORDS, "--search=bad.yaml")
    assert line.startswith("error: bad.yaml: ") or "bad.yaml is not YAML" in line
    assert [part for part in complaints if part not in line] == [], line


def test_bad_arguments_are_told_in_one_line(complaint, project, search, monkeypatch):
    assert "one of --search FILE and --grid" in complaint(*WORDS)
    assert "one of --search FILE and --grid" in complaint(*WORDS, search, "--grid")
    assert "--trials is for --search" in complaint(*WORDS, "--grid", "--trials=3", "--seed=1,2")
    assert "no key has several values" in complaint(*WORDS, "--grid")
    assert "--grid: --seed x: expected a whole number" in complaint(*WORDS, "--grid", "--seed=1,x")
    assert "--trials 0: expected a whole number >= 1" in complaint(*WORDS, search, "--trials=0")
    assert "--resume" in complaint(*WORDS, search, "--resume=never")
    assert "nowhere.yaml" in complaint(*WORDS, "--search=nowhere.yaml")
    assert "--trainer.max_minutes 0" in complaint(*WORDS, search, "--trainer.max_minutes=1")
    assert "did you mean '--trials'?" in complaint(*WORDS, search, "--trails=3")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "optuna, which is not installed: pip install -e '.[tune]'" in complaint(*WORDS, search)


def test_a_name_of_another_search_is_refused(cli, project, search, pretended):
    assert cli(*WORDS, search, "--trials=1", "--name=mine").code == 0
    outcome = cli(*WORDS, search, "--trials=1", "--name=mine", "--optimizer.weight_decay=0.5")
    assert outcome.code == 2 and "is another study: optimizer.weight_decay differ" in outcome.err


# With runs that are trained.


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow  # it trains for real, in processes of its own
def test_a_search_that_is_killed_loses_nothing(cli, project, search, monkeypatch):
    """It is killed within its first trial, whose run then ends by itself, with its state saved."""
    words = (*WORDS, search, "--trials=2", "--prune=false", "--trainer.max_steps=30", "--trainer.checkpoint_every=1")
    command = [sys.executable, "-m", "{{cookiecutter.package_name}}", *words, "--name=killed"]
    worker = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
    folders = [project / f"runs/{PLACE}/{FRAMEWORK}/tune-killed-00{i}" for i in (1, 2)]
    wait_until((folders[0] / "record.json").exists)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not runs.is_locked(folders[0] / ".lock"))
    kept = read_record(folders[0]).step
    assert 0 < kept < 30 and not (folders[0] / "result.json").exists()

    started = []

    def train_here(words, unwanted):
        started.append(read_record(folders[0]).step if not started else 0)
        return cli("train", *words).code, Path(told.read_text())

    monkeypatch.setenv(FOLDER_FILE, str(told := project / "told"))
    monkeypatch.setattr(study, "train_apart", train_here)
    for name in ("killed", "whole"):
        assert cli(*words, f"--name={name}").code == 0
    assert started[0] == kept
    for folder in folders:
        whole = folder.with_name(folder.name.replace("killed", "whole"))
        assert runs.differing([read_config(folder), read_config(whole)]) == {}
        assert history(folder) == history(whole)
    assert found(project, "killed")[FRAMEWORK]["trials"] == 2


def test_a_run_that_is_not_wanted_any_more_stops_with_its_state_saved(project):
    words = [TASK, *SMALL, *steps(1000), "--framework", FRAMEWORK, "--name=one", "--trainer.checkpoint_every=1"]
    folder = project / f"runs/{PLACE}/{FRAMEWORK}/one"
    code, finished = apart.train_apart([*words], (folder / "record.json").exists)
    assert (code, finished) == (143, None)
    assert 0 < read_record(folder).step < 1000
