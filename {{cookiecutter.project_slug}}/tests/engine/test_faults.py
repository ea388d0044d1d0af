"""What goes wrong around a run, and what it loses by that: nothing."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from conftest import FRAMEWORKS, history, steps, values_of
from helpers import SMALL, TASK, final_weights
from killed import MOMENTS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}}.engine import progress, registry, session, workflow
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result
from {{cookiecutter.package_name}}.engine.run import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor limits")

# Augmentation and dropout are on in SMALL; nothing falls together.
BUSY = ("--trainer.val_every=4", "--trainer.checkpoint_every=3", "--trainer.log_every=1", "--trainer.accumulate=2")
BUSY += ("--optimizer.ema_decay=0.8", "--trainer.patience=3")


def config(framework, *options):
    return registry.load_config(TASK, ["--framework", framework, *SMALL, *options])


def command(framework, *options):
    return ["train", TASK, "--framework", framework, *SMALL, *options]


def start(words, *before, **options):
    """A command in a process of its own; before: what comes before its words."""
    before = before or ("-m", "{{cookiecutter.package_name}}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, *before, *words], stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def scalars(folder):
    """(step, value) of each event of each scalar that does not measure time or memory, in order."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag in {key for line in history(folder) for key in line}]
    return {tag: [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors(tag)] for tag in tags}


def outcome(folder):
    """All of a run that is a function of its config."""
    result = read_result(folder)
    return history(folder), scalars(folder), result["metrics"], result["checkpoints"], result["steps"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a whole run, by framework."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return {name: workflow.train(config(name, *steps(30), *BUSY, f"--run_dir={folder}")) for name in FRAMEWORKS}


def kill(framework, moments, *options):
    """The folder of a run whose command was killed at each of these moments and then left alone."""
    words, script = command(framework, *BUSY, *options, "--name=killed"), str(Path(__file__).with_name("killed.py"))
    for moment in moments:
        process = start(words, script, *map(str, moment))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, (moment, errors)
    process = start(words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return Path("runs", TASK, "default", framework, "killed")


def assert_same(folder, expected):
    assert outcome(folder) == outcome(expected)
    for which in ("best", "last"):
        found, wanted = final_weights(folder, which), final_weights(expected, which)
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_killed_run_ends_as_if_it_had_not_been(project, framework, uninterrupted):
    assert_same(kill(framework, [("rename", "after", 9)], *steps(30)), uninterrupted[framework])


@pytest.mark.slow
def test_a_run_that_is_killed_25_times_ends_as_if_it_had_not_been(project, framework):
    draw, most = random.Random(0), {"cut": 1, "validation": 2}
    names = [draw.choice(list(MOMENTS)) for _ in range(25)]
    moments = [(name, draw.choice(["before", "after"]), draw.randint(1, most.get(name, 8))) for name in names]
    length = (*steps(200), "--trainer.patience=40")
    whole = workflow.train(config(framework, *BUSY, *length, "--name=whole"))
    assert_same(kill(framework, moments, *length), whole)


def test_a_second_signal_ends_a_run_at_once(project, framework, monkeypatch):
    """One comes while a step that takes long is under way, the other a moment later."""
    advance = progress.Progress.advance

    def slow(self, count):
        advance(self, count)
        for number in (signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), number)
            time.sleep(0.01)

    monkeypatch.setattr(progress.Progress, "advance", slow)
    with pytest.raises(KeyboardInterrupt):
        workflow.train(config(framework, *steps(10)))


# Values that are not finite.


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    return {name: workflow.train(config(name, *steps(2), f"--run_dir={folder}")) for name in FRAMEWORKS}


HUGE = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e30")


def test_a_loss_that_is_not_finite_ends_the_run_and_is_traced_back(cli, project, framework):
    outcome = cli(*command(framework, *steps(40), *HUGE, "--trainer.log_every=5", "--trainer.checkpoint_every=1"))
    assert outcome.code == 1
    told = outcome.err.splitlines()[-1]
    where = r"first (the (output|gradient|update) of [\w. ]+|loss/\w+.*) in step \d+"
    what = r"(train/loss is (nan|-?inf)|weights are not finite) at step \d+"
    assert re.match(rf"error: {what}, {where}: lower .* --trainer.on_nan skip; ", told), told


def test_the_module_that_is_first_not_finite_is_named(cli, project, framework, done):
    weights = {name: value.astype(np.float32) for name, value in final_weights(done[framework]).items()}
    name = [name for name in weights if name.endswith(".weight")][-1]
    weights[name][...] = np.nan
    safetensors.numpy.save_file(weights, "spoilt.safetensors")
    outcome = cli(*command(framework, *steps(5), "--trainer.log_every=5", "--init=spoilt.safetensors"))
    assert outcome.code == 1
    assert f", first the output of {name.removesuffix('.weight')} in step 1: " in outcome.err.splitlines()[-1]


def test_the_state_before_is_kept(cli, project, framework):
    cli(*command(framework, *steps(40), *HUGE, "--trainer.log_every=5", "--trainer.checkpoint_every=1", "--name=x"))
    folder = Path("runs", TASK, "default", framework, "x")
    if read_record(folder).last:
        assert all(np.isfinite(value).all() for value in final_weights(folder).values())


def test_updates_that_are_not_finite_can_be_skipped(project, framework):
    settings = config(framework, *steps(6), *HUGE, "--trainer.log_every=1", "--trainer.on_nan=skip")
    folder = workflow.train(settings)
    skipped = values_of(folder, "train/skipped_updates")
    assert list(skipped) == [1, 2, 3, 4, 5, 6] and skipped[6] > 0
    assert all(np.isfinite(value).all() for value in final_weights(folder).values())


# Resources.


def test_memory_that_is_short_is_one_line(cli, project, framework, monkeypatch):
    def allocate(self, parameters, frozen=()):
        np.zeros(2**50, np.uint8)

    monkeypatch.setattr(session.Session, "begin", allocate)
    outcome = cli(*command(framework, *steps(2)))
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: out of memory: lower data.batch_size")


def test_a_folder_that_is_gone_is_one_line(cli, project, framework, monkeypatch):
    advance = progress.Progress.advance

    def lose(self, count):
        advance(self, count)
        shutil.rmtree("runs", ignore_errors=True)

    monkeypatch.setattr(progress.Progress, "advance", lose)
    outcome = cli(*command(framework, *steps(4), "--trainer.checkpoint_every=2"))
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].endswith("has no checkpoint, the same command begins anew")
    assert not Path("runs").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # arrays that a run keeps are mapped for a while


