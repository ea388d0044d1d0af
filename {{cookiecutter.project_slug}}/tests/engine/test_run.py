"""A run's folder: which one a command gets, what lies in it, and what an interruption leaves."""

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from {{cookiecutter.package_name}}.engine import folder as run_files
from {{cookiecutter.package_name}}.engine import run as runs
from {{cookiecutter.package_name}}.engine.config import to_dict
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.folder import Record
from {{cookiecutter.package_name}}.engine.registry import frameworks, load_config
from {{cookiecutter.package_name}}.engine.run import Finished, Held, Run

FRAMEWORK = next(iter(frameworks()))
SPEC = {"shape": [8, 8, 1], "classes": ["a", "b"]}

pytestmark = pytest.mark.usefixtures("project")


def config(*options):
    return load_config("", ["--framework", FRAMEWORK, *options])


PARENT = Path("runs", config().task, "default", FRAMEWORK)


@pytest.fixture
def begin():
    """`begin(*options)` is the run that a command with these options is at; it has taken hold of its folder."""
    with contextlib.ExitStack() as stack:

        def start(*options, spec=SPEC, examples=9, fingerprint=None):
            run = Run.choose(config(*options))
            stack.callback(run.close)
            run.start(spec, examples, ["numpy"], "one cpu", fingerprint)
            return run

        yield start


def save(run, step, text="state"):
    run.save(step, 1.5, lambda path: path.write_text(text))


def interrupted(begin, *options, step=4):
    """The folder of a run that was stopped after it had saved this step."""
    run = begin(*options)
    save(run, step)
    run.close()
    return run.folder


def finished(begin, *options):
    """The folder of a run that is done."""
    run = begin(*options)
    save(run, 4)
    run.finish({"steps": 4, "metrics": {}})
    return run.folder


def files(folder="."):
    return sorted(path.as_posix() for path in Path(folder).rglob("*"))


def checkpoints(run):
    """Their names; beside each stands its checksum."""
    names = sorted(path.name for path in (run.folder / "checkpoints").iterdir() if path.suffix != ".json")
    assert [path.stem for path in sorted(run.folder.glob("checkpoints/*.json"))] == [Path(name).stem for name in names]
    return names


# Which folder.


def test_the_first_run_is_001_below_its_task_preset_and_framework():
    assert Run.choose(config()).folder == PARENT / "001"


def test_a_run_of_a_preset_lies_below_its_name():
    run = Run.choose(dataclasses.replace(config(), preset="other"))
    assert run.folder == PARENT.parents[1] / "other" / FRAMEWORK / "001"


def test_choosing_writes_nothing(begin):
    interrupted(begin)
    before = files()
    for options in ((), ("--name", "mine"), ("--seed", "1"), ("--resume", "never")):
        Run.choose(config(*options)).close()
    assert files() == before


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_after_a_finished_run_comes_the_next_number(begin, resume):
    finished(begin)
    assert Run.choose(config("--resume", resume)).folder == PARENT / "002"


def test_numbers_count_on_from_the_largest(begin):
    finished(begin, "--name", "007")
    assert Run.choose(config()).folder == PARENT / "008"


def test_numbers_go_beyond_three_digits(begin):
    finished(begin, "--name", "999")
    assert Run.choose(config()).folder == PARENT / "1000"


def test_other_names_do_not_count(begin):
    finished(begin, "--name", "mine")
    assert Run.choose(config()).folder == PARENT / "001"


def test_a_folder_without_a_config_is_left_alone():
    (PARENT / "001").mkdir(parents=True)
    assert Run.choose(config()).folder == PARENT / "002"


def test_two_commands_that_start_together_get_a_folder_each():
    with contextlib.closing(Run.choose(config())) as first, contextlib.closing(Run.choose(config())) as second:
        first.start(SPEC, 9, [], "one cpu")
        second.start(SPEC, 9, [], "one cpu")
        assert {first.folder, second.folder} == {PARENT / "001", PARENT / "002"}


# What it goes on with.


def test_auto_takes_up_the_unfinished_run(begin):
    folder = interrupted(begin)
    assert begin().folder == folder


def test_auto_goes_on_where_the_last_checkpoint_is(begin):
    folder = interrupted(begin, step=6)
    run = begin()
    assert (run.record.step, run.record.seconds) == (6, 1.5)
    assert run.resume_from == folder / "checkpoints" / "00000006"


