"""How the layers of a config become one, and every mistake in them one line.

Authority, weakest first: defaults, `configs/project.yaml`, the preset, `--config FILE`s in order, `--accelerator
NAME|FILE`, and every `--a.b value`. A section that is chosen by its `name` (`model`, `data`) has the keys of that name
only: where a stronger layer names another one, keys of weaker layers that it does not have fall away with the old name.
"""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from .config import (
    OPTIMIZERS,
    AcceleratorConfig,
    Config,
    FolderName,
    MeshConfig,
    NonNegativeFloat,
    NonNegativeInt,
    OptimizerConfig,
    PositiveFloat,
    PositiveInt,
    Probability,
    Seed,
    TrainerConfig,
    flatten,
)
from .errors import InputError
from .meant import closest, meant
from .processes import several_devices

EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    str: "text in UTF-8",
    NonNegativeInt: "a whole number >= 0",
    PositiveInt: "a whole number >= 1",
    NonNegativeFloat: "a number >= 0",
    PositiveFloat: "a number > 0",
    Probability: "a number >= 0 and < 1",
    Seed: "a whole number >= 0 and < 2**32",
    FolderName: "text that can name a folder",
}


class Project(NamedTuple):
    """The rooms above this one.

    Attributes:
        configs: the project's folder of presets.
        find_task: gives the `Task` of a name.
        frameworks: each framework's own section, by the framework's name.
    """

    configs: Path
    find_task: Callable[[str], Any]
    frameworks: Mapping[str, type]


def load(
    target: str,
    options: Sequence[str] | Mapping[str, Any],
    project: Project,
    saved: Mapping[str, Any] | None = None,
) -> Config:
    """The config of TASK[/PRESET] with the options of a command line.

    Args:
        target: `TASK`, `TASK/PRESET`, or empty for the project's first task.
        options: `--config FILE`, `--accelerator NAME|FILE`, `--a.b value`; or the same as a mapping, {"a.b": value}.
        saved: a run's config as plain values, to start from instead of a preset.

    Raises:
        InputError: for anything wrong, with the file, the key, the value and the way out.
    """
    if saved:  # of a project that has more frameworks, perhaps: their sections say nothing here
        known = {"model", "data", "optimizer", "trainer", "accelerator", *project.frameworks}
        saved = {key: value for key, value in saved.items() if key in known or not isinstance(value, Mapping)}
    task, preset, layers, leaves = _read_layers(target, options, project, saved)
    values = _merge(layers, leaves)
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, {})[name] = value
    classes = _section_classes(task, sections["model"]["name"], sections["data"]["name"], project.frameworks)
    built = {name: cls(**sections.get(name, {})) for name, cls in classes.items()}
    built["accelerator"] = dataclasses.replace(built["accelerator"], mesh=built.pop("accelerator.mesh"))
    own = {name: built.pop(name) for name in project.frameworks}
    config = Config(task=task.name, preset=preset, frameworks=own, **built, **sections[""])
    return _for_overfitting(config) if config.debug == "overfit" else config


def read_options(cls: type, given: Mapping[str, Any]) -> Any:
    """A dataclass of `option`s, with the values given, of a command line or from Python.

    Raises:
        InputError: for an option that it does not have, or a value of another type.
    """
    leaves, layer = _leaves_of(cls), _Layer("", dict(given))
    return cls(**_merge([layer], leaves))


def help_text(target: str, project: Project, saved: Mapping[str, Any] | None = None) -> str:
    """Every key with its type and its value, as `load` finds them."""
    task, preset, layers, leaves = _read_layers(target, [], project, saved)
    parser = _parser(leaves, usage=argparse.SUPPRESS)
    parser.set_defaults(_merge(layers, leaves))
    whose = "the run" if saved else f"{task.name}/{preset or 'default'}"
    parser.description = f"{task.title}. Every key of the config, with its value in {whose}:"
    return parser.format_help()


