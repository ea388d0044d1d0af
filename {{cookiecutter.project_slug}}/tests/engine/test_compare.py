"""Runs side by side: what is counted and said of them, the report, and what is refused."""

import dataclasses
import importlib.util
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import FRAMEWORKS, history, steps
from helpers import MONITOR, SMALL, TASK

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.compare import comparison
from {{cookiecutter.package_name}}.engine.compare.comparison import Column, FinishedRun, Options, Row, verdict
from {{cookiecutter.package_name}}.engine.compare.initial import write_initial
from {{cookiecutter.package_name}}.engine.config import to_dict
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result

draws = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs the extra [compare]")
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def runs(cli, tmp_path_factory):
    """Folders of runs of four steps, by framework and seed; to be read only."""
    run_dir, found = tmp_path_factory.mktemp("runs"), {}
    for framework in FRAMEWORKS:
        for seed in SEEDS:
            words = ("--framework", framework, f"--seed={seed}", f"--run_dir={run_dir}", f"--name={seed}")
            events = ("--trainer.val_every=2", "--trainer.log_every=2")
            outcome = cli("train", TASK, *SMALL, *steps(4), *events, *words)
            assert outcome.code == 0, outcome.err
            found[framework, seed] = next(run_dir.glob(f"*/*/{framework}/{seed}"))
    return found


@pytest.fixture(scope="module")
def compared(cli, runs, tmp_path_factory):
    """(how the command ended, the report's folder) of all of them."""
    run_dir = tmp_path_factory.mktemp("reports")
    outcome = cli("compare", *runs.values(), f"--run_dir={run_dir}", "--name=<i>&all")
    return outcome, run_dir / TASK / "default" / "compare" / "<i>&all"


class Page(HTMLParser):
    """What a page holds; raises where an element is closed that is not open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href", "action", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(compared):
    return Page((compared[1] / "report.html").read_text(encoding="utf-8"))


# The report.


@draws
def test_the_terminal_shows_every_figure_the_verdict_and_where_the_report_is(compared, runs):
    outcome, folder = compared
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    names = ["test/loss", f"{MONITOR}, best", f"{MONITOR}, final", "train/loss, final", f"time to {MONITOR}"]
    names += ["time to first step", "steps a second", "examples a second", "lines of code: engine"]
    assert [name for name in names if not any(line.startswith(name) for line in lines)] == []
    assert lines[0].split() == FRAMEWORKS
    assert f"Report: {folder / 'report.html'}" in lines
    assert lines[-1].startswith("See them: python -m ") and " board " in lines[-1]


@draws
def test_a_figure_is_the_mean_with_the_smallest_and_the_largest(compared, runs):
    line = next(line for line in compared[0].out.splitlines() if line.startswith("test/loss "))
    for framework in FRAMEWORKS:
        values = [read_result(runs[framework, seed])["metrics"]["test/loss"] for seed in SEEDS]
        assert f"{sum(values) / 2:.5g} ({min(values):.5g} to {max(values):.5g})" in line


@draws
def test_the_page_is_whole_and_has_no_script(page):
    assert page.open == [] and "script" not in page.tags


@draws
def test_the_page_has_curves_by_step_and_by_second(page):
    assert page.tags.count("svg") == 4
    assert {"step", "seconds", "train/loss", MONITOR} <= {text.strip() for text in page.texts}


@draws
def test_the_page_links_to_the_runs_and_to_nothing_else(page, compared, runs):
    links = [link for link in page.links if not link.startswith("#")]
    assert [(compared[1] / link).resolve() for link in links] == [folder.resolve() for folder in runs.values()]


@draws
def test_what_comes_from_runs_is_escaped(page):
    assert page.tags.count("i") == 1  # the page's own
    assert any("--name=<i>&all" in text for text in page.texts)


@draws
def test_nothing_is_left_beside_the_report(compared):
    assert [path.name for path in compared[1].iterdir()] == ["report.html"]


@draws
def test_reports_without_a_name_are_numbered(cli, runs, project):
    for number in ("001", "002"):
        outcome = cli("compare", *runs.values())
        assert f"runs/{TASK}/default/compare/{number}/report.html" in outcome.out, outcome


@draws
def test_runs_of_one_framework_that_differ_in_an_option_stand_in_columns_named_by_it(cli, runs, project):
    framework = FRAMEWORKS[0]
    options = (*SMALL, *steps(4), "--trainer.val_every=2", "--trainer.log_every=2", "--optimizer.learning_rate=0.0123")
    assert cli("train", TASK, *options, "--framework", framework).code == 0
    [new] = project.glob(f"runs/*/*/{framework}/001")
    outcome = cli("compare", runs[framework, 0], new)
    assert "learning_rate=0.0123" in outcome.out.splitlines()[0], outcome


def finished(name, path="", **changes):
    """A run of no folder: of the project's config with data.path and changes, a.b as a__b."""
    given = {key.replace("__", "."): value for key, value in changes.items()}
    config = to_dict(registry.load_config("", {"framework": FRAMEWORKS[0], "accelerator": "cpu", **given}))
    config["data"]["path"] = path
    return FinishedRun(Path("runs", name), config, {"versions": {}}, {"devices": "one cpu"}, {})


