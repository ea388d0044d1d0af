"""What the project has, found by its folders: frameworks, tasks and their configs.

A framework's `__init__.py` says what the shared rooms must know of it and imports nothing of it; its `engine()` and
`hardware()` do.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.specifiers import SpecifierSet

from . import layers
from .config import OPTIMIZERS, Config, OptimizerConfig
from .errors import InputError
from .processes import check_several


def frameworks() -> dict[str, ModuleType]:
    """The project's frameworks by name."""
    names = sorted(file.parent.name for file in Path(__file__).parent.glob("*/devices.py"))
    return {name: importlib.import_module(f".{name}", __package__) for name in names}


def load_config(
    target: str = "", options: Sequence[str] | Mapping[str, Any] = (), saved: Mapping[str, Any] | None = None
) -> Config:
    """The config of TASK[/PRESET], or of a saved one, with options, of a command line or {"a.b": value}.

    See `layers.load`.
    """
    return layers.load(target, options, _project(), saved)


def help_text(target: str = "", saved: Mapping[str, Any] | None = None) -> str:
    """Every key of a config with its type and its value."""
    return layers.help_text(target, _project(), saved)


def suggestions(
    target: str = "", options: Sequence[str] = (), saved: Mapping[str, Any] | None = None
) -> dict[str, list[str] | None]:
    """Every key of a config with the values that it may have; None where any text may stand, as the name of a file."""
    return layers.suggestions(target, options, _project(), saved)


def presets() -> dict[str, list[str]]:
    """Of each task, by its name. Imports none of them."""
    folders = {file.parent.name for file in (Path(__file__).parents[1] / "tasks").glob("*/__init__.py")}
    return {name: sorted(file.stem for file in (configs() / name).glob("*.yaml")) for name in sorted(folders)}


def check(settings: Config) -> None:
    """What can be refused before a framework is imported. Raises InputError."""
    if settings.framework not in frameworks():
        names = " or ".join(frameworks())
        raise InputError(f"framework = {settings.framework!r}: one process trains one of them: choose {names}")
    if settings.init_skip and not settings.init:
        raise InputError(f"init_skip = {settings.init_skip!r} is for --init PATH, which is not given")
    if settings.init and settings.resume not in ("auto", "never"):
        raise InputError(f"init = {settings.init!r} and resume = {settings.resume!r}: begin with one of them")
    platform = settings.accelerator.platform
    if refused := frameworks()[settings.framework].REFUSED.get(platform):
        raise InputError(f"accelerator.platform = {platform!r}: {refused}")
    if settings.accelerator.precision == "float64" and platform != "cpu":
        raise InputError(f"accelerator.precision = 'float64' is for proofs on cpu, not {platform!r}: --accelerator cpu")
    if settings.accelerator.precision == "float16" and platform == "tpu":
        raise InputError("accelerator.precision = 'float16': a tpu has none: use bfloat16")
    _check_optimizer(settings.optimizer)
    from . import task

    task.find(settings.task).check(settings)
    batch_size, accumulate = settings.data.batch_size, settings.trainer.accumulate
    if batch_size % accumulate:
        raise InputError(f"data.batch_size = {batch_size} is not divisible by trainer.accumulate = {accumulate}")
    _check_devices(settings)


def chosen(settings: Config) -> list[str]:
    """The frameworks of a config: both, where it says so."""
    return list(frameworks()) if settings.framework == "both" else [settings.framework]


def bad_versions(framework: ModuleType, found: Mapping[str, str]) -> list[str]:
    """A line for each pair of installed versions that is known not to work together."""
    lines = []
    for package, versions, other, other_versions, reason in framework.BAD_VERSIONS:
        pair = [(package, versions), (other, other_versions)] if other else [(package, versions)]
        if all(name in found and SpecifierSet(wanted).contains(found[name], prereleases=True) for name, wanted in pair):
            lines.append(f"{' with '.join(f'{name} {found[name]}' for name, _ in pair)}: {reason}")
    return lines


def _check_devices(settings: Config) -> None:
    accelerator, mesh = settings.accelerator, settings.accelerator.mesh
    numbers = {"devices": accelerator.devices, "nodes": accelerator.nodes, "mesh.data": mesh.data or 1}
    numbers |= {"mesh.fsdp": mesh.fsdp, "mesh.tensor": mesh.tensor}
    if several := [f"accelerator.{key} = {number}" for key, number in numbers.items() if number != 1]:
        check_several(several[0])
        from .scale.mesh import Mesh

        if accelerator.devices:  # else their number is known later
            cut = Mesh.of(accelerator, accelerator.devices * accelerator.nodes)
            cut.share(settings.data.batch_size, settings.trainer.accumulate, ())
            cut.check(settings.model)


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    """But for its name, which may be one of those that a framework's own file in `extensions` adds."""
    if optimizer.min_learning_rate > optimizer.learning_rate:
        raise InputError(
            f"optimizer.min_learning_rate = {optimizer.min_learning_rate} is above the peak, "
            f"optimizer.learning_rate = {optimizer.learning_rate}"
        )
    if optimizer.nesterov and optimizer.name == "sgd" and not optimizer.momentum:
        raise InputError("optimizer.nesterov = True is a way to use momentum, and optimizer.momentum = 0.0")
    if optimizer.nesterov and optimizer.name in set(OPTIMIZERS) - {"sgd"}:
        raise InputError(f"optimizer.nesterov = True is for sgd, and optimizer.name = {optimizer.name!r}")


def _project() -> layers.Project:
    from . import task  # here, as tasks import numpy, which help does without

    sections = {name: module.Section for name, module in frameworks().items()}
    return layers.Project(configs(), task.find, sections)


def configs() -> Path:
    """The folder of presets."""
    beside = Path(__file__).parents[3] / "configs"  # a checkout, installed as editable
    return beside if beside.is_dir() else Path("configs")
