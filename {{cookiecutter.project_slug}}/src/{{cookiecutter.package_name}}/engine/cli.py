"""The commands. Imports no framework: that takes seconds, and a mistake should be told at once.

train [TASK[/PRESET]] [options]      train, or go on with an interrupted run, and test
evaluate RUN [options]               a run's metrics on its test split
predict RUN INPUT... [options]       what its model makes of inputs
export RUN --format FORMAT           its model as a file for other programs
convert RUN --to FRAMEWORK           a run of the other framework that goes on from there
compare [TASK[/PRESET]] [options]    train every framework, and put them side by side
compare RUN RUN... [options]         the same of finished runs
doctor [TASK[/PRESET]] [options]     versions and devices; what a task would need of them

COMMAND --help tells more. RUN is a run's folder, TASK one of
{tasks}
"""

import csv
import dataclasses
import errno
import io
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from . import registry
from . import task as tasks
from .config import Config, UnknownKey, closest, meant, options_help, read_options, to_dict
from .errors import Error, InputError, on_one_line
from .processes import apart

FOLDER_FILE = (
    "TRAIN_WRITES_ITS_FOLDER_TO"  # how `--framework both` learns where the process that it started has trained
)

# Of a path that a person gave and that nobody could use: too long, in a folder that may not be looked into, or a loop.
UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
DEFAULTS = {"checkpoint": "best", "output": "", "force": False, "format": ""}  # of options of commands that take a run

MOST_LINES = 25  # of a table whose rest stands elsewhere


def main(command: str = "") -> int:
    """Runs a command (without one, the first word's) and returns its exit code.

    0 done, 1 the run failed, 2 bad input, 130 and 143 stopped by SIGINT and SIGTERM after the state was saved.
    """
    _open_streams()
    code = 0
    try:
        code = _done([command] * bool(command) + sys.argv[1:])
        sys.stdout.flush()  # here, as a pipe that is closed would be told at the end of the process, too
    except BrokenPipeError:  # what reads the output, as `head`, has read enough
        _drop_output()
    except OSError as error:
        if error.filename or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _drop_output()
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        code = 1
    return code


def _done(words: list[str]) -> int:
    """The exit code of a command, whose errors are told."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train,
        "evaluate": evaluate,
        "predict": predict,
        "export": export,
        "convert": convert,
        "doctor": doctor,
        "compare": compare,
    }
    if not words or words[0] in ("-h", "--help"):
        print(__doc__.strip().partition("\n\n")[2].format(tasks=", ".join(tasks.names())))
        return 0 if words else 2
    try:
        if words[0] not in commands:
            is_task = words[0].partition("/")[0] in tasks.names()
            hint = f"did you mean 'train {words[0]}'?" if is_task else closest(words[0], list(commands))
            raise InputError(f"no command {words[0]!r}: {hint}")
        if {"-h", "--help"} & {*_split_end(words[1:])[0]} and words[0] != "train":  # whose help shows its config
            print(textwrap.dedent("    " + commands[words[0]].__doc__).rstrip())
            if words[0] == "predict" and not words[1].startswith("-"):
                print("\n".join(options_help(_task_of(words[1]).options)))
            if words[0] == "export":
                from .export import formats

                print(f"formats: {', '.join(formats())}")
            if words[0] == "compare":
                from .compare.comparison import Options

                print("\n".join(options_help(Options)))
            return 0
        return commands[words[0]](words[1:])
    except Error as error:
        if not error.told:
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # before the run could take it, or a second one
        print("error: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        print(f"error: {InputError(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return InputError.exit_code


class _Stderr(io.FileIO):
    """A run goes on where nobody reads any more what it tells, as `2>&1 | head`."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def _open_streams() -> None:
    """Whatever they are, they take every text: letters that a console cannot say are escaped."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: a file of the run would get its number
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    buffer = getattr(sys.__stderr__, "buffer", None)  # None where it was closed
    if sys.stderr is sys.__stderr__ and type(getattr(buffer, "raw", buffer)) is io.FileIO and not sys.stderr.isatty():
        file = io.BufferedWriter(_Stderr(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(file, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def _drop_output() -> None:
    """What is kept of stdout would fail once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def train(words: list[str]) -> int:
    """train [TASK[/PRESET]] [options]"""
    target = words.pop(0) if words and not words[0].startswith("-") else ""
    if "-h" in words or "--help" in words:
        print(registry.help_text(target, "train.py"), end="")
        return 0
    options = [word for word in words if word != "--print_config"]
    config = registry.load_config(target, options, saved=None if target else _parent(options))
    if options != words:
        print(yaml.safe_dump(to_dict(config), sort_keys=False), end="")
        return 0
    if config.framework == "both":
        return _train_both(config, [target] * bool(target) + options)
    return _train_one(config)


