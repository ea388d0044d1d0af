"""A run's model as a file for elsewhere, with a card that says what it is.

A file of weights is of every framework. The other formats are written by the framework that has them, from the weights
of whichever has trained them.
"""

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from . import task as tasks
from . import weights, workflow
from .config import Config, flatten
from .errors import InputError
from .folder import read_config, read_environment, read_record, read_result, read_spec, versions
from .meant import closest
from .registry import frameworks
from .run import HARMLESS
from .task import Field, Signature

CARD = "README.md"


class Format(NamedTuple):
    """What a model is written as.

    Attributes:
        framework: that writes it; "" where it is of all.
        file: its name.
        packages: that writing takes beside.
        loading: how it is loaded, in Python, where BATCH stands for inputs and FILE for the file.
    """

    framework: str
    file: str
    packages: tuple[str, ...]
    loading: str


SAFETENSORS = Format("", weights.FILE, (), '\nfrom safetensors.numpy import load_file\n\nweights = load_file("FILE")\n')


def formats() -> dict[str, Format]:
    """Those that the project can write, by name."""
    found = {"safetensors": SAFETENSORS}
    for framework in frameworks():
        rows = importlib.import_module(f".{framework}.formats", __package__).FORMATS
        found |= {name: Format(framework, *row) for name, row in rows.items()}
    return found


def export(
    folder: Path, config: Config, format: str, checkpoint: str = "best", output: str = "", force: bool = False
) -> Path:
    """Writes a run's model, what was fitted before its training, and the card. Returns their folder.

    Args:
        folder: the run's.
        config: its own.
        format: a name of `formats()`.
        checkpoint: best, last, or a step.
        output: the folder to make; without one, `export/<format>` in the run's.
        force: whether an export that is there is replaced.

    Raises:
        InputError: for what the person can mend; nothing has been written then.
    """
    wanted, task, spec = _find(format), tasks.find(config.task), read_spec(folder)
    if missing := [name for name in wanted.packages if importlib.util.find_spec(name) is None]:
        raise InputError(f"--format {format} needs {' and '.join(missing)}: pip install -e '.[export]'")
    if wanted.framework and not task.signature:
        raise InputError(f"--format {format}: {task.name} takes more than one forward pass: choose safetensors")
    config = dataclasses.replace(config, accelerator=dataclasses.replace(config.accelerator, platform="cpu"))
    predictor = workflow.Predictor(folder, config, checkpoint)
    target, fitted = Path(output) if output else folder / "export" / format, sorted((folder / "fitted").iterdir())
    _check_own(target, wanted.file, {f"{wanted.file}.data", CARD, *(path.name for path in fitted)}, force)
    signature = task.signature(spec) if task.signature else Signature({}, {})
    status = _status(folder, predictor.checkpoint)
    if not (folder / "result.json").exists():
        print(f"{folder}: {status}", file=sys.stderr)
    values = predictor.weights()
    with _replacing(target) as beside:
        if wanted.framework:
            accelerator = dataclasses.replace(config.accelerator, precision="float32")
            writer = dataclasses.replace(
                config, framework=wanted.framework, accelerator=accelerator, init="", init_skip=""
            )
            engine = workflow.create_engine(workflow.on_one_device(writer), spec)
            engine.start_from(values)
            engine.export(format, example(signature), beside / wanted.file)
        else:
            weights.write(beside / wanted.file, values)
        for path in fitted:
            shutil.copy(path, beside)
        text = card(folder, config, wanted, predictor.checkpoint, signature, status)
        (beside / CARD).write_text(text, encoding="utf-8")
    return target


def example(signature: Signature, count: int = 2) -> dict[str, np.ndarray]:
    """Inputs of zeros."""
    return {name: np.zeros((count, *field.shape), field.dtype) for name, field in signature.inputs.items()}