def test_auto_takes_up_a_run_that_has_no_checkpoint_yet(begin):
    folder = PARENT / "001"
    begin().close()
    run = begin()
    assert (run.folder, run.record.step, run.resume_from) == (folder, 0, None)


def test_auto_takes_up_the_newest_of_several(begin):
    older, newer = (interrupted(begin, "--resume", "never") for _ in range(2))
    for name in ("config.yaml", "record.json"):
        os.utime(older / name, (1e9, 1e9))
        os.utime(newer / name, (2e9, 2e9))
    chosen = begin()
    chosen.close()
    assert chosen.folder == newer
    os.utime(older / "record.json", (3e9, 3e9))
    assert begin().folder == older


def test_auto_never_touches_a_finished_run(begin):
    folder = finished(begin)
    before = {path: Path(path).stat().st_mtime_ns for path in files(folder)}
    begin()
    assert {path: Path(path).stat().st_mtime_ns for path in files(folder)} == before


def test_never_starts_anew(begin):
    interrupted(begin)
    assert begin("--resume", "never").folder == PARENT / "002"


HARMFUL = ["--seed=1", "--trainer.epochs=777", "--optimizer.learning_rate=0.777", "--data.batch_size=777"]
HARMFUL += ["--trainer.val_every=777", "--accelerator.precision=float64"]


@pytest.mark.parametrize("option", HARMFUL)
def test_auto_starts_anew_where_a_key_differs_that_changes_the_result(begin, option):
    interrupted(begin)
    assert begin(option).folder == PARENT / "002"


HARMLESS = ["--trainer.log_every=9", "--trainer.checkpoint_every=9", "--data.root=elsewhere", "--data.download=true"]
HARMLESS += ["--accelerator.platform=cpu", "--accelerator.name=mine"]


@pytest.mark.parametrize("option", HARMLESS)
def test_auto_goes_on_where_a_key_differs_that_does_not_change_the_result(begin, option):
    folder = interrupted(begin, "--accelerator.platform=auto", "--accelerator.name=auto")
    assert begin("--accelerator.platform=auto", "--accelerator.name=auto", option).folder == folder


def test_the_section_of_another_framework_does_not_change_the_result():
    old = {"framework": "one", "seed": 0, "one": {"fast": True}, "two": {"fast": True}}
    assert runs.drift(old, {**old, "two": {"fast": False}}) == []


def test_the_section_of_its_own_framework_changes_the_result():
    old = {"framework": "one", "seed": 0, "one": {"fast": True}, "two": {"fast": True}}
    assert runs.drift(old, {**old, "one": {"fast": False}}) == [("one.fast", True, False)]


def test_a_key_that_the_saved_config_lacks_is_a_difference():
    assert runs.drift({"framework": "one"}, {"framework": "one", "seed": 0}) == [("seed", None, 0)]


def test_auto_leaves_a_run_alone_that_another_process_holds(begin):
    begin()
    assert begin().folder == PARENT / "002"


def test_a_moved_run_is_gone_on_with(begin):
    interrupted(begin)
    shutil.move("runs", "elsewhere")
    run = begin("--run_dir", "elsewhere")
    assert run.folder == Path("elsewhere", *PARENT.parts[1:], "001")
    assert run.resume_from.read_text() == "state"


def test_a_run_names_no_place(begin, project):
    folder = finished(begin)
    holding = [path for path in folder.rglob("*") if path.is_file() and str(project).encode() in path.read_bytes()]
    assert holding == []


# Named runs.


def test_a_new_name_is_a_new_folder(begin):
    assert begin("--name", "mine").folder == PARENT / "mine"


def test_a_named_run_is_gone_on_with(begin):
    interrupted(begin, "--name", "mine", step=6)
    assert begin("--name", "mine").record.step == 6


def test_a_named_run_of_another_config_is_refused_with_every_key_that_differs(begin):
    interrupted(begin, "--name", "mine", "--trainer.epochs=2")
    with pytest.raises(InputError) as caught:
        Run.choose(config("--name", "mine", "--seed=1", "--trainer.epochs=3"))
    line = str(caught.value)
    parts = [str(PARENT / "mine"), "seed was 0, now 1", "trainer.epochs was 2, now 3", "--name"]
    assert [part for part in parts if part not in line] == [] and "\n" not in line


