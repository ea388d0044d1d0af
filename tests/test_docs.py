"""What the documentation says of files, commands, tests and code is so. README.md, README.zh.md and docs/."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import pytest
from _pytest.mark.expression import Expression
from baking import PROJECT, TABLES, TEMPLATE, bake

PAGES = [TEMPLATE / "README.md", TEMPLATE / "README.zh.md", *sorted((TEMPLATE / "docs").glob("*.md"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
SOURCE = PROJECT / "src" / "{{cookiecutter.package_name}}"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(TEMPLATE).as_posix())


def fences(text, language=""):
    """The blocks of code in a language; without one, those of commands."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for found, code in blocks if found == language]


def prose(text):
    """Without blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text):
    return re.findall(r"^(#+) (.+)$", prose(text), re.MULTILINE)


def anchors(text):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for _, heading in headings(text)}


def commands(text, inline=True):
    """Each command line of the blocks, and of the text in between."""
    lines = [line for block in fences(text) for line in block.splitlines() if line.strip()]
    programs = r"(?:python|pytest|make|cruft|uvx|sbatch) "
    return lines + (re.findall(rf"`({programs}[^`\n]+)`", prose(text)) if inline else [])


@each_page
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[page])):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_in_the_index():
    for page in ("README.md", "README.zh.md"):
        linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", TEXTS[TEMPLATE / page]))
        assert linked == {f"docs/{path.name}" for path in PAGES[2:]}


@each_page
def test_every_piece_of_the_templates_code_is_as_in_its_source(page):
    for path, code in re.findall(r"^<!-- excerpt: (\S+) -->\n```python\n(.*?)^```", TEXTS[page], re.M | re.S):
        source, place = (SOURCE / path).read_text(encoding="utf-8"), 0
        for piece in re.split(r"^ *\.\.\.\n", code, flags=re.MULTILINE):
            found = source.find(piece.rstrip("\n") + "\n", place)
            assert found >= 0, f"{path} does not have, in this order:\n{piece}"
            place = found + len(piece)


@each_page
def test_other_python_is_valid(page):
    for code in fences(re.sub(r"<!-- excerpt.*?^```$", "", TEXTS[page], flags=re.M | re.S), "python"):
        compile(code, str(page), "exec")


@pytest.mark.parametrize("whose", ["template", "project"])
def test_every_command_of_a_project_is_one_that_it_takes(tmp_path, whose):
    """Those of the template's pages with the data of the tutorial, made as it says."""
    project = bake(tmp_path, project_name="My Project", framework="both")
    texts = [*TEXTS.values()] if whose == "template" else [(project / "README.md").read_text(encoding="utf-8")]
    if whose == "template":
        for code in fences(TEXTS[TEMPLATE / "docs" / "tutorial.md"], "python"):
            if "my_project" not in code:
                subprocess.run([sys.executable, "-c", code], cwd=project, check=True)
    lines = dict.fromkeys(line for line in chain.from_iterable(map(commands, texts)) if line.startswith("python "))
    lines = [line for line in lines if not line.startswith(("python -m pytest", "python docs/"))]
    lines.sort(key=lambda line: " new-task " not in line)  # later ones train what this writes
    assert len(lines) > 20
    assert [line for line in lines if not line.startswith(("python train.py", "python -m my_project "))] == []
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("documented.py")],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        input="\n".join(lines),
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


@each_page
def test_commands_in_blocks_are_of_kinds_that_are_checked(page):
    known = ("python ", "pytest ", "make ", "cruft ", "uvx cookiecutter ", "uvx cruft ", "cd my-project", "git diff")
    rest = [line for line in commands(TEXTS[page], inline=False) if not line.startswith(known)]
    assert rest in ([], [". .venv/bin/activate"])


@each_page
def test_every_make_command_is_a_target(page):
    targets = {
        name
        for folder in (TEMPLATE, PROJECT)
        for name in re.findall(r"^([a-z-]+):", (folder / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    }
    for line in commands(TEXTS[page]):
        if line.startswith("make "):
            assert line.split()[1] in targets, line


@each_page
def test_answers_on_a_command_line_are_of_questions_that_are_asked(page):
    for line in commands(TEXTS[page]):
        words = shlex.split(line, comments=True)
        given = [word.partition("=")[0] for word in words if "cookiecutter" in words and "=" in word]
        given += [key for word in words if word.startswith("{") for key in json.loads(word)]
        assert [name for name in given if name not in TABLES or name.startswith("_")] == [], line


def keywords(file):
    """What `-k` may find in a file of tests: names of tests, and what their parameters are called."""
    tree = ast.parse(re.sub(r"\{\{.*?\}\}", "package", file.read_text(encoding="utf-8")))
    values = {
        target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    words = [file.name]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            made_of = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            words += [node.name, made_of, *(values[name] for name in values if re.search(rf"\b{name}\b", made_of))]
    return words


@each_page
def test_every_test_that_is_named_exists(page):
    named = re.findall(r"(?:pytest |`)((?:tests/\S+\.py ?)+(?:-[mk] (?:\"[^\"]+\"|[\w-]+) ?)*)", TEXTS[page])
    for line in named:
        words = shlex.split(line)
        patterns = [word for word in words if word.startswith("tests/")]
        files = [found for root in (TEMPLATE, PROJECT) for pattern in patterns for found in root.glob(pattern)]
        assert all(any(root.glob(pattern) for root in (TEMPLATE, PROJECT)) for pattern in patterns), line
        options = dict(zip(words, words[1:], strict=False))
        names = [name for file in files for name in keywords(file)]
        for part in options.get("-k", "").split(" or "):
            matches = lambda word: any(word.lower() in name.lower() for name in names)  # noqa: E731, B023
            assert Expression.compile(part).evaluate(matches) or not part, line


def test_the_curves_can_be_drawn_again_from_the_runs_of_a_demo(tmp_path):
    rows = [{"step": 20 * i, "train/loss": 1 / (i + 1), "val/accuracy": 1 - 0.5 / (i + 1)} for i in range(1, 41)]
    for framework in ("lightning", "nnx"):
        run = tmp_path / "runs" / "image_classification" / "default" / framework / "001"
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = shutil.copy(TEMPLATE / "docs" / "images" / "make.py", tmp_path)
    subprocess.run([sys.executable, script, tmp_path / "runs"], check=True)
    drawn, kept = (
        ElementTree.parse(folder / "curves.svg").getroot() for folder in (tmp_path, TEMPLATE / "docs/images")
    )
    assert [part.tag for part in drawn] == [part.tag for part in kept]


def test_the_chinese_front_page_says_what_the_english_one_says():
    english, chinese = (TEXTS[TEMPLATE / name] for name in ("README.md", "README.zh.md"))
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    blocks = r"^```.*?^```$"
    assert re.findall(blocks, english, re.M | re.S) == re.findall(blocks, chinese, re.M | re.S)
    for rows in (rf"^\| `.*$|^\|.*`{start}.*$" for start in ("", "python", "make")):
        assert [re.findall(r"`[^`]+`|\d[\d.]*", row) for row in re.findall(rows, english, re.M)] == [
            re.findall(r"`[^`]+`|\d[\d.]*", row) for row in re.findall(rows, chinese, re.M)
        ]
