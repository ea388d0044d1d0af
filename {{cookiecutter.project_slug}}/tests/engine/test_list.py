"""The list: tasks and presets as their files tell of them, and runs in one table, whatever state they are in."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import FRAMEWORKS, steps
from filelock import FileLock
from helpers import MODE, MONITOR, SMALL, TASK

from {{cookiecutter.package_name}}.engine import registry, runs
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result

PLACE = f"{TASK}/default/{FRAMEWORKS[0]}"


# Tasks and presets.


def test_every_task_and_preset_is_listed(cli):
    shown = cli("list").out
    names = [f"{task}/{preset}" for task, presets in registry.presets().items() for preset in presets]
    assert [name for name in names if not re.search(rf"^  {name}  \(\w+ data\)  \S", shown, re.MULTILINE)] == []


def test_a_task_alone_is_listed_where_it_is_named(cli):
    found = json.loads(cli("list", TASK, "--json").out)
    assert [row["preset"] for row in found] == [f"{TASK}/{name}" for name in registry.presets()[TASK]]


FIGURES = dict(zip(FRAMEWORKS, ("0.91 (0.90, 0.92), 12 s", "0.92 (0.91, 0.93), 9 s"), strict=False))
HEAD = "\n".join(
    [
        "# Birds by their songs: ten kinds, e. g. the blackbird. A thousand recordings.",
        f"# python train.py {TASK}/mine --data.download true",
        "# The best there is has 0.99.",
        "# Test accuracy, mean of seeds 0 to 2 (smallest, largest), and the time of a run on two",
        "# CPU cores:",
        *(f"# {name}: {figures}" for name, figures in FIGURES.items()),
        "# With more recordings:",
        *(f"# {name}: 0.95" for name in FRAMEWORKS),
    ]
)
UNKNOWN = (
    "# Birds.\n# python train.py birds {options}\n# Test accuracy and time: not measured yet. The paper has 0.9.\n"
)


@pytest.fixture
def listed(cli, project, monkeypatch):
    """`listed(text)` lists the task with one preset of that text, as data."""

    def run(text, *words):
        (project / TASK).mkdir(exist_ok=True)
        (project / TASK / "mine.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(registry, "configs", lambda: project)
        [found] = json.loads(cli("list", TASK, "--json").out)
        return found

    return run


def test_what_a_preset_is_and_reaches_stands_in_its_first_lines(listed):
    found = listed(HEAD)
    assert found == {
        "preset": f"{TASK}/mine",
        "about": "Birds by their songs: ten kinds, e. g. the blackbird.",
        "data": "embedded",
        "command": f"python train.py {TASK}/mine --data.download true",
        "expected": {"what": "Test accuracy", **FIGURES},
    }


def test_what_is_not_measured_is_said(listed):
    assert listed(UNKNOWN)["expected"] == {"what": "Test accuracy and time: not measured yet."}


@pytest.mark.parametrize(("options", "data"), [("--data.download true", "download"), ("--data.path FILE", "own")])
def test_which_data_a_preset_needs_is_told(listed, options, data):
    assert listed(UNKNOWN.format(options=options) + "data:\n  name: another\n")["data"] == data
    [first, *_] = tasks.find(TASK).datasets
    assert listed(UNKNOWN.format(options=options) + f"data:\n  name: {first}\n")["data"] == "embedded"


def test_a_preset_without_a_head_is_listed(listed):
    assert listed("trainer:\n  epochs: 1\n")["expected"] == {"what": ""}


# Runs.


@pytest.fixture(scope="module")
def folders(cli, tmp_path_factory):
    """A folder of runs: two that are finished, one unfinished, one damaged, and what is no run; to be read only."""
    run_dir = tmp_path_factory.mktemp("runs") / "all"
    for name, rate in (("one", 0.001), ("two", 0.002)):
        words = (f"--run_dir={run_dir}", f"--name={name}", "--trainer.val_every=2", f"--optimizer.learning_rate={rate}")
        outcome = cli("train", TASK, "--framework", FRAMEWORKS[0], *SMALL, *steps(4), *words)
        assert outcome.code == 0, outcome.err
    parent = run_dir / PLACE
    for name in ("open", "bad"):
        shutil.copytree(parent / "one", parent / name)
        (parent / name / "result.json").unlink()
    (parent / "bad" / "record.json").write_text('{"step": ')
    (run_dir / TASK / "default" / "compare" / "001").mkdir(parents=True)
    return run_dir


def rows(outcome):
    """Of a table, by the run's name: its cells by the head of their column."""
    head, *lines = outcome.out.splitlines()
    starts = [match.start() for match in re.finditer(r"(?<!\S)\S+( in)?", head)]
    cells = [re.split(r" {2,}", line) for line in lines]
    assert all(len(row) <= len(starts) for row in cells), outcome.out
    return {row[0].rpartition("/")[2]: dict(zip(re.split(r" {2,}", head), row, strict=False)) for row in cells}


