"""Hostile and mistaken answers, and hooks on a poor machine."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from baking import DISTRIBUTIONS, TABLES, TEMPLATE, bake, command, hook

pre = hook("pre_gen_project")

GOOD = {
    "project_name": "Some Project",
    "project_slug": "some-project",
    "package_name": "some_project",
    "description": "What it is for.",
    "author": "Somebody",
    "license": "MIT",
    "framework": "both",
    "tasks": "all",
    "accelerator": "cpu",
    "features": "all",
    "_features": {"compare": {}, "export": {}, "engine_tests": {}},
    "_tasks": {
        "image_classification": {"dependencies": [{"requirement": "scikit-learn>=1.5", "imports": "sklearn"}]},
        "text_generation": {"dependencies": []},
    },
}


def problems(**answers):
    return pre.problems({**GOOD, **answers})


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"project_slug": "a"},
        {"project_slug": "my.project_2-x", "package_name": "p2"},
        {"project_name": 'Größe "x" \\ {{ y }} 🎉', "author": 'O\'Brien "Bob" \\n'},
        {"tasks": "image_classification"},
        {"tasks": " text_generation , image_classification"},
        {"framework": "both", "accelerator": "tpu"},
        {"framework": "nnx", "accelerator": "tpu"},
        {"features": "none"},
        {"features": "export, compare"},
        {"features": "compare,export,engine_tests"},
    ],
)
def test_good_answers_pass(answers):
    assert problems(**answers) == []


@pytest.mark.parametrize(
    ("question", "value", "message"),
    [
        ("project_slug", "My Project", "'My Project' is not a folder and distribution name"),
        ("project_slug", "My Project", "did you mean 'my-project'?"),
        ("project_slug", "-x", "did you mean 'x'?"),
        ("project_slug", "x.", "letter or digit at both ends"),
        ("project_slug", "../up", "did you mean 'up'?"),
        ("project_slug", "a/b", "did you mean 'a-b'?"),
        ("project_slug", "naïve", "is not a folder and distribution name"),
        ("project_slug", "con", "reserved name on Windows"),
        ("project_slug", "aux.net", "reserved name on Windows"),
        ("project_slug", "torch", "did you mean 'torch-project'?"),
        ("project_slug", "scikit.learn", "is the name of a package"),
        ("project_slug", "python", "is the name of a package"),
        ("project_slug", "x" * 51, "has 51 characters; at most 50"),
        ("project_slug", "", "is empty"),
        ("package_name", "my-package", "did you mean 'my_package'?"),
        ("package_name", "2fast", "did you mean 'project_2fast'?"),
        ("package_name", "MyPackage", "did you mean 'mypackage'?"),
        ("package_name", "a.b", "is not a package name"),
        ("package_name", "_hidden", "did you mean 'hidden'?"),
        ("package_name", "größe", "is not a package name"),
        ("package_name", "class", "a keyword of Python; did you mean 'class_project'?"),
        ("package_name", "match", "a keyword of Python"),
        ("package_name", "json", "a module of Python's standard library"),
        ("package_name", "test", "a file or folder of the project itself"),
        ("package_name", "torch", "a package that the project needs"),
        ("package_name", "jax", "a package that the project needs"),
        ("package_name", "lightning", "a package that the project needs"),
        ("package_name", "flax", "a package that the project needs"),
        ("package_name", "sklearn", "a package that the project needs"),
        ("package_name", "tests", "a file or folder of the project itself"),
        ("package_name", "src", "a file or folder of the project itself"),
        ("package_name", "train", "a file or folder of the project itself"),
        ("package_name", "nul", "a reserved name on Windows"),
        ("project_name", "  ", "is empty"),
        ("project_name", "two\nlines", "'two\\nlines' holds a line break or a control character"),
        ("description", "x\x00y", "holds a line break or a control character"),
        ("description", "x\u2028y", "holds a line break or a control character"),
        ("author", "bell\a", "holds a line break or a control character"),
        ("author", "half \ud83d pair", "holds a line break or a control character"),
        ("description", "x" * 301, "has 301 characters; at most 300"),
        ("tasks", "", "is empty"),
        ("tasks", "image-classification", "did you mean 'image_classification'?"),
        ("tasks", "image_clasification", "did you mean 'image_classification'?"),
        ("tasks", "Text Generation", "did you mean 'text_generation'?"),
        ("tasks", "chess", "'chess' is not a task. There are: image_classification, text_generation; or 'all'."),
        ("tasks", "image_classification,", "names a task that is empty"),
        ("tasks", "image_classification,image_classification", "stands there 2 times; once is enough"),
        ("tasks", "all,image_classification", "'all' stands alone"),
        ("features", "", "is empty"),
        ("features", "exprot", "'exprot' is not a feature; did you mean 'export'?"),
        ("features", "x", "There are: compare, export, engine_tests; or 'all' or 'none'."),
        ("features", "none,export", "'none' stands alone"),
        ("features", "export,export", "stands there 2 times"),
        ("features", "engine_tests", "prove the whole engine: add compare,export, or leave them out"),
    ],
)
def test_a_bad_answer_is_refused_with_its_reason_and_a_way_out(question, value, message):
    found = problems(**{question: value})
    assert [name for name, _ in found] == [question]
    assert message in found[0][1]
    assert found[0][1].isascii()


def test_lightning_on_a_tpu_is_refused_with_the_reason_and_the_way_out():
    [(question, wrong)] = problems(framework="lightning", accelerator="tpu")
    assert question == "accelerator"
    assert "torch_xla" in wrong and "'nnx'" in wrong


def test_every_wrong_task_is_named():
    assert len(problems(tasks="chess,go,,all")) == 4


def run_cookiecutter(folder, *answers, **environment):
    return command(
        *("cookiecutter", "--no-input", "--default-config", "--output-dir", folder / "out", TEMPLATE, *answers),
        cwd=folder,
        **{"HOME": str(folder), **environment},
    )


def test_all_problems_are_told_at_once_above_cookiecutters_own_and_no_folder_is_left(tmp_path):
    result = run_cookiecutter(
        tmp_path,
        "project_name=two\nlines",
        "project_slug=Bad Slug",
        "package_name=torch",
        "author=",
        "tasks=image_clasification,chess",
        "framework=lightning",
        "accelerator=tpu",
    )
    assert result.returncode == 1
    message = result.stderr
    for question in ("project_name", "project_slug", "package_name", "author", "tasks", "accelerator"):
        assert f"  {question}: " in message
    assert "7 of the answers cannot be used" in message
    assert message.strip().startswith("=" * 78) and message.strip().endswith("=" * 78)  # a frame, to stand out
    assert os.listdir(tmp_path / "out") == []


def test_a_wrong_answer_does_not_cost_the_right_ones(tmp_path):
    result = run_cookiecutter(tmp_path, "project_name=Bob's Bikes", "author=Zoe", "tasks=regresion", "framework=nnx")
    [again] = [line for line in result.stderr.splitlines() if line.startswith("cookiecutter ")]
    words = [sys.executable, "-m", *shlex.split(again), "--no-input", "--default-config", "tasks=regression"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    about = tomllib.loads((tmp_path / "out/bob-s-bikes/pyproject.toml").read_text(encoding="utf-8"))
    assert about["project"]["authors"] == [{"name": "Zoe"}]
    assert not [*tmp_path.glob("out/*/src/*/engine/lightning")]


@pytest.mark.parametrize("slug", ["a/b/c", "../aside", "../aside/b"])
def test_a_slug_with_slashes_leaves_no_folder_anywhere(tmp_path, slug):
    (tmp_path / "out").mkdir()
    result = run_cookiecutter(tmp_path, f"project_slug={slug}", "package_name=fine")
    assert result.returncode == 1
    assert "is not a folder and distribution name" in " ".join(result.stderr.split())
    assert [path for path in tmp_path.rglob("*") if not path.relative_to(tmp_path).parts[0].startswith(".")] == [
        tmp_path / "out"
    ]


def test_a_value_outside_a_choice_list_leaves_no_folder(tmp_path):
    result = run_cookiecutter(tmp_path, "framework=keras")
    assert result.returncode != 0
    assert not (tmp_path / "out").exists()


# Ways out of a string in the hook, in TOML and in a shell; each would leave a file `executed` behind.
BREAKOUTS = [
    '"""); open("executed", "w") #',
    '\\"""); open("executed", "w") #',
    '\\\\"""); open("executed", "w") #',
    '"; open("executed", "w") #',
    "'; open('executed', 'w') #",
    "'''; open('executed', 'w'); '''",
    '$(touch executed) `touch executed` "; touch executed; #',
    'x"\\',
    "back\\slash\\",
    '"',
    "--option",
    "# not a comment: [x] {y}",
    "Zoë 🎉 日本語 O'Brien <b>&amp;</b>",
]