def test_a_named_run_of_another_config_is_left_as_it_was(begin):
    interrupted(begin, "--name", "mine")
    before = files()
    with pytest.raises(InputError):
        Run.choose(config("--name", "mine", "--seed=1"))
    assert files() == before


def test_a_named_run_goes_on_where_a_harmless_key_differs(begin):
    folder = interrupted(begin, "--name", "mine")
    assert begin("--name", "mine", *HARMLESS).folder == folder


def test_a_named_run_that_is_done_is_finished(begin):
    folder = finished(begin, "--name", "mine")
    with pytest.raises(Finished) as caught:
        Run.choose(config("--name", "mine"))
    assert caught.value.folder == folder


def test_a_finished_run_of_another_config_is_refused(begin):
    finished(begin, "--name", "mine")
    with pytest.raises(InputError, match="seed was 0, now 1"):
        Run.choose(config("--name", "mine", "--seed=1"))


def test_a_name_that_is_taken_is_refused_where_nothing_shall_be_resumed(begin):
    interrupted(begin, "--name", "mine")
    with pytest.raises(InputError, match="mine exists: choose another --name, or train with --resume auto"):
        Run.choose(config("--name", "mine", "--resume", "never"))


HOLD = "import filelock, os, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); "


def test_a_named_run_that_another_process_holds_is_refused(begin):
    folder = interrupted(begin, "--name", "mine")
    command = [sys.executable, "-c", HOLD + "sys.stdin.read()", folder / ".lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        with pytest.raises(Held, match="mine: another process is training this run: wait for it, or .* --name"):
            Run.choose(config("--name", "mine"))


def test_a_run_is_free_again_when_the_process_that_held_it_has_died(begin):
    folder = interrupted(begin, "--name", "mine")
    subprocess.run([sys.executable, "-c", HOLD + "os._exit(1)", folder / ".lock"], stdout=subprocess.DEVNULL)
    assert begin("--name", "mine").folder == folder


def test_a_run_is_free_again_when_it_is_closed(begin):
    begin("--name", "mine").close()
    assert begin("--name", "mine").folder == PARENT / "mine"


# From another run's state.


def test_a_run_from_another_one_counts_its_steps_on(begin):
    folder = interrupted(begin, "--name", "first", step=6)
    run = begin("--resume", str(folder))
    assert (run.folder, run.record.step, run.record.start) == (PARENT / "001", 6, 6)
    assert run.resume_from == folder / "checkpoints" / "00000006"


def test_a_run_from_another_one_names_it(begin):
    folder = interrupted(begin, "--name", "first")
    assert begin("--resume", str(folder)).record.parent == str(folder)


def test_a_run_from_another_one_still_names_it_when_it_was_interrupted(begin):
    folder = interrupted(begin, "--name", "first")
    interrupted(begin, "--name", "second", "--resume", str(folder), step=8)
    assert begin("--name", "second").record.parent == str(folder)


def test_a_run_from_another_one_starts_the_search_for_the_best_anew(begin):
    first = begin("--name", "first")
    first.validated(4, {"val/accuracy": 0.9}, "val/accuracy", "max")
    save(first, 4)
    second = begin("--resume", str(first.folder))
    assert second.validated(8, {"val/accuracy": 0.1}, "val/accuracy", "max")


def test_a_run_may_start_from_a_finished_one(begin):
    assert begin("--resume", str(finished(begin, "--name", "first"))).record.start == 4


def test_a_run_may_start_from_one_of_another_config(begin):
    folder = interrupted(begin, "--name", "first")
    assert begin("--resume", str(folder), "--seed=3", "--optimizer.learning_rate=0.5").record.start == 4


def test_a_run_from_another_one_that_ended_before_its_first_checkpoint_begins_there_again(begin):
    first = interrupted(begin, "--name", "first", step=6)
    begin("--resume", str(first)).close()
    again = begin()
    assert (again.folder, again.record.step, again.record.start) == (PARENT / "001", 6, 6)
    assert (again.resume_from, again.record.parent) == (first / "checkpoints" / "00000006", str(first))


def test_a_run_that_ended_before_its_first_checkpoint_says_whose_state_is_gone(begin):
    first = interrupted(begin, "--name", "first")
    begin("--resume", str(first)).close()
    first.rename("elsewhere")
    with pytest.raises(InputError, match="001 began with another's state: .*first is no run: .* --resume never"):
        Run.choose(config())


@pytest.mark.parametrize("name", [(), ("--name", "mine")])
def test_the_command_that_began_from_another_one_goes_on_with_its_own(begin, name):
    options = ("--resume", str(finished(begin, "--name", "first")), *name)
    folder = interrupted(begin, *options, step=8)
    again = begin(*options)
    assert (again.folder, again.record.step, again.record.start) == (folder, 8, 4)


def test_a_command_that_begins_from_another_one_goes_on_with_no_other(begin):
    first, second = (finished(begin, "--name", name) for name in ("first", "second"))
    interrupted(begin)
    interrupted(begin, "--resume", str(first))
    assert begin("--resume", str(second)).folder == PARENT / "003"


def test_a_run_of_another_model_is_no_start(begin):
    folder = interrupted(begin, "--name", "first")
    saved = run_files.read_config(folder)
    key, here = list(to_dict(config())["model"].items())[-1]
    saved["model"][key] = "another"
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(InputError, match=re.escape(f"model.{key} is 'another' there, here {here!r}: these must")):
        Run.choose(config("--resume", str(folder)))


def test_a_run_without_a_checkpoint_is_no_start(begin):
    folder = begin("--name", "first").folder
    with pytest.raises(InputError, match="first holds no checkpoint to resume from"):
        Run.choose(config("--resume", str(folder)))


def test_what_is_no_run_is_no_start():
    with pytest.raises(InputError, match="none is no run: it holds no config.yaml"):
        Run.choose(config("--resume", "none"))


# What lies in it.


def test_a_new_run_holds_its_whole_config(begin):
    run = begin("--seed=3", "--name=Zoë")
    assert load_config(saved=yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))) == run.config


