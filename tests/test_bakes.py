"""Baked projects as they lie there: files, syntax, dependencies, words. Nothing of them is run but their imports."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from baking import CHOICES, DISTRIBUTIONS, FEATURES, FRAMEWORKS, PROJECT, TABLES, TASKS, bake, command, files_of, hook

EACH_FRAMEWORK = ["both", *FRAMEWORKS]
READERS = {name for row in TABLES["_tasks"].values() for name in row["engine"]}  # each goes with the tasks that use it


def named(answers):
    return "-".join(answers.values())


def texts_of(project):
    """Each file of a project with its text: there are no others in a fresh one."""
    for path in files_of(project):
        yield path, (project / path).read_text(encoding="utf-8")


def about_of(project):
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def expected_files(framework, tasks, features, **_):
    """Which files of the template a project holds, each decided by the folders that it lies in."""
    other = {"both": (), "lightning": ("nnx",), "nnx": ("lightning", "torch")}[framework]
    tasks = TASKS if tasks == "all" else [tasks]
    features = {"all": FEATURES[:-1], "none": []}.get(features, features.split(","))
    every, families, readers = (
        {name for task in some for name in TABLES["_tasks"][task][key]}
        for some, key in ((TASKS, "models"), (tasks, "models"), (tasks, "engine"))
    )
    left_out = {*TASKS, *every} - {*tasks, *families}
    files = {"LICENSE"}
    for path in files_of(PROJECT, template=True):
        folders, name = path.split("/")[:-1], path.split("/")[-1]
        stem = name.removesuffix(".py")
        wanted = not path.startswith("LICENSE-")
        if folders[:1] == ["src"]:
            room, *inner = [*folders[2:], stem]
            wanted &= not {*inner} & {*other}
            wanted &= room != "tasks" or inner[0] in ("__init__", *tasks)
            wanted &= room != "models" or inner[0] in ("__init__", "layers", *families)
            if room == "engine":
                wanted &= not {*inner} & {*FEATURES} - {*features}
                wanted &= stem != "formats" or "export" in features
                wanted &= stem != "apart" or framework == "both" or bool({"compare", "scale", "tune"} & {*features})
                wanted &= not {*inner} & {"twins", "portable", "convert"} or framework == "both"
                wanted &= "/".join(inner) not in READERS or "/".join(inner) in readers
        if folders[:1] == ["tests"]:
            words = stem.split("_")[1:]
            wanted &= words[:1] not in [[name] for name in other if name in FRAMEWORKS]
            wanted &= words[:1] != ["twins"] and stem != "parity" or framework == "both"
            wanted &= not any(f"_{name}_" in f"{stem}_" for name in left_out)
            wanted &= folders != ["tests", "small"] or name in [f"{task}.yaml" for task in tasks]
            wanted &= folders != ["tests", "engine"] or "engine_tests" in features
            if folders == ["tests", "engine"]:
                names = [{key.split("/")[-1] for key in keys} for keys in (READERS, readers)]
                wanted &= words[-1:] == [] or words[-1] not in names[0] - names[1]
                wanted &= words != ["apart"] or framework == "both" or bool({"compare", "scale", "tune"} & {*features})
        if folders[:1] == ["configs"] and len(folders) > 1:
            wanted &= folders[1] in ["accelerator", *tasks]
        if folders[:2] == ["configs", "accelerator"]:
            wanted &= not name.startswith(("tpu", "mps")) or framework != ("lightning" if name[0] == "t" else "nnx")
            wanted &= "-" not in name or "scale" in features
        if folders[:1] == ["notebooks"]:
            wanted &= not name.startswith(other)
        if folders[:1] == ["launch"]:
            wanted &= not name.startswith(other) and (name != "torchrun.sh" or framework != "nnx")
            wanted &= "scale" in features
        if wanted:
            files.add(path.replace("{{cookiecutter.package_name}}", "some_project"))
    return files


@pytest.mark.parametrize("answers", CHOICES, ids=named)
def test_a_project_holds_exactly_its_files(baked, answers):
    assert set(files_of(baked(**answers))) == expected_files(**answers)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_no_folder_of_a_project_is_empty(baked, framework):
    assert [path for path in baked(framework=framework).rglob("*") if path.is_dir() and not any(path.iterdir())] == []


@pytest.mark.parametrize("answers", CHOICES, ids=named)
def test_no_jinja_is_left_over(baked, answers):
    assert [path for path, text in texts_of(baked(**answers)) if re.search(r"\{\{|\{%|\{#|%\}", text + path)] == []


@pytest.mark.parametrize("answers", CHOICES, ids=named)
def test_every_file_parses(baked, answers):
    parsers = {".py": ast.parse, ".toml": tomllib.loads, ".json": json.loads}
    parsers |= dict.fromkeys((".yaml", ".yml"), lambda text: list(yaml.safe_load_all(text)))
    for path, text in texts_of(baked(**answers)):
        parsers.get("." + path.split(".")[-1], str)(text)


@pytest.mark.parametrize("answers", CHOICES, ids=named)
def test_what_editors_and_tools_are_told_is_there(baked, answers):
    project = baked(**answers)
    for entry in json.loads((project / ".vscode/launch.json").read_text(encoding="utf-8"))["configurations"]:
        assert "module" in entry or (project / entry["program"].replace("${workspaceFolder}/", "")).is_file()
    schemas = json.loads((project / ".vscode/settings.json").read_text(encoding="utf-8"))["yaml.schemas"]
    tasks = sorted(path.parent.name for path in project.glob("src/*/tasks/*/__init__.py"))
    assert schemas == {f"build/schema/{task}.json": f"configs/{task}/*.yaml" for task in tasks}
    container = json.loads((project / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert container["build"]["args"]["EXTRA"] in about_of(project)["project"]["optional-dependencies"]
    assert yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))["authors"] == [{"name": "Your Name"}]


@pytest.mark.parametrize("answers", CHOICES, ids=named)
def test_files_end_in_one_newline_and_lines_in_no_blank(baked, answers):
    for path, text in texts_of(baked(**answers)):
        assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{path}: a blank at the end of a line"
        assert text == "" or re.search(r"[^\n]\n\Z", text), f"{path}: not one newline at the end"
        assert "\n\n\n\n" not in text and not text.startswith("\n"), f"{path}: blank lines that a block left behind"


@pytest.mark.parametrize("package", ["zoo", "a_rather_long_package_name"])  # imports of tests sort and wrap by it
@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_ruff_has_nothing_to_say(baked, framework, package):
    project = baked(framework=framework, package_name=package)
    for arguments in (["check"], ["format", "--check", "--diff"]):
        result = command("ruff", *arguments, "--no-cache", ".", cwd=project)
        assert result.returncode == 0, result.stdout + result.stderr


def imports_of(text):
    """Every absolute import of a Python text, at any depth, by its first name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def declared(requirements):
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_a_project_declares_exactly_what_it_imports(baked, framework):
    project = baked(framework=framework)
    source = [text for path, text in texts_of(project) if path.startswith("src/") and path.endswith(".py")]
    imported = {name for text in source for name in imports_of(text)} - sys.stdlib_module_names
    assert imported <= set(DISTRIBUTIONS), "imports of its own package are relative, others are known here"
    about = about_of(project)
    extras = about["project"]["optional-dependencies"]
    assert declared(extras["compare"]) == {"matplotlib"}
    assert declared(extras["tune"]) == {"matplotlib", "optuna"}
    brought = declared(about["project"]["dependencies"]) | declared(extras["tune"])
    assert brought == {DISTRIBUTIONS[name] for name in imported}
    for extra, names in extras.items():
        wheels = declared(names) <= declared(about["project"]["dependencies"])
        assert wheels or extra in ("export", "compare", "tune"), (
            "an extra chooses wheels, or brings what is rarely needed"
        )


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_the_tests_of_a_project_need_nothing_more_than_the_tools_it_is_developed_with(baked, framework):
    project = baked(framework=framework)
    about = about_of(project)
    brought = declared(about["project"]["dependencies"])
    own = {"some_project", *(path.stem for path in (project / "tests").rglob("*.py"))}
    own |= declared(about["dependency-groups"]["dev"])
    for path, text in texts_of(project):
        if path.startswith("tests/") and path.endswith(".py"):
            for name in set(imports_of(text)) - sys.stdlib_module_names - own:
                assert DISTRIBUTIONS[name] in brought, f"{path} imports {name}"


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_every_requirement_has_a_lower_bound(baked, framework):
    about = about_of(baked(framework=framework))
    extras = about["project"]["optional-dependencies"].values()
    for requirement in [*about["project"]["dependencies"], *(text for extra in extras for text in extra)]:
        assert re.match(r"[\w.-]+(\[\w+\])?>=\d", requirement), requirement


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
@pytest.mark.parametrize("python", [(3, 11), (3, 12), (3, 14)])
def test_each_python_gets_each_requirement_once(baked, framework, python):
    about = about_of(baked(framework=framework))
    names = []
    for requirement in about["project"]["dependencies"]:
        name, _, marker = requirement.partition(";")
        sign, version = re.fullmatch(r" python_version (<|>=) '3\.(\d+)'", marker).groups() if marker else (">=", "0")
        if (python < (3, int(version))) == (sign == "<"):
            names.append(re.match(r"[\w.-]+", name)[0])
    assert len(names) == len(set(names)) and set(names) == declared(about["project"]["dependencies"])


