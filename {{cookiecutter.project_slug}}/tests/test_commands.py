"""The commands from beginning to end, whatever the task: what they print, what lies in a run, what TensorBoard gets."""

import json
import re
from pathlib import Path

import pytest
from conftest import FRAMEWORKS, MONITOR, SMALL, TASK, final_weights, steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}}.run import read_config, read_record, read_result
from {{cookiecutter.package_name}}.trainers import frameworks, load_config


def words(framework, *options):
    """The words of a command that trains four steps."""
    events = ("--trainer.val_every=2", "--trainer.log_every=2")
    return "train", TASK, "--framework", framework, *SMALL, *steps(4), *events, *options


@pytest.fixture(scope="module")
def trained(cli, tmp_path_factory):
    """(how the command ended, the run's folder) by framework."""
    found = {}
    for framework in FRAMEWORKS:
        run_dir = tmp_path_factory.mktemp(framework)
        outcome = cli(*words(framework, f"--run_dir={run_dir}", "--name=one"))
        found[framework] = outcome, run_dir / TASK / "default" / framework / "one"
    return found


@pytest.fixture
def folder(trained, framework):
    """A trained run; to be read only."""
    return trained[framework][1]


# Training.


def test_training_ends_well(trained, framework):
    assert trained[framework][0].code == 0, trained[framework][0].err


def test_training_prints_a_table_of_the_result(trained, folder, framework):
    out, value = trained[framework][0].out, read_result(folder)["metrics"]["test/loss"]
    assert re.search(rf"^test/loss +{value:.4f}$", out, re.MULTILINE), out


def test_training_says_how_to_see_it(trained, framework):
    assert "tensorboard --logdir" in trained[framework][0].out


def test_training_draws_no_bar_where_there_is_no_terminal(trained, framework):
    assert "\r" not in trained[framework][0].err


def test_training_tells_each_validation_where_there_is_no_terminal(trained, framework):
    lines = trained[framework][0].err.splitlines()
    assert [line.split()[1] for line in lines if MONITOR in line] == ["2/4", "4/4"]


def test_a_run_holds_what_is_promised(folder):
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events.", "."))}
    files = {"config.yaml", "environment.json", "metrics.jsonl", "record.json", "result.json"}
    assert files | {"checkpoints", "fitted"} <= names
    assert len(list(folder.glob("events.*"))) == 1


def test_a_result_has_every_key(folder):
    keys = "task preset framework name seed steps epochs seconds first_step_seconds steps_per_second"
    keys += " examples_per_second peak_host_memory_bytes peak_device_memory_bytes parameters metrics"
    keys += " checkpoints versions finished parent"
    assert set(read_result(folder)) == set(keys.split())


def test_a_result_names_its_run(folder, framework):
    result = read_result(folder)
    names = [result[key] for key in ("task", "preset", "framework", "name", "seed", "steps", "parent")]
    assert names == [TASK, "default", framework, "one", 0, 4, ""]


def test_a_result_counts_parameters(folder):
    assert read_result(folder)["parameters"] == sum(value.size for value in final_weights(folder).values())


def test_a_result_has_the_same_metrics_of_validation_and_test(folder):
    tags = [tag.split("/") for tag in read_result(folder)["metrics"]]
    val, test = ({name for split, name in tags if split == wanted} for wanted in ("val", "test"))
    assert val == test >= {"loss", MONITOR.removeprefix("val/")}


def test_a_result_names_checkpoints_that_are_there(folder):
    names = set(read_result(folder)["checkpoints"].values())
    assert names <= {path.name for path in (folder / "checkpoints").iterdir()}


def test_a_result_has_versions_of_its_own_framework(folder, framework):
    assert set(read_result(folder)["versions"]) == set(frameworks()[framework].PACKAGES)


def test_a_finished_run_is_said_to_be_so(trained, folder, framework, cli):
    before = (folder / "result.json").read_bytes()
    outcome = cli(*words(framework, f"--run_dir={folder.parents[3]}", "--name=one"))
    assert outcome.code == 0 and f"{folder} is finished" in outcome.err
    assert (folder / "result.json").read_bytes() == before


def test_debug_fast_trains_the_default_in_three_steps(cli, project, framework):
    outcome = cli("train", "--framework", framework, "--accelerator=cpu", "--debug=fast")
    assert outcome.code == 0, outcome.err
    assert read_result(Path("runs", load_config().task, "default", framework, "001"))["steps"] == 3


