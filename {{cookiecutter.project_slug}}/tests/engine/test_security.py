"""Files from elsewhere are data: what stands in them is never run, by no command."""

import io
import json
import os
import pickle
import shutil
import socket
import zipfile

import numpy as np
import pytest
from conftest import steps
from helpers import SMALL, TASK

from {{cookiecutter.package_name}}.engine import folder as run_files


class Payload:
    """To unpickle it makes the folder `executed`."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


PICKLE = pickle.dumps(Payload(), 2)  # an old protocol, which readers of checkpoints know best
YAML = "!!python/object/apply:os.mkdir [executed]"


def object_array():
    file = io.BytesIO()
    np.save(file, np.array([Payload()], object), allow_pickle=True)
    return file.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cli, framework):
    """The folder of a run, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    outcome = cli("train", TASK, *SMALL, *steps(2), f"--framework={framework}", f"--run_dir={folder}", "--name=one")
    assert outcome.code == 0, outcome.err
    return next(folder.glob("*/*/*/one"))


def checksums(run):
    return set((run / "checkpoints").glob("*.json"))


def checkpoint_that_is_a_pickle(run):
    """Whatever a checkpoint is made of."""
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file() and path not in checksums(run):
            path.write_bytes(PICKLE)


def checkpoint_that_is_an_archive_with_a_pickle(run):
    """As one that was written in a single file is, where it is one."""
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file() and path not in checksums(run):
            with zipfile.ZipFile(path, "w") as packed:
                for name, content in {"data.pkl": PICKLE, "byteorder": b"little", "version": b"3\n"}.items():
                    packed.writestr(f"archive/{name}", content)


def checkpoint_with_a_pickle_beside(run):
    for path in set((run / "checkpoints").iterdir()) - checksums(run):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.mkdir()
        (path / "data.pkl").write_bytes(PICKLE)


def fitted_array_of_objects(run):
    (run / "fitted" / "means.npy").write_bytes(object_array())


def fitted_values_that_are_a_pickle(run):
    (run / "fitted" / "spec.json").write_bytes(PICKLE)


def config_with_an_object(run):
    path = run / "config.yaml"
    path.write_text(f"{path.read_text()}\nextra: {YAML}\n")


def record_that_is_a_pickle(run):
    (run / "record.json").write_bytes(PICKLE)


def seal(run):
    """Checksums that fit: whoever changes a checkpoint can change these, too."""
    for path in checksums(run):
        record = json.loads(path.read_text())["record"]
        sealed = {"sha256": run_files._seal(run / "checkpoints" / record["last"], record), "record": record}
        path.write_text(json.dumps(sealed))


FAULTS = [
    checkpoint_that_is_a_pickle,
    checkpoint_that_is_an_archive_with_a_pickle,
    checkpoint_with_a_pickle_beside,
    fitted_array_of_objects,
    fitted_values_that_are_a_pickle,
    config_with_an_object,
    record_that_is_a_pickle,
]
COMMANDS = {
    "evaluate": lambda run: ["evaluate", run],
    "resume": lambda run: ["train", "--resume", run],
    "init": lambda run: ["train", TASK, *SMALL, "--framework", run.parent.name, "--init", run],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nothing_in_the_folder_of_a_run_is_executed(cli, project, trained, fault, command):
    run = project.joinpath("elsewhere", *trained.parts[-4:])
    shutil.copytree(trained, run)
    fault(run)
    seal(run)
    (run / "result.json").unlink()
    outcome = cli(*COMMANDS[command](run))
    not_read = command == "resume" and fault is record_that_is_a_pickle  # the records beside the checkpoints are
    assert outcome.code == (0 if not_read else 2)
    assert outcome.err.count("\nerror: ") + outcome.err.startswith("error: ") == (outcome.code != 0)
    assert "Traceback" not in outcome.err
    assert not (project / "executed").exists()


@pytest.mark.parametrize("name", ["weights.ckpt", "weights.pt", "model.safetensors", "model.npy"])
def test_a_file_of_weights_is_not_executed(complaint, project, framework, name):
    (project / name).write_bytes(object_array() if name.endswith(".npy") else PICKLE)
    line = complaint("train", TASK, *SMALL, "--framework", framework, "--init", name)
    assert "is not a safetensors file" in line
    assert not (project / "executed").exists()


def test_a_folder_of_weights_is_not_executed(complaint, project, framework):
    (project / "weights").mkdir()
    (project / "weights" / "model.safetensors").write_bytes(PICKLE)
    complaint("train", TASK, *SMALL, "--framework", framework, "--init", "weights")
    assert not (project / "executed").exists()


@pytest.mark.parametrize("option", ["--config", "--accelerator"])
@pytest.mark.parametrize("text", [f"seed: {YAML}", YAML, f"? {YAML}\n: 1", f"a: &x {YAML}\nb: *x"])
def test_a_config_file_is_not_executed(complaint, project, option, text):
    (project / "some.yaml").write_text(text)
    assert "some.yaml is not YAML" in complaint("train", option, "some.yaml")
    assert not (project / "executed").exists()


@pytest.mark.parametrize("key", ["seed", "name", "data.root", "trainer.epochs", "config", "accelerator"])
def test_a_value_of_an_option_is_not_executed(cli, project, key):
    cli("train", TASK, "--print_config", f"--{key}", YAML)
    assert not (project / "executed").exists()


def test_a_few_lines_of_aliases_do_not_fill_the_memory(complaint, project):
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (project / "some.yaml").write_text("\n".join(["a0: &a0 [1]", *levels]))
    assert "write the value out" in complaint("train", "--config", "some.yaml")


def test_brackets_without_end_are_one_line(complaint, project):
    (project / "some.yaml").write_text("a: " + "[" * 10_000)
    assert "too many brackets" in complaint("train", "--config", "some.yaml")


@pytest.mark.parametrize("option", ["--run_dir", "--resume", "--init", "--config", "--accelerator"])
def test_a_path_that_is_too_long_is_one_line(complaint, framework, option):
    complaint("train", TASK, *SMALL, "--framework", framework, option, "x" * 5000)


def test_training_reaches_no_network(cli, project, framework, monkeypatch):
    """Of the data that come with it; only `data.download` may."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    outcome = cli("train", TASK, *SMALL, *steps(2), f"--framework={framework}")
    assert outcome.code == 0, outcome.err