@pytest.mark.parametrize("answers", [a for a in CHOICES if a["framework"] != "both"], ids=named)
def test_there_is_no_trace_of_the_other_framework(baked, answers):
    [other] = set(FRAMEWORKS) - {answers["framework"]}
    words = "|".join(TABLES["_frameworks"][other]["words"])
    found = [
        f"{path}: {line}"
        for path, text in texts_of(baked(**answers))
        for line in [path, *text.splitlines()]
        if re.search(rf"(?<![^\W_])({words})(?![^\W_])", line, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_two_bakes_are_equal_byte_for_byte(baked, tmp_path, framework):
    first, second = baked(framework=framework, author="Zoë"), bake(tmp_path, framework=framework, author="Zoë")
    assert files_of(first) == files_of(second)
    for path in files_of(first):
        assert (first / path).read_bytes() == (second / path).read_bytes(), path
        assert (first / path).stat().st_mode == (second / path).stat().st_mode, path


def test_answers_show_up_where_they_belong(baked):
    project = baked(framework="both", accelerator="gpu", license="Apache-2.0", author="A. Uthor", description="It is.")
    about = about_of(project)["project"]
    assert about["name"] == "some-project" and about["description"] == "It is."
    assert about["authors"] == [{"name": "A. Uthor"}] and about["license"] == "Apache-2.0"
    assert about["scripts"] == {"some-project": "some_project.engine.commands:main"}
    assert "Copyright A. Uthor" in (project / "LICENSE").read_text(encoding="utf-8")
    assert "'.[gpu]'" in (project / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
@pytest.mark.parametrize("accelerator", TABLES["accelerator"])
def test_the_extra_of_the_install_line_exists(baked, framework, accelerator):
    if (framework, accelerator) == ("lightning", "tpu"):
        return
    project = baked(framework=framework, accelerator=accelerator)
    about = about_of(project)
    assert accelerator in about["project"]["optional-dependencies"]
    assert f'".[{accelerator}]"' in (project / "README.md").read_text(encoding="utf-8")
    assert ("tpu" in about["project"]["optional-dependencies"]) == (framework != "lightning")


# The template's own rules.


def test_what_is_copied_unrendered_holds_no_jinja():
    for path in files_of(PROJECT, template=True):
        if path.startswith(("src/", ".github/")):
            text = (PROJECT / path).read_text(encoding="utf-8")
            assert not re.search(r"\{\{|\{%|\{#", text), path


def test_jinja_blocks_stand_in_six_files_only():
    holding = {
        path
        for path in files_of(PROJECT, template=True)
        if re.search(r"\{%|\{#", (PROJECT / path).read_text(encoding="utf-8"))
    }
    guides = {"README.md", "CONTRIBUTING.md"}
    assert holding <= {*guides, "pyproject.toml", "Makefile", "Dockerfile", ".vscode/settings.json"}


def test_a_python_file_outside_src_names_the_package_and_nothing_else():
    for path in files_of(PROJECT, template=True):
        if path.endswith(".py") and not path.startswith("src/"):
            text = (PROJECT / path).read_text(encoding="utf-8")
            for expression in re.findall(r"\{\{.*?\}\}", text):
                assert expression.replace(" ", "") == "{{cookiecutter.package_name}}", path


SHARED = (
    r"__init__\.py",
    r"engine/\w+\.py",
    r"engine/\w+/__init__\.py",
    r"engine/(commands|data|compare|tune)/\w+\.py",
    r"tasks/(\w+/)?(__init__|data)\.py",
)


def test_what_is_shared_imports_no_framework(baked):
    """Neither itself nor through what it imports: help and errors answer before torch or jax is loaded."""
    source = baked(framework="both") / "src"
    shared = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in files_of(source)
        if re.fullmatch(rf"some_project/({'|'.join(SHARED)})", path)
    ]
    some = ("engine.commands.train", "engine.config", "engine.data.batches")
    assert {f"some_project.{name}" for name in some} <= set(shared)
    program = f"""
import importlib, sys
for name in {shared}:
    importlib.import_module(name)
    loaded = {{"torch", "jax", "lightning", "flax"}} & set(sys.modules)
    if loaded:
        sys.exit(f"{{name}} imports {{loaded}}")
"""
    result = subprocess.run([sys.executable, "-B", "-c", program], cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_new_task_is_its_files_and_one_row(tmp_path):
    """Two more tasks put into a copy of the template, and no line of the hooks or of pyproject.toml changed."""
    template = tmp_path / "template"
    template.mkdir()
    for name in ("hooks", PROJECT.name):
        shutil.copytree(
            PROJECT.parent / name, template / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
        )
    digits, series = (
        {"requirement": requirement, "imports": requirement, "reason": "brings the embedded data"}
        for requirement in ("scikit-learn>=1.5", "statsmodels>=0.14")
    )
    rows = {
        "forecasting": {
            "summary": "forecasts",
            "example": "forecasting",
            "predict": "new.csv",
            "models": ["mlp", "lstm"],
            "engine": ["data/tables"],
            "dependencies": [series],
        },
        "ranking": {
            "summary": "ranks",
            "example": "ranking",
            "predict": "new.csv",
            "models": ["lstm"],
            "engine": [],
            "dependencies": [digits],
        },
    }
    tables = {**TABLES, "_tasks": {**TABLES["_tasks"], **rows}}
    (template / "cookiecutter.json").write_text(json.dumps(tables), encoding="utf-8")
    source = template / PROJECT.name / "src" / "{{cookiecutter.package_name}}"
    new = [source / f"models/lstm/{name}.py" for name in ("__init__", "torch", "nnx")]
    for task in rows:
        new += [source / f"tasks/{task}/{name}.py" for name in ("__init__", "data", "lightning", "nnx")]
        new += [template / PROJECT.name / path for path in (f"configs/{task}/default.yaml", f"tests/test_{task}.py")]
    for path in new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n" if path.suffix == ".py" else "seed: 1\n")

    (tmp_path / "one").mkdir()
    project = bake(tmp_path / "one", template, tasks="ranking", framework="nnx")
    files = set(files_of(project))
    assert {path for path in files if "/tasks/" in path and path.count("/") > 3} == {
        f"src/some_project/tasks/ranking/{name}.py" for name in ("__init__", "data", "nnx")
    }
    assert {path.split("/")[3] for path in files if "/models/" in path and path.count("/") > 3} == {"layers", "lstm"}
    assert {"configs/ranking/default.yaml", "tests/test_ranking.py"} <= files
    assert not {path for path in files if "forecasting" in path or "image_classification" in path}
    about = about_of(project)
    assert "scikit-learn>=1.5" in about["project"]["dependencies"]
    assert "statsmodels" not in (project / "pyproject.toml").read_text(encoding="utf-8")

    (tmp_path / "all").mkdir()
    about = tomllib.loads(
        (bake(tmp_path / "all", template, tasks="all") / "pyproject.toml").read_text(encoding="utf-8")
    )
    assert {"statsmodels", "scikit-learn"} <= declared(about["project"]["dependencies"])
    assert about["project"]["dependencies"].count("scikit-learn>=1.5") == 1


def test_nothing_of_a_machine_stands_in_the_template():
    post = hook("post_gen_project")
    root = PROJECT.parent
    own = [path for path in files_of(root, template=True) if not post.re.match(r"(build|\.venv|\.git|runs)/", path)]
    for path in own:
        text = (root / path).read_bytes().decode("utf-8", errors="replace")
        assert not re.search(r"/(home|Users|root|opt|wo" + "rk)/", text), path
