"""`compare TASK`: both frameworks are trained, in turn, and what an interruption leaves goes on."""

from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, history, make_engine, steps
from helpers import SMALL, TASK

from {{cookiecutter.package_name}}.engine import registry, weights
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.commands import compare
from {{cookiecutter.package_name}}.engine.folder import FOLDER_FILE, read_config, read_result, read_spec

pytest.importorskip("matplotlib", reason="needs the extra [compare]")

WORDS = ("compare", TASK, *SMALL, *steps(4), "--trainer.val_every=2", "--trainer.log_every=2")


def test_a_twin_that_is_gone_is_told_before_the_other_is_trained(complaint, monkeypatch):
    monkeypatch.setattr(tasks, "__file__", "elsewhere/engine/task.py")
    monkeypatch.setattr(tasks, "names", lambda: [TASK])
    assert f"{TASK} has no half for {FRAMEWORKS[0]}" in complaint(*WORDS)


@pytest.fixture(scope="module")
def compared(cli, tmp_path_factory):
    """(how the command ended, the folder of its runs and its report) of two seeds with the same weights.

    All in this process, where the libraries are loaded: what goes on with these runs starts others.
    """
    run_dir = tmp_path_factory.mktemp("runs") / "4"  # a seed's number, but no seed
    told = tmp_path_factory.mktemp("told") / "folder"

    def train_here(words):
        return cli("train", *words).code, Path(told.read_text(encoding="utf-8"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_FILE, str(told))
        patch.setattr(compare, "train_apart", train_here)
        patch.setattr(compare, "apart", lambda call, *arguments: call(*arguments))
        outcome = cli(*WORDS, "--seeds=2", "--seed=3", "--same_weights=true", "--name=mine", f"--run_dir={run_dir}")
    return outcome, run_dir / TASK / "default"


def test_every_framework_is_trained_with_every_seed_and_the_report_written(compared):
    outcome, folder = compared
    assert outcome.code == 0, outcome.err
    for framework in FRAMEWORKS:
        results = [read_result(folder / framework / f"mine-{seed}") for seed in (3, 4)]
        assert [(result["seed"], result["steps"]) for result in results] == [(3, 4), (4, 4)]
    assert (folder / "compare" / "mine" / "report.html").exists()


def test_every_figure_has_a_column_of_each_framework(compared):
    assert compared[0].out.splitlines()[0].split() == FRAMEWORKS


def test_which_run_it_is_is_told(compared):
    lines = [line for line in compared[0].err.splitlines() if line.startswith("run ")]
    order = [(FRAMEWORKS[0], 3), (FRAMEWORKS[1], 3), (FRAMEWORKS[1], 4), (FRAMEWORKS[0], 4)]
    assert lines == [f"run {i} of 4: {name}, seed {seed}" for i, (name, seed) in enumerate(order, 1)]


def test_both_begin_with_the_weights_that_the_first_draws(compared):
    folder = compared[1]
    for seed in (3, 4):
        runs = [folder / framework / f"mine-{seed}" for framework in FRAMEWORKS]
        configs = [read_config(run) for run in runs]
        assert configs[0]["init"] == configs[1]["init"] != ""
        plain = registry.load_config(saved={**configs[0], "init": ""})
        drawn = make_engine(plain, read_spec(runs[0])).weights(None)
        given = weights.read(Path(configs[0]["init"]))
        assert drawn.keys() == given.keys()
        assert all(np.array_equal(drawn[name], given[name]) for name in drawn)


def test_the_same_command_makes_the_report_again_from_runs_that_are_finished(cli, compared):
    before = {path: history(path) for path in compared[1].glob("*/mine-*")}
    (compared[1] / "compare" / "mine" / "report.html").unlink()
    options = ("--seeds=2", "--seed=3", "--same_weights=true", "--name=mine", f"--run_dir={compared[1].parents[1]}")
    outcome = cli(*WORDS, *options)
    assert outcome.code == 0 and (compared[1] / "compare" / "mine" / "report.html").exists(), outcome
    assert {path: history(path) for path in before} == before


# With runs that are not trained.


@pytest.fixture
def trained(monkeypatch):
    """The commands that would train; `codes` are how they end, at first well."""
    asked, codes = [], [0]

    def train_apart(words):
        asked.append(words)
        return codes.pop(0), None

    monkeypatch.setattr(compare, "train_apart", train_apart)
    return asked, codes


def value(words, key):
    """Of the last of an option's values."""
    return [after for word, after in zip(words, words[1:], strict=False) if word == key][-1]


@pytest.mark.parametrize("code", [0, 130, 143])
def test_after_an_interruption_the_same_command_goes_on_with_the_same_runs(cli, project, trained, code):
    asked, codes = trained
    codes[:] = [code, code, code]
    first = cli(*WORDS, "--seeds=2")
    cli(*WORDS, "--seeds=3")  # another one
    again = cli(*WORDS, "--seeds=2")
    assert (first.code, again.code) == (code, code)
    assert [value(words, "--name") for words in asked] == ["001-0", "002-0", "001-0"]
    assert "the same command goes on" in again.err


def test_a_run_that_fails_ends_it(cli, project, trained):
    trained[1][:] = [1]
    outcome = cli(*WORDS)
    assert (outcome.code, outcome.out, len(trained[0])) == (1, "", 1)


def test_bad_input_that_a_run_finds_leaves_nothing(cli, project, trained):
    trained[1][:] = [2]
    assert cli(*WORDS).code == 2
    assert list(project.iterdir()) == []


REFUSED = {
    "one framework": (["--framework", "nnx"], "compare TASK trains every framework"),
    "a state": (["--resume=never"], "without --framework and --resume"),
    "no seeds": (["--seeds", "0"], "--seeds 0: expected a whole number >= 1"),
    "weights given and shared": (["--same_weights", "true", "--init", "x"], "--same_weights true: with --init x"),
    "an unknown option": (["--trainer.epoch", "1"], "--trainer.epoch"),
    "no value": (["--target"], "--target needs a value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_one_line(complaint, trained, case):
    options, expected = REFUSED[case]
    assert expected in complaint(*WORDS, *options)
    assert trained[0] == []


def test_a_task_that_is_misspelt_is_one_line(complaint):
    assert "did you mean" in complaint("compare", TASK[:-1])