def card(folder: Path, config: Config, format: Format, checkpoint: Path, signature: Signature, status: str) -> str:
    """What a model is, in Markdown."""
    run = "/".join((config.task, config.preset or "default", config.framework, folder.resolve().name))
    settings = {key: value for key, value in flatten(read_config(folder)).items() if key not in HARMLESS}
    environment = read_environment(folder)
    packages = frameworks()[format.framework].PACKAGES if format.framework else ("safetensors", "numpy")
    commit = f" Commit {environment['git_commit']}." if environment["git_commit"] else ""
    parts = {
        f"{tasks.find(config.task).title}: {config.model.name}": (
            f"`{format.file}` is the model of the run `{run}`, trained on the data `{config.data.name}`: {status}."
        ),
        "Inputs and outputs": _table(signature),
        "Use": _use(config, format, signature),
        "Metrics": _metrics(folder, checkpoint),
        "Config": f"```yaml\n{yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)}```",
        "Versions": f"Trained with {_listed(environment['versions'])}; "
        f"exported with {_listed(versions((*packages, *format.packages)))}.{commit}",
        "Licence": "To be filled in by who owns the model and its data.",
    }
    return "# " + "\n## ".join(f"{title}\n\n{text}\n" for title, text in parts.items())


def _find(name: str) -> Format:
    """Raises InputError where there is none."""
    found = formats()
    if name in found:
        return found[name]
    if not name:
        raise InputError(f"export needs --format: choose from {', '.join(found)}")
    other = "; others are written by a framework that this project does not have" if len(frameworks()) == 1 else ""
    raise InputError(f"--format {name}: {closest(name, list(found))}{other}")


def _status(folder: Path, checkpoint: Path) -> str:
    """Which of a run's weights these are, and whether it goes on, in words."""
    record, finished = read_record(folder), (folder / "result.json").exists()
    best = (", the best" if finished else ", the best so far") if checkpoint.name == record.best else ""
    return f"step {int(checkpoint.stem)}{best} of {record.step}; the run is {'finished' if finished else 'unfinished'}"


def _table(signature: Signature) -> str:
    def row(kind: str, name: str, field: Field) -> str:
        shape, about = ", ".join(["batch", *map(str, field.shape)]), " ".join(field.about.split()).replace("|", "\\|")
        return f"| {kind} | `{name}` | {field.dtype} [{shape}] | {about} |"

    if not signature.inputs:
        return "The task takes more than one forward pass: see it in the project."
    rows = [row("input", *item) for item in signature.inputs.items()]
    rows += [row("output", *item) for item in signature.outputs.items()]
    table = "\n".join(["| | | | |", "|---|---|---|---|", *rows])
    return f"{table}\n\n`batch` is any number of examples. Files that are named here lie beside."


def _use(config: Config, format: Format, signature: Signature) -> str:
    fields = [f'"{name}": np.zeros({x.shape}, "{x.dtype}")' for name, x in example(signature, 4).items()]
    code = format.loading.replace("FILE", format.file).replace("BATCH", "{" + ", ".join(fields) + "}")
    if format.framework:
        about = "The weights are in the file, in float32"
    else:
        about = (
            "Names and layout are those of timm and Hugging Face; every framework of the project begins with them by "
            f"`train.py {config.task} --init FOLDER` and the model of the config below"
        )
    average = ": their moving average" if config.optimizer.ema_decay else ""
    return f"```python{code}```\n\n{about}{average}."


def _metrics(folder: Path, checkpoint: Path) -> str:
    record, finished = read_record(folder), (folder / "result.json").exists()
    if checkpoint.name != record.best:
        return f"Not measured; `evaluate RUN --checkpoint {int(checkpoint.stem)}` does so."
    metrics = read_result(folder)["metrics"] if finished else record.best_metrics
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value:.6g} |" for name, value in metrics.items())])


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _check_own(target: Path, file: str, others: Set[str], force: bool) -> None:
    """Raises InputError for what is there, unless it is an export, `file` and maybe some of the others, and `force`."""
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise InputError(f"--output {target} is there and is no folder: choose another one")
    names = {path.name for path in target.iterdir()}
    if foreign := sorted(names - others - {file} if file in names else names):
        raise InputError(f"--output {target} holds {foreign[0]}, which is no part of an export: choose another folder")
    if names and not force:
        raise InputError(f"{target} holds an export: choose another --output, or --force to replace it")


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A folder beside, which takes the place of `target` at the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            beside = Path(scratch, "new")
            beside.mkdir()
            yield beside
            if target.exists():
                os.replace(target, Path(scratch, "old"))
            os.replace(beside, target)
    except OSError as error:
        raise InputError(f"--output {target}: cannot be written: {error.strerror}") from error
