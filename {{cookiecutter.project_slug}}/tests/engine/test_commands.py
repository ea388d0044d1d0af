"""The commands from beginning to end, whatever the task: what they print, what lies in a run, what TensorBoard gets."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FRAMEWORKS, steps
from helpers import MONITOR, SMALL, TASK, final_weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}}.engine import commands, layers, workflow
from {{cookiecutter.package_name}}.engine import progress as progress_room
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.config import flatten, to_dict
from {{cookiecutter.package_name}}.engine.folder import read_config, read_record, read_result
from {{cookiecutter.package_name}}.engine.progress import Progress
from {{cookiecutter.package_name}}.engine.registry import frameworks, load_config
from {{cookiecutter.package_name}}.engine.schedule import Plan


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
    assert f" board {TASK} --run_dir " in trained[framework][0].out.splitlines()[-1]


def test_training_draws_no_bar_where_there_is_no_terminal(trained, framework):
    assert "\r" not in trained[framework][0].err


def test_training_tells_each_validation_where_there_is_no_terminal(trained, framework):
    lines = trained[framework][0].err.splitlines()
    assert [line.split()[1] for line in lines if MONITOR in line] == ["2/4", "4/4"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_training_tells_each_validation_above_the_bar_of_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    config = load_config(TASK, SMALL)
    progress = Progress(Plan(4, 2, 2, 2, 2), config, start=0, seconds=0.0, began=0.0)
    progress.advance(2)
    progress.show({"loss": 0.5, "val/accuracy": 0.75})
    progress.show({"loss": 0.125})
    progress.line({"val/loss": 0.25})
    progress.close()
    shown = re.split(r"[\r\n]", terminal.getvalue())
    [at] = [i for i, text in enumerate(shown) if "step 2/4  epoch 1  val/loss 0.25" in text]
    [*_, below] = [text for text in shown[at + 1 :] if "2/4 [" in text]  # the bar is drawn anew
    assert "loss=0.125, val/accuracy=0.75" in below


def test_what_other_processes_take_of_the_cores_is_what_this_one_has_not_taken(monkeypatch):
    busy, own = iter([100.0, 106.0, None]), iter([(10.0, 1.0, 0.0, 0.0, 0.0), (12.0, 1.0, 1.0, 0.0, 0.0)] * 2)
    clock = iter([0.0, 2.0])
    monkeypatch.setattr(progress_room, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(progress_room.os, "times", lambda: next(own))
    monkeypatch.setattr(progress_room.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(progress_room.time, "perf_counter", lambda: next(clock))
    elsewhere = progress_room.Elsewhere()
    assert elsewhere.share() == pytest.approx((6 - 3) / (4 * 2))
    assert elsewhere.share() is None  # where the system does not tell


def test_a_terminal_that_cannot_move_its_cursor_gets_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "dumb")
    progress = Progress(Plan(4, 2, 2, 2, 2), load_config(TASK, SMALL), start=0, seconds=0.0, began=0.0)
    progress.advance(2)
    progress.close()
    assert terminal.getvalue() == ""


def test_a_run_holds_what_is_promised(folder):
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events.", "."))}
    files = {"config.yaml", "environment.json", "metrics.jsonl", "record.json", "result.json"}
    assert files | {"checkpoints", "fitted"} <= names
    assert len(list(folder.glob("events.*"))) == 1


def test_a_result_has_every_key(folder):
    keys = "task preset framework name seed steps epochs seconds first_step_seconds steps_per_second"
    keys += " examples_per_second busy_elsewhere peak_host_memory_bytes peak_device_memory_bytes parameters"
    keys += " trained_parameters metrics checkpoints versions finished parent"
    assert set(read_result(folder)) == set(keys.split())


def test_a_result_names_its_run(folder, framework):
    result = read_result(folder)
    names = [result[key] for key in ("task", "preset", "framework", "name", "seed", "steps", "parent")]
    assert names == [TASK, "default", framework, "one", 0, 4, ""]


def test_a_result_counts_parameters(folder):
    count = sum(value.size for value in final_weights(folder).values())
    assert [read_result(folder)[key] for key in ("parameters", "trained_parameters")] == [count, count]


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
    wanted |= {"config", "parameters", "custom_scalars__config__"}
    wanted |= {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    assert wanted - tags(folder) == set()


def test_every_kernel_and_embedding_has_a_histogram(folder):
    matrices = [value for value in final_weights(folder).values() if value.ndim > 1]
    assert len({tag for tag in tags(folder) if tag.startswith("weights/")}) == len(matrices)


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
    assert f"accelerator.platform = '{platform}'" in line
    if platform in frameworks()[framework].REFUSED:
        assert "--accelerator gpu or cpu" in line
    else:
        assert f"no {platform.upper()} here: --accelerator cpu" in line


def test_a_checkpoint_that_is_none_is_one_line(complaint, folder):
    line = complaint("evaluate", folder, "--checkpoint", "first")
    assert re.search(r"--checkpoint first: choose best, last or one of the steps \[.*4\]", line)


# What `predict` takes and writes, with a model that says each input again.


@pytest.fixture
def says(monkeypatch):
    class Says:
        def __init__(self, *arguments):
            pass

        def predict(self, inputs, **options):
            return [{"input": given, "half": 0.5} for given in inputs]

    monkeypatch.setattr(workflow, "Predictor", Says)


predicts = pytest.mark.skipif(tasks.find(TASK).stream is not None, reason="the task has no inputs")


def said(path):
    """The inputs in a file of predictions."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row["input"] for row in csv.DictReader(file)]


