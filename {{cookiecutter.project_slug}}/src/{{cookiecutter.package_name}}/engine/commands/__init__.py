# PYTHON_ARGCOMPLETE_OK: of the command that an installed project has
"""The commands: each file here is one, `new_task.py` that of `new-task`, and is imported only when it is used.

A command's file has

its docstring               what it does: its first line for the list of commands, all of it for its own help
USAGE                       what follows its name, for its help and for errors
KEYS                        "task" or "run", which its first word then names, where it takes keys of the config of that,
                            `--a.b VALUE`; "" where it takes none
arguments(parser, first)    adds what else it takes to its argparse parser. first: its first word, or ""
run(given)                  does it, and returns its exit code. given: what was parsed; `given.keys` are the keys of the
                            config, a word each, as `registry.load_config` takes them

`engine/arguments.py` has arguments that several take. Options are `--KEY VALUE` or `--KEY=VALUE`, and come after
everything else; words after `--` are for the positional `inputs`. A mistake of the person is an InputError. Until it
runs, a file imports no framework and nothing that does: that takes seconds, and a mistake should be told at once.
"""

import argparse
import errno
import importlib
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import registry
from ..arguments import Parser, docstring, suggest
from ..console import drop_output, open_streams
from ..errors import Error, InputError
from ..layers import UnknownKey
from ..meant import closest, meant

PACKAGE = __package__.partition(".")[0]
CHOSEN = {  # commands that not every project has, and why not
    "compare": "without the feature 'compare'",
    "convert": "with one framework",
    "export": "without the feature 'export'",
    "tune": "without the feature 'tune'",
}

# Of a path that a person gave and that nobody could use: too long, in a folder that may not be looked into, or a loop.
UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)


def main(command: str = "") -> int:
    """Runs the command that the first word names, or where it names none, the one given; returns its exit code.

    0 done, 1 the run failed, 2 bad input, 130 and 143 stopped by SIGINT and SIGTERM after the state was saved.
    """
    open_streams()
    code = 0
    try:
        words = sys.argv[1:]
        named = bool(words) and words[0] in {*names(), *CHOSEN}
        code = _done(words if named or not command else [command, *words])
        sys.stdout.flush()  # here, as a pipe that is closed would be told at the end of the process, too
    except BrokenPipeError:  # what reads the output, as `head`, has read enough
        drop_output()
    except OSError as error:
        if error.filename or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        drop_output()
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        code = 1
    return code


def _done(words: list[str]) -> int:
    """The exit code of a command, whose errors are told."""
    try:
        return _complete(words) if "_ARGCOMPLETE" in os.environ else _run(words)
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


def _run(words: list[str]) -> int:
    end = words.index("--") if "--" in words else len(words)
    words, after = _paired(words[:end]), words[end + 1 :]
    if not words or words[0].startswith("--help"):
        _parser_of_all().print_help()
        return 0 if words else 2
    name = words.pop(0)
    if name not in names():
        if name in CHOSEN:
            raise InputError(f"{name}: this project was made {CHOSEN[name]}")
        is_task = name.partition("/")[0] in registry.presets()
        hint = f"did you mean 'train {name}'?" if is_task else closest(name, names())
        raise InputError(f"no command {name!r}: {hint}")
    first = next((i for i, word in enumerate(words) if word.startswith("--" if i else "-")), len(words))
    inputs, options = words[:first], words[first:]
    command, parser = _module(name), _parser(name, inputs)
    if asked := [word for word in options if word.partition("=")[0] == "--help"]:
        if asked[-1] not in ("--help", "--help=all"):
            parser.error(f"--help {asked[-1].partition('=')[2]}: expected all, or nothing")
        parser.print_help()
        if asked[-1] == "--help=all" and command.KEYS:
            print("\n" + registry.help_text(**_whose(command, inputs)), end="")
        return 0
    # argparse takes the value of an option that it does not know for an input: keys of the config are kept apart.
    own, keys = ([word for word in options if parser.knows(word) == known] for known in (True, False))
    if bare := [word for word in own if word.partition("=")[1:] == ("=", "")]:
        parser.error(f"{bare[0][:-1]} needs a value")
    given, rest = parser.parse_known_args([*own, *["--"] * bool(inputs), *inputs])
    if hasattr(given, "inputs"):
        given.inputs += after
    else:
        rest += after
    if command.KEYS == "task":  # of a word without dashes the config says what may be meant
        rest, keys = [], rest + keys
    if rest or (keys and not command.KEYS):
        what = f"input {rest[0]!r}" if rest else keys[0]
        raise InputError(f"{name} takes no {what}: {parser.words}")
    given.keys = keys
    try:
        return command.run(given)
    except UnknownKey as error:
        near = meant(error.option, [*parser.options(), "config", "accelerator"]) if error.option else []
        if near and near[0] in parser.options():
            raise InputError(f"unknown option --{error.option}: did you mean '--{near[0]}'?") from error
        raise