def test_runs_are_listed_with_what_they_have_reached(cli, folders):
    outcome = cli("list", "runs", f"--run_dir={folders}")
    found = rows(outcome)
    assert outcome.code == 0 and list(found) == ["one", "open", "two"], outcome
    assert found["two"]["run"] == f"{PLACE}/two"
    assert [found[name]["state"] for name in ("one", "open")] == ["finished", "unfinished"]
    assert found["one"]["step"] == "4"
    best = read_result(folders / PLACE / "one")["metrics"][MONITOR]
    assert found["one"]["best"].startswith(f"{MONITOR} ") and float(found["one"]["best"].split()[1]) == pytest.approx(
        best, rel=1e-3
    )


def test_runs_are_told_apart_by_what_differs_in_their_configs(cli, folders):
    found = rows(cli("list", "runs", f"--run_dir={folders}"))
    assert [found[name]["differs in"] for name in ("one", "two")] == ["learning_rate=0.001", "learning_rate=0.002"]


def test_what_runs_have_in_common_is_not_told(cli, folders):
    assert "learning_rate" not in cli("list", "runs", "one", f"--run_dir={folders}").out


def test_runs_of_other_tasks_or_presets_do_not_make_differences(folders):
    one, two, other = (runs.read(folders / PLACE / name) for name in ("one", "two", "one"))
    other = type(other)(**{**vars(other), "id": "elsewhere/default/x/1", "config": {**other.config, "seed": 9}})
    assert runs.differences([one, two, other])[2] == {}


def test_a_damaged_run_is_named_in_one_line_and_passed_by(cli, folders):
    [line] = cli("list", "runs", f"--run_dir={folders}").err.splitlines()
    assert f"{PLACE}/bad" in line and line.endswith(": passed by")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"metrics": {}}', '{"metrics": {"a": "b"}, "steps": 1, "seconds": 1}']
)
def test_a_result_that_says_nothing_is_damage(cli, folders, tmp_path, text):
    shutil.copytree(folders / PLACE / "one", tmp_path / PLACE / "one")
    shutil.copytree(folders / PLACE / "two", tmp_path / PLACE / "two")
    (tmp_path / PLACE / "two" / "result.json").write_text(text)
    outcome = cli("list", "runs", f"--run_dir={tmp_path}")
    assert list(rows(outcome)) == ["one"] and "result.json is damaged" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_terminal_obeys_nothing_of_a_run(cli, folders, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(folders / PLACE / name, tmp_path / PLACE / name)
    config = tmp_path / PLACE / "two" / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"init": "\x1b[2J"}))
    assert (
        "\x1b" not in (outcome := cli("list", "runs", f"--run_dir={tmp_path}")).out and "init=\\x1b[2J" in outcome.out
    )


