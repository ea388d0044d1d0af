"""The two halves side by side, whatever the task: what each task's own proofs, by `parity`, do not show."""

import pytest
from conftest import steps, values_of
from helpers import SMALL, TASK
from parity import train_both

from {{cookiecutter.package_name}}.engine.twins import both


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimizers_agree_with_weight_decay(project, optimizer):
    options = (f"--optimizer.name={optimizer}", "--optimizer.weight_decay=0.1")
    a, b = (values_of(folder, "train/loss") for folder in train_both(TASK, *SMALL, *steps(10), *options).values())
    assert len(a) == 10
    assert a == pytest.approx(b, rel=1e-9)


def test_one_command_trains_both_and_shows_one_table(project, cli):
    done = cli("train", TASK, "--debug=fast", *SMALL)
    assert done.code == 0
    header, *_ = done.out.splitlines()
    assert header.split() == ["lightning", "nnx"]
    assert "test/loss" in done.out and done.out.rstrip().endswith(f" board {TASK}")


def test_both_train_under_one_heading(project, cli, monkeypatch):
    monkeypatch.setattr(both, "train_apart", lambda words: (0, None))
    assert cli("train", TASK).err == f"{TASK}/default: lightning, then nnx\n"


def test_the_worst_exit_code_of_both_is_returned(project, cli):
    diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e38")
    assert cli("train", TASK, *SMALL, *steps(20), *diverging).code == 1