def labels(*runs):
    return [column.label for column in comparison.columns_of(runs)]


def test_columns_are_named_by_every_key_that_differs():
    one = finished("001", optimizer__learning_rate=0.5, data__batch_size=8, trainer__epochs=3)
    two = finished("002", optimizer__learning_rate=0.25, data__batch_size=16, trainer__epochs=3)
    name = FRAMEWORKS[0]
    assert labels(one, two) == [f"{name} batch_size=8 learning_rate=0.5", f"{name} batch_size=16 learning_rate=0.25"]


def test_columns_are_named_by_seeds_where_they_have_other_ones():
    one, two = (finished(f"{rate}", optimizer__learning_rate=rate, seed=int(4 * rate)) for rate in (0.5, 0.25))
    name = FRAMEWORKS[0]
    assert labels(one, two) == [f"{name} learning_rate=0.5 seed=2", f"{name} learning_rate=0.25 seed=1"]
    more = finished("more", optimizer__learning_rate=0.5, seed=1)
    both = finished("both", optimizer__learning_rate=0.25, seed=2)
    assert labels(one, more, two, both) == [f"{name} learning_rate={rate}" for rate in (0.5, 0.25)]
    assert labels(one, two, more) == [f"{name} learning_rate=0.5 seed=2,1", f"{name} learning_rate=0.25 seed=1"]


def test_columns_are_named_by_paths_without_what_they_have_in_common():
    one = finished("001", path="/there/someone/with/a/long/name/data/houses.csv", data__root="here")
    two = finished("002", path="/there/someone/with/a/long/name/data/2024/houses.csv", data__root="there")
    name = FRAMEWORKS[0]
    assert labels(one, two) == [f"{name} path=houses.csv root=here", f"{name} path=2024/houses.csv root=there"]


TASKS_WITH_MODELS = [name for name in tasks.names() if len(tasks.find(name).models) > 1]


@pytest.mark.parametrize("task", TASKS_WITH_MODELS)
def test_columns_of_other_models_are_named_by_the_model_and_not_by_keys_that_only_one_has(task):
    models = dict(list(tasks.find(task).models.items())[:2])
    options = [{"framework": FRAMEWORKS[0], "model.name": name} for name in models]
    configs = [to_dict(registry.load_config(task, given)) for given in options]
    runs = [FinishedRun(Path(c["model"]["name"]), c, {"versions": {}}, {"devices": ""}, {}) for c in configs]
    found = labels(*runs)
    assert all(f" model.name={name}" in label for name, label in zip(models, found, strict=True))
    first, second = ({item.name for item in dataclasses.fields(cls)} for cls in models.values())
    assert not [key for key in first ^ second if f" {key}=" in " ".join(found)]


def test_a_target_that_no_run_reaches_is_not_reached(cli, runs, project):
    target = {"max": "1e9", "min": "-1e9"}[tasks.find(TASK).mode]
    outcome = cli("compare", *runs.values(), "--target", target)
    line = next(line for line in outcome.out.splitlines() if line.startswith("time to "))
    assert line.count("not reached") == len(FRAMEWORKS), outcome