def test_a_run_that_a_process_is_at_is_running_and_its_newest_entry_counts(cli, folders):
    folder = folders / PLACE / "open"
    assert read_record(folder).step == 4
    with FileLock(folder / ".lock"):
        try:
            with (folder / "metrics.jsonl").open("a") as file:
                file.write('{"step": 1234, "seconds": 99.0, "train/loss": 1.0}\n{"step": 1235, "sec')
            found = rows(cli("list", "runs", "open", f"--run_dir={folders}"))["open"]
        finally:
            shutil.copy(folders / PLACE / "one" / "metrics.jsonl", folder)
    assert (found["state"], found["step"], found["seconds"]) == ("running", "1,234", "99")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [(["*/two"], ["two"]), (["tw", "/one"], ["one", "two"]), (["*o[np]e*"], ["one", "open"]), ([TASK], None)],
)
def test_patterns_are_globs_or_parts_of_an_id(cli, folders, patterns, names):
    found = rows(cli("list", "runs", *patterns, f"--run_dir={folders}"))
    assert list(found) == (names or ["one", "open", "two"])


@pytest.mark.parametrize(("metric", "falls"), [(MONITOR, MODE == "min"), ("test/loss", True), ("parameters", False)])
def test_a_metric_sorts_runs_the_best_first_and_is_shown(cli, folders, metric, falls):
    found = json.loads(cli("list", "runs", f"--run_dir={folders}", f"--sort={metric}", "--json").out)
    values = [row[metric] for row in found if row[metric] is not None]
    assert len(values) >= 2 and values == sorted(values, reverse=not falls)
    assert metric in cli("list", "runs", f"--run_dir={folders}", f"--sort={metric}").out.splitlines()[0]


def test_the_data_have_every_figure(cli, folders):
    found = json.loads(cli("list", "runs", "*/one", f"--run_dir={folders}", "--json").out)
    result = read_result(folders / PLACE / "one")
    assert found[0]["figures"] == {
        **result["metrics"],
        **{key: found[0]["figures"][key] for key in ("steps_per_second", "steps", "parameters")},
        **{key: value for key, value in found[0]["figures"].items() if key in result},
    }
    assert found[0]["best"] == result["metrics"][MONITOR]


def test_csv_has_a_column_for_each_key_that_differs(cli, folders):
    found = list(csv.DictReader(io.StringIO(cli("list", "runs", f"--run_dir={folders}", "--csv").out)))
    assert [(row["run"], row["optimizer.learning_rate"]) for row in found] == [
        (f"{PLACE}/one", "0.001"),
        (f"{PLACE}/open", "0.001"),
        (f"{PLACE}/two", "0.002"),
    ]


def test_a_run_of_a_task_that_the_project_does_not_have_is_listed(cli, folders, tmp_path):
    folder = tmp_path / "gone/default/x/one"
    shutil.copytree(folders / PLACE / "one", folder)
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"task": "gone"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert rows(cli("list", "runs", f"--run_dir={tmp_path}"))["one"]["best"] == runs.ABSENT


def test_a_list_imports_no_framework(folders):
    heavy = {package for framework in registry.frameworks().values() for package in framework.PACKAGES} - {"numpy"}
    code = (
        "import sys; from {{cookiecutter.package_name}}.engine.commands import main; code = main(); "
        f"print(code, {heavy} & " + "{*sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "runs", "*/one", f"--run_dir={folders}"], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "0 set()", done.stderr


def test_bad_arguments_are_told_in_one_line(complaint, folders):
    where = f"--run_dir={folders}"
    assert "holds no run" in complaint("list", "runs")
    assert "holds no run of nothing" in complaint("list", "runs", "nothing", where)
    assert "did you mean 'test/loss'?" in complaint("list", "runs", "*/one", where, "--sort=test/los")
    assert "choose one of them" in complaint("list", "--json", "--csv")
    assert "--sort is for list runs" in complaint("list", "--sort=test/loss")
    assert "no task 'rusn': did you mean 'runs'?" in complaint("list", "rusn")
    assert "list takes no --seed" in complaint("list", "runs", "--seed=1")