def test_a_new_run_holds_its_environment(begin):
    environment = json.loads((begin().folder / "environment.json").read_text())
    assert set(environment) == {"python", "platform", "versions", "cpu", "devices", "git_commit", "command"}
    assert (environment["devices"], set(environment["versions"])) == ("one cpu", {"numpy"})


def test_a_new_run_holds_what_its_data_are(begin):
    assert run_files.read_spec(begin().folder) == SPEC


def test_a_run_whose_data_have_changed_is_refused(begin):
    interrupted(begin)
    with pytest.raises(InputError, match=r"001: the data have changed .*: classes: gone \['b'\], new \[\]"):
        begin(spec={**SPEC, "classes": ["a"]})


def test_a_run_with_another_number_of_training_examples_is_refused(begin):
    interrupted(begin)
    with pytest.raises(InputError, match="there were 9 training examples, now 8: .* --resume never"):
        begin(examples=8)


def test_a_run_with_other_examples_of_the_same_number_is_refused(begin):
    prints = {"train": "a", "val": "b", "test": "c"}
    run = begin(fingerprint=prints)
    save(run, 4)
    run.close()
    with pytest.raises(InputError, match="other examples, or in another order, in train and test: .* --resume never"):
        begin(fingerprint={**prints, "train": "x", "test": "y"})
    assert run_files.changed(run.folder, prints) == []


def test_a_run_of_before_fingerprints_goes_on(begin):
    folder = interrupted(begin)
    (folder / "data.json").unlink()
    assert begin(fingerprint={"train": "a"}).folder == folder


def test_a_run_is_unfinished_until_its_result_is_there(begin):
    folder = interrupted(begin)
    assert run_files.read_record(folder).status == "unfinished"
    run = begin()
    run.finish({"steps": 4, "metrics": {}})
    assert run_files.read_record(folder).status == "finished"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--optimizer.ema_decay=0", "--optimizer.ema_decay=0.9"),
        ("--accelerator.precision=float16", "--accelerator.precision=float32"),
    ],
)
def test_a_state_without_a_part_that_is_needed_is_not_carried_on(begin, before, after):
    folder = interrupted(begin, before)
    key = before.partition("=")[0].removeprefix("--")
    with pytest.raises(InputError, match=f"{key} is .* there, here .*: these must agree"):
        Run.choose(config(after, f"--resume={folder}"))


def test_a_result_makes_a_run_finished(begin):
    assert run_files.read_result(finished(begin)) == {"steps": 4, "metrics": {}}


def test_a_run_is_called_by_its_place_among_the_runs(begin):
    assert begin("--run_dir", "some/where").id == "/".join([*PARENT.parts[1:], "001"])