# What is logged and counted for it.


def test_every_logged_entry_has_the_seconds_of_the_run_so_far(runs):
    for folder in runs.values():
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        seconds = [json.loads(line)["seconds"] for line in lines]
        assert seconds == sorted(seconds) and seconds[0] > 0
        assert seconds[-1] <= read_result(folder)["seconds"]


def test_a_run_that_is_given_its_own_initial_weights_is_the_same_run(cli, runs, framework, project):
    options = (*SMALL, *steps(4), "--trainer.val_every=2", "--trainer.log_every=2", "--framework", framework)
    settings = registry.load_config(TASK, options)
    write_initial(to_dict(settings), project / "initial.safetensors")
    outcome = cli("train", TASK, *options, "--init=initial.safetensors")
    assert outcome.code == 0, outcome.err
    [new] = project.glob(f"runs/*/*/{framework}/001")
    assert history(new) == history(runs[framework, 0])


def test_the_lines_of_every_model_are_counted(framework):
    for name in tasks.names():
        for model in tasks.find(name).models:
            counts = comparison.lines_of_code(name, framework, model)
            assert list(counts) == ["task", "model", "engine"] and min(counts.values()) > 10, (name, model)


def test_a_framework_that_the_project_lacks_has_no_lines():
    model = next(iter(tasks.find(TASK).models))
    assert comparison.lines_of_code(TASK, "another", model) == {}


# What is said.


def plain(value):
    return f"{value:.4g}"


