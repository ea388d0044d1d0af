"""The typed config tree, and how its layers become one config.

Authority, weakest first: defaults, `configs/project.yaml`, the preset, `--config FILE`s in order, `--accelerator
NAME|FILE`, and every `--a.b value`. A section that is chosen by its `name` (`model`, `data`) has the keys of that name
only: where a stronger layer names another one, keys of weaker layers that it does not have fall away with the old name.
"""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type, restricted_string_type

from .errors import InputError

NonNegativeFloat = restricted_number_type("FiniteNonNegative", float, [(">=", 0), ("<", math.inf)])
PositiveFloat = restricted_number_type("FinitePositive", float, [(">", 0), ("<", math.inf)])
Probability = restricted_number_type("Probability", float, [(">=", 0), ("<", 1)])
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
FolderName = restricted_string_type("FolderName", r"^(?!\.+$)[^/\\\n]*$")
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


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A field of a config dataclass: its default value and the line that `--help` shows.

    overfit=VALUE: what `--debug overfit` sets it to, where it stands between a model and the examples that it learns.
    """
    return field(default=default, metadata={"help": help, **metadata})


class UnknownKey(InputError):
    """option: of a command line, without its dashes; "" where it stands in a file."""

    def __init__(self, message: str, option: str):
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class ModelConfig:
    """What every model's config has; a model adds its own keys."""

    name: str = option("", "the model")

    # Of a transformer, by the end of a module's path, which half of a matrix a device holds where the mesh has a
    # direction `tensor`: "columns", its outputs, or "rows", its inputs, of which those outputs are some.
    TENSOR: typing.ClassVar[Mapping[str, str]] = {}

    def adopt(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """A published file's arrays under the names and in the layout that the model has; here as they are."""
        return dict(weights)


@dataclass(frozen=True)
class DataConfig:
    """What every dataset's config has; a dataset adds its own keys."""

    name: str = option("", "the dataset")
    root: str = option("data", "folder of the datasets' files; embedded data need none")
    download: bool = option(False, "fetch missing files into root")
    batch_size: PositiveInt = option(64, "examples of one step, over all devices and micro-batches")
    workers: NonNegativeInt = option(0, "threads that read batches ahead; 0: none, the fastest for data in memory")
    skip_bad: bool = option(
        False, "leave out images, texts and rows of tables that cannot be read, and count them; false: they are errors"
    )
    on_device: bool = option(False, "keep the training data in the device's memory; needs data that fit there")


OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "muon")  # that every framework has


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate."""

    name: str = option("adamw", f"{', '.join(OPTIMIZERS)} (of matrices, adamw of the rest), or one of your own")
    learning_rate: PositiveFloat = option(1e-3, "the peak, after warm-up")
    min_learning_rate: NonNegativeFloat = option(0.0, "where cosine and linear schedules end")
    weight_decay: NonNegativeFloat = option(0.0, "of kernels and embeddings; biases and norms have none", overfit=0.0)
    momentum: Probability = option(0.9, "sgd, rmsprop, muon: momentum; adamw, adam: beta 1")
    nesterov: bool = option(False, "sgd: Nesterov's momentum, which muon always has")
    beta2: Probability = option(0.999, "adamw, adam: beta 2; rmsprop: decay of the mean square, often 0.99")
    schedule: Literal["constant", "cosine", "linear", "inverse_sqrt"] = option(
        "constant", "after warm-up", overfit="constant"
    )
    warmup_steps: NonNegativeInt = option(0, "steps of linear warm-up, a tenth of the run at most", overfit=0)
    schedule_steps: NonNegativeInt = option(0, "where the schedule ends; 0: with the run")
    clip_norm: NonNegativeFloat = option(0.0, "largest global norm of the gradient; 0: no limit")
    ema_decay: Probability = option(
        0.0,
        "evaluate an exponential moving average of the weights, of this decay a step, less at first; 0: the weights",
        overfit=0.0,
    )


@dataclass(frozen=True)
class TrainerConfig:
    """How long, and how often what happens. Counted in steps, that is updates of the task."""

    epochs: NonNegativeInt = option(1, "0: no limit; ends with max_steps, whichever comes first")
    min_steps: NonNegativeInt = option(0, "as many steps at least, however few the epochs have, as of a small table")
    max_steps: NonNegativeInt = option(0, "0: no limit")
    max_minutes: NonNegativeFloat = option(
        0.0, "this command stops after so long, with the state saved; the same command goes on; 0: no limit"
    )
    val_every: NonNegativeInt = option(0, "steps between validations; 0: once an epoch, a hundred times at most")
    log_every: NonNegativeInt = option(50, "steps between log entries; 0: once an epoch")
    checkpoint_every: NonNegativeInt = option(0, "steps between checkpoints; 0: once an epoch; the best is always kept")
    histograms: NonNegativeInt = option(
        10_000, "values of each parameter, at most, that its histogram at a validation is made of; 0: no histograms"
    )
    patience: NonNegativeInt = option(0, "stop after so many validations without a new best, after warm-up; 0: never")
    accumulate: PositiveInt = option(1, "micro-batches that a batch is cut into, to save memory")
    on_nan: Literal["stop", "skip"] = option(
        "stop", "where loss or gradient are not finite: stop the run, or skip the update and count it"
    )


@dataclass(frozen=True)
class MeshConfig:
    """What the devices of all nodes share: their number is the product of the three."""

    data: NonNegativeInt = option(0, "parts of a batch, each with a copy of the model; 0: as many as the others leave")
    fsdp: NonNegativeInt = option(
        1, "parts of a batch, with a part of the weights and of the optimizer's state each; 0: as many as are left"
    )
    tensor: PositiveInt = option(1, "parts of the kernels of transformers, which work on the same examples")


@dataclass(frozen=True)
class AcceleratorConfig:
    """The hardware. `--accelerator NAME` reads configs/accelerator/NAME.yaml."""

    name: str = option("auto", "the name of the settings")
    platform: Literal["auto", "cpu", "gpu", "tpu", "mps"] = option("auto", "auto: the best there is")
    devices: NonNegativeInt = option(1, "of each node; 0: all that are there")
    nodes: PositiveInt = option(1, "machines; what starts a process on each of them is in launch/")
    precision: Literal["float32", "bfloat16", "float16", "float64"] = option(
        "float32", "of the arithmetic; float16 with loss scaling, not on tpu; float64 on cpu, for proofs"
    )
    mesh: MeshConfig = MeshConfig()


@dataclass(frozen=True)
class Config:
    """The whole config of a run.

    `frameworks` holds the section of each framework that the project has, by its name; in files and options these stand
    at the top.
    """

    task: str
    preset: str
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    accelerator: AcceleratorConfig
    frameworks: Mapping[str, Any]
    framework: str = option("", "the framework that trains")
    name: FolderName = option("", "name of the run; without one: go on with an unfinished run, else number a new one")
    run_dir: str = option("runs", "folder of the runs")
    seed: Seed = option(0, "of weights, order, augmentation and dropout")
    resume: str = option(
        "auto", "auto: go on with the newest unfinished run of this config; never; or the PATH of a run to start from"
    )
    init: str = option(
        "", "PATH of a run, a safetensors file or a folder with one, whose weights to start from with a fresh optimizer"
    )
    init_skip: str = option(
        "", "weights to leave as they are at --init: names or their beginnings, separated by commas"
    )
    debug: Literal["none", "fast", "overfit", "profile"] = option(
        "none",
        "fast: three steps, to see that everything runs; overfit: learn one batch by heart, to see that it learns; "
        "profile: a trace of some steps",
    )


def load(
    target: str,
    options: Sequence[str] | Mapping[str, Any],
    *,
    configs: Path,
    find_task: typing.Callable[[str], Any],
    frameworks: Mapping[str, type],
    saved: Mapping[str, Any] | None = None,
) -> Config:
    """The config of TASK[/PRESET] with the options of a command line.

    Args:
        target: `TASK`, `TASK/PRESET`, or empty for the project's first task.
        options: `--config FILE`, `--accelerator NAME|FILE`, `--a.b value`; or the same as a mapping, {"a.b": value}.
        configs: the project's folder of presets.
        find_task: gives the `Task` of a name.
        frameworks: each framework's own section, by the framework's name.
        saved: a run's config as plain values, to start from instead of a preset.

    Raises:
        InputError: for anything wrong, with the file, the key, the value and the way out.
    """
    if saved:  # of a project that has more frameworks, perhaps: their sections say nothing here
        known = {"model", "data", "optimizer", "trainer", "accelerator", *frameworks}
        saved = {key: value for key, value in saved.items() if key in known or not isinstance(value, Mapping)}
    task, preset, layers = _layers(target, options, configs, find_task, saved)
    leaves = _leaves(task, layers, frameworks)
    values = _merge(layers, leaves)
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, {})[name] = value
    classes = _section_classes(task, sections["model"]["name"], sections["data"]["name"], frameworks)
    built = {name: cls(**sections.get(name, {})) for name, cls in classes.items()}
    built["accelerator"] = dataclasses.replace(built["accelerator"], mesh=built.pop("accelerator.mesh"))
    own = {name: built.pop(name) for name in frameworks}
    config = Config(task=task.name, preset=preset, frameworks=own, **built, **sections[""])
    return _for_overfitting(config) if config.debug == "overfit" else config


def read_options(cls: type, given: Mapping[str, Any]) -> Any:
    """A dataclass of `option`s, with the values given, of a command line or from Python.

    Raises:
        InputError: for an option that it does not have, or a value of another type.
    """
    leaves, layer = _options(cls), _Layer("", dict(given))
    return cls(**_merge([layer], leaves))


def options_help(cls: type) -> list[str]:
    """A line for each option of a dataclass."""
    leaves = _options(cls)
    width = max(map(len, leaves), default=0)
    return [f"--{name:{width}}  {leaf.help} ({leaf.default!r})" for name, leaf in leaves.items()]


def help_text(
    target: str, prog: str, *, configs: Path, find_task: typing.Callable[[str], Any], frameworks: Mapping[str, type]
) -> str:
    """Every option with its type and its value in TASK[/PRESET]."""
    task, preset, layers = _layers(target, [], configs, find_task, None)
    leaves = _leaves(task, layers, frameworks)
    parser = _parser(
        leaves,
        prog=f"{prog} [TASK[/PRESET]]",
        usage="%(prog)s [--config FILE] [--accelerator NAME|FILE] [--KEY VALUE ...]",
    )
    parser.set_defaults(_merge(layers, leaves))
    presets = ", ".join(_presets(configs, task.name))
    parser.description = (
        f"{task.title}. Values shown are those of {task.name}/{preset or 'default'}; presets: {presets}."
    )
    return parser.format_help()


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain values, as it is written in YAML."""
    values = dataclasses.asdict(config)
    sections = values.pop("frameworks")
    return {**values, **sections}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def closest(name: str, choices: Sequence[str]) -> str:
    """The end of an error's line: the nearest choice, or all of them."""
    lower = {choice.lower(): choice for choice in choices}
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, 1, 0.6)]
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}"


