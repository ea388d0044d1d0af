"""What a search varies: read from a file or from options, and checked before anything runs; and the folder of a study.

A file has keys of the config, each with a list of values, or with a range:

    optimizer.learning_rate: {low: 1e-4, high: 1e-1, log: true}
    model.width: [32, 64, 128]
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config, flatten, to_dict
from ..errors import InputError
from ..folder import finite, write_json
from ..layers import read_yaml
from ..meant import closest
from ..run import HARMLESS

SETTINGS, RESULT = "tune.json", "result.json"

# Of each key a list of values, or a range: low, high, log, and step, None for none.
Space = dict[str, Any]

RANGE, FORM = ("low", "high", "log", "step"), "{low: ..., high: ...}"
FIXED = ("name", "run_dir", "resume", "framework", "trainer.max_minutes", "config", "accelerator")


def read(file: Path) -> dict[str, Any]:
    """What a file says of each key, unchecked: `model.width: ...`, or a section `model:` with keys of its own."""
    found: dict[str, Any] = {}
    todo = list(read_yaml(file).items())
    while todo:
        key, value = todo.pop(0)
        if isinstance(value, dict) and not set(value) & set(RANGE):
            todo = [(f"{key}.{name}", inner) for name, inner in value.items()] + todo
        else:
            found[key] = value
    if not found:
        raise InputError(
            f"{file}: nothing to search, as 'optimizer.learning_rate: " + "{low: 1e-4, high: 1e-1, log: true}'"
        )
    return found


def split(keys: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """(keys with several values, separated by commas; the other words of a command line).

    A value with a comma of its own stands in double quotes, as in CSV.
    """
    found: dict[str, Any] = {}
    rest = []
    for word in keys:
        key, equals, text = word.removeprefix("--").partition("=")
        values = next(csv.reader([text], skipinitialspace=True), [""])
        if len(values) > 1:
            found[key] = values
        else:
            rest.append(f"--{key}={values[0]}" if equals else word)
    if not found:
        raise InputError("--grid: no key has several values, as --optimizer.learning_rate 1e-3,3e-3 --seed 0,1,2")
    return found, rest


def checked(found: Mapping[str, Any], load: Callable[[str], Config]) -> Space:
    """What was read, with values as the config has them.

    load: of a further word of a command line, `--a.b=value` -> the config.

    Raises:
        InputError: for anything wrong, with the key, the value and the way out.
    """

    def typed(key: str, value: Any) -> Any:
        """1e-3 of YAML is a text."""
        if key in FIXED:
            raise InputError(f"{key} is not to be searched: it changes no result, or tune sets it")
        if value is None or isinstance(value, (list, dict)):
            raise InputError(f"{key} = {value!r}: each value is one word or number")
        return flatten(to_dict(load(f"--{key}={word(value)}")))[key]

    space: Space = {}
    for key, values in found.items():
        if isinstance(values, dict):
            space[key] = _range(key, values, typed)
        elif not isinstance(values, list) or not values:
            raise InputError(f"{key} = {values!r}: a list of values is wanted, or {FORM}")
        else:
            space[key] = [typed(key, value) for value in values]
            if twice := [value for i, value in enumerate(space[key]) if value in space[key][:i]]:
                raise InputError(f"{key}: {twice[0]} stands there twice")
    return space


def word(value: Any) -> str:
    """A value as a command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _range(key: str, given: Mapping[str, Any], typed: Callable[[str, Any], Any]) -> dict[str, Any]:
    if unknown := [name for name in given if name not in RANGE]:
        raise InputError(f"{key}: unknown {unknown[0]!r}: {closest(str(unknown[0]), list(RANGE))}")
    ends: dict[str, Any] = {end: typed(key, given[end]) for end in ("low", "high", "step") if end in given}
    low: Any = ends.get("low")
    high: Any = ends.get("high")
    step: Any = ends.get("step")
    if not all(type(value) in (int, float) for value in (low, high, *ends.values())):
        raise InputError(f"{key}: a range is {FORM}, of numbers; else give a list of values")
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{key}: log = {log!r}: expected true or false")
    if not low < high:
        raise InputError(f"{key}: low = {low} is not below high = {high}")
    if log and (low <= 0 or step):
        raise InputError(f"{key}: log = true is for low > 0, and without step")
    if step is not None and not step > 0:
        raise InputError(f"{key}: step = {step} is not above 0")
    return {"low": low, "high": high, "log": log, "step": step}


# A study's folder.


def settings_of(config: Config, space: Space, grid: bool, prune: bool) -> dict[str, Any]:
    """What makes trials those of one study, as plain values."""
    plain = {key: value for key, value in flatten(to_dict(config)).items() if key not in (*HARMLESS, "framework")}
    return json.loads(json.dumps(finite({"space": space, "grid": grid, "prune": prune, "config": plain})))


def place(config: Config, name: str, settings: Mapping[str, Any], count: int, frameworks: Sequence[str]) -> Path:
    """The folder of a study, `<run_dir>/<task>/<preset>/tune/<name>`. Writes nothing.

    Without a name: the newest one of these settings that has not had so many trials; else the next number.

    Raises InputError where that of the name is another study.
    """
    parent = Path(config.run_dir, config.task, config.preset or "default", "tune")
    if name:
        if (there := _read(parent / name / SETTINGS)) and there != settings:
            old, new = ({**flatten(one["config"]), **one} | {"config": ""} for one in (there, settings))
            keys = [key for key in old | new if old.get(key) != new.get(key)]
            raise InputError(f"{parent / name} is another study: {', '.join(keys)} differ: choose another --name")
        return parent / name
    taken = {path.name for path in parent.glob("*")} | {
        run.name.split("-")[1] for run in parent.parent.glob("*/tune-*")
    }
    numbers = sorted((int(number) for number in taken if number.isdecimal()), reverse=True)
    for number in numbers:
        folder = parent / f"{number:03d}"
        if _read(folder / SETTINGS) == settings and not is_done(folder, count, frameworks):
            return folder
    return parent / f"{max(numbers, default=0) + 1:03d}"


def is_done(folder: Path, count: int, frameworks: Sequence[str]) -> bool:
    results = _read(folder / RESULT)
    return all(results.get(framework, {}).get("trials", 0) >= count for framework in frameworks)


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raises InputError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SETTINGS, settings)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another --run_dir") from error


def write_result(folder: Path, framework: str, result: Mapping[str, Any]) -> None:
    """That of one framework, beside those of others."""
    write_json(folder / RESULT, _read(folder / RESULT) | {framework: result})


def _read(path: Path) -> dict[str, Any]:
    """Empty where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}: choose another --name") from error
