"""The maps in the engine's READMEs name every file of it, and no other; and what guides name is where they say."""

import re
from pathlib import Path

from {{cookiecutter.package_name}} import engine

ENGINE = Path(engine.__file__).parent
GUIDE = ENGINE.parents[2] / "CONTRIBUTING.md"


def mapped(chosen=False):
    """The paths in the tables of the maps, of files that every project has, or of those that are there where chosen."""
    for readme in ENGINE.glob("**/README.md"):
        always, _, sometimes = readme.read_text(encoding="utf-8").partition("## Where chosen\n")
        rows = re.findall(r"^\| `(\S+)` \|", sometimes if chosen else always.partition("## Map\n")[2], re.MULTILINE)
        assert rows, readme
        yield from ((readme.parent / row).resolve().relative_to(ENGINE.resolve()).as_posix() for row in rows)


def defined(file, name):
    """Whether a class, function or method of the name, as `learning_rate` or `Run.choose`, stands in a file."""
    text = file.read_text(encoding="utf-8")
    return all(re.search(rf"^ *(class|def) {part}\b", text, re.MULTILINE) for part in name.split("."))


def test_every_file_is_on_a_map_once():
    files = [path for path in ENGINE.rglob("*") if path.suffix in (".py", ".md") and path.name != "README.md"]
    here = sorted(path.relative_to(ENGINE).as_posix() for path in files)
    assert here == sorted(path for path in [*mapped(), *mapped(chosen=True)] if (ENGINE / path).exists())


def test_what_every_project_has_is_there():
    assert [path for path in mapped() if not (ENGINE / path).is_file()] == []


def test_the_functions_on_the_way_of_a_run_are_where_the_maps_say():
    for readme in ENGINE.glob("**/README.md"):
        named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", readme.read_text(encoding="utf-8"))
        assert named, readme
        for file, name in named:
            places = [folder / file for folder in (readme.parent, ENGINE)]
            assert any(path.exists() and defined(path, name) for path in places), (readme, file, name)


def test_what_the_guide_names_of_the_engine_is_where_it_says():
    text = GUIDE.read_text(encoding="utf-8")
    files = set(re.findall(r"`(engine/[\w/]+\.\w+)`", text))
    named = re.findall(r"`([\w.]+)`(?: and `(\w+)`)? in\s+`(engine/[\w/]+\.py)`", text)
    assert files and [file for file in files if not (ENGINE.parent / file).is_file()] == []
    assert named
    for *names, file in named:
        for name in filter(None, names):
            assert defined(ENGINE.parent / file, name), (file, name)