def meant(name: str, choices: Sequence[str]) -> list[str]:
    """The keys that a person may mean by another one, the likeliest first: `lr` is learning_rate, in any section.

    A section that is there counts: only a name that is sure is looked for elsewhere.
    """
    section, _, last = name.rpartition(".")
    if section in choices and not any(key.startswith(f"{section}.") for key in choices):  # keys for a value
        return [section]
    own = [key for key in choices if key.rpartition(".")[0] == section] if section else list(choices)
    for keys, least in ((own, SURE), (choices, SURE), (own or choices, 1)):
        found = {key: _likeness(last, key.rpartition(".")[2]) for key in keys}
        best = max(found.values(), default=0)
        if best >= least:
            near = {key: key.rpartition(".")[2] for key in found if found[key] == best}
            return sorted(near, key=lambda key: (len(_words(near[key])), -_ratio(last, near[key])))[:3]
    return []


SURE = 3  # of a likeness


def _likeness(given: str, name: str) -> int:
    """4: the same letters; 3: short for it, as lr; 2: a slip, or a part of it; 1: a word in common; 0: no."""
    a, b = ([word.removesuffix("s") or word for word in _words(text)] for text in (given, name))
    if "".join(_words(given)) == "".join(_words(name)):
        return 4
    if len(given) > (1 if len(_words(name)) > 1 else 2) and _shortens("".join(_words(given)), _words(name)):
        return 3
    common = [(x, y) for x in a for y in b if min(len(x), len(y)) > 2 and (x.startswith(y) or y.startswith(x))]
    shared = [{pair[i] for pair in common} for i in (0, 1)]
    if _ratio(given, name) > 0.7 or set(a) == shared[0] or set(b) == shared[1]:
        return 2
    return int(bool(common))


