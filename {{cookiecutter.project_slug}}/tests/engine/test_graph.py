"""What the engine's files import: each other without circles, and nothing of a task, a model or a test by its name."""

import ast
from pathlib import Path

from {{cookiecutter.package_name}} import engine

ROOT = Path(engine.__file__).parents[1]


def name_of(path):
    """Of a file below the package, as `engine.data.files`; of a folder's `__init__.py`, the folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in (ROOT / "engine").rglob("*.py")}


def imported(name):
    """What a file imports of the package, also inside of functions: modules, or (of others) the names in them."""
    path = FILES[name]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folders = path.relative_to(ROOT).parts[: -node.level]
            module = ".".join([*folders, *filter(None, [node.module])])
            for alias in node.names:
                yield f"{module}.{alias.name}" if f"{module}.{alias.name}" in FILES or not node.module else module


def circles(graph):
    """What is left when all are taken out that import nothing which is left."""
    left = dict(graph)
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    return {name: sorted(needed & left.keys()) for name, needed in left.items()}


def test_the_engine_has_no_circles():
    graph = {name: {found for found in imported(name) if found in FILES} - {name} for name in FILES}
    assert len(graph) > 20 and sum(map(len, graph.values())) > 50
    assert circles(graph) == {}


def test_a_circle_is_found_wherever_it_is():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert {name: needed for name, needed in circles(graph).items() if name in "bc"} == {"b": ["c"], "c": ["b"]}


def test_the_engine_names_no_task_and_no_model():
    rooms = [(name, found) for name in FILES for found in imported(name)]
    assert [pair for pair in rooms if pair[1].split(".")[0] in ("tasks", "models")] == []