def test_a_run_starts_from_another_with_its_task_preset_and_config(cli, project, folder):
    outcome = cli("train", "--resume", folder, "--trainer.max_steps=2", "--run_dir=runs")
    assert outcome.code == 0, outcome.err
    new = Path("runs", *folder.parts[-4:-1], "001")
    assert (read_config(new)["data"], read_record(new).step) == (read_config(folder)["data"], 6)


# What TensorBoard gets.


def tags(folder):
    return set(EventAccumulator(str(folder)).Reload().Tags()["tensors"])


def test_the_tags_of_every_task_are_there(folder):
    wanted = {f"train/{name}" for name in "loss learning_rate grad_norm steps_per_second examples_per_second".split()}
    wanted |= {"train/epoch", "train/memory_bytes", *read_result(folder)["metrics"]}
    wanted |= {"config", "parameters", "_hparams_/session_start_info", "_hparams_/session_end_info"}
    assert wanted - tags(folder) == set()


def test_every_parameter_has_a_histogram(folder):
    assert len({tag for tag in tags(folder) if tag.startswith("params/")}) == len(final_weights(folder))


def test_every_framework_has_the_same_tags(trained):
    found = [tags(folder) for _, folder in trained.values()]
    assert all(one == found[0] for one in found)


def test_every_framework_logs_the_same_names_at_the_same_steps(trained):
    found = []
    for _, folder in trained.values():
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found.append([(line["step"], sorted(line)) for line in map(json.loads, lines)])
    assert all(one == found[0] for one in found)


# Evaluation.


@pytest.fixture(scope="module")
def evaluated(trained, framework, cli):
    """(how the command ended, the files of the run before, and after)."""
    folder = trained[framework][1]
    before = sorted(folder.rglob("*"))
    return cli("evaluate", folder), before, sorted(folder.rglob("*"))


def printed(outcome):
    """The metrics that a command has printed, by tag."""
    lines = outcome.out.partition("\n\n")[0].splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines}


def test_evaluation_prints_the_test_metrics_of_the_result(evaluated, folder):
    expected = {tag: value for tag, value in read_result(folder)["metrics"].items() if tag.startswith("test/")}
    assert evaluated[0].code == 0 and printed(evaluated[0]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(len(FRAMEWORKS) < 2, reason="there is no other framework")
def test_another_framework_than_the_run_has_is_one_line(complaint, trained, framework):
    [other] = set(FRAMEWORKS) - {framework}
    folder = trained[framework][1].absolute()
    assert f"--framework {other}: the checkpoints of" in complaint("evaluate", folder, "--framework", other)


def test_evaluation_writes_nothing(evaluated):
    _, before, after = evaluated
    assert before == after


def test_evaluation_does_not_depend_on_the_batch_size(cli, folder, evaluated):
    size = read_config(folder)["data"]["batch_size"]
    other = cli("evaluate", folder, f"--data.batch_size={2 * size}")
    assert printed(other) == pytest.approx(printed(evaluated[0]), abs=1e-4, rel=1e-5)


# What is wrong is told before anything is written.


WRONG = {
    "fewer examples than a batch": (["--data.batch_size=1000000000"], ["data.batch_size = 1000000000", "lower it"]),
    "a batch that does not divide": (
        ["--data.batch_size=64", "--trainer.accumulate=3"],
        ["data.batch_size = 64", "trainer.accumulate = 3"],
    ),
    "a run without an end": (["--trainer.max_steps=0", "--trainer.epochs=0"], ["trainer.epochs", "trainer.max_steps"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_fit_the_data_are_one_line(complaint, framework, case):
    options, parts = WRONG[case]
    line = complaint(*words(framework, *options))
    assert [part for part in parts if part not in line] == [], line


def test_a_run_folder_that_cannot_be_written_is_one_line(complaint, framework, project):
    (project / "file").write_text("in the way")
    line = complaint(*words(framework, "--run_dir=file"))
    assert "file" in line and "choose another --run_dir" in line


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_a_platform_that_is_not_there_is_one_line(complaint, framework, platform):
    if frameworks()[framework].hardware().count().get(platform):
        pytest.skip(f"this machine has a {platform}")
    line = complaint(*words(framework, f"--accelerator.platform={platform}"))
    assert f"accelerator.platform = '{platform}'" in line and "--accelerator" in line


def test_a_checkpoint_that_is_none_is_one_line(complaint, folder):
    line = complaint("evaluate", folder, "--checkpoint", "first")
    assert re.search(r"--checkpoint first: choose best, last or one of the steps \[.*4\]", line)