def suggestions(
    target: str, options: Sequence[str], project: Project, saved: Mapping[str, Any] | None = None
) -> dict[str, list[str] | None]:
    """What a shell completes: every key, as `load` finds them, with the values that it may have.

    None where any text may stand, which can be the name of a file; [] where they are not a few.
    """
    _, _, _, leaves = _read_layers(target, options, project, saved)
    values: dict[str, list[str] | None] = {"config": None, "accelerator": _presets(project.configs, "accelerator")}
    for key, leaf in leaves.items():
        if leaf.type is bool:
            values[key] = ["true", "false"]
        elif key == "optimizer.name":
            values[key] = list(OPTIMIZERS)
        else:
            values[key] = None if leaf.type is str else [str(value) for value in typing.get_args(leaf.type)]
    return values


class UnknownKey(InputError):
    """option: of a command line, without its dashes; "" where it stands in a file."""

    def __init__(self, message: str, option: str):
        super().__init__(message)
        self.option = option


def _for_overfitting(config: Config) -> Config:
    """The config without what keeps a model from learning one batch by heart: dropout, augmentation, decay, warm-up."""
    sections = {}
    for section in ("model", "data", "optimizer", "trainer"):
        value = getattr(config, section)
        plain = {
            item.name: item.metadata["overfit"] for item in dataclasses.fields(value) if "overfit" in item.metadata
        }
        sections[section] = dataclasses.replace(value, **plain)
    return dataclasses.replace(config, **sections)


@dataclass(frozen=True)
class _Layer:
    source: str
    values: dict[str, Any]  # by dotted key


def _read_layers(
    target: str,
    options: Sequence[str] | Mapping[str, Any],
    project: Project,
    saved: Mapping[str, Any] | None,
) -> tuple[Any, str, list[_Layer], dict[str, "_Leaf"]]:
    """The task, the preset's name, the layers from weak to strong, and the keys that they may have."""
    configs, find_task, frameworks = project
    words: Sequence[str] = [] if isinstance(options, Mapping) else options
    if target in _folders(configs) and words and words[0] in _presets(configs, target):
        raise InputError(f"{words[0]!r} is no option: a preset is given as {target}/{words[0]}")
    files, accelerators, overrides = _split(options)
    weakest = _Layer("config.yaml", flatten(saved)) if saved else _read(configs / "project.yaml", configs)
    layers = [weakest, *(_read(Path(file), configs) for file in files)]
    named = [(layer.source, layer.values.pop("task", ""), layer.values.pop("preset", "")) for layer in layers]
    where, chosen = "", target.strip("/")
    for source, task_name, preset in named:
        if target and source != weakest.source and task_name not in ("", chosen.partition("/")[0]):
            raise InputError(f"{source}: task = {task_name!r}, but the command says {chosen!r}")
        if not target and (task_name or preset):
            where, chosen = f"{source}: ", f"{task_name or chosen.partition('/')[0]}/{preset}"
    task_name, _, preset = chosen.partition("/")
    try:
        task = find_task(task_name)
    except InputError as error:
        if chosen == task_name and (found := [task for task in _folders(configs) if chosen in _presets(configs, task)]):
            raise InputError(f"{where}no task {chosen!r}: did you mean '{found[0]}/{chosen}'?") from error
        raise InputError(f"{where}{error}") from error
    if not saved:
        file = configs / task.name / f"{preset or 'default'}.yaml"
        if (preset or "default") not in _presets(configs, task.name):
            raise InputError(
                f"no preset {preset or 'default'!r} of {task.name}: {closest(preset, _presets(configs, task.name))}"
            )
        layers.insert(1, _read(file, configs))
    names = {"model.name": next(iter(task.models)), "data.name": next(iter(task.datasets))}
    layers.insert(0, _Layer("defaults", names))
    for accelerator in accelerators:
        layers.append(_Layer(f"--accelerator {accelerator}", _accelerator(accelerator, configs)))
    layers.append(_Layer("", overrides))
    return task, preset, layers, _leaves(task, layers, frameworks)


def _split(options: Sequence[str] | Mapping[str, Any]) -> tuple[list[str], list[str], dict[str, Any]]:
    """Options -> config files, accelerators, and values by dotted key."""
    files: list[str] = []
    accelerators: list[str] = []
    overrides: dict[str, Any] = {}
    if isinstance(options, Mapping):
        overrides = flatten(options)
        files += [str(overrides.pop("config"))] if "config" in overrides else []
        accelerators += [str(overrides.pop("accelerator"))] if "accelerator" in overrides else []
    rest = [] if isinstance(options, Mapping) else list(options)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise InputError(f"{word!r} is no option: options are --KEY VALUE, and come after everything else")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"--{key} needs a value")
            value = rest.pop(0)
        if key == "config":
            files.append(value)
        elif key == "accelerator":
            accelerators.append(value)
        else:
            overrides[key] = value
    return files, accelerators, overrides


