"""The two halves side by side, whatever the task: what each task's own proofs, by `parity`, do not show."""

import jax
import jax.numpy as jnp
import pytest
import torch
from conftest import SMALL, TASK, final_weights, steps, values_of
from flax import nnx
from parity import train_both

from {{cookiecutter.package_name}} import task as tasks


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimizers_agree_with_weight_decay(project, optimizer):
    options = (f"--optimizer.name={optimizer}", "--optimizer.weight_decay=0.1")
    a, b = (values_of(folder, "train/loss") for folder in train_both(TASK, *SMALL, *steps(10), *options).values())
    assert len(a) == 10
    assert a == pytest.approx(b, rel=1e-9)


def test_a_parameter_that_the_loss_does_not_depend_on_decays_alike(project, monkeypatch):
    spares = {"lightning": lambda: torch.nn.Parameter(torch.ones(3, 3)), "nnx": lambda: nnx.Param(jnp.ones((3, 3)))}
    for framework, spare in spares.items():
        twin = tasks.twin(tasks.find(TASK), framework)

        def create(*given, create=twin.create_model, spare=spare, **named):
            model = create(*given, **named)
            model.spare = spare()
            return model

        monkeypatch.setattr(twin, "create_model", create)
    folders = train_both(TASK, *SMALL, *steps(5), "--optimizer.weight_decay=0.1").values()
    a, b = (final_weights(folder)["spare"] for folder in folders)
    assert a == pytest.approx(b, rel=1e-12)
    assert a.max() < 1
    jax.config.update("jax_enable_x64", False)


def test_one_command_trains_both_and_shows_one_table(project, cli):
    done = cli("train", TASK, "--debug=fast", *SMALL)
    assert done.code == 0
    header, *_ = done.out.splitlines()
    assert header.split() == ["lightning", "nnx"]
    assert "test/loss" in done.out and "tensorboard --logdir runs" in done.out


def test_the_worst_exit_code_of_both_is_returned(project, cli):
    diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e38")
    assert cli("train", TASK, *SMALL, *steps(20), *diverging).code == 1