@pytest.mark.parametrize("run_dir", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_one_line_with_the_way_out(begin, run_dir):
    Path("file").write_text("in the way")
    with pytest.raises(InputError) as caught:
        begin("--run_dir", run_dir)
    assert run_dir in str(caught.value) and "choose another --run_dir" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_leaves_nothing(begin):
    Path("file").write_text("in the way")
    with pytest.raises(InputError):
        begin("--run_dir", "file")
    assert files() == ["file"]


# Checkpoints and the record.


def accuracy(run, step, value):
    return run.validated(step, {"val/accuracy": value, "val/loss": 1.0}, "val/accuracy", "max")


def test_the_first_validation_is_the_best_so_far(begin):
    assert accuracy(begin(), 2, 0.0)


def test_a_larger_metric_is_better_where_the_largest_is_the_best(begin):
    run = begin()
    assert [accuracy(run, step, value) for step, value in enumerate([0.5, 0.5, 0.6, 0.4])] == [True, False, True, False]


def test_a_smaller_metric_is_better_where_the_smallest_is_the_best(begin):
    run = begin()
    found = [run.validated(step, {"val/loss": value}, "val/loss", "min") for step, value in enumerate([0.5, 0.6, 0.4])]
    assert found == [True, False, True]


def test_a_checkpoint_is_what_was_written(begin):
    run = begin()
    save(run, 3, "weights")
    assert (run.folder / "checkpoints" / run.record.last).read_text() == "weights"


def test_a_checkpoint_may_be_a_folder(begin):
    def write(path):
        path.mkdir()
        (path / "weights").write_text("weights")

    run = begin()
    for step in (3, 3, 6):
        run.save(step, 1.0, write)
    assert [path.name for path in run.folder.glob("checkpoints/*/*")] == ["weights", "weights"]


def test_a_checkpoint_may_have_a_suffix(begin):
    run = begin()
    run.save(3, 1.0, lambda path: path.touch(), ".pt")
    assert checkpoints(run) == ["00000003.pt"]


def test_the_last_checkpoint_and_the_one_before_are_kept(begin):
    run = begin()
    for step in (2, 4, 6):
        save(run, step)
    assert checkpoints(run) == ["00000004", "00000006"]


def test_the_best_checkpoint_is_kept_beside_them(begin):
    run = begin()
    for step, value in ((2, 0.1), (4, 0.9), (6, 0.5), (8, 0.6), (10, 0.6)):
        accuracy(run, step, value)
        save(run, step)
    assert checkpoints(run) == ["00000004", "00000008", "00000010"]


def test_the_record_names_the_checkpoints_and_the_best_metrics(begin):
    run = begin()
    for step, value in ((2, 0.1), (4, 0.9), (6, 0.5)):
        accuracy(run, step, value)
        save(run, step)
    best = {"val/accuracy": 0.9, "val/loss": 1.0}
    expected = Record(6, "00000006", "00000004", best_step=4, best_metrics=best, stale=1, seconds=1.5, examples=9)
    assert run_files.read_record(run.folder) == expected == run.record


def test_the_record_survives_an_interruption(begin):
    run = begin()
    accuracy(run, 4, 0.9)
    save(run, 4)
    run.close()
    again = begin()
    assert not accuracy(again, 6, 0.8)
    save(again, 6)
    assert (again.record.best, again.record.best_step, again.record.stale) == ("00000004", 4, 1)


def test_a_validation_that_no_checkpoint_followed_is_forgotten(begin):
    run = begin()
    accuracy(run, 2, 0.1)
    save(run, 2)
    accuracy(run, 4, 0.9)
    run.close()
    assert begin().record.best_metrics["val/accuracy"] == 0.1


@pytest.mark.parametrize(("patience", "stale"), [(0, None), (1, 1), (3, 3)])
def test_patience_ends_after_so_many_validations_without_a_new_best(begin, patience, stale):
    run = begin(f"--trainer.patience={patience}")
    accuracy(run, 0, 0.9)
    found = []
    for step in range(1, 6):
        accuracy(run, step, 0.1)
        found.append(run.out_of_patience)
    assert found == [stale is not None and step >= stale for step in range(1, 6)]


def test_patience_begins_anew_with_a_new_best(begin):
    run = begin("--trainer.patience=2")
    for step, value in enumerate([0.5, 0.4, 0.6, 0.5]):
        accuracy(run, step, value)
    assert not run.out_of_patience


def test_patience_survives_an_interruption(begin):
    run = begin("--trainer.patience=2")
    for step, value in ((1, 0.5), (2, 0.4)):
        accuracy(run, step, value)
        save(run, step)
    run.close()
    again = begin("--trainer.patience=2")
    accuracy(again, 3, 0.4)
    assert again.out_of_patience


# What an interruption leaves.


class PowerCut(Exception):
    pass


def die_writing(path):
    path.write_text("half of it")
    raise PowerCut


def test_a_checkpoint_that_broke_off_is_not_in_its_place(begin):
    run = begin()
    save(run, 2)
    with pytest.raises(PowerCut):
        run.save(4, 1.0, die_writing)
    run.close()
    again = begin()
    assert (again.record.step, again.resume_from.name) == (2, "00000002")
    assert not (again.folder / "checkpoints" / "00000004").exists()


def test_a_checkpoint_that_broke_off_is_removed_with_the_next(begin):
    run = begin()
    with pytest.raises(PowerCut):
        run.save(4, 1.0, die_writing)
    save(run, 6)
    assert checkpoints(run) == ["00000006"]


def test_a_checkpoint_that_broke_off_can_be_written_again(begin):
    run = begin()
    with pytest.raises(PowerCut):
        run.save(4, 1.0, die_writing)
    save(run, 4, "whole")
    assert (run.folder / "checkpoints" / "00000004").read_text() == "whole"


def test_a_checkpoint_without_its_record_does_not_count(begin, monkeypatch):
    run = begin()
    save(run, 2)

    def die(*_):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(run_files, "write_json", die)
        save(run, 4)
    run.close()
    assert begin().record.step == 2


# What has been damaged.


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_another(path):
    path.write_text("that of another run")


DAMAGE = [cut_short, flip_a_bit, replace_by_another, Path.unlink]


def unfinished(begin, *values):
    """The checkpoints of a run that was stopped; it was saved every second step, and validated with these values."""
    run = begin()
    for i, value in enumerate(values, 1):
        accuracy(run, 2 * i, value)
        save(run, 2 * i, f"state of step {2 * i}")
    run.close()
    return run.folder / "checkpoints"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_gone_on_with(begin, capsys, damage):
    folder = unfinished(begin, 0.5, 0.6, 0.4)
    damage(folder / "00000006")
    again = begin()
    assert (again.record.step, again.resume_from.name) == (4, "00000004")
    assert (again.record.best, again.record.stale) == ("00000004", 0)
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {folder / '00000006'} is ") and told.endswith(": going on from step 4\n")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_whose_checksum_is_damaged_does_not_count(begin, damage):
    damage(unfinished(begin, 0.5, 0.6) / "00000004.json")
    assert begin().record.step == 2


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_is_damaged_is_not_needed(begin, damage):
    damage(unfinished(begin, 0.5, 0.6).parent / "record.json")
    assert begin().record.step == 4


def test_a_damaged_folder_is_named(begin, capsys):
    def write(path):
        (path / "part").mkdir(parents=True)
        (path / "part" / "weights").write_text("weights")

    run = begin()
    run.save(2, 1.0, write)
    run.save(4, 1.0, write)
    run.close()
    (run.folder / "checkpoints/00000004/part/weights").rename(run.folder / "checkpoints/00000004/part/others")
    assert begin().record.step == 2
    assert "00000004 is not what was saved" in capsys.readouterr().err


def test_a_damaged_best_is_named_and_the_best_from_there_on_counts(begin, capsys):
    folder = unfinished(begin, 0.9, 0.5, 0.4)
    flip_a_bit(folder / "00000002")
    again = begin()
    assert (again.record.step, again.record.best, again.record.stale) == (6, "", 0)
    assert "00000002 is not what was saved" in capsys.readouterr().err
    assert accuracy(again, 8, 0.1)


def test_where_no_checkpoint_is_sound_nothing_is_touched(begin):
    folder = unfinished(begin, 0.5, 0.6)
    for name in ("00000002", "00000004"):
        flip_a_bit(folder / name)
    before = files()
    with pytest.raises(RunError, match="^no checkpoint is sound: .*00000004 .*00000002 .*--resume never$"):
        begin()
    assert files() == before


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(begin):
    shutil.rmtree(unfinished(begin, 0.5))
    with pytest.raises(RunError, match="no checkpoint is sound"):
        begin()


def test_a_damaged_checkpoint_is_replaced_in_the_course_of_the_run(begin):
    flip_a_bit(unfinished(begin, 0.5, 0.6, 0.4) / "00000006")
    again = begin()
    save(again, 6)
    save(again, 8)
    assert checkpoints(again) == ["00000004", "00000006", "00000008"]


def test_a_run_from_another_one_begins_with_what_is_sound(begin):
    folder = unfinished(begin, 0.5, 0.6)
    flip_a_bit(folder / "00000004")
    assert begin(f"--resume={folder.parent}", "--name=next").record.step == 2


@pytest.mark.parametrize("text", ["", "- 1", "{", "a: [1"])
def test_a_neighbour_with_a_damaged_config_is_left_alone(begin, capsys, text):
    folder = unfinished(begin, 0.5).parent
    (folder / "config.yaml").write_text(text)
    assert begin().folder != folder
    assert f"{folder} is left alone" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["spec.json", "vectors.npy"])
