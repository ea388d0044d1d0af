"""Refuses bad answers, all of them at once, before anything is written.

Standard library only: it runs in cookiecutter's own environment, possibly without git, a terminal or a PATH.
cookiecutter renders this file, so it holds no double braces but the ones in main().
"""

import difflib
import json
import keyword
import os
import re
import shlex
import sys
import textwrap
import unicodedata

# Names that a project may not take, as it depends on them or is installed with them: its own distribution or package
# would stand in front of theirs. What one task alone needs stands in the task's row. A test compares these names with
# what a full project declares and imports.
DISTRIBUTIONS = (
    "argcomplete clu filelock flatbuffers flax hypothesis jax jaxlib jsonargparse jsonschema lightning matplotlib "
    "mypy numpy onnx onnxruntime onnxscript optax optuna orbax-checkpoint packaging pillow pip pytest pytest-xdist "
    "python python3 pytorch-lightning pyyaml ruff safetensors setuptools tensorboard torch torchmetrics tqdm "
    "types-pyyaml types-tqdm uv wheel"
).split()
IMPORTS = (
    "argcomplete clu filelock flatbuffers flax google hypothesis jax jaxlib jsonargparse jsonschema lightning "
    "matplotlib mypy numpy onnx onnxruntime onnxscript optax optuna orbax packaging pil pip pytest "
    "pytorch_lightning ruff safetensors setuptools tensorboard torch torchmetrics tqdm uv xdist yaml"
).split()
OWN_FOLDERS = "build configs data dist launch runs src test tests train".split()
WINDOWS = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}

# Paths on Windows end at 260 characters, and the slug and the package both stand in them.
LONGEST = {
    "project_name": 100,
    "project_slug": 50,
    "package_name": 50,
    "description": 300,
    "author": 100,
    "tasks": 1000,
    "features": 100,
}

WHOLE_WORDS = {"break_long_words": False, "break_on_hyphens": False}


def problems(answers):
    """Everything that is wrong with the answers, each as (question, what is wrong and the way out)."""
    found = []
    for question, longest in LONGEST.items():
        value = answers[question]
        if not value.strip():
            found.append((question, "is empty; please give one."))
        elif len(value) > longest:
            found.append((question, f"has {len(value)} characters; at most {longest} fit into paths and files."))
        elif any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
            found.append((question, f"{shown(value)} holds a line break or a control character; please leave it out."))
        elif question in CHECKS:
            found.extend((question, wrong) for wrong in CHECKS[question](value, answers))
    if answers["framework"] == "lightning" and answers["accelerator"] == "tpu":
        found.append(
            (
                "accelerator",
                "'tpu' does not go with framework 'lightning': PyTorch reaches TPUs through torch_xla, whose releases "
                "stopped at 2.9. Choose framework 'nnx' (or 'both', where nnx trains on the TPU), or another "
                "accelerator.",
            )
        )
    return found


def wrong_slug(slug, answers):
    suggestion = re.sub(r"[^a-z0-9._-]+", "-", slug.lower()).strip("-._")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", slug):
        yield (
            f"{shown(slug)} is not a folder and distribution name: lower-case letters, digits, '-', '_' and '.', "
            f"with a letter or digit at both ends{did_you_mean(suggestion)}"
        )
    elif slug.split(".")[0] in WINDOWS:
        yield f"{shown(slug)} is a reserved name on Windows{did_you_mean(slug.split('.')[0] + '-project')}"
    elif re.sub(r"[-_.]+", "-", slug) in [*DISTRIBUTIONS, *needs(answers, "requirement")]:
        yield (
            f"{shown(slug)} is the name of a package that the project needs or is installed with"
            f"{did_you_mean(slug + '-project')}"
        )


def wrong_package(package, answers):
    suggestion = re.sub(r"[^a-z0-9_]+", "_", package.lower()).strip("_")
    if suggestion[:1].isdigit():
        suggestion = f"project_{suggestion}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        yield (
            f"{shown(package)} is not a package name: lower-case letters, digits and '_', beginning with a letter"
            f"{did_you_mean(suggestion)}"
        )
        return
    taken = (
        (keyword.iskeyword(package) or keyword.issoftkeyword(package), "a keyword of Python"),
        (package in sys.stdlib_module_names, "a module of Python's standard library"),
        (package in [*IMPORTS, *needs(answers, "imports")], "a package that the project needs or is installed with"),
        (package in OWN_FOLDERS, "a file or folder of the project itself"),
        (package in WINDOWS, "a reserved name on Windows"),
    )
    for is_taken, what in taken:
        if is_taken:
            yield f"{shown(package)} is {what}{did_you_mean(package + '_project')}"
            return