@pytest.mark.parametrize("value", BREAKOUTS)
def test_a_free_text_is_only_ever_text(tmp_path, value):
    project = bake(tmp_path, project_name=value, description=value, author=value, project_slug="fine", license="MIT")
    assert not list(tmp_path.rglob("executed"))
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert about["description"] == value
    assert about["authors"] == [{"name": value}]
    assert f"# {value}\n" in (project / "README.md").read_text(encoding="utf-8")
    assert f"Copyright (c) {value}\n" in (project / "LICENSE").read_text(encoding="utf-8")


def test_names_that_are_code_are_refused_and_not_run(tmp_path):
    for value in BREAKOUTS[:7]:
        result = run_cookiecutter(tmp_path, "project_slug=fine", f"package_name={value}", f"tasks={value}")
        assert result.returncode == 1
        assert "  package_name: " in result.stderr and "  tasks: " in result.stderr
        assert not list(tmp_path.rglob("executed"))


def test_the_hooks_run_on_a_poor_machine(tmp_path):
    """No PATH, so no git; no terminal; a console of Windows' old encoding; nothing of this environment."""
    environment = {"PATH": "", "HOME": str(tmp_path), "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    arguments = ["--no-input", "--default-config", "-o", tmp_path / "日本", TEMPLATE]
    for answers, code in ((["author=Zoë 🎉"], 0), (["package_name=größe🎉", "project_slug=日本"], 1)):
        result = subprocess.run(
            [sys.executable, "-m", "cookiecutter", *arguments, *answers],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        output = (result.stdout + result.stderr).decode("cp1252")
        assert result.returncode == code, output
        output = " ".join(output.split())
        assert "UnicodeEncodeError" not in output
        assert ("make install" if code == 0 else "is not a package name") in output
    assert (tmp_path / "日本" / "my-project" / "pyproject.toml").is_file()


@pytest.mark.skipif(os.name == "nt", reason="a shell's closed outputs")
@pytest.mark.parametrize("outputs", ["| true", ">&-"])
def test_a_project_stays_where_nobody_reads_the_next_steps(tmp_path, outputs):
    words = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "-o", str(tmp_path), str(TEMPLATE)]
    for _ in range(1 if outputs == ">&-" else 2):  # the reader may be gone before or after
        script = f"set -o pipefail; {shlex.join(words)} {outputs}"
        environment = {**os.environ, "HOME": str(tmp_path)}
        result = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
        assert (tmp_path / "my-project" / "train.py").is_file()
        shutil.rmtree(tmp_path / "my-project")


def test_baking_over_a_project_keeps_what_a_person_added(tmp_path):
    project = bake(tmp_path, framework="nnx")
    own = [
        project / "src/some_project/tasks/mine/__init__.py",
        project / "src/some_project/models/mine/net.py",
        project / "configs/mine/default.yaml",
        project / "tests/test_mine.py",
        project / "runs/keep.txt",
    ]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine\n")
    result = run_cookiecutter(tmp_path, "--overwrite-if-exists", "project_name=Some Project", "framework=nnx")
    assert result.returncode == 0, result.stderr
    assert [path.read_text() for path in own] == ["mine\n"] * len(own)


def test_the_names_of_everything_that_a_project_uses_are_taken(baked):
    project = tomllib.loads((baked(framework="both", tasks="all") / "pyproject.toml").read_text(encoding="utf-8"))
    texts = [
        *project["project"]["dependencies"],
        *(text for extra in project["project"]["optional-dependencies"].values() for text in extra),
        *project["dependency-groups"]["dev"],
    ]
    for name in {pre.re.match(r"[\w.-]+", text)[0].lower() for text in texts}:
        answers = {"project_slug": name, "_tasks": TABLES["_tasks"]}
        assert problems(**answers), f"{name} would stand in front of the package of that name"
    for name in DISTRIBUTIONS:
        answers = {"package_name": name.lower(), "_tasks": TABLES["_tasks"]}
        assert problems(**answers), f"{name} would be hidden by the package of that name"
