"""Kernels of transformers that are cut: what devices compute together is what one computes."""

import os
import subprocess
import sys

import pytest
from conftest import small
from test_nnx_scale import RUN, assert_same, mesh, on_meshes, train_alone_and_in_two

TASK = "language_modeling"
MODEL = (
    "--model.width=32",
    "--model.heads=4",
    "--data.batch_size=16",
    "--data.val_fraction=0.01",
    "--data.test_fraction=0.01",
)


@pytest.mark.slow
def test_devices_that_cut_kernels_are_one_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meshes = {"one": mesh(), "tensor": mesh(tensor=2), "all": mesh(data=2, fsdp=2, tensor=2)}
    found = on_meshes({name: ("run", TASK, [*small(TASK), *MODEL, *RUN, *options]) for name, options in meshes.items()})
    assert_same(found["one"], found["tensor"])
    assert_same(found["one"], found["all"])
    assert found["one"]["held"] > found["tensor"]["held"] > found["all"]["held"]


def test_the_step_lowers_for_cut_kernels_on_accelerators_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*small(TASK), *MODEL, "--accelerator=gpu-tp", "--accelerator.platform=cpu", "--accelerator.devices=8"]
    found = on_meshes({name: ("lower", TASK, options, name) for name in ("cuda", "tpu")})
    assert all(found.values())


def test_queries_keys_and_values_need_not_move_where_heads_are_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = on_meshes({"cut": ("moves", TASK, [*small(TASK), *MODEL, *mesh(tensor=2)])})["cut"]
    assert found["all-reduce"] > 0
    assert found["collective-permute"] == found["all-to-all"] == 0


def test_kernels_that_cannot_be_cut_so_are_told(tmp_path):
    options = ["--model.width=36", "--model.heads=2", "--trainer.max_steps=1", *mesh(tensor=8)]
    words = [sys.executable, "-m", "{{cookiecutter.package_name}}", "train", TASK, "--framework=nnx"]
    words += [*small(TASK), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "accelerator.mesh.tensor = 8 does not divide the 108 columns of" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_that_share_the_weights_are_one(cli, tmp_path, monkeypatch):
    fsdp = ("--accelerator.mesh.data=1", "--accelerator.mesh.fsdp=2")
    one, two = train_alone_and_in_two(cli, tmp_path, monkeypatch, TASK, MODEL, fsdp)
    on_one = ("--accelerator.devices=1", "--accelerator.mesh.fsdp=1")
    assert cli("evaluate", two, *on_one).out.split()[1] == cli("evaluate", one).out.split()[1]
