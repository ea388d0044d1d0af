"""Exports of every task: they give what the run gives, say what they are, and refuse what cannot be."""

import dataclasses
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import FRAMEWORKS, steps
from exporting import FIRST, OWN, assert_exported, short_run
from helpers import SMALL, TASK, final_weights

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.export import formats
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result
from {{cookiecutter.package_name}}.engine.weights import read


@pytest.fixture(scope="module")
def trained(cli, tmp_path_factory):
    """A run of each framework; to be read only."""
    return {name: short_run(cli, tmp_path_factory.mktemp("runs"), TASK, name) for name in FRAMEWORKS}


@pytest.fixture
def run(trained, framework, tmp_path):
    """A copy of a run."""
    return shutil.copytree(trained[framework], tmp_path / "run")


# What an export gives.


@pytest.mark.skipif(tasks.find(TASK).signature is None, reason="inference takes more than one forward pass")
@pytest.mark.parametrize(("framework", "format"), OWN)
def test_an_export_gives_what_the_run_predicts(cli, trained, tmp_path, framework, format):
    assert_exported(cli, trained[framework], format, tmp_path / "elsewhere")


TASKS = [name for name in tasks.names() if name != TASK and tasks.find(name).signature]
# Most tasks once; all of them with each framework and format are slow, and those that take long to compile.
LONG = ("image_generation", "speech_recognition")
EACH = [
    pytest.param(
        task,
        *own.values,
        marks=[*own.marks, *[pytest.mark.slow] * (FIRST[i % len(FIRST)] is not own or task in LONG)],
    )
    for i, task in enumerate(TASKS)
    for own in OWN
]


@pytest.mark.parametrize(("task", "framework", "format"), EACH)
def test_an_export_of_every_task_gives_what_the_run_predicts(cli, tmp_path, task, framework, format):
    assert_exported(cli, short_run(cli, tmp_path, task, framework), format, tmp_path / "elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "format"), FIRST)
def test_an_export_computes_in_float32_whatever_the_run_was_trained_in(cli, tmp_path, framework, format):
    run = short_run(cli, tmp_path, TASK, framework, "--accelerator.precision=bfloat16")
    assert_exported(cli, run, format, tmp_path / "elsewhere")


def test_weights_are_those_that_are_evaluated(cli, run):
    assert cli("export", run, "--format", "safetensors").code == 0
    found, expected = read(run / "export" / "safetensors"), final_weights(run, "best")
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in found)


def test_a_run_begins_with_exported_weights(cli, run, framework, project):
    assert cli("export", run, "--format=safetensors", "--output=weights").code == 0
    options = (*SMALL, *steps(1), "--optimizer.learning_rate=1e-9", "--seed=1", "--init=weights")
    now = final_weights(workflow.train(load_config(TASK, ["--framework", framework, *options])))
    expected = read(project / "weights")
    assert all(now[name] == pytest.approx(expected[name], abs=1e-6) for name in now)


def test_another_checkpoint_is_exported_when_asked_for(cli, run):
    last = int(read_record(run).last.partition(".")[0])
    assert cli("export", run, "--format", "safetensors", "--checkpoint", last).code == 0
    found, expected = read(run / "export" / "safetensors"), final_weights(run)
    assert all((found[name] == expected[name]).all() for name in expected)


