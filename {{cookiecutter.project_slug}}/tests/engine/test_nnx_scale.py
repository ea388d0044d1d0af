"""Several devices: what they compute together is what one computes. A CPU is taken for as many as are wanted."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import history, small, steps
from helpers import SMALL, TASK

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result

FLOAT64 = "--accelerator.precision=float64"
RUN = ("--trainer.accumulate=2", "--optimizer.clip_norm=0.5", "--optimizer.ema_decay=0.9", FLOAT64)
RUN_ALL = """
import json, sys
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches, eval_batches
from {{cookiecutter.package_name}}.engine.scale.nnx import mesh
from {{cookiecutter.package_name}}.engine.workflow import create_engine

mesh.SMALL = 16  # models of tests are small

def made(task, options):
    settings = registry.load_config(task, ["--framework=nnx", *options])
    data = tasks.find(task).load(settings, None)
    engine = create_engine(settings, data.spec)
    batches = TrainBatches(data, settings.data.batch_size, settings.seed, False, engine.share)
    return settings, data, engine, batches, engine.train_step(data.augment)

def run(task, options):
    settings, data, engine, batches, step = made(task, options)
    with engine.settings():
        return run_in(settings, data, engine, batches, step)

def run_in(settings, data, engine, batches, step):
    state, losses = engine.init(), []
    held = sum(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params))
    for i in range(5):
        batch = engine.devices.cut(batches.stack(i, 1), 1)
        state, logs = jax.block_until_ready(step(state, batch, np.full(1, 1e-3), True, {}))
        losses += [float(value) for value in logs.values()]
    source = eval_batches(data.test, settings.data.batch_size, share=engine.share)
    metrics = engine.run_metrics(state.evaluated, source)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
    return {"losses": losses, "metrics": numbers, "held": held, "compiled": step._cache_size()}

def lower(task, options, platform):
    settings, data, engine, batches, step = made(task, options)
    state = engine.devices.placed(engine.shapes)
    batch = engine.devices.cut(batches.stack(0, 1), 1)
    lowered = step.trace(state, batch, np.full(1, 1e-3), True, {}).lower(lowering_platforms=(platform,))
    return lowered.as_text().count("sdy.sharding") + lowered.as_text().count("mhlo.sharding")

def moves(task, options):
    settings, data, engine, batches, step = made(task, options)
    with engine.settings():
        batch = engine.devices.cut(batches.stack(0, 1), 1)
        text = step.lower(engine.init(), batch, np.full(1, 1e-3), True, {}).compile().as_text()
    return {name: text.count(f" {name}(") for name in ("collective-permute", "all-to-all", "all-reduce")}

kinds = {"run": run, "lower": lower, "moves": moves}
print("found", json.dumps({name: kinds[kind](*case) for name, (kind, *case) in json.loads(sys.argv[1]).items()}))
"""


def on_meshes(cases):
    """What `run`, `lower` or `moves` gives with eight devices, of each {name: (which of them, task, options, ...)}."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    environment["XLA_FLAGS"] = "--xla_cpu_collective_call_terminate_timeout_seconds=60"
    command = [sys.executable, "-c", RUN_ALL, json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("found ")[2])


def mesh(data=1, fsdp=1, tensor=1):
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
    return [f"--accelerator.devices={data * fsdp * tensor}", *(f"--accelerator.mesh.{k}={v}" for k, v in sizes.items())]


def assert_same(one, several, tolerance=1e-9):
    assert several["losses"] == pytest.approx(one["losses"], rel=tolerance)
    assert several["metrics"] == pytest.approx(one["metrics"], rel=1e-6, abs=1e-6)  # added up in float32
    assert several["compiled"] == 1


def test_devices_together_are_one_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meshes = {"one": mesh(), "data": mesh(data=2), "both": mesh(data=2, fsdp=2)}
    found = on_meshes({name: ("run", TASK, [*SMALL, *RUN, *options]) for name, options in meshes.items()})
    assert_same(found["one"], found["data"])
    assert_same(found["one"], found["both"])
    assert found["data"]["held"] == found["one"]["held"] > found["both"]["held"]


PRESETS = Path(__file__).parents[2] / "configs" / "accelerator"
PLATFORMS = {"gpu": "cuda", "tpu": "tpu"}


