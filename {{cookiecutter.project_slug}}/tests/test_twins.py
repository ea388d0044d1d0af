"""Both halves of every task take the same steps: from the same weights, on the same batches, in float64.

A new task is found by its folder. `small/<task>.yaml` makes its runs small here.
"""

import numpy as np
import pytest
from conftest import FRAMEWORKS, TASKS, history, small, steps, values_of, without_dropout
from safetensors.numpy import save_file

from {{cookiecutter.package_name}} import load, load_config, train

# With all that changes a step: micro-batches, clipping, decay, an average, a schedule.
RUN = (*steps(20), "--trainer.accumulate=2", "--optimizer.schedule=cosine", "--optimizer.clip_norm=0.5")
RUN += ("--optimizer.weight_decay=0.1", "--optimizer.ema_decay=0.9", "--trainer.val_every=10", "--trainer.log_every=1")


@pytest.fixture(scope="module", params=TASKS)
def runs(request, tmp_path_factory):
    """A run of each framework, which begin with the same weights; to be read only."""
    task, folder = request.param, tmp_path_factory.mktemp("twins")

    def run(framework, *options):
        words = ["--framework", framework, *small(task), "--accelerator.precision=float64", f"--run_dir={folder}"]
        words += [*without_dropout(load_config(task, words)), *options]
        return train(load_config(task, words))

    first = run(FRAMEWORKS[0], *steps(1), "--optimizer.learning_rate=1e-15", "--name=first")
    save_file(load(first).weights(), folder / "first.safetensors")
    return [run(framework, *RUN, f"--init={folder / 'first.safetensors'}") for framework in FRAMEWORKS]


def test_every_step_has_the_same_loss_gradient_and_learning_rate(runs):
    for tag in ("train/loss", "train/grad_norm", "train/learning_rate"):
        a, b = (values_of(folder, tag) for folder in runs)
        assert list(a) == list(range(1, 21)) and a == pytest.approx(b, rel=1e-9)


def test_validation_and_test_find_the_same(runs):
    a, b = ([line for line in history(folder) if {"val/loss", "test/loss"} & {*line}] for folder in runs)
    assert [line["step"] for line in a] == [10, 20, 20]
    for one, other in zip(a, b, strict=True):  # both libraries add metrics up in float32
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


def test_weights_have_the_same_names_and_end_the_same(runs):
    a, b = (load(folder, "last").weights() for folder in runs)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].shape == b[name].shape
        assert np.abs(a[name] - b[name]).max() <= 1e-9 * max(np.abs(a[name]).max(), 1e-3), name