def test_an_export_needs_nothing_but_the_run(cli, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("export", "run", "--format=safetensors").out.startswith("run/export/safetensors/README.md\n")


def test_an_export_needs_none_of_the_devices_that_the_run_was_trained_on(cli, run):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["accelerator"] |= {"platform": "gpu", "devices": 8, "nodes": 2}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    assert cli("export", run, "--format=safetensors").code == 0


# What lies beside.


@pytest.fixture(scope="module")
def card(cli, trained, framework, tmp_path_factory):
    """The card of an export."""
    folder = tmp_path_factory.mktemp("card") / "export"
    assert cli("export", trained[framework], "--format=safetensors", f"--output={folder}").code == 0
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_has_the_metrics_of_the_result(card, trained, framework):
    for tag, value in read_result(trained[framework])["metrics"].items():
        assert f"| {tag} | {value:.6g} |" in card


def test_a_card_has_the_config_without_what_names_places(card, trained, framework):
    [text] = re.findall("```yaml\n(.*?)```", card, re.DOTALL)
    settings = yaml.safe_load(text)
    assert settings["optimizer.ema_decay"] == 0.5 and "run_dir" not in settings
    assert str(trained[framework].parents[3]) not in card


@pytest.mark.skipif(tasks.find(TASK).signature is None, reason="inference takes more than one forward pass")
def test_a_card_has_every_input_and_output_with_type_shape_and_meaning(card, trained, framework):
    spec = workflow.read_spec(trained[framework])
    signature = tasks.find(TASK).signature(spec)
    for kind, fields in (("input", signature.inputs), ("output", signature.outputs)):
        for name, field in fields.items():
            shape = ", ".join(["batch", *map(str, field.shape)])
            assert field.about and f"| {kind} | `{name}` | {field.dtype} [{shape}] | " in card


def test_a_card_names_its_run_and_how_far_that_is(card, trained, framework):
    step = int(read_record(trained[framework]).best.partition(".")[0])
    assert f"run `{TASK}/default/{framework}/one`" in card
    assert f"step {step}, the best of 4; the run is finished." in card


def test_what_was_fitted_lies_beside(cli, run):
    assert cli("export", run, "--format=safetensors").code == 0
    fitted = {path.name: path.read_bytes() for path in (run / "fitted").iterdir()}
    beside = {path.name: path.read_bytes() for path in (run / "export" / "safetensors").iterdir()}
    assert fitted.items() <= beside.items()
    assert beside.keys() - fitted.keys() == {"model.safetensors", "README.md"}


def test_of_an_unfinished_run_the_best_so_far_is_exported_and_this_is_said(cli, run):
    (run / "result.json").unlink()
    outcome = cli("export", run, "--format=safetensors")
    line = f"step {read_record(run).best_step}, the best so far of 4; the run is unfinished"
    assert outcome.code == 0 and outcome.err == f"{run}: {line}\n"
    card = (run / "export" / "safetensors" / "README.md").read_text()
    metrics = read_record(run).best_metrics
    assert line in card and all(f"| {tag} | {value:.6g} |" in card for tag, value in metrics.items())
    assert "| test/" not in card


def test_a_checkpoint_that_is_not_the_best_has_no_metrics(cli, run):
    record = read_record(run)
    (run / "record.json").write_text(json.dumps(dataclasses.asdict(record) | {"best": ""}))
    assert cli("export", run, "--format=safetensors", "--checkpoint=last").code == 0
    card = (run / "export" / "safetensors" / "README.md").read_text()
    assert f"`evaluate RUN --checkpoint {int(record.last.partition('.')[0])}`" in card and "| val/" not in card


# Where it goes.


@pytest.mark.parametrize("words", [[], ["--output=elsewhere"]])
def test_an_export_is_written_over_none_that_is_there(cli, complaint, run, project, words):
    [*_, card] = cli("export", run, "--format=safetensors", *words).out.split()[:1]
    Path(card).write_text("edited")
    line = complaint("export", run, "--format=safetensors", *words)
    assert f"{Path(card).parent} holds an export: choose another --output, or --force to replace it" in line
    assert Path(card).read_text() == "edited"


def test_an_export_takes_the_place_of_an_earlier_one_with_force(cli, run):
    folder = run / "export" / "safetensors"
    assert cli("export", run, "--format=safetensors").code == 0
    names = sorted(path.name for path in folder.iterdir())
    (folder / "README.md").write_text("edited")
    assert cli("export", run, "--format=safetensors", "--force").code == 0
    assert (folder / "README.md").read_text() != "edited"
    assert sorted(path.name for path in folder.iterdir()) == names
    assert list((run / "export").iterdir()) == [folder]


def test_an_export_that_fails_leaves_the_earlier_one(cli, run, monkeypatch):
    def fail(*settings):
        raise RuntimeError("no")

    assert cli("export", run, "--format=safetensors").code == 0
    before = sorted((run / "export").rglob("*"))
    monkeypatch.setattr("{{cookiecutter.package_name}}.engine.export.weights.write", fail)
    with pytest.raises(RuntimeError):
        cli("export", run, "--format=safetensors", "--force")
    assert sorted((run / "export").rglob("*")) == before


# Mistakes.


def test_the_formats_of_the_project_are_told(cli):
    assert f"formats: {', '.join(formats())}\n" in cli("export", "--help").out


WRONG = {
    "no format": ([], "export needs --format: choose from safetensors, "),
    "a format without a name": (["--format"], "--format needs a value: export RUN"),
    "a format with a typo": (["--format=safetensor"], "--format safetensor: did you mean 'safetensors'?"),
    "a format that is none": (["--format=zzz"], "--format zzz: choose from safetensors, "),
    "an input": (["more", "--format=safetensors"], "export takes no input 'more'"),
    "a checkpoint that is none": (["--format=safetensors", "--checkpoint=first"], "--checkpoint first: choose best,"),
    "a file in the place": (["--format=safetensors", "--output=file"], "--output file is there and is no folder"),
    "a file in the way": (["--format=safetensors", "--output=file/more"], "--output file/more: cannot be written"),
    "other files": (["--format=safetensors", "--output=.", "--force"], "--output . holds docs, which is no part of"),
    "a card alone": (["--format=safetensors", "--output=docs"], "--output docs holds README.md, which is no part of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_one_line(complaint, trained, framework, project, case):
    (project / "file").write_text("mine")
    (project / "docs").mkdir()
    (project / "docs" / "README.md").write_text("mine")
    words, part = WRONG[case]
    assert part in complaint("export", trained[framework], *words)


def test_a_project_with_one_framework_says_that_others_have_more_formats(complaint, trained, framework, monkeypatch):
    one = {framework: workflow.frameworks()[framework]}
    monkeypatch.setattr("{{cookiecutter.package_name}}.engine.export.frameworks", lambda: one)
    line = complaint("export", trained[framework], "--format=zzz")
    assert "others are written by a framework that this project does not have" in line


def test_a_package_that_is_missing_is_named_with_the_extra(complaint, trained, framework, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, format in formats().items():
        if format.packages:
            line = complaint("export", trained[framework], "--format", name)
            assert f"needs {' and '.join(format.packages)}: pip install -e '.[export]'" in line


def test_a_run_without_a_checkpoint_is_one_line(complaint, run):
    (run / "record.json").unlink()
    assert f"{run} has no checkpoint yet" in complaint("export", run, "--format=safetensors")


def test_a_folder_that_is_no_run_is_one_line(complaint):
    assert ". is no run" in complaint("export", ".", "--format=safetensors")


def test_a_run_of_a_framework_that_the_project_lacks_is_one_line(complaint, run, framework):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"framework": "other"}))
    assert "framework = 'other'" in complaint("export", run, "--format=safetensors")


def test_of_a_task_with_several_passes_only_weights_are_exported(cli, complaint, run, framework, monkeypatch):
    task = dataclasses.replace(tasks.find(TASK), signature=None)
    monkeypatch.setattr(tasks, "find", lambda name: task)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for name, format in formats().items():
        if format.framework:
            assert "takes more than one forward pass" in complaint("export", run, "--format", name)
    assert cli("export", run, "--format=safetensors").code == 0