def _read(file: Path, configs: Path) -> _Layer:
    values = flatten(read_yaml(file))
    if "accelerator" in values:
        values = _accelerator(str(values.pop("accelerator")), configs, f"{_shown(file)}: ") | values
    return _Layer(_shown(file), values)


def _accelerator(name: str, configs: Path, where: str = "") -> dict[str, Any]:
    own, known = name.endswith((".yaml", ".yml")), _presets(configs, "accelerator")
    if not own and name not in known:
        several = "" if several_devices() else "; those of several devices come with the feature 'scale'"
        raise InputError(f"{where}no accelerator {name!r}: {closest(name, known)}, or give a YAML file{several}")
    return flatten(read_yaml(Path(name) if own else configs / "accelerator" / f"{name}.yaml"), "accelerator.")


class _Composer(yaml.composer.Composer):
    """Without aliases: a few lines of them can stand for more values than there is memory."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"*{event.anchor}: write the value out", event.start_mark)
        return super().compose_node(parent, index)


_Parser: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class _Loader(_Composer, _Parser):
    """libyaml, where it is there, only reads: what is made of it, and refused, is the same without it."""

    def __init__(self, stream: str):
        _Parser.__init__(self, stream)
        self.anchors: dict[str, Any] = {}  # of Composer


def read_yaml(file: Path) -> dict[str, Any]:
    """The keys of a file with their values. Raises InputError where it cannot be read, or is something else."""
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"{_shown(file)}: {error.strerror}") from error
    except RecursionError as error:
        raise InputError(f"{_shown(file)} is not YAML: too many brackets in one another") from error
    # Beside its own errors, PyYAML lets those through that a value raises which is not of its tag or its form.
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError) as error:
        if "maximum nesting depth" in str(error):  # as libyaml says it
            raise InputError(f"{_shown(file)} is not YAML: too many brackets in one another") from error
        raise InputError(f"{_shown(file)} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{_shown(file)}: expected keys with values, found {type(values).__name__}")
    return values


def _presets(configs: Path, folder: str) -> list[str]:
    return sorted(file.stem for file in (configs / folder).glob("*.yaml"))


def _folders(configs: Path) -> list[str]:
    """Of tasks."""
    return sorted(path.name for path in configs.iterdir() if path.is_dir() and path.name != "accelerator")


def _section_classes(task, model: str, data: str, frameworks: Mapping[str, type]) -> dict[str, type]:
    return {
        "model": task.models[model],
        "data": task.datasets[data],
        "optimizer": OptimizerConfig,
        "trainer": TrainerConfig,
        "accelerator": AcceleratorConfig,
        "accelerator.mesh": MeshConfig,
        **frameworks,
    }


@dataclass(frozen=True)
class _Leaf:
    type: Any
    default: Any
    help: str
    group: str


def _leaves(task, layers: Sequence[_Layer], frameworks: Mapping[str, type]) -> dict[str, _Leaf]:
    """The keys that this config has. They depend on the names of the model and of the dataset."""
    names = {}
    for section, choices in {"model": task.models, "data": task.datasets}.items():
        key = f"{section}.name"
        chosen = [layer for layer in layers if key in layer.values]
        names[section] = chosen[-1].values[key] if chosen else next(iter(choices))
        if not isinstance(names[section], str) or names[section] not in choices:
            raise _wrong(chosen[-1], key, closest(str(names[section]), list(choices)))
    classes = _section_classes(task, names["model"], names["data"], frameworks)
    choices = (*frameworks, "both") if len(frameworks) > 1 else tuple(frameworks)
    known = {
        "framework": (Literal[choices], choices[-1]),
        "model.name": (Literal[tuple(task.models)], names["model"]),
        "data.name": (Literal[tuple(task.datasets)], names["data"]),
    }
    leaves: dict[str, _Leaf] = {}
    for section, cls in {"": Config, **classes}.items():
        leaves |= _leaves_of(cls, section)
    for key, (kind, default) in known.items():
        leaves[key] = dataclasses.replace(leaves[key], type=kind, default=default)
    return leaves


def _leaves_of(cls: type, section: str = "") -> dict[str, _Leaf]:
    hints, prefix = typing.get_type_hints(cls), f"{section}." if section else ""
    fields = [item for item in dataclasses.fields(cls) if "help" in item.metadata]
    return {
        f"{prefix}{item.name}": _Leaf(hints[item.name], item.default, item.metadata["help"], section) for item in fields
    }


def _merge(layers: Sequence[_Layer], leaves: Mapping[str, _Leaf]) -> dict[str, Any]:
    """The strongest value of every key, of the right type."""
    parser = _parser(leaves)
    origin: dict[str, _Layer] = {}
    for layer in layers:
        for section in ("model", "data"):
            name = f"{section}.name"
            if name in layer.values and name in origin and origin[name].values[name] != layer.values[name]:
                fallen = [key for key in origin if key.startswith(f"{section}.") and key not in leaves]
                for key in fallen:  # see the module's docstring
                    del origin[key]
        origin |= dict.fromkeys(layer.values, layer)
    for key, layer in origin.items():
        if key not in leaves:
            raise _unknown(layer, key, leaves)
        try:
            _parse(parser, key, layer.values[key])
        except ArgumentError as error:
            raise _wrong(layer, key, f"expected {_expected(leaves[key].type)}") from error
    return {
        key: _parse(parser, key, origin[key].values[key]) if key in origin else leaf.default
        for key, leaf in leaves.items()
    }


def _parser(leaves: Mapping[str, _Leaf], **options) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, add_help=False, **options)
    groups: dict[str, Any] = {}
    for key, leaf in leaves.items():
        if leaf.group not in groups:
            groups[leaf.group] = parser.add_argument_group(leaf.group or "run")
        groups[leaf.group].add_argument(
            f"--{key}", type=leaf.type, default=leaf.default, help=leaf.help.replace("%", "%%")
        )
    return parser


def _parse(parser: ArgumentParser, key: str, value: Any) -> Any:
    if value is None or not _writable(value):
        raise ArgumentError(None, "no value")
    value = parser.parse_object({key: value}, defaults=False)[key]
    # A plain number, which YAML can write, in place of the restricted type's own.
    return next(
        (base(value) for base in (int, float, str) if isinstance(value, base) and not isinstance(value, bool)), value
    )


def _writable(value: Any) -> bool:
    """Whether a text can name a file, and stand in one in UTF-8."""
    return not isinstance(value, str) or not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


def _expected(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    return EXPECTED.get(kind, str(kind))


def _wrong(layer: _Layer, key: str, what: str) -> InputError:
    value = layer.values[key]
    return InputError(f"{layer.source}: {key} = {value!r}: {what}" if layer.source else f"--{key} {value}: {what}")


def _unknown(layer: _Layer, key: str, leaves: Mapping[str, _Leaf]) -> "UnknownKey":
    section = key if any(leaf.startswith(f"{key}.") for leaf in leaves) else key.rpartition(".")[0]
    has = [leaf.removeprefix(f"{section}.") for leaf in leaves if section and leaf.startswith(f"{section}.")]
    if section in ("model", "data"):  # whose keys depend on it
        whose = f"{section}.name = {leaves[f'{section}.name'].default} has: {', '.join(has)}"
    else:
        whose = f"{section} has: {', '.join(has)}" if has else "see --help for the keys"
    if key in ("task", "preset"):
        hint = "a task is the first word, TASK or TASK/PRESET"
    elif key == section:
        hint = f"a section, whose keys are '{section}.KEY': {whose}"
    elif near := meant(key, [*leaves, "config", "accelerator"]):
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        hint = whose
    where = f"{layer.source}: unknown key {key!r}" if layer.source else f"unknown option --{key}"
    return UnknownKey(f"{where}: {hint}", "" if layer.source else key)


def _shown(file: Path) -> str:
    try:
        return str(file.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(file)