def test_a_full_disk_is_one_line_and_loses_nothing(cli, project, framework, small_disk, monkeypatch):
    options = (*steps(12), "--trainer.checkpoint_every=2", "--trainer.log_every=1", f"--run_dir={small_disk}")
    filler, log = small_disk / "filler", Run.log

    def fill(self, step, *values):
        if step == 7:
            with filler.open("wb") as file:
                file.write(bytes(shutil.disk_usage(small_disk).free - 4096))
        log(self, step, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", fill)
        outcome = cli(*command(framework, *options))
    told = outcome.err.splitlines()[-1]
    assert outcome.code == 1 and "No space left on device: step 6 of " in told, outcome.err
    assert "Traceback" not in outcome.err
    filler.unlink()
    assert cli(*command(framework, *options)).code == 0
    [folder] = (path.parent for path in small_disk.rglob("result.json"))
    assert folder.name == "001"
    assert list(values_of(folder, "train/loss")) == list(range(1, 13))


HOLDS = """
import sys
from {{cookiecutter.package_name}}.engine.run import Run
from {{cookiecutter.package_name}}.engine.registry import load_config

run = Run.choose(load_config(sys.argv[2], sys.argv[3:]))
print("held", file=sys.stderr, flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_is_at_is_refused(cli, project, framework):
    words = command(framework, *steps(2), "--name=mine")
    assert cli(*words, "--trainer.max_minutes=1e-9").code == 0  # begun
    process = start(words, "-c", HOLDS, stdin=subprocess.PIPE)
    try:
        assert process.stderr.readline() == "held\n"
        outcome = cli(*words)
        assert outcome.code == 2 and "another process is training this run" in outcome.err
    finally:
        process.kill()
        process.communicate()
    assert cli(*words).code == 0  # the dead one leaves no lock behind


@pytest.mark.slow
def test_a_long_run_takes_no_more_of_anything(project, framework, monkeypatch):
    """Memory in use, open files and threads at a quarter of the way and at the end."""
    found, advance = {}, progress.Progress.advance

    def measure(self, count):
        advance(self, count)
        if self.step in (5000, 20_000):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            megabytes = pages * resource.getpagesize() / 2**20
            found[self.step] = megabytes, len(os.listdir("/proc/self/fd")), threading.active_count()

    if not Path("/proc/self/statm").exists():
        pytest.skip("only Linux tells what a process has in use")
    monkeypatch.setattr(progress.Progress, "advance", measure)
    rhythm = ("--trainer.log_every=50", "--trainer.val_every=1000", "--trainer.checkpoint_every=1000")
    workflow.train(config(framework, *steps(20_000), *rhythm))
    (early, early_files, early_threads), (late, files, threads) = found[5000], found[20_000]
    assert late < early + 30 and files == early_files and threads == early_threads, found


# Run folders that were damaged.


@pytest.mark.parametrize("name", ["config.yaml", "record.json", "data.json", "fitted/spec.json"])
@pytest.mark.parametrize("text", ["", "[]", "\0", "{", '{"a": 1}'])
def test_a_damaged_file_of_a_run_is_one_line(cli, project, framework, done, name, text):
    folder = shutil.copytree(done[framework], project / "copy")
    (folder / name).write_text(text)
    outcome = cli("evaluate", folder)
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome


def test_a_damaged_checkpoint_is_not_evaluated(cli, project, framework, done):
    folder = shutil.copytree(done[framework], project / "copy")
    path = folder / "checkpoints" / read_record(folder).best
    path = path if path.is_file() else max((file for file in path.rglob("*")), key=lambda file: file.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    outcome = cli("evaluate", folder)
    assert outcome.code == 1 and "is not what was saved" in outcome.err and outcome.err.count("\n") == 1