@predicts
@pytest.mark.parametrize(
    ("words", "inputs"),
    [
        (["--", "--a", "-5", "b"], ["--a", "-5", "b"]),
        (["b", "--", "--help"], ["b", "--help"]),
        (["-5", "b"], ["-5", "b"]),
        (["b", "--checkpoint", "last", "--", "--checkpoint", "c"], ["b", "--checkpoint", "c"]),
        (["--", "--"], ["--"]),
    ],
)
def test_after_two_dashes_every_word_is_an_input(cli, folder, project, says, words, inputs):
    outcome = cli("predict", folder, "--output=p.csv", *words) if words[0] == "--" else None
    outcome = outcome or cli("predict", folder, *words)
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[1 : len(inputs) + 1]] == inputs


def test_a_command_without_inputs_takes_none_after_two_dashes(complaint, folder):
    assert "evaluate takes no input '--a'" in complaint("evaluate", folder, "--", "--a")


@predicts
def test_predictions_are_written_over_nothing_that_is_there(complaint, folder, project, says):
    Path("p.csv").write_text("mine")
    for words in ([], ["--force", "false"], ["--force=false"]):
        line = complaint("predict", folder, "a", "--output", "p.csv", *words)
        assert "--output p.csv is there: choose another file, or --force to write it anew" in line
    assert Path("p.csv").read_text() == "mine"


@predicts
@pytest.mark.parametrize("words", [["--force"], ["--force", "true"], ["--force=true"], ["--force", "--", "b"]])
def test_predictions_are_written_anew_with_force(cli, folder, project, says, words):
    Path("p.csv").write_text("mine")
    outcome = cli("predict", folder, "a", "--output", "p.csv", *words)
    assert outcome.code == 0, outcome.err
    assert said("p.csv") == ["a", "b"][: 2 if "b" in words else 1]
    assert sorted(project.iterdir()) == [project / "p.csv"]  # and nothing beside


@predicts
@pytest.mark.parametrize("output", ["in.csv", "./in.csv", "d/../in.csv", "link.csv", "hard.csv"])
def test_predictions_are_never_written_over_an_input(complaint, folder, project, says, output):
    Path("in.csv").write_text("mine")
    Path("d").mkdir()
    Path("link.csv").symlink_to("in.csv")
    Path("hard.csv").hardlink_to("in.csv")
    for words in (["in.csv"], ["other", str(project / "in.csv")], ["--", "in.csv"]):
        before, after = ([], words) if words[0] == "--" else (words, [])
        line = complaint("predict", folder, *before, "--output", output, "--force", *after)
        assert "is the input" in line and "choose another file" in line
    assert Path("in.csv").read_text() == "mine"


@predicts
def test_predictions_are_never_written_over_an_input_of_the_datas_root(complaint, folder, project, says):
    Path("data").mkdir()
    Path("data", "in.csv").write_text("mine")
    words = ("in.csv", "--data.root", "data", "--output", "data/in.csv", "--force")
    assert "is the input" in complaint("predict", folder, *words)


@predicts
def test_predictions_are_never_written_over_a_file_of_a_folder_that_is_an_input(complaint, folder, project, says):
    Path("photos").mkdir()
    Path("photos", "a.png").write_text("mine")
    line = complaint("predict", folder, "photos", "--output", "photos/a.png", "--force")
    assert "is there and lies in the input photos" in line