def test_a_damaged_file_of_what_was_fitted_is_one_line(begin, name):
    run = begin(spec={**SPEC, "vectors.npy": np.zeros(3)})
    run.close()
    cut_short(run.folder / "fitted" / name)
    (run.folder / "fitted" / name).write_bytes((run.folder / "fitted" / name).read_bytes()[:20])
    with pytest.raises(InputError, match=f"{name} is damaged: "):
        run_files.read_spec(run.folder)


def test_the_test_is_logged_once_where_its_run_died_after_it(begin):
    run = begin()
    run.log(2, {"train/loss": 1.0}, 1.5)
    save(run, 2)
    run.log(2, {"test/loss": 1.0}, 1.5)
    run.writer.finished(2)
    run.close()
    again = begin()
    again.log(2, {"test/loss": 1.0}, 1.5)
    again.close()
    entries = [json.loads(line) for line in (again.folder / "metrics.jsonl").read_text().splitlines()]
    assert [*map(sorted, entries)] == [["seconds", "step", "train/loss"], ["seconds", "step", "test/loss"]]
    assert sorted(tags_of(again.folder)) == ["config", "hparams", "test/loss", "train/loss"]


def test_a_run_that_died_before_its_first_checkpoint_begins_its_events_anew(begin):
    begin().close()
    again = begin()
    again.close()
    assert sorted(tags_of(again.folder)) == ["config", "hparams"]


