"""What a person does, as the documentation says it, in processes of their own. See test_docs.py for its commands."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
from baking import EVERY_FEATURE, PROJECT, TABLES, TEMPLATE, bake, command, files_of


def make(*arguments, cwd=TEMPLATE):
    # Without what an outer make would tell an inner one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def copy_of_the_template(folder):
    """What a clone of the repository holds, as a repository."""
    shutil.copytree(
        TEMPLATE,
        folder,
        ignore=shutil.ignore_patterns(".git", ".venv", "build", "runs", "__pycache__", ".pytest_cache", ".ruff_cache"),
    )
    return as_repository(folder)


def as_repository(folder):
    """With all that is there committed."""
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return folder


def test_return_at_every_question_gives_a_project(tmp_path):
    result = command(
        *("cookiecutter", "--default-config", "--output-dir", tmp_path, TEMPLATE),
        cwd=tmp_path,
        input="\n" * 10,
        HOME=str(tmp_path),
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "my-project" / "train.py").is_file()
    steps = [line for line in result.stdout.split("Next:")[1].splitlines() if line.strip()]
    assert len(steps) <= 4


def test_the_demo_trains_both_frameworks_and_ends_with_the_tensorboard_command(tmp_path):
    result = make("demo", f"BUILD={tmp_path}")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert result.stdout.rstrip().endswith(f"tensorboard --logdir {tmp_path}/demo/runs")
    results = [json.loads(path.read_text()) for path in (tmp_path / "demo" / "runs").rglob("result.json")]
    assert {result["framework"] for result in results} == {"lightning", "nnx"}
    assert all(result["finished"] for result in results)


def test_the_benchmarks_run():
    result = make("bench", "ARGS=--quick --models mlp --frameworks nnx")
    assert result.returncode == 0, result.stderr
    tables = result.stdout[result.stdout.index("| model") :].strip().split("\n\n")
    bare, loader, read, busy, start = (table.splitlines() for table in tables)
    assert [line.count("|") for line in bare] == [7] * 3
    assert [line.count("|") for line in loader] == [5] * 4
    assert [line.count("|") for line in read] == [6] * 3
    assert [line.count("|") for line in busy] == [7] * 3
    assert [line.count("|") for line in start] == [6] * 3


def test_a_project_for_development_runs_the_templates_own_source_and_keeps_its_runs(tmp_path):
    for _ in range(2):
        result = make("dev", f"BUILD={tmp_path}")
        assert result.returncode == 0, result.stderr
        package = tmp_path / "dev" / "src" / "dev"
        assert package.resolve() == PROJECT / "src" / "{{cookiecutter.package_name}}"
        for name in ("runs", "data"):
            (tmp_path / "dev" / name).mkdir(exist_ok=True)
            (tmp_path / "dev" / name / "kept").touch()
    assert (tmp_path / "dev" / "runs" / "kept").is_file() and (tmp_path / "dev" / "data" / "kept").is_file()
    assert files_of(package, template=True)  # the template's source has survived


def test_cruft_creates_a_project_that_is_up_to_date(tmp_path):
    template = copy_of_the_template(tmp_path / "template")
    environment = {"HOME": str(tmp_path)}
    answers = json.dumps({"project_name": "Crafted", "framework": "nnx"})
    result = command(
        *("cruft", "create", template, "--no-input", "--extra-context", answers),
        cwd=tmp_path,
        PWD=str(tmp_path),
        **environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    steps = result.stdout
    plain = bake(tmp_path, project_name="Crafted", framework="nnx", tasks=TABLES["tasks"], features="all")
    assert files_of(tmp_path / "crafted") == sorted([*files_of(plain), ".cruft.json"])
    assert "\n  cd crafted\n" in steps
    result = command("cruft", "check", cwd=tmp_path / "crafted", **environment)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("words", [["update", "-y"], ["diff"]])
def test_cruft_names_no_folder_that_is_gone(tmp_path, words):
    template, environment = copy_of_the_template(tmp_path / "template"), {"HOME": str(tmp_path)}
    options = ("--no-input", "--extra-context", json.dumps({"project_name": "Crafted", "framework": "nnx"}))
    assert command("cruft", "create", template, *options, cwd=tmp_path, **environment).returncode == 0
    project = as_repository(tmp_path / "crafted")
    with (template / PROJECT.name / "README.md").open("a", encoding="utf-8") as file:
        file.write("a new line\n")
    as_repository(template)
    result = command("cruft", *words, cwd=project, PWD=str(project), **environment)
    assert "Next:" not in result.stdout and "cd " not in result.stdout, result.stdout
    assert ("a new line" in (project / "README.md").read_text(encoding="utf-8")) == (words[0] == "update"), (
        result.stderr
    )


def test_an_update_leaves_alone_what_is_the_owners_and_renews_the_engine(tmp_path):
    """An edited task, model and config, and an own task, under a template whose engine has changed in many places."""
    template, environment = copy_of_the_template(tmp_path / "template"), {"HOME": str(tmp_path)}
    answers = {"project_name": "Crafted", "framework": "nnx", "tasks": "regression,text_classification"}
    options = ("--no-input", "--extra-context", json.dumps(answers))
    assert command("cruft", "create", template, *options, cwd=tmp_path, **environment).returncode == 0
    project, package = tmp_path / "crafted", tmp_path / "crafted" / "src" / "crafted"
    for path in (package / "tasks/regression/nnx.py", package / "models/tabular/nnx.py", package / "extensions/nnx.py"):
        path.write_text("# Mine.\n" + path.read_text(encoding="utf-8") + "\n\nMINE = 1\n", encoding="utf-8")
    config = project / "configs/regression/default.yaml"
    config.write_text(config.read_text(encoding="utf-8") + "seed: 7\n", encoding="utf-8")
    done = command("crafted", "new-task", "sketches", cwd=project, PYTHONPATH=str(project / "src"))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(package / "tasks/text_classification")
    owners = ("src/crafted/tasks/", "src/crafted/models/", "src/crafted/extensions/", "configs/", "train.py", "tests/")
    as_repository(project)
    before = {path: (project / path).read_bytes() for path in files_of(project) if path.startswith(owners)}

    engine = template / PROJECT.name / "src" / "{{cookiecutter.package_name}}" / "engine"
    (engine / "config.py").rename(engine / "settings.py")
    (engine / "data" / "new.py").write_text("x = 1\n")
    for path in engine.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text(
            "".join(["# Renewed.\n", *lines[: len(lines) // 2], "# And here.\n", *lines[len(lines) // 2 :]])
        )
    as_repository(template)
    result = command("cruft", "update", "-y", cwd=project, PWD=str(project), **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    after = {path: (project / path).read_bytes() for path in files_of(project) if path.startswith(owners)}
    assert after == before
    found = {path.relative_to(package / "engine"): path.read_text() for path in (package / "engine").rglob("*.py")}
    assert all(text.startswith("# Renewed.\n") and text.count("# And here.\n") == 1 for text in found.values())
    kept = command("cruft", "check", cwd=project, **environment)
    assert kept.returncode == 0 and not [path for path in files_of(project) if path.endswith((".rej", ".orig"))]
    status = subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True)
    changed = {line[3:].split(" -> ")[-1] for line in status.stdout.splitlines()}
    assert all(path.startswith(("src/crafted/engine/", ".cruft.json")) for path in changed)


def test_tasks_features_and_a_framework_that_were_not_chosen_come_by_an_update(tmp_path):
    template, environment = copy_of_the_template(tmp_path / "template"), {"HOME": str(tmp_path)}
    few = {"project_name": "Crafted", "framework": "nnx", "tasks": "regression", "features": "none"}
    more = {"framework": "both", "tasks": "regression,image_classification", "features": "compare"}
    options = ("--no-input", "--extra-context", json.dumps(few))
    assert command("cruft", "create", template, *options, cwd=tmp_path, **environment).returncode == 0
    project = tmp_path / "crafted"
    as_repository(project)
    words = ("update", "-y", "--variables-to-update", json.dumps(more))
    result = command("cruft", *words, cwd=project, PWD=str(project), **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    (tmp_path / "baked").mkdir()
    baked = bake(tmp_path / "baked", template, **{**few, **more})
    for path in files_of(baked):
        assert (project / path).read_bytes() == (baked / path).read_bytes(), path
    found = [path for path in files_of(project) if not path.startswith(".git/")]
    assert sorted([*files_of(baked), ".cruft.json"]) == sorted(found)


@pytest.mark.parametrize(
    ("framework", "tasks", "features"),
    [
        ("both", "all", EVERY_FEATURE),
        ("lightning", "image_classification", "none"),
        ("nnx", "language_modeling", "none"),
    ],
)
def test_the_commands_of_a_projects_makefile_run(tmp_path, framework, tasks, features):
    project = bake(tmp_path, framework=framework, tasks=tasks, features=features)
    scripts = f"BIN={sysconfig.get_path('scripts')}"
    result = make("lint", scripts, cwd=project)  # ruff and mypy
    assert result.returncode == 0, result.stdout + result.stderr
    for target in ("help", "install", "train", "board", "test"):
        result = make("--dry-run", target, scripts, cwd=project)
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_clone_on_a_bare_machine_installs_and_trains(tmp_path):
    result = make("demo", f"PYTHON={sys.executable}", cwd=copy_of_the_template(tmp_path / "clone"))
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert "tensorboard --logdir build/demo/runs" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["lightning", "nnx"])
def test_a_projects_install_line_gives_an_environment_in_which_it_trains(tmp_path, framework):
    project = bake(tmp_path, framework=framework)
    result = make("install", f"PYTHON={sys.executable}", cwd=project)
    assert result.returncode == 0, result.stderr
    result = make("train", cwd=project)
    assert result.returncode == 0, result.stderr[-4000:]
    assert list((project / "runs").rglob("result.json"))


@pytest.mark.slow
@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
@pytest.mark.parametrize("python", ["3.11", "3.14"])
@pytest.mark.parametrize("platform", ["x86_64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"])
def test_floors_and_newest_versions_can_be_installed(tmp_path, platform, python, resolution):
    """Of all that a project may need, on each system. On a Mac, onnxruntime takes macOS 14."""
    project = bake(tmp_path)
    extras = [word for extra in ("cpu", "compare", "export", "tune") for word in ("--extra", extra)]
    words = ("--no-sources", "--python-platform", platform, "--python-version", python, "--resolution", resolution)
    result = command(
        *("uv", "pip", "compile", "--quiet", *words, "pyproject.toml", *extras, "--group", "dev"),
        cwd=project,
        MACOSX_DEPLOYMENT_TARGET="14.0",
    )
    if "error sending request" in result.stderr or "Failed to fetch" in result.stderr:
        pytest.skip("no index of packages can be reached")
    assert result.returncode == 0, result.stderr
    assert {"torch", "lightning", "jax", "flax"} <= {line.partition("==")[0] for line in result.stdout.splitlines()}
