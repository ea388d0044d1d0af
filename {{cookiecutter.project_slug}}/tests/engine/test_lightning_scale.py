"""Several processes train what one does: the same losses, weights and metrics, a state for any number of them."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import history, small, steps, values_of, without_dropout
from helpers import SMALL, TASK, final_weights

from {{cookiecutter.package_name}}.engine import registry, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.folder import read_record
from {{cookiecutter.package_name}}.engine.lightning.flags import make_trainer
from {{cookiecutter.package_name}}.engine.scale.lightning.processes import ask_nobody

TEXT = "language_modeling"
needs_text = pytest.mark.skipif(TEXT not in tasks.names(), reason="no other task has a transformer so small")
MESHES = {
    "fsdp": (1, 2, 1),
    "tensor": (1, 1, 2),
    "fsdp_tensor": (1, 2, 2),
    "data_fsdp": (2, 2, 1),
}
PLACES = {"ddp": ("--accelerator=cpu-ddp",)} | {
    name: (
        f"--accelerator.devices={np.prod(sizes)}",
        *(f"--accelerator.mesh.{axis}={n}" for axis, n in zip(("data", "fsdp", "tensor"), sizes, strict=True)),
    )
    for name, sizes in MESHES.items()
}
# What goes over all devices: the norm that clips, the weight of all micro-batches, averages.
BUSY = ("--optimizer.clip_norm=0.5", "--trainer.accumulate=2", "--optimizer.ema_decay=0.9", "--trainer.log_every=1")


def options_of(task, *options):
    """Of a run without dropout, which draws on every device for itself."""
    given = [*small(task), "--framework=lightning", *BUSY, *options]
    if task == "image_classification":
        given.append("--model.name=resnet_small")  # for its batch norm
    return [task, *given, *without_dropout(registry.load_config(task, given))]


def start(options, place, name):
    """The command, which starts itself again for every other device."""
    package = workflow.__name__.partition(".")[0]
    command = [sys.executable, "-m", package, "train", *options, *PLACES[place], f"--name={name}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def train(options, place, name):
    """The folder of a run to its end. One device needs no other process."""
    if place == "cpu":
        return workflow.train(registry.load_config(options[0], [*options[1:], f"--name={name}"]))
    process = start(options, place, name)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("parameters") <= 1, output
    return folder_of(options, name)


def folder_of(options, name):
    return Path("runs", options[0], "default/lightning", name)


def apart(a, b):
    """The largest difference between two runs' losses and gradients, and between their final weights."""
    tags = ("train/loss", "train/grad_norm")
    logged = max(abs(values_of(a, tag)[step] - x) for tag in tags for step, x in values_of(b, tag).items())
    one, other = final_weights(a), final_weights(b)
    return logged, max(np.abs(one[name] - other[name]).max() for name in one)


def test_what_lightning_asks_after_each_step_is_still_there_and_nobody_is_asked():
    trainer = make_trainer(registry.load_config(TASK, [*SMALL, "--framework=lightning"]))
    loop = trainer.fit_loop.epoch_loop
    assert callable(loop._broadcast_sigterm_tensor)
    ask_nobody(trainer)
    assert pickle.loads(pickle.dumps(loop._broadcast_sigterm_tensor))() is None  # as ddp_spawn pickles a trainer


def test_two_processes_train_as_one_does(project):
    options = options_of(TASK, *steps(20), "--accelerator.precision=float64")
    one, two = train(options, "cpu", "one"), train(options, "ddp", "two")
    assert max(apart(one, two)) < 1e-9
    assert [line.keys() for line in history(one)] == [line.keys() for line in history(two)]
    for a, b in zip(history(one), history(two), strict=True):
        assert a == pytest.approx(b, rel=1e-5)  # metrics are summed up in float32


def running(options, name):
    """Two processes in the midst of training, and the second one's id."""
    process = start([*options, *steps(10**6)], "ddp", name)
    metrics = folder_of(options, name) / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return process, int(children.stdout)


def test_a_signal_to_one_process_stops_both_with_their_state_saved(project):
    options = [TASK, *SMALL, "--framework=lightning", "--trainer.log_every=1"]
    process, second = running(options, "stopped")
    os.kill(second, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    record = read_record(folder_of(options, "stopped"))
    assert process.returncode == 143 and record.last
    said = f"error: SIGTERM: step {record.step} is saved, the same command goes on from there"
    assert errors.splitlines()[-1] == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGKILL, "process 1 has ended with code -9"), (signal.SIGSTOP, "silent")]
)
def test_a_process_that_is_gone_ends_the_other(project, number, told):
    process, second = running([TASK, *SMALL, "--framework=lightning", "--trainer.log_every=1"], "gone")
    began = time.monotonic()
    os.kill(second, number)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 1 and time.monotonic() - began < 75
    assert told in errors.splitlines()[-1]


@needs_text
@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_a_model_in_parts_trains_as_a_whole_one_does(project, mesh):
    options = options_of(TEXT, *steps(10), "--data.batch_size=16")
    exact = [*options, "--accelerator.precision=float64"]
    assert max(apart(train(exact, "cpu", "one"), train(exact, mesh, "parts"))) < 1e-9
    losses, weights = apart(train(options, "cpu", "one32"), train(options, mesh, "parts32"))
    assert losses < 1e-5 and weights < 1e-4


@needs_text
@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(project):
    options = options_of(TEXT, *steps(4), "--data.batch_size=16", "--accelerator.precision=float64")
    whole = train(options, "cpu", "whole")
    for place in ("ddp", "cpu", "fsdp", "fsdp_tensor"):
        step_by_step = "--trainer.max_minutes=1e-9" if place != "fsdp_tensor" else "--trainer.max_minutes=0"
        changing = train([*options, step_by_step], place, "changing")
    assert max(apart(whole, changing)) < 1e-9
    a, b = (torch.load(f / "checkpoints" / read_record(f).last, weights_only=True) for f in (whole, changing))
    assert a["state_dict"].keys() == b["state_dict"].keys()
    [a], [b] = a["optimizer_states"], b["optimizer_states"]
    assert [group["params"] for group in a["param_groups"]] == [group["params"] for group in b["param_groups"]]
    for i, moments in a["state"].items():
        assert all(torch.allclose(value, b["state"][i][name], atol=1e-12) for name, value in moments.items())