@predicts
def test_a_link_is_there_even_if_to_nothing_and_with_force_stays_one(cli, folder, project, says):
    Path("p.csv").symlink_to("far.csv")
    assert "--output p.csv is there" in cli("predict", folder, "a", "--output", "p.csv").err
    assert cli("predict", folder, "a", "--output", "p.csv", "--force").code == 0
    assert Path("p.csv").is_symlink() and said("far.csv") == ["a"]


@predicts
@pytest.mark.skipif(os.name == "nt", reason="a device of other systems")
def test_predictions_may_be_written_to_a_device(cli, folder, project, says):
    assert cli("predict", folder, "a", "--output", os.devnull).code == 0
    assert not Path(os.devnull).is_file()


@predicts
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--force"], "--force is for --output FILE: predict RUN INPUT..."),
        (["--output", "p.csv", "--force", "yes"], "--force yes: expected true or false"),
        (["--outptu", "p.csv"], "unknown option --outptu: did you mean '--output'?"),
        (["--check", "last"], "unknown option --check: did you mean '--checkpoint'?"),
    ],
)
def test_an_option_of_predictions_that_is_wrong_is_one_line(complaint, folder, says, words, expected):
    assert expected in complaint("predict", folder, "a", *words)


@predicts
@pytest.mark.parametrize("option", ["--trainer.epochs=77", "--data.download=true", "--optimizer.learning_rate=0.77"])
def test_a_key_that_changes_no_prediction_is_refused_unless_it_is_harmless(cli, folder, option):
    outcome = cli("predict", folder, "none.csv", option)
    key, _, value = option.partition("=")
    refused = f"error: {key} {value}: the run was trained with " in outcome.err
    # What is not refused may be a text, and is no file that is there.
    assert refused == (option != "--data.download=true") and (outcome.code == 2 or not refused), outcome.err


@predicts
def test_names_that_no_console_and_no_file_can_say_are_escaped(cli, folder, project, says):
    outcome = cli("predict", folder, "a\nb\x1b[31m", "\udcff", "--output", "p.csv")
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[1:3]] == ["a\\nb\\x1b[31m", "\\udcff"]
    assert said("p.csv") == ["a\nb\x1b[31m", "\\udcff"]


# What a shell completes.

PROGRAM = commands.__name__.partition(".")[0]
SCRIPT = str(Path(__file__).parents[2] / "train.py")


