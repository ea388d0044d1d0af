"""Random answers: refused with the question named and nothing left behind, or a project that is whole."""

import ast
import json
import os
import tomllib
from pathlib import Path

import pytest
import yaml
from baking import FRAMEWORKS, TABLES, TEMPLATE, files_of, hook
from cookiecutter.environment import StrictEnvironment
from cookiecutter.exceptions import CookiecutterException, OutputDirExistsException
from cookiecutter.generate import generate_files
from cookiecutter.prompt import render_variable
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pre = hook("pre_gen_project")

# Ways out of a string, a comment, a path or a line; what is written from right to left, not at all, or not in UTF-8.
WORDS = ["", " ", ".", "..", "/", "../up", "a/b", "/etc", "a\\b", "C:\\x", "~", "*", "-x", "--option", "$(id)", "`id`"]
WORDS += ['"', "'", '"""', "'''", '\\"', "\\", "\\N{DASH}", "%s", "{{ x }}", "{% x %}", "{# x", "#", "${x}", "$$"]
WORDS += ["\n", "\r\n", "\t", "\x1b[2J", "\x7f", "\u2028", "\x85", "\ufeff", "\u202eabc", "\u05e9\u05dc", "\u65e5"]
WORDS += ["e\u0301", "\ufb01", "\ud83d", "\udcff", "x" * 51, "x" * 100, "x" * 300, "é" * 101, "con", "nul.txt", "torch"]
WORDS += ["jax", "json", "test", "class", "None", "True", "src", "my-project", "My Project", "1e3", "0x1", "2026-01-01"]
WORDS += ["🎉", "\\u0041", "null", "<b>&amp;</b>", "[x](y)", "| a |", "a: b", "- a", "@", "&a", "*a", "!x", "] = ["]

words = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), min_size=1, max_size=3).map("".join)
plain = st.text(st.sampled_from("abcxyz019 -_."), min_size=1, max_size=12)
texts = st.one_of(words, words, plain)
# No system call takes a path with a byte 0, so that none can come from a terminal either.
paths = texts.map(lambda text: text.replace("\0", ""))
answers = st.fixed_dictionaries(
    {
        "project_name": texts,
        "description": texts,
        "author": texts,
        "license": st.sampled_from(TABLES["license"]),
        "framework": st.sampled_from(["both", *FRAMEWORKS]),
    },
    optional={"project_slug": paths, "package_name": paths, "tasks": texts},
)


def context_of(given, output):
    """All answers, as they are after the prompts: those that were not given are made of the others."""
    found = {key: value for key, value in TABLES.items() if not key.startswith("__")}
    environment = StrictEnvironment(context={"cookiecutter": found}, keep_trailing_newline=True)
    for key, value in found.items():
        value = value[0] if isinstance(value, list) and not key.startswith("_") else value
        default = render_variable(environment, value, found) if not key.startswith("_") and key not in given else value
        found[key] = given.get(key, default)
    own = {"_template": str(TEMPLATE), "_repo_dir": str(TEMPLATE), "_checkout": None, "_output_dir": str(output)}
    return {"cookiecutter": {**found, **own}}


PARSERS = {".py": ast.parse, ".toml": tomllib.loads, ".json": json.loads}
PARSERS |= dict.fromkeys((".yaml", ".yml"), lambda text: list(yaml.safe_load_all(text)))


@pytest.mark.parametrize("count", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_answers_are_refused_or_baked_into_a_whole_project(tmp_path_factory, capfd, count):
    parsed = set()

    def check(given):
        folder = tmp_path_factory.mktemp("answers")
        output = folder / "deep" / "out"
        output.mkdir(parents=True)
        context = context_of(given, output)
        found = context["cookiecutter"]
        wrong = {question for question, _ in pre.problems(found)}
        capfd.readouterr()
        try:
            project = Path(generate_files(str(TEMPLATE), context, str(output)))
        except (CookiecutterException, OSError) as error:
            assert wrong, error
            assert files_of(folder) == [] and os.listdir(output) == [] and os.listdir(folder) == ["deep"]
            message = capfd.readouterr().err
            # The folder is made before any hook can speak; one that is there, or that cannot be made, ends it.
            silent = isinstance(error, (OSError, OutputDirExistsException)) and "project_slug" in wrong
            assert silent or all(f"  {question}:" in message for question in wrong), message
            return
        assert not wrong, wrong
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert (about["name"], about["description"]) == (found["project_slug"], found["description"])
        assert about["authors"] == [{"name": found["author"]}]
        assert (project / "README.md").read_text(encoding="utf-8").startswith(f"# {found['project_name']}\n")
        for path in files_of(project):
            text = (project / path).read_text(encoding="utf-8")
            if (path.rpartition(".")[2], text) not in parsed:  # most files are the same in every project
                PARSERS.get("." + path.rpartition(".")[2], str)(text)
                parsed.add((path.rpartition(".")[2], text))

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to find a simpler example would take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(answers)
    def test(example):
        check(example)

    test()