def _parent(options: list[str]) -> dict | None:
    """The config of the run that `--resume PATH` names: without TASK it is taken over, but for name and beginning."""
    words = [part for option in options for part in option.split("=", 1)]
    paths = [path for key, path in zip(words, words[1:], strict=False) if key == "--resume"]
    if not paths or paths[-1] in ("auto", "never"):
        return None
    from .run import read_config

    return {**read_config(Path(paths[-1])), "name": "", "init": "", "init_skip": ""}


def _train_one(config: Config) -> int:
    from . import workflow

    folder = workflow.train(config)
    leads = registry.frameworks()[config.framework].join(config).rank == 0
    if not leads or not (folder / "result.json").exists():
        return 0
    if FOLDER_FILE in os.environ:
        Path(os.environ[FOLDER_FILE]).write_text(str(folder), encoding="utf-8")
    else:
        _show_results([folder], config.run_dir)
    return 0


def _train_both(config: Config, words: list[str]) -> int:
    """Each framework in a process of its own, one after the other; one table; the worst exit code."""
    began, minutes = time.monotonic(), config.trainer.max_minutes
    names = list(registry.frameworks())
    for name in names:  # a mistake that can be told now is told before the first of them trains
        registry.check(dataclasses.replace(config, framework=name))
    folders, worst = [], 0
    for name in names:
        left = max(minutes - (time.monotonic() - began) / 60, 1e-9)  # of what they have together
        limit = ["--trainer.max_minutes", f"{left}"] if minutes else []
        code, folder = _train_apart([*words, "--framework", name, *limit])
        folders += [folder] if folder else []
        worst = max(worst, code)
        if code in (2, 130, 143):
            return code
    if folders:
        _show_results(folders, config.run_dir)
    return worst