def wrong_tasks(text, answers):
    yield from wrong_names(text, list(answers["_tasks"]), "a task", alone=("all",))


def wrong_features(text, answers):
    known = list(answers["_features"])
    yield from wrong_names(text, known, "a feature", alone=("all", "none"))
    chosen = [name.strip() for name in text.split(",")]
    if "engine_tests" in chosen and (left_out := [name for name in known if name not in chosen]):
        yield f"'engine_tests' prove the whole engine: add {','.join(left_out)}, or leave them out."


def wrong_names(text, known, what, alone):
    """Of a list with commas. alone: the words that stand in place of names."""
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1 and names[0] in alone:
        return
    if "" in names:
        yield f"{shown(text)} names {what} that is empty; write them as 'a,b'."
    for name in dict.fromkeys(filter(None, names)):
        if name in alone:
            yield f"'{name}' stands alone; leave the other names out."
        elif name not in known:
            near = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), known, n=1, cutoff=0.5)
            others = " or ".join(f"'{word}'" for word in alone)
            yield f"{shown(name)} is not {what}{did_you_mean(*near)} There are: {', '.join(known)}; or {others}."
        elif names.count(name) > 1:
            yield f"{shown(name)} stands there {names.count(name)} times; once is enough."


def needs(answers, key):
    """The names of the distributions ("requirement") or packages ("imports") that tasks bring."""
    for row in answers["_tasks"].values():
        for need in row["dependencies"]:
            yield re.match(r"[\w.-]+", need[key])[0].lower()


CHECKS = {"project_slug": wrong_slug, "package_name": wrong_package, "tasks": wrong_tasks, "features": wrong_features}


def shown(value):
    """The value on one line, in characters that every console can print."""
    return ascii(value if len(value) <= 60 else value[:57] + "...")


def did_you_mean(suggestion=""):
    return f"; did you mean {shown(suggestion)}?" if suggestion else "."


def again(answers, wrong, folder):
    """The command that asks anew. wrong: questions whose answers are not kept; folder: where the command was given."""
    right = {question: value for question, value in answers.items() if question[0] != "_" and question not in wrong}
    elsewhere = ["--output-dir", answers["_output_dir"]] if answers["_output_dir"] != folder else []
    words = [f"{question}={value}" for question, value in right.items()]
    return shlex.join(["cookiecutter", answers["_template"], *elsewhere, *words])


def remove_folders_of(slug, output_dir):
    """Remove the empty folders that a slug with slashes has made: cookiecutter itself removes the last one only."""
    if not re.search(r"[/\\]", slug):
        return
    folder, output_dir = os.getcwd(), os.path.realpath(output_dir)
    os.chdir(output_dir)
    try:
        while os.path.commonpath([folder, output_dir]) != folder:
            os.rmdir(folder)
            folder = os.path.dirname(folder)
    except (OSError, ValueError):
        return  # not empty, so not ours; or another drive


def main():
    # The only safe way for a value to get in: quotes and backslashes arrive as JSON escapes.
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    found = problems(answers)
    if not found:
        return 0
    # cookiecutter prints a traceback below this.
    frame = "=" * 78
    print(f"\n{frame}\nNo project was made. {len(found)} of the answers cannot be used:\n", file=sys.stderr)
    for question, wrong in found:
        text = textwrap.fill(f"{question}: {wrong}", 78, initial_indent="  ", subsequent_indent="    ", **WHOLE_WORDS)
        print(text, file=sys.stderr)
    wrong = {question for question, _ in found}
    print("\nThe same again, with your other answers as what is suggested:\n", file=sys.stderr)
    print(f"{again(answers, wrong, os.environ.get('PWD'))}\n{frame}\n", file=sys.stderr, flush=True)
    remove_folders_of(answers["project_slug"], answers["_output_dir"])
    return 1


if __name__ == "__main__":
    sys.exit(main())