SPEED = ("max", "takes", "steps a second")
TIME = ("min", "is done in", "time")
SAID = {
    "a metric, apart": (
        ("max",),
        [[0.90, 0.92], [0.80, 0.84]],
        "test/accuracy: a is ahead of b by 0.09 (0.91 against 0.82; the nearest runs have 0.9 and 0.84).",
    ),
    "a metric of which less is better": (
        ("min",),
        [[0.90, 0.92], [0.80, 0.84]],
        "test/accuracy: b is ahead of a by 0.09 (0.82 against 0.91; the nearest runs have 0.84 and 0.9).",
    ),
    "spreads that overlap": (
        ("max",),
        [[0.8, 0.9], [0.85, 0.95]],
        "test/accuracy: none is ahead beyond the spread: a 0.85 (0.8 to 0.9), b 0.9 (0.85 to 0.95).",
    ),
    "spreads that touch": (
        ("max",),
        [[0.8, 0.9], [0.9, 1.0]],
        "test/accuracy: none is ahead beyond the spread: a 0.85 (0.8 to 0.9), b 0.95 (0.9 to 1).",
    ),
    "one within the other": (
        ("max",),
        [[0.5, 1.0], [0.7, 0.72]],
        "test/accuracy: none is ahead beyond the spread: a 0.75 (0.5 to 1), b 0.71 (0.7 to 0.72).",
    ),
    "equal": (("max",), [[0.5, 0.5], [0.5, 0.5]], "test/accuracy: a and b are equal, 0.5."),
    "a speed": (
        SPEED,
        [[100, 100], [125, 137]],
        "b takes 1.31 times the steps a second of a, and is ahead "
        "(131 against 100; the nearest runs have 125 and 100).",
    ),
    "a time": (
        TIME,
        [[10, 12], [20, 24]],
        "a is done in 0.5 times the time of b, and is ahead (11 against 22; the nearest runs have 12 and 20).",
    ),
    "a time that one never reaches": (
        TIME,
        [[10, 12], [20, float("inf")]],
        "test/accuracy: a is ahead of b (11 against inf; the nearest runs have 12 and 20).",
    ),
    "a time that neither reaches": (
        TIME,
        [[float("inf")] * 2] * 2,
        "test/accuracy: a and b are equal, inf.",
    ),
    "three columns": (
        SPEED,
        [[10, 11], [20, 21], [30, 31]],
        "c takes 1.49 times the steps a second of b, the next, and is ahead "
        "(30.5 against 20.5; the nearest runs have 30 and 21).",
    ),
    "three columns, of which the third overlaps": (
        ("max",),
        [[0.1, 0.95], [0.8, 0.8], [0.9, 0.9]],
        "test/accuracy: none is ahead beyond the spread: a 0.525 (0.1 to 0.95), b 0.8, c 0.9.",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_one_is_ahead_only_beyond_the_spread(case):
    words, values, expected = SAID[case]
    assert verdict([Row("test/accuracy", values, plain, *words)], "abc"[: len(values)]) == [expected]


def test_that_the_machine_was_busy_is_said_of_the_runs_that_it_was_busy_for():
    shares = {"older": {}, "unknown": {"busy_elsewhere": None}, "alone": {"busy_elsewhere": 0.02}}
    shares["beside others"] = {"busy_elsewhere": 0.634}
    columns = [Column(name, [dataclasses.replace(finished(name), result=result)]) for name, result in shares.items()]
    [said] = comparison.disturbed(columns)
    assert said.startswith("The machine was busy: other processes had 63% of its cores while beside others was")


def test_one_seed_is_said_to_tell_nothing_about_the_spread():
    rows = [Row("test/accuracy", [[0.9], [0.8]], plain, "max"), Row("speed", [[150], [100]], plain, *SPEED)]
    first, *rest = verdict(rows, "ab")
    assert first == "One seed tells nothing about the spread, so none is called ahead: more of them would tell."
    assert rest == [
        "test/accuracy: a has 0.9, b 0.8.",
        "a takes 1.5 times the steps a second of b (150 against 100).",
    ]


def test_a_column_with_one_run_among_others_is_named():
    first, second = verdict([Row("test/accuracy", [[0.9], [0.8, 0.81]], plain, "max")], "ab")
    assert first.startswith("One seed (a) tells nothing about the spread") and "ahead" not in second


def test_what_is_not_known_of_all_is_not_judged():
    assert verdict([Row("memory", [[float("nan")] * 2, [1, 2]], plain, "min")], "ab") == []


def test_runs_of_one_kind_are_said_to_have_none_ahead():
    [line] = verdict([Row("test/accuracy", [[0.9, 0.8]], plain, "max")], "a")
    assert "none can be ahead" in line


def test_a_run_that_began_with_the_state_of_another_is_not_ahead_of_one_that_did_not():
    rows = [Row("test/accuracy", [[0.9, 0.91], [0.8, 0.81]], plain, "max")]
    first, second = verdict(rows, "ab", parents=["", "runs/001"])
    assert first == "b began with the state of runs/001, whose steps and time are not counted here."
    assert "ahead" not in second
    assert "ahead" in verdict(rows, "ab", parents=["runs/001"] * 2)[0]


# What is refused.


def copied(runs, project, name):
    """A copy of a run, to spoil."""
    return shutil.copytree(runs[FRAMEWORKS[0], 0], project / name)


@draws
def test_one_run_is_one_line(complaint, runs):
    assert "two runs at least" in complaint("compare", runs[FRAMEWORKS[0], 0])


@draws
def test_a_run_given_twice_is_one_line(complaint, runs):
    run = runs[FRAMEWORKS[0], 0]
    assert "is given twice" in complaint("compare", run, run.parent / ".." / run.parent.name / run.name)


@draws
def test_an_unfinished_run_is_one_line(complaint, runs, project):
    (copied(runs, project, "open") / "result.json").unlink()
    assert "open is unfinished" in complaint("compare", runs[FRAMEWORKS[0], 1], "open")


@draws
def test_what_is_no_finished_run_is_passed_by_with_a_line(cli, runs, project):
    (copied(runs, project, "open") / "result.json").unlink()
    (project / "compare" / "001").mkdir(parents=True)
    (project / "notes.txt").touch()
    both = [runs[FRAMEWORKS[0], seed] for seed in SEEDS]
    outcome = cli("compare", "compare/001", both[0], "open", "notes.txt", both[1])
    assert outcome.code == 0, outcome.err
    lines = ["compare/001 is no run: passed by", "open is unfinished: passed by", "notes.txt is no run: passed by"]
    assert [line for line in outcome.err.splitlines() if "passed by" in line] == lines
    assert len(outcome.out.splitlines()[0].split()) == 1  # one column


@draws
def test_a_run_that_is_not_there_is_one_line(complaint, runs):
    assert "runs/typo is not there" in complaint("compare", *runs.values(), "runs/typo")


@draws
def test_a_report_is_written_over_none_that_is_there(cli, complaint, runs, project):
    assert cli("compare", *runs.values(), "--name=mine").code == 0
    report = project / "runs" / TASK / "default" / "compare" / "mine" / "report.html"
    report.write_text("mine")
    line = complaint("compare", *runs.values(), "--name=mine")
    assert "mine/report.html is there: choose another --name, or --force to replace it" in line
    assert report.read_text() == "mine"
    assert cli("compare", *runs.values(), "--name=mine", "--force").code == 0
    assert report.read_text() != "mine"


def test_a_report_of_the_same_settings_is_made_again(project):
    Path("report.html").touch()
    Path("compare.json").write_text('{"seeds": 1}')
    comparison.check_place(Path(), Options(), {"seeds": 1})
    with pytest.raises(InputError, match="is there"):
        comparison.check_place(Path(), Options(), {"seeds": 2})


@draws
def test_values_that_are_null_are_compared_as_not_a_number(cli, runs, project):
    folder = copied(runs, project, "null")
    for name in ("metrics.jsonl", "result.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub(r'("(?:test|val)/loss": )[\d.e-]+', r"\1null", text), encoding="utf-8")
    outcome = cli("compare", runs[FRAMEWORKS[0], 1], folder)
    assert outcome.code == 0, outcome.err
    assert re.search(r"^test/loss +–$", outcome.out, re.MULTILINE), outcome.out


@draws
def test_runs_of_different_tasks_are_one_line(complaint, runs, project):
    file = copied(runs, project, "other") / "config.yaml"
    file.write_text(file.read_text().replace(f"task: {TASK}", "task: knitting"))
    line = complaint("compare", runs[FRAMEWORKS[0], 1], "other")
    assert f"is of {TASK}, other of knitting: runs of one task" in line


DAMAGED = {
    "metrics.jsonl": '{"step": 1, "train/loss": 1.0}\n',
    "result.json": '{"metrics": {}}',
    "environment.json": "[]",
}


@draws
@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_run_is_one_line(complaint, runs, project, file):
    (copied(runs, project, "damaged") / file).write_text(DAMAGED[file])
    assert "damaged" in complaint("compare", runs[FRAMEWORKS[0], 1], "damaged")


@draws
def test_a_preset_that_names_another_folder_is_one_line(complaint, runs, project):
    file = copied(runs, project, "damaged") / "config.yaml"
    file.write_text(file.read_text().replace("preset: ''", "preset: ../../elsewhere"))
    assert "damaged" in complaint("compare", "damaged", runs[FRAMEWORKS[0], 1])


WRONG = {
    "--seeds": (["--seeds=2"], "--seeds is for compare TASK"),
    "an option of train": (["--trainer.epochs=2"], "--trainer.epochs is for compare TASK"),
    "a target that is no number": (["--target=high"], "--target high: a number is wanted"),
    "a name that is a path": (["--name=a/b"], "--name a/b: expected text that can name a folder"),
}


@draws
@pytest.mark.parametrize("case", WRONG)
def test_options_that_runs_do_not_take_are_one_line(complaint, runs, case):
    options, expected = WRONG[case]
    assert expected in complaint("compare", *runs.values(), *options)


def test_without_what_draws_the_extra_is_named(complaint, runs, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -e '.[compare]'" in complaint("compare", *runs.values())


@draws
@pytest.mark.skipif(len(FRAMEWORKS) > 1, reason="there are several")
def test_a_task_is_not_compared_where_there_is_one_framework(complaint):
    assert f"needs two frameworks, and here is {FRAMEWORKS[0]} only" in complaint("compare", TASK)