NOWHERE = {"val/loss": math.inf, "val/auc": math.nan, "val/rank": 0.5}  # of a validation, to say so


def strictly(text):
    """What other programs read, as a browser or `jq`: NaN and Infinity are no JSON."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_json_of_a_run_is_strict_with_null_for_what_is_not_finite(begin):
    run = begin(spec={"mean": math.nan, "bounds": [math.inf, 1.0]})
    run.validated(2, NOWHERE, "val/rank", "max")
    run.log(2, {**NOWHERE, "train/loss": -math.inf}, 1.5)
    save(run, 2)
    run.finish({"steps": 2, "seconds": math.nan, "metrics": NOWHERE})
    [line] = (run.folder / "metrics.jsonl").read_text().splitlines()
    found = {path.name: strictly(path.read_text()) for path in run.folder.rglob("*.json")}
    metrics = {"val/loss": None, "val/auc": None, "val/rank": 0.5}
    assert strictly(line) == {"step": 2, "seconds": 1.5, **metrics, "train/loss": None}
    assert found["result.json"] == {"steps": 2, "seconds": None, "metrics": metrics}
    assert found["record.json"]["best_metrics"] == found["00000002.json"]["record"]["best_metrics"] == metrics
    assert found["spec.json"] == {"mean": None, "bounds": [None, 1.0]}


def test_what_is_null_is_read_as_not_a_number(begin):
    run = begin()
    run.validated(2, NOWHERE, "val/rank", "max")
    save(run, 2)
    run.finish({"steps": 2, "metrics": NOWHERE})
    for metrics in (run_files.read_result(run.folder)["metrics"], run_files.read_record(run.folder).best_metrics):
        assert math.isnan(metrics["val/loss"]) and math.isnan(metrics["val/auc"]) and metrics["val/rank"] == 0.5


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_run_whose_best_metrics_are_not_finite_goes_on(begin, value, capsys):
    run = begin()
    run.validated(2, {"val/loss": value}, "val/loss", "min")
    save(run, 2)
    run.close()
    again = begin()
    assert (again.folder, again.record.step, capsys.readouterr().err) == (run.folder, 2, "")
    assert again.validated(4, {"val/loss": 3.0}, "val/loss", "min")


def test_data_without_a_value_are_those_that_the_run_began_with(begin):
    spec = {"mean": math.nan, "bounds": [math.inf, 1.0]}
    begin(spec=spec).close()
    begin(spec=spec)


def test_events_are_on_the_disk_when_the_record_says_so(begin):
    run = begin()
    run.log(2, {"train/loss": 1.0}, 1.5)
    save(run, 2)
    assert "train/loss" in tags_of(run.folder)


def test_a_json_file_that_broke_off_is_still_the_old_one(monkeypatch):
    run_files.write_json(Path("a.json"), {"step": 1})

    def die(*_):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(os, "replace", die)
        run_files.write_json(Path("a.json"), {"step": 2})
    assert json.loads(Path("a.json").read_text()) == {"step": 1}


def logged(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def shown(folder):
    """The steps that TensorBoard has of the loss."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return sorted(event.step for event in events.Tensors("train/loss"))


