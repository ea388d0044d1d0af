"""What commands take: a parser whose errors are one line, and arguments that several of them have."""

import argparse
import ast
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from . import registry
from .config import Config
from .errors import InputError


class Parser(argparse.ArgumentParser):
    """Of a command, which is called `words`: its name with what follows it."""

    def __init__(self, *, words: str = "", **options: Any):
        self.words = words
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=formatter, add_help=False, allow_abbrev=False, **options)

    def knows(self, word: str) -> bool:
        """Whether a word, `--key` or `--key=value`, is an option of the command; else it is a key of the config."""
        return word.partition("=")[0] in self._option_string_actions

    def options(self) -> list[str]:
        """The names of the command's options."""
        return [name.removeprefix("--") for name in self._option_string_actions]

    def error(self, message: str) -> NoReturn:
        message = re.sub("^the following arguments are required.*", "usage", message)
        message = re.sub("^argument (--[^:]*): ", r"\1 ", message).replace("expected one argument", "needs a value")
        raise InputError(f"{message}: {self.words}")


def docstring(file: Path) -> str:
    """Of a module, which is not imported."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def suggest(action: argparse.Action, values: Iterable[str]) -> None:
    """Values that a shell completes an argument with, in place of names of files; others may be given, too."""
    found = list(values)
    action.completer = lambda **_: found  # type: ignore[attr-defined]  # where argcomplete looks


def add_task(parser: Parser, help: str = "without it the project's first task") -> None:
    """TASK[/PRESET] as `target`, "" where it is not given."""
    action = parser.add_argument("target", metavar="TASK[/PRESET]", nargs="?", default="", help=help)
    presets = [f"{task}/{preset}" for task, presets in registry.presets().items() for preset in presets]
    suggest(action, [*registry.presets(), *presets])


def add_run(parser: Parser, checkpoint: bool = True) -> None:
    """RUN as `folder`, and --checkpoint."""
    parser.add_argument("folder", metavar="RUN", type=Path, help="its folder")
    if checkpoint:
        help = "best (the default), last, or the number of a step"
        action = parser.add_argument("--checkpoint", default="best", metavar="WHICH", help=help)
        suggest(action, ("best", "last"))


def add_force(parser: Parser, help: str) -> None:
    parser.add_argument("--force", nargs="?", type=truth, const=True, default=False, metavar="true", help=help)


def add_options(parser: Parser, cls: type) -> None:
    """Those of a dataclass of `option`s, for `given_options`."""
    for item in dataclasses.fields(cls):
        help = item.metadata["help"] + f" ({item.default})" * bool(item.default)
        kind: dict[str, Any] = {"metavar": "VALUE"}
        if isinstance(item.default, bool):
            kind = {"metavar": "true", "nargs": "?", "const": "true"}  # alone it is true
        help = help.replace("%", "%%")
        parser.add_argument(f"--{item.name}", default=argparse.SUPPRESS, help=help, **kind)


def given_options(given: argparse.Namespace, cls: type) -> dict[str, str]:
    """What was given of them, for `layers.read_options`."""
    return {item.name: getattr(given, item.name) for item in dataclasses.fields(cls) if hasattr(given, item.name)}


def open_run(given: argparse.Namespace) -> Config:
    """The config of the run `given.folder`, with the keys that were given. Raises InputError where it is none."""
    from .folder import read_config

    saved = read_config(given.folder)
    config = registry.load_config("", given.keys, saved=saved)
    if config.framework != saved["framework"]:
        has = f"the checkpoints of {given.folder} are for {saved['framework']}"
        raise InputError(f"--framework {config.framework}: {has}")
    return config


# Kinds of values.


def truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text}: expected true or false, or nothing")
    return text == "true"


def number(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text}: a number is wanted")
    return float(text)
