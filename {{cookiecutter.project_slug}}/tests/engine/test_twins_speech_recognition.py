"""Both halves of speech recognition are the same algorithm, with every model, and where utterances are grouped."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conftest import small
from parity import assert_runs_agree, assert_steps_agree, assert_weights_go_across_and_back, float64_in_jax

from {{cookiecutter.package_name}}.tasks.speech_recognition import lightning as lightning_task
from {{cookiecutter.package_name}}.tasks.speech_recognition import nnx as nnx_task
from {{cookiecutter.package_name}}.tasks.speech_recognition.decoding import greedy

TASK = "speech_recognition"
CONFORMER = [*small(TASK), "--model.name=conformer_tiny", "--model.heads=2", "--model.width=8", "--model.kernel=5"]


def test_the_loss_is_the_same_also_of_repeats_and_of_as_many_frames_as_they_take():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4, 7, 5))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    labels = np.array([[1, 2, 3, 4], [2, 2, 2, 2], [3, 3, 0, 0], [4, 0, 0, 0]])
    frames = np.array([4, 7, 3, 7])
    outputs = {"log_probs": torch.tensor(log_probs), "lengths": torch.tensor(frames)}
    ours = lightning_task.ctc(outputs, torch.tensor(labels))
    with float64_in_jax():
        outputs = {"log_probs": jnp.asarray(log_probs), "lengths": jnp.asarray(frames)}
        theirs = nnx_task.ctc(outputs, jnp.asarray(labels))
    assert ours.numpy() == pytest.approx(np.asarray(theirs), rel=1e-12) and np.isfinite(ours.numpy()).all()


def test_what_is_said_is_the_same_as_in_numpy():
    log_probs, frames = np.random.default_rng(0).normal(0, 1, (50, 9, 3)), np.arange(50) % 9 + 1
    ours = lightning_task.said({"log_probs": torch.tensor(log_probs), "lengths": torch.tensor(frames)}).numpy()
    theirs = np.asarray(nnx_task.said({"log_probs": jnp.asarray(log_probs), "lengths": jnp.asarray(frames)}))
    for i, row in enumerate(log_probs):
        said = greedy(row[: frames[i]])
        for found in (ours[i], theirs[i]):
            assert found.tolist() == [*said.tolist(), *[0] * (9 - len(said))]


@pytest.mark.slow
def test_a_run_in_groups_is_the_same(project):
    assert_runs_agree(TASK, *small(TASK), "--data.examples=300", "--data.batch_size=4", "--model.cell=gru")


@pytest.mark.slow
def test_a_hundred_steps_of_conformer_are_the_same():
    assert_steps_agree(TASK, *CONFORMER, count=100, examples=1)


def test_steps_of_conformer_are_the_same():
    assert_steps_agree(TASK, *CONFORMER, count=3, examples=4)


@pytest.mark.parametrize("options", [[*small(TASK), "--model.cell=gru"], CONFORMER])
def test_weights_go_across_and_back(options):
    assert_weights_go_across_and_back(TASK, *options)