def completed(folder, words, line):
    """What may follow on a line that begins with so many words of the program."""
    said = folder / "completions"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "_ARGCOMPLETE": str(words),
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(said),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    program = [SCRIPT] if "train.py" in line else ["-m", PROGRAM]
    done = subprocess.run([sys.executable, *program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [word.rstrip() for word in said.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("words", "program"), [(1, "some-project"), (3, f"python -m {PROGRAM}")])
def test_a_shell_completes_commands(tmp_path, words, program):
    assert completed(tmp_path, words, f"{program} ") == commands.names()
    assert completed(tmp_path, words, f"{program} eval") == ["evaluate"]


@pytest.mark.parametrize(("words", "program"), [(1, "some-project train"), (2, "python train.py")])
def test_a_shell_completes_tasks_and_presets(tmp_path, words, program):
    names = completed(tmp_path, words, f"{program} ")
    assert {TASK, f"{TASK}/default"} <= set(names) and not any(name.startswith("-") for name in names)
    assert f"{TASK}/default" in completed(tmp_path, words, f"{program} {TASK}/d")


def test_a_shell_completes_the_keys_of_the_task(tmp_path):
    model, data = (f"{section}." for section in ("model", "data"))
    keys = [key for key in flatten(to_dict(load_config(TASK))) if key.startswith((model, data))]
    line = f"python train.py {TASK} --framework={FRAMEWORKS[0]}"
    found = [completed(tmp_path, 2, f"{line} --{section}") for section in (model, data)]
    assert sorted(sum(found, [])) == sorted(f"--{key}" for key in keys)


@pytest.mark.parametrize("beginning", [" --trainer.on_nan ", " --trainer.on_nan="])
def test_a_shell_completes_values(tmp_path, beginning):
    found = completed(tmp_path, 2, f"python train.py {TASK}{beginning}")
    assert [word.rpartition("=")[2] for word in found] == ["stop", "skip"]


def test_a_shell_completes_accelerators_and_no_file_for_a_number(tmp_path):
    assert "cpu" in completed(tmp_path, 2, "python train.py --accelerator ")
    assert completed(tmp_path, 2, "python train.py --trainer.epochs ") == []


def test_a_shell_completes_the_options_and_keys_of_a_run(tmp_path, folder):
    assert completed(tmp_path, 1, f"some-project evaluate {folder}") == [f"{folder}/"]
    line = f"some-project evaluate {folder}"
    assert completed(tmp_path, 1, f"{line} --check") == ["--checkpoint"]
    assert completed(tmp_path, 1, f"{line} --data.skip") == ["--data.skip_bad"]
    assert completed(tmp_path, 1, f"{line} --checkpoint la") == ["last"]


# Whatever reads the output. A process of its own, whose command is a line of Python.

MAIN = """
import os, sys
from {{cookiecutter.package_name}}.engine import commands
commands._done = lambda words: BODY or 0
sys.exit(commands.main())
"""


def process(body, redirect="", **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **options}
    words = [sys.executable, "-c", MAIN.replace("BODY", body)]
    if redirect:
        words = ["bash", "-c", '"$@" ' + redirect, "bash", *words]
    return subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)


unix = pytest.mark.skipif(os.name == "nt", reason="a shell's closed outputs")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_letters_that_a_console_cannot_say_are_escaped(encoding):
    done = process(r"print('\u65e5 \udcff') or print('\u65e5', file=sys.stderr)", PYTHONIOENCODING=encoding)
    first = "日" if encoding == "utf-8" else "\\u65e5"
    assert (done.returncode, done.stdout.decode(encoding).strip()) == (0, f"{first} \\udcff"), done.stderr
    assert done.stderr.decode(encoding).strip() == first


@unix
@pytest.mark.parametrize("count", [1, 100_000])
@pytest.mark.parametrize("redirect", ["| true", ">&-", "2>&1 | true"])
def test_a_command_ends_well_where_nobody_reads_its_output(count, redirect):
    done = process(f"print('x\\n' * {count})", redirect + "; exit $PIPESTATUS")
    assert (done.returncode, done.stderr) == (0, b"")


@unix
@pytest.mark.parametrize("redirect", ["2>&1 >/dev/null | true", "2>&-"])
def test_a_command_goes_on_where_nobody_reads_what_it_tells(tmp_path, redirect):
    told = f"[print('x' * 999, file=sys.stderr) for _ in range(999)] and open({str(tmp_path / 'done')!r}, 'w').close()"
    done = process(told, redirect + "; exit $PIPESTATUS")
    assert done.returncode == 0 and (tmp_path / "done").exists(), done


@unix
def test_no_file_gets_the_number_of_a_closed_output(tmp_path):
    path = tmp_path / "file"
    done = process(f"os.write(1, b'x') * 0 or open({str(path)!r}, 'w').write(str(os.write(1, b'out'))) * 0", ">&-")
    assert (done.returncode, path.read_text()) == (0, "3"), done.stderr


@unix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_that_finds_no_room_is_one_line():
    done = process("print('x')", "> /dev/full")
    assert (done.returncode, done.stderr) == (1, b"error: the output cannot be written: No space left on device\n")


def test_help_is_an_input_after_two_dashes(complaint):
    assert "evaluate takes no input '--help'" in complaint("evaluate", "run", "--", "--help")


def test_a_run_that_is_not_there_is_told_with_those_beside_it(complaint, project):
    for name in ("001", "002"):
        (project / "runs" / name).mkdir(parents=True)
        (project / "runs" / name / "config.yaml").touch()
    assert "runs/01 is no run: it holds no config.yaml: did you mean '001'?" in complaint("evaluate", "runs/01")
    assert "runs is no run: it holds no config.yaml; it holds 001, 002" in complaint("evaluate", "runs")


def test_what_was_not_chosen_is_told_by_its_name(complaint, monkeypatch):
    monkeypatch.setattr(commands, "names", lambda: ["train"])
    monkeypatch.setattr(layers, "several_devices", lambda: False)
    assert "compare: this project was made without the feature 'compare'" in complaint("compare", TASK)
    assert "convert: this project was made with one framework" in complaint("convert", "RUN")
    line = complaint("train", TASK, "--accelerator", "gpu-all")
    assert "no accelerator 'gpu-all'" in line and "come with the feature 'scale'" in line
