"""What the tests share: the template's place, its hooks as modules, and baking."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).resolve().parent.parent
PROJECT = TEMPLATE / "{{cookiecutter.project_slug}}"
TABLES = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
FRAMEWORKS = list(TABLES["_frameworks"])
TASKS = list(TABLES["_tasks"])
FEATURES = list(TABLES["_features"])
EVERY_FEATURE = ",".join(FEATURES)

# What a project may import, and the distribution that brings it.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "argcomplete": "argcomplete",
    "clu": "clu",
    "filelock": "filelock",
    "flax": "flax",
    "jax": "jax",
    "jsonargparse": "jsonargparse",
    "lightning": "lightning",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "optax": "optax",
    "optuna": "optuna",
    "orbax": "orbax-checkpoint",
    "packaging": "packaging",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "torch": "torch",
    "torchmetrics": "torchmetrics",
    "tqdm": "tqdm",
    "yaml": "pyyaml",
    **{
        need["imports"]: re.match(r"[\w.-]+", need["requirement"])[0]
        for row in TABLES["_tasks"].values()
        for need in row["dependencies"]
    },
}

# Answers to the questions that have choices, in which every two choices that go together meet.
CHOICES = [
    {
        "framework": framework,
        "accelerator": accelerator,
        "license": TABLES["license"][(number + shift) % 4],
        "tasks": TASKS[number % len(TASKS)] if shift else "all",
        "features": (EVERY_FEATURE, "none", "all", *FEATURES[:-1])[(number + shift) % (len(FEATURES) + 2)],
    }
    for number, (framework, accelerator) in enumerate(
        pair for pair in product(TABLES["framework"], TABLES["accelerator"]) if pair != ("lightning", "tpu")
    )
    for shift in (0, 2)
]


def hook(name):
    """A hook as a module, unrendered: its rules are plain functions."""
    spec = importlib.util.spec_from_file_location(name, TEMPLATE / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bake(folder, template=TEMPLATE, **answers):
    """Bake a project below `folder`, with all that there is where nothing is answered, and return its folder."""
    settings = folder / "cookiecutter.yaml"  # cookiecutter's own files belong to the test too, not to the home folder
    settings.write_text(json.dumps({"replay_dir": str(folder / "replay"), "cookiecutters_dir": str(folder / "clones")}))
    output = folder / "out"
    answers = {"project_name": "Some Project", "tasks": "all", "features": EVERY_FEATURE, **answers}
    return Path(
        cookiecutter(
            str(template), no_input=True, extra_context=answers, output_dir=str(output), config_file=str(settings)
        )
    )


def command(*arguments, cwd, input=None, **environment):
    """Run a command of this environment's Python packages; stdout and stderr come back as text."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def files_of(folder, template=False):
    """Every file below a folder as a path with '/'; of the template's folder without what running it left there."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    caches = {"__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}
    return sorted(path for path in paths if not (template and caches & set(path.split("/"))))