def test_the_step_of_every_task_lowers_for_accelerators_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = {}
    for task in tasks.names():
        for path in sorted(PRESETS.glob("[gt]pu*.yaml")):
            # Of most tasks two say enough: one that divides weights, too, and one that divides a batch alone.
            if "tensor" not in path.read_text() and (task == TASK or path.stem in ("gpu-fsdp", "tpu-ddp")):
                options = [*small(task), f"--accelerator={path.stem}", "--accelerator.platform=cpu"]
                options += ["--accelerator.devices=8"] if "-" in path.stem else ["--accelerator.devices=1"]
                cases[f"{task} {path.stem}"] = ("lower", task, options, PLATFORMS[path.stem[:3]])
    found = on_meshes(cases)
    assert all((shardings > 0) for name, shardings in found.items()), found


# Several processes.


class Pair:
    """Two processes that train one run."""

    def __init__(self, folder, *options, task=TASK):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        words = [sys.executable, "-m", "{{cookiecutter.package_name}}", "train", task, "--framework=nnx"]
        words += [*small(task), *options, "--accelerator=cpu-ddp", FLOAT64, "--resume=never"]
        given = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.folder = folder
        self.processes = [
            subprocess.Popen(
                words, cwd=folder, env={**os.environ, **given, "JAX_PROCESS_ID": str(rank)}, text=True, **PIPES
            )
            for rank in range(2)
        ]

    def ends(self, timeout=300):
        """(exit code, what was printed) of each."""
        ended = [process.communicate(timeout=timeout) for process in self.processes]
        return [(process.returncode, *texts) for process, texts in zip(self.processes, ended, strict=True)]

    def wait_for(self, step):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for path in self.folder.glob("runs/*/*/nnx/001/metrics.jsonl"):
                if f'"step": {step},' in path.read_text():
                    return
            time.sleep(0.2)
        raise TimeoutError(step)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def folder_of(project):
    [folder] = (path.parent for path in project.glob("runs/*/*/nnx/*/config.yaml"))
    return folder


def train_alone_and_in_two(cli, tmp_path, monkeypatch, task, options, mesh=()):
    """The folders of the two runs, whose losses agree."""
    options = (*options, *steps(6), "--trainer.log_every=1", "--trainer.val_every=3", "--trainer.accumulate=2")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    assert cli("train", task, "--framework=nnx", *small(task), FLOAT64, *options).code == 0
    with Pair(tmp_path / "two", *options, *mesh, task=task) as pair:
        (code, out, err), (other_code, other_out, other_err) = pair.ends()
    assert code == other_code == 0, err + other_err
    assert "test/loss" in out and "test/loss" not in other_out
    one, two = folder_of(tmp_path / "one"), folder_of(tmp_path / "two")
    for ours, theirs in zip(history(one), history(two), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)  # metrics are added up in float32
    losses = [[line["train/loss"] for line in history(folder) if "train/loss" in line] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    return one, two


def test_two_processes_are_one(cli, tmp_path, monkeypatch):
    one, two = train_alone_and_in_two(cli, tmp_path, monkeypatch, TASK, ())
    # Saved by two, evaluated by one.
    assert cli("evaluate", two, "--accelerator=cpu").out.split()[1] == cli("evaluate", one).out.split()[1]
    assert read_result(two)["metrics"] == pytest.approx(read_result(one)["metrics"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_ends_all_at_the_same_step(tmp_path, rank):
    with Pair(tmp_path, *steps(10**6), "--trainer.log_every=1") as pair:
        pair.wait_for(2)
        pair.processes[rank].send_signal(signal.SIGTERM)
        ends = pair.ends()
    assert [code for code, _, _ in ends] == [143, 143], ends
    step = read_record(folder_of(tmp_path)).step
    (_, _, err), (_, _, other_err) = ends
    assert step >= 2 and f"step {step} is saved" in err and "error: " not in other_err


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_others_with_a_message(tmp_path, rank):
    with Pair(tmp_path, *steps(10**6), "--trainer.log_every=1") as pair:
        pair.wait_for(2)
        pair.processes[rank].kill()
        code, _, err = pair.ends(60)[1 - rank]
    assert code != 0 and err