def _train_apart(words: list[str]) -> tuple[int, Path | None]:
    """Trains in another process. Returns its exit code, and the run's folder where it got to the end."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "folder")
        command = [sys.executable, "-m", __package__.partition(".")[0], "train", *words]
        # A session of its own, as a terminal's Ctrl-C would reach it twice: signals to this process are passed on once.
        child = subprocess.Popen(command, env={**os.environ, FOLDER_FILE: str(file)}, start_new_session=True)
        before = {
            number: signal.signal(number, lambda n, _: child.send_signal(n))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        # A child that a signal killed has a negative code; a shell would say 128 + its number.
        return code if code >= 0 else 128 - code, Path(file.read_text(encoding="utf-8")) if file.exists() else None


def evaluate(words: list[str]) -> int:
    """evaluate RUN [--checkpoint best|last|STEP] [--KEY VALUE ...]

    The run's metrics on its test split; options change its config, as --data.root or --data.batch_size.
    """
    folder, inputs, config, taken = _open(words, evaluate.__doc__)
    if inputs:
        raise InputError(f"evaluate takes no input {inputs[0]!r}: {_usage(evaluate.__doc__)}")
    from . import workflow

    metrics, charts = workflow.evaluate(folder, config, taken["checkpoint"])
    for name, value in metrics.items():
        print(f"{name:20} {shown(value)}")
    for name, chart in charts.items():
        if isinstance(chart, str):
            print(f"\n{name}\n{_first(chart.splitlines(), MOST_LINES)}")
    return 0


def predict(words: list[str]) -> int:
    """predict RUN INPUT... [--output FILE [--force]] [--checkpoint best|last|STEP] [--KEY VALUE ...] [-- INPUT...]

    What the run's model says of each input, as a table, and with --output as CSV: in a new file, or with --force in the
    place of one that is no input. Some tasks have options of their own here: predict RUN --help. After -- every word is
    an input, also one that begins with a dash.
    """
    folder, inputs, config, taken = _open(words, predict.__doc__)
    output, checkpoint, force = taken.pop("output"), taken.pop("checkpoint"), taken.pop("force")
    if output:
        places = [Path(place, given) for given in inputs for place in ("", config.data.root)]
        _check_output(Path(output), places, force)
    elif force:
        raise InputError(f"--force is for --output FILE: {_usage(predict.__doc__)}")
    streams = tasks.find(config.task).stream is not None
    if streams and (inputs or output or not taken.get("prompt")):
        raise InputError(f"{config.task} continues a text, and prints it: predict RUN --prompt TEXT")
    if not streams and not inputs:
        raise InputError(f"predict needs inputs: {_usage(predict.__doc__)}")
    from . import workflow

    predictor = workflow.Predictor(folder, config, checkpoint)
    if streams:
        for piece in predictor.stream(**taken):
            print(piece, end="", flush=True)
        print()
        return 0
    rows = predictor.predict(inputs, **taken)
    if output:
        _write_csv(Path(output), rows)
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    print(_first(lines, MOST_LINES if output else len(lines)))
    if output:
        print(f"\n{len(rows)} rows in {output}")
    return 0


def export(words: list[str]) -> int:
    """export RUN --format FORMAT [--checkpoint best|last|STEP] [--output FOLDER] [--force]

    The run's model as a file for elsewhere, with a card that says what it is; in the run's folder, or in FOLDER. With
    --force it takes the place of an export that is there.
    """
    folder, inputs, config, taken = _open(words, export.__doc__)
    if inputs:
        raise InputError(f"export takes no input {inputs[0]!r}: {_usage(export.__doc__)}")
    from . import export as room

    for path in sorted(room.export(folder, config, **taken).iterdir()):
        print(path)
    return 0


def convert(words: list[str]) -> int:
    """convert RUN --to FRAMEWORK [--name NAME] [--run_dir DIR]

    A run of the other framework that is where RUN is: weights, averages, the optimizer's state, steps, the best so
    far. `train` with RUN's options and --framework FRAMEWORK goes on with it, --trainer.max_steps more. To go on at
    once, or with other options: train --framework FRAMEWORK --resume RUN [--KEY VALUE ...]
    """
    names, usage = list(registry.frameworks()), _usage(convert.__doc__)
    if len(names) == 1:
        raise InputError(f"convert: this project has one framework, {names[0]}")
    if not words or words[0].startswith("-"):
        raise InputError(f"usage: {usage}")
    taken, rest = _take(words[1:], ["to", "name", "run_dir"], usage)
    if rest:
        raise InputError(f"convert takes no {rest[0]}: {usage}; other options are for train --resume {words[0]}")
    from .run import read_config

    saved, to = read_config(Path(words[0])), taken.pop("to", "")
    if to not in names or to == saved["framework"]:
        others = " or ".join(f"--to {name}" for name in names if name != saved["framework"])
        raise InputError(f"{words[0]} is a run of {saved['framework']}: convert it {others}")
    options = {"name": "", "init": "", "init_skip": "", **taken, "framework": to, "resume": words[0]}
    from .twins.convert import convert_apart

    print(convert_apart(registry.load_config("", options, saved=saved), best=True))
    return 0


def compare(words: list[str]) -> int:
    """compare [TASK[/PRESET]] [--seeds N] [--same_weights true] [--target VALUE] [--name NAME] [--KEY VALUE ...]
    compare RUN RUN... [--target VALUE] [--name NAME [--force]] [--run_dir DIR]

    Trains a task by every framework, one run after the other, so that none takes time from another, or takes runs that
    are finished; prints their figures and which is ahead on what, and writes a report with curves into
    <run_dir>/<task>/<preset>/compare/<name>/report.html, with --force in the place of another one. After an
    interruption the same command goes on. What is no finished run, as runs/TASK/PRESET/*/* may have, is passed by.
    --KEY VALUE as of train.
    """
    from .compare import comparison as room
    from .compare import report

    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    own = [item.name for item in dataclasses.fields(room.Options)]
    taken, rest = _take(words[first:], own, _usage(compare.__doc__))
    options, given = read_options(room.Options, taken), words[:first]
    options.check()
    command = shlex.join(["python", "-m", __package__.partition(".")[0], "compare", *words])
    if len(given) > 1 or (given and given[0].split("/")[0] not in tasks.names() and Path(given[0]).is_dir()):
        refused = [word for word in ("seeds", "same_weights") if word in taken]
        refused += [word.partition("=")[0].removeprefix("--") for word in rest if word.startswith("--")]
        if refused := [word for word in refused if word != "run_dir"]:
            raise InputError(f"--{refused[0]} is for compare TASK, which trains: these runs are finished")
        runs = room.read([Path(word) for word in given])
        config = _config(runs[0].config["task"], rest, own)
        folder = room.place(dataclasses.replace(config, preset=runs[0].config["preset"]), options)
        room.check_place(folder, options)
    else:
        target = given[0] if given else ""
        code, folders, folder = _train_each(target, rest, options, own)
        if code or not folder:
            return code
        runs = room.read(folders)
    print(report.write(runs, folder, options.wanted(), command))
    return 0


def _train_each(target: str, words: list[str], options: Any, own: Sequence[str]) -> tuple[int, list[Path], Path | None]:
    """Trains a task by every framework with every seed. own: the names of the options that are no keys of the config.

    Returns the exit code, the runs' folders, and that of the report: None where a run is not at its end yet.
    """
    from . import workflow
    from .compare import comparison as room

    names = list(registry.frameworks())
    if len(names) < 2:
        raise InputError(f"compare TASK needs two frameworks, and here is {names[0]} only: compare RUN RUN...")
    given = {word.partition("=")[0] for word in words}
    if given & {"--framework", "--resume"}:
        raise InputError("compare TASK trains every framework and goes on by itself: without --framework and --resume")
    config = _config(target, words, own)
    if options.same_weights and config.init:
        raise InputError(f"--same_weights true: with --init {config.init} both begin with the same ones anyway")
    seeds = range(config.seed, config.seed + options.seeds)
    configs = [dataclasses.replace(config, framework=name, seed=seed) for seed in seeds for name in names]
    for one in configs:  # a mistake that can be told now is told before the first of them trains
        registry.check(one)
        tasks.check_twin(tasks.find(one.task), one.framework)
    settings = room.settings_of(config, options)
    folder = room.place(config, options, settings)
    room.check_place(folder, options, settings)
    print(f"{folder}: {len(configs)} runs", file=sys.stderr)
    folders: list[Path] = []
    for i, seed in enumerate(seeds):
        extra = ["--seed", f"{seed}", "--name", f"{folder.name}-{seed}"]
        if options.same_weights:
            path = folder / f"initial-{seed}.safetensors"
            extra += ["--init", f"{path}"]
            if not path.exists():
                first = dataclasses.replace(config, framework=names[0], seed=seed)
                apart(workflow.write_initial, to_dict(first), path)
        for name in names if i % 2 == 0 else reversed(names):  # what drifts, as a machine's heat, is of both
            print(f"\nrun {len(folders) + 1} of {len(configs)}: {name}, seed {seed}", file=sys.stderr, flush=True)
            code, trained = _train_apart([*[target] * bool(target), *words, "--framework", name, *extra])
            if code != InputError.exit_code:  # else nothing was begun
                room.begin(folder, settings)
            if code in (0, 130, 143) and not trained:
                print(f"{folder} waits for its runs: the same command goes on", file=sys.stderr)
            if code or not trained:
                return code, folders, None
            folders.append(trained)
    return 0, folders, folder


def doctor(words: list[str]) -> int:
    """doctor [TASK[/PRESET]] [--accelerator NAME] [--memory GIB] [--KEY VALUE ...]

    Versions and known bad pairs of them, devices, and which would be used. With TASK one step, too, as the accelerator
    would take it: on the CPU, so that it need not be here. What a device would hold is compared with its memory,
    or with --memory.
    """
    from .run import versions

    words = list(words)
    target = words.pop(0) if words and not words[0].startswith("-") else ""
    memory = _taken(words, "--memory")
    config = _config(target, words, ["memory"])
    wrong = []
    print(f"python {platform.python_version()}, {platform.platform()}")
    for name, framework in registry.frameworks().items():
        found = versions(framework.PACKAGES)
        print(f"{name}: " + ", ".join(f"{package} {found.get(package, 'missing')}" for package in framework.PACKAGES))
        wrong += [f"{name}: {package} is not installed" for package in framework.PACKAGES if package not in found]
        wrong += registry.bad_versions(framework, found)
        try:
            registry.check(dataclasses.replace(config, framework=name))
            devices = framework.hardware()
            print(f"{name}: devices: " + ", ".join(f"{number} {kind}" for kind, number in devices.count().items()))
            if cache := getattr(devices, "compilation_cache", None):
                print(f"{name}: programs are kept in {cache() or 'no folder'}")
            if not target:
                picked = devices.pick(config.accelerator.platform, config.accelerator.devices, config.accelerator.nodes)
                print(f"{name}: --accelerator {config.accelerator.name} picks {', '.join(map(str, picked))}")
        except (InputError, ImportError) as error:
            wrong.append(f"{name}: {error}")
    for name in registry.chosen(config) if target else ():
        try:
            wrong += _rehearse(dataclasses.replace(config, framework=name), memory)
        except InputError as error:
            wrong.append(f"{name}: {error}")
    for line in wrong:
        print(f"wrong: {line}")
    print(f"{len(wrong)} problems" if wrong else "all is well")
    return 2 if wrong else 0


def _rehearse(config: Config, memory: str) -> list[str]:
    """One step in a process of its own, as a CPU is one device or several from its start. Returns what is wrong."""
    from . import workflow

    name, accelerator = config.framework, config.accelerator
    hardware = registry.frameworks()[name].hardware()
    here = hardware.count()
    platform = next(kind for kind in here if here[kind]) if accelerator.platform == "auto" else accelerator.platform
    number = (accelerator.devices or here.get(platform, 0)) * accelerator.nodes
    if not number:
        raise InputError(f"accelerator.devices = 0 means all, but no {platform} is here: give --accelerator.devices")
    there = float(memory) * 2**30 if memory else hardware.memory(platform) if here.get(platform) else 0
    fake = dataclasses.replace(accelerator, platform="cpu", devices=number, nodes=1)
    held = apart(workflow.rehearse, to_dict(dataclasses.replace(config, accelerator=fake)))
    print(f"{name}: one step of {config.task} as {number} x {platform} would take it, each of which would hold")
    total = sum(held.values())
    for what, size in {**held, "together": total}.items():
        print(f"{name}:   {what:28} {_size(size)}")
    if not there:
        print(f"{name}:   no {platform} is here to compare that with: --memory GIB says what it has")
    elif total > there:
        ways = "raise trainer.accumulate, cut the model with --accelerator gpu-fsdp, or take more devices"
        return [f"{name}: a {platform} would hold {_size(total)}, but has {_size(there)}: {ways}"]
    else:
        print(f"{name}:   that fits into the {_size(there)} of a {platform}")
    return []


def _size(count: float) -> str:
    """Bytes, in the largest unit of which there is one at least."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    power = max(0, min(int(math.log(max(count, 1), 1024)), len(units) - 1))
    return f"{count / 1024**power:.4g} {units[power]}"


def _taken(words: list[str], key: str) -> str:
    """The value of an option, which is taken out; empty where it is not given."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == key:
            value = value if equals else "".join(words[i + 1 : i + 2])
            del words[i : i + 1 if equals else i + 2]
            if not re.fullmatch(r"\d+(\.\d+)?", value):
                raise InputError(f"{f'{key} {value}'.strip()}: a number is wanted")
            return value
    return ""


def _usage(doc: str) -> str:
    return doc.partition("\n")[0]


def _open(words: list[str], doc: str) -> tuple[Path, list[str], Config, dict[str, str]]:
    """RUN INPUT... [options] -> (folder, inputs, config, the options that are no keys of it)."""
    from .run import read_config

    usage = _usage(doc)
    words, after = _split_end(words)
    if not words or words[0].startswith("-"):
        raise InputError(f"usage: {usage}")
    own = [item.name for item in dataclasses.fields(_task_of(words[0]).options)] if "INPUT" in usage else []
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    folder, inputs, options = Path(words[0]), [*words[1:first], *after], words[first:]
    defaults = {key: value for key, value in DEFAULTS.items() if f"--{key}" in usage}
    taken, rest = _take(options, [*own, *defaults], usage)
    taken = defaults | taken
    saved = read_config(folder)
    config = _config("", rest, [*own, *defaults], saved)
    if config.framework != saved["framework"]:
        raise InputError(f"--framework {config.framework}: the checkpoints of {folder} are for {saved['framework']}")
    return folder, inputs, config, taken


def _split_end(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words -> (those before `--`, which ends options, those after it)."""
    end = words.index("--") if "--" in words else len(words)
    return list(words[:end]), list(words[end + 1 :])


def _config(target: str, words: list[str], own: Sequence[str], saved: Mapping[str, Any] | None = None) -> Config:
    """As `load_config`. own: the names of the command's other options, one of which may be meant by an unknown key."""
    try:
        return registry.load_config(target, words, saved=saved)
    except UnknownKey as error:
        if near := meant(error.option, own):
            raise InputError(f"unknown option --{error.option}: did you mean '--{near[0]}'?") from error
        raise


def _take(options: list[str], keys: Sequence[str], usage: str) -> tuple[dict[str, Any], list[str]]:
    """Options -> (the values of those that are named, the others). `--force` alone is `--force true`."""
    taken, rest, options = {}, [], list(options)
    while options:
        word = options.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if key in keys and word.startswith("--"):
            alone = key == "force" and not equals and not (options and not options[0].startswith("--"))
            taken[key] = value if equals else "true" if alone else options.pop(0) if options else ""
            if not taken[key]:
                raise InputError(f"--{key} needs a value: {usage}")
            if key == "force":
                if taken[key] not in ("true", "false"):
                    raise InputError(f"--force {taken[key]}: expected true or false, or nothing")
                taken[key] = taken[key] == "true"
        else:
            rest.append(word)
    return taken, rest


def _task_of(folder: str) -> tasks.Task:
    from .run import read_config

    return tasks.find(read_config(Path(folder))["task"])


def _check_output(path: Path, inputs: Sequence[Path], force: bool) -> None:
    """Raises InputError where a file may not be written: over an input never, over another one with force."""
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--output {path}: no file can be written there")
    if not os.path.lexists(path) or (path.exists() and not path.is_file()) or _stream(path) is not None:
        return
    for given in inputs if path.exists() else ():
        if os.path.exists(given) and os.path.samefile(path, given):
            raise InputError(f"--output {path} is the input {given}: choose another file")
        if os.path.isdir(given) and path.resolve().is_relative_to(given.resolve()):
            raise InputError(f"--output {path} is there and lies in the input {given}: choose another file")
    if not force:
        raise InputError(f"--output {path} is there: choose another file, or --force to write it anew")


def _stream(path: Path) -> int | None:
    """The number of stdout or stderr where a path is one of them, as /dev/stdout is, also redirected to a file."""
    there = os.stat(path) if path.exists() else None
    return next((number for number in (1, 2) if there and os.path.samestat(there, os.fstat(number))), None)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    stream = _stream(path)
    beside = None
    if stream is not None:
        sys.stdout.flush()
        target: Any = os.dup(stream)
    elif path.exists() and not path.is_file():  # a device, as /dev/null, which stays one
        target = path
    else:
        target = beside = path.resolve().with_name(f".predictions-{os.getpid()}")  # a link stays one, too
    try:
        with open(target, "x" if beside else "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        if beside:
            os.replace(beside, path.resolve())
    except OSError as error:
        raise InputError(f"--output {path}: {error.strerror}") from error
    finally:
        if beside:
            beside.unlink(missing_ok=True)


def shown(value: float) -> str:
    """With four decimals, or where these would say nothing with four digits."""
    return f"{value:.4f}" if not value or 1e-3 <= abs(value) < 1e9 else f"{value:.4g}"


def _cell(value: Any) -> str:
    return shown(value) if isinstance(value, float) else on_one_line(str(value))


def _first(lines: Sequence[str], most: int) -> str:
    rest = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *rest])


def _show_results(folders: Sequence[Path], run_dir: str) -> None:
    """One column a run."""
    from .run import read_result

    results = [read_result(folder) for folder in folders]
    rows = {"": [result["framework"] for result in results]}
    for tag in dict.fromkeys(tag for result in results for tag in result["metrics"]):
        rows[tag] = [shown(result["metrics"][tag]) for result in results]
    rows["steps"] = [f"{result['steps']:,}" for result in results]
    rows["steps/s"] = [f"{result['steps_per_second']:,.0f}" for result in results]
    rows["seconds"] = [f"{result['seconds']:.1f}" for result in results]
    rows["parameters"] = [f"{result['parameters']:,}" for result in results]
    rows["run"] = [result["name"] for result in results]
    for name, cells in rows.items():
        print(f"{name:20}" + "".join(f"{cell:>14}" for cell in cells))
    print(f"\nSee them: tensorboard --logdir {run_dir}")