def _paired(words: Sequence[str]) -> list[str]:
    """`--key value` as one word, `--key=value`. `-h` is `--help`."""
    paired: list[str] = []
    for word in ("--help" if word == "-h" else word for word in words):
        if paired and re.match(r"--[^=]*$", paired[-1]) and not word.startswith("--"):
            paired[-1] += f"={word}"
        else:
            paired.append(word)
    return paired


def _complete(words: list[str]) -> int:
    """Answers a shell that asks what may follow on its line, and ends the process."""
    import argcomplete

    # The words before the cursor: the program, which may be several, a command where one is named, and what follows it.
    program = int(os.environ["_ARGCOMPLETE"])
    line = argcomplete.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][program:]
    if line and line[0] in names():
        words, line = line[:1], line[1:]
        os.environ["_ARGCOMPLETE"] = f"{program + 1}"
    if words:
        inputs = [word for word in line[:1] if not word.startswith("-")]
        parser = _parser(words[0], inputs)
        _add_keys(parser, _module(words[0]), inputs, _paired(line))
    else:
        parser = _parser_of_all()
    argcomplete.autocomplete(parser, always_complete_options=False)
    return 0


def _add_keys(parser: Parser, command: ModuleType, inputs: Sequence[str], words: Sequence[str]) -> None:
    """Those of the config, where the command takes them, with the values that they may have."""
    if not command.KEYS or (command.KEYS == "run" and not inputs):
        return
    named = [word for word in words if word.startswith(("--config=", "--model.name=", "--data.name="))]
    for key, values in registry.suggestions(**_whose(command, inputs), options=named).items():
        if not parser.knows(f"--{key}"):
            action = parser.add_argument(f"--{key}")
            if values is not None:
                suggest(action, values)


# What there is, and what it takes.


def names() -> list[str]:
    """The commands that the project has."""
    return sorted(file.stem.replace("_", "-") for file in Path(__file__).parent.glob("[!_]*.py"))


def _file(name: str) -> Path:
    return Path(__file__).with_name(f"{name.replace('-', '_')}.py")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".{_file(name).stem}", __package__)


def _parser_of_all() -> Parser:
    """It tells of the commands, and does not know what each takes."""
    about = {name: docstring(_file(name)).partition("\n")[0] for name in names()}
    tasks = f"COMMAND --help tells more. RUN is a run's folder, TASK one of {', '.join(registry.presets())}"
    shell = "A shell completes all of this, and keys, too, after activate-global-python-argcomplete --user"
    lines = ["commands:", *(f"  {name:12}{line}" for name, line in about.items()), "", textwrap.fill(tasks, 100), shell]
    parser = Parser(prog=f"python -m {PACKAGE}", usage="%(prog)s COMMAND ...", description="\n".join(lines))
    suggest(parser.add_argument("command", help=argparse.SUPPRESS), about)
    return parser


def _parser(name: str, inputs: Sequence[str]) -> Parser:
    """That of a command. inputs: the words before its options."""
    command = _module(name)
    program = "python train.py" if name == "train" else f"python -m {PACKAGE} {name}"
    words, about = f"{name} {command.USAGE}", docstring(_file(name)).split("\n\n")
    description = "\n\n".join(textwrap.fill(paragraph, 100) for paragraph in about)
    parser = Parser(prog=program, usage=f"%(prog)s {command.USAGE}", description=description, words=words)
    help = "this; `--help all`: with every key of the config" if command.KEYS else "this"
    suggest(parser.add_argument("--help", nargs="?", metavar="all", help=help), ["all"] if command.KEYS else [])
    command.arguments(parser, inputs[0] if inputs else "")
    return parser


def _whose(command: ModuleType, inputs: Sequence[str]) -> dict[str, Any]:
    """The config that a command's keys are of, as the registry takes it."""
    if command.KEYS == "task":
        return {"target": inputs[0] if inputs else ""}
    from ..folder import read_config

    return {"saved": read_config(Path(inputs[0] if inputs else ""))}