def _words(name: str) -> list[str]:
    """Of batch_size, batch-size and batchSize: batch, size."""
    return [word.lower() for word in re.findall(r"[A-Z]?[^\W_A-Z]+|[A-Z]+", name)]


def _shortens(text: str, words: Sequence[str]) -> bool:
    """Whether a text is made of beginnings of all the words, in their order."""
    if not words:
        return not text
    ends = range(1, len(words[0]) + 1)
    return any(text[:end] == words[0][:end] and _shortens(text[end:], words[1:]) for end in ends if end <= len(text))


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


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


def _layers(target, options, configs, find_task, saved) -> tuple[Any, str, list[_Layer]]:
    words = [] if isinstance(options, Mapping) else options
    if target in _folders(configs) and words and words[0] in _presets(configs, target):
        raise InputError(f"{options[0]!r} is no option: a preset is given as {target}/{options[0]}")
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
    return task, preset, layers


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
        raise InputError(f"{where}no accelerator {name!r}: {closest(name, known)}, or give a YAML file")
    return flatten(read_yaml(Path(name) if own else configs / "accelerator" / f"{name}.yaml"), "accelerator.")


class _Loader(yaml.SafeLoader):
    """Without aliases: a few lines of them can stand for more values than there is memory."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"*{event.anchor}: write the value out", event.start_mark)
        return super().compose_node(parent, index)


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
    types = {
        "framework": Literal[choices],
        "model.name": Literal[tuple(task.models)],
        "data.name": Literal[tuple(task.datasets)],
    }
    defaults = {"framework": choices[-1], "model.name": names["model"], "data.name": names["data"]}
    leaves = {}
    for section, cls in {"": Config, **classes}.items():
        hints = typing.get_type_hints(cls)
        for item in dataclasses.fields(cls):
            if "help" in item.metadata:
                key = f"{section}.{item.name}" if section else item.name
                leaf = _Leaf(
                    types.get(key, hints[item.name]), defaults.get(key, item.default), item.metadata["help"], section
                )
                leaves[key] = leaf
    return leaves


def _options(cls: type) -> dict[str, _Leaf]:
    hints = typing.get_type_hints(cls)
    return {
        item.name: _Leaf(hints[item.name], item.default, item.metadata["help"], "") for item in dataclasses.fields(cls)
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