def tags_of(folder):
    """The tag of every event, as often as it is there."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    found = [tag for tag in events.Tags()["tensors"] for _ in events.Tensors(tag)]
    return sorted("hparams" if tag.startswith("_hparams_/") else tag for tag in found)


def test_hyper_parameters_are_what_is_varied_and_not_where_a_run_was(begin):
    run = begin()
    run.close()
    events = EventAccumulator(str(run.folder)).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    info = HParamsPluginData.FromString(content).session_start_info
    names = {name.strip() for name in info.hparams}
    assert {"framework", "seed", "model.name", "data.batch_size", "optimizer.learning_rate", "trainer.epochs"} < names
    assert [name for name in names if name.startswith("accelerator.")] == ["accelerator.precision"]
    assert names & {"task", "name", "run_dir", "data.root", "data.workers", "trainer.log_every", "debug"} == set()
    assert info.group_name == f"{run.config.framework}/{run.folder.name} {'/'.join(run.folder.parts[-4:-2])}"


@pytest.fixture
def ahead(begin):
    """The folder of a run that has logged five steps, the last of them half, and saved three."""
    run = begin()
    for step in range(1, 6):
        run.log(step, {"train/loss": 1.0 / step}, 1.5)
        if step == 3:
            save(run, step)
    run.close()
    metrics = run.folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-3])
    return run.folder


def test_every_scalar_is_a_line_of_metrics(begin):
    run = begin()
    run.log(3, {"train/loss": 0.5, "train/epoch": 1}, 1.5)
    assert (
        run.folder / "metrics.jsonl"
    ).read_text() == '{"step": 3, "seconds": 1.5, "train/loss": 0.5, "train/epoch": 1}\n'


def test_metrics_are_cut_back_to_the_step_that_a_run_goes_on_from(begin, ahead):
    begin()
    assert logged(ahead) == [1, 2, 3]


def test_events_are_cut_back_to_the_step_that_a_run_goes_on_from(begin, ahead):
    begin().close()
    assert shown(ahead) == [1, 2, 3]


def test_a_run_that_went_on_has_each_step_once(begin, ahead):
    run = begin()
    for step in (4, 5):
        run.log(step, {"train/loss": 1.0 / step}, 1.5)
    run.close()
    assert logged(ahead) == shown(ahead) == [1, 2, 3, 4, 5]


def test_a_run_without_a_checkpoint_begins_its_metrics_anew(begin):
    run = begin()
    run.log(1, {"train/loss": 0.5}, 1.5)
    run.close()
    assert logged(begin().folder) == []


def test_the_config_is_a_table_in_tensorboard(begin):
    run = begin("--seed=3")
    run.close()
    events = EventAccumulator(str(run.folder), size_guidance={"tensors": 0}).Reload()
    [event] = events.Tensors("config")
    assert "| seed | 3 |" in event.tensor_proto.string_val[0].decode()


def test_a_saved_config_gives_the_same_config_back(begin):
    run = begin("--optimizer.learning_rate=1e-7")
    assert to_dict(load_config(saved=run_files.read_config(run.folder))) == to_dict(run.config)
