"""Tasks, models and extensions take of the engine what it offers them, and no task looks into another's room."""

import ast
from pathlib import Path

import pytest
from conftest import FRAMEWORKS

import {{cookiecutter.package_name}} as package

ROOT = Path(package.__file__).parent
FILES = [path.relative_to(ROOT) for room in ("tasks", "models", "extensions") for path in (ROOT / room).rglob("*.py")]
# Of the engine, for its halves: the base of a module, and metrics.
HALVES = {f"engine.{framework}.{name}" for framework in FRAMEWORKS for name in ("module", "manual", "metrics")}


def imported(path):
    """(module, name) of what a file imports from the package, anywhere in it; modules by their names below it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folders = path.with_suffix("").parts[: -node.level]
            yield from ((".".join([*folders, *filter(None, [node.module])]), alias.name) for alias in node.names)


def offered(module, name):
    """Whether the engine has it for tasks, models and extensions."""
    public = not name.startswith("_") and not any(part.startswith("_") for part in module.split("."))
    rooms = module in {"engine.api", "engine.classification", *HALVES} or module.startswith("engine.data.")
    return public and (rooms or module == "engine.data")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_of_the_engine_only_what_it_offers(path):
    engine = [pair for pair in imported(path) if pair[0].split(".")[0] == "engine"]
    assert [pair for pair in engine if not offered(*pair)] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_of_a_task_or_a_model_looks_into_no_room_of_another_task(path):
    own = path.parts[:2] if path.parts[0] == "tasks" else ()
    rooms = {tuple(f"{module}.{name}".split(".")[:2]) for module, name in imported(path)}
    assert {room for room in rooms if room[0] == "tasks" and room != own} == set()
