"""What the hook keeps, as a function of the answers and the tables; nothing is baked here."""

import json
from itertools import chain, combinations
from pathlib import Path

import pytest
from baking import FRAMEWORKS, PROJECT, TABLES, TASKS, TEMPLATE, files_of, hook

post = hook("post_gen_project")

# Four tasks: two share a family, one has a family for itself, two have names of which one begins the other.
ROWS = {
    "image": {"models": ["mlp", "convnet"], "engine": ["classification"]},
    "image_pairs": {"models": ["convnet"], "engine": []},
    "table": {"models": ["mlp"], "engine": ["data/tables"]},
    "text": {"models": ["transformer"], "engine": ["data/tables", "classification"]},
}
FILES = [
    "train.py",
    "configs/project.yaml",
    "configs/accelerator/gpu.yaml",
    "configs/accelerator/gpu-ddp.yaml",
    "configs/accelerator/tpu.yaml",
    "launch/slurm.sbatch",
    "launch/torchrun.sh",
    "launch/kubernetes/nnx-gpu.yaml",
    "src/p/engine/apart.py",
    "src/p/engine/config.py",
    "src/p/engine/export.py",
    "src/p/engine/classification.py",
    "src/p/engine/commands/compare.py",
    "src/p/engine/commands/convert.py",
    "src/p/engine/commands/export.py",
    "src/p/engine/commands/train.py",
    "src/p/engine/commands/tune.py",
    "src/p/engine/compare/report.py",
    "src/p/engine/data/files.py",
    "src/p/engine/data/tables.py",
    "src/p/engine/lightning/export.py",
    "src/p/engine/lightning/portable.py",
    "src/p/engine/scale/mesh.py",
    "src/p/engine/scale/lightning/processes.py",
    "src/p/engine/scale/nnx/mesh.py",
    "src/p/extensions/__init__.py",
    "src/p/extensions/lightning.py",
    "src/p/extensions/nnx.py",
    "src/p/engine/schedule.py",
    "src/p/engine/lightning/__init__.py",
    "src/p/engine/lightning/deep/module.py",
    "src/p/engine/nnx/__init__.py",
    "src/p/engine/tune/study.py",
    "src/p/engine/twins/bridge.py",
    "src/p/tasks/__init__.py",
    "src/p/models/__init__.py",
    "tests/conftest.py",
    "tests/test_configs.py",
    "tests/test_imagery.py",
    "tests/test_old_imagery.py",
    "tests/test_twins.py",
    "tests/small/imagery.yaml",
    "tests/test_transformer.py",
    *(f"tests/test_{task}.py" for task in ROWS),
    *(f"tests/small/{task}.yaml" for task in ROWS),
    "tests/engine/parity.py",
    "tests/engine/exporting.py",
    "tests/engine/test_run.py",
    "tests/engine/test_tables.py",
    "tests/engine/test_lightning.py",
    "tests/engine/test_lightning_resume.py",
    "tests/engine/test_lightning_scale.py",
    "tests/engine/test_nnx.py",
    "tests/engine/test_nnx_resume.py",
    "tests/engine/test_twins.py",
    "tests/engine/test_twins_compare.py",
    "tests/engine/test_compare.py",
    "tests/engine/test_tune.py",
    "tests/engine/test_export_imagery.py",
    *(f"tests/engine/test_{task}_data.py" for task in ROWS),
    *(f"tests/engine/test_{kind}_{task}.py" for kind in ("lightning", "twins", "metrics") for task in ROWS),
    *(f"tests/engine/test_{kind}transformer.py" for kind in ("", "lightning_", "nnx_", "twins_")),
    *(f"src/p/tasks/{task}/{name}" for task in ROWS for name in ("__init__.py", "data.py", "lightning.py", "nnx.py")),
    *(f"src/p/tasks/{task}/README.md" for task in ROWS),
    *(f"configs/{task}/default.yaml" for task in ROWS),
    *(f"src/p/models/{model}/{name}.py" for model in ("mlp", "convnet", "transformer") for name in ("torch", "nnx")),
    "src/p/models/layers/torch.py",
    "src/p/models/layers/nnx.py",
]
FEATURE_SETS = [
    *chain.from_iterable(combinations(("compare", "export", "scale", "tune"), size) for size in range(5)),
    ("compare", "export", "scale", "tune", "engine_tests"),
]
TASK_SETS = list(chain.from_iterable(combinations(ROWS, size) for size in range(1, len(ROWS) + 1)))


def answers(framework="both", tasks="all", features="compare,export,scale,tune,engine_tests", rows=ROWS, **others):
    given = {"_tasks": rows, "framework": framework, "tasks": tasks, "features": features, "license": "MIT"}
    return {**TABLES, **given, **others}


def expected(framework, tasks, features):
    """Said once more, in the words of DESIGN and not in patterns: which of FILES belong to these answers."""
    families = {"image": "mlp convnet", "image_pairs": "convnet", "table": "mlp", "text": "transformer"}
    families = {"layers"} | {family for task in tasks for family in families[task].split()}
    lightning, nnx = framework in ("both", "lightning"), framework in ("both", "nnx")
    proofs, both = "engine_tests" in features, lightning and nnx
    found = "train.py configs/project.yaml configs/accelerator/gpu.yaml tests/conftest.py tests/test_configs.py"
    found += " tests/test_imagery.py tests/test_old_imagery.py tests/small/imagery.yaml"
    files = {*found.split(), *(f"src/p/{room}/__init__.py" for room in ("extensions", "tasks", "models"))}
    files |= {f"src/p/engine/{name}.py" for name in ("config", "schedule", "data/files", "commands/train")}
    files |= {"tests/test_transformer.py"} & {f"tests/test_{family}.py" for family in families}
    for task in tasks:
        files |= {f"src/p/tasks/{task}/{name}" for name in ("__init__.py", "data.py", "README.md")}
        files |= {f"configs/{task}/default.yaml", f"tests/test_{task}.py", f"tests/small/{task}.yaml"}
    if lightning:
        files |= {"src/p/engine/lightning/__init__.py", "src/p/engine/lightning/deep/module.py"}
        files |= {"src/p/extensions/lightning.py", *(f"src/p/tasks/{task}/lightning.py" for task in tasks)}
        files |= {f"src/p/models/{family}/torch.py" for family in families}
    if nnx:
        files |= {"src/p/engine/nnx/__init__.py", "src/p/extensions/nnx.py", "configs/accelerator/tpu.yaml"}
        files |= {f"src/p/tasks/{task}/nnx.py" for task in tasks}
        files |= {f"src/p/models/{family}/nnx.py" for family in families}
    if both:
        files |= {"src/p/engine/twins/bridge.py", "src/p/engine/commands/convert.py", "tests/test_twins.py"}
        files |= {"src/p/engine/lightning/portable.py"}
    if both or {"compare", "scale", "tune"} & {*features}:
        files |= {"src/p/engine/apart.py"}
    if "compare" in features:
        files |= {"src/p/engine/commands/compare.py", "src/p/engine/compare/report.py"}
    if "tune" in features:
        files |= {"src/p/engine/commands/tune.py", "src/p/engine/tune/study.py"}
    if "export" in features:
        files |= {"src/p/engine/commands/export.py", "src/p/engine/export.py"}
        files |= {"src/p/engine/lightning/export.py"} if lightning else set()
    if "scale" in features:
        files |= {"configs/accelerator/gpu-ddp.yaml", "launch/slurm.sbatch", "src/p/engine/scale/mesh.py"}
        files |= {"src/p/engine/scale/lightning/processes.py", "launch/torchrun.sh"} if lightning else set()
        files |= {"src/p/engine/scale/nnx/mesh.py", "launch/kubernetes/nnx-gpu.yaml"} if nnx else set()
    if {"table", "text"} & {*tasks}:
        files |= {"src/p/engine/data/tables.py"}
    if {"image", "text"} & {*tasks}:
        files |= {"src/p/engine/classification.py"}
    return files | ({*_proofs(tasks, families, lightning, nnx)} if proofs else set())


def _proofs(tasks, families, lightning, nnx):
    """Of the engine, which come with all other features."""
    chosen = ["lightning"] * lightning + ["nnx"] * nnx + ["twins"] * (lightning and nnx)
    names = ["run", "compare", "tune", "export_imagery", *(f"{task}_data" for task in tasks)]
    names += ["tables"] * bool({"table", "text"} & {*tasks})
    names += [f"metrics_{task}" for task in tasks]
    names += ["lightning", "lightning_resume", "lightning_scale"] * lightning + ["nnx", "nnx_resume"] * nnx
    names += ["twins", "twins_compare"] * (lightning and nnx)
    names += [f"{kind}_{task}" for kind in chosen if kind != "nnx" for task in tasks]
    names += ["transformer", *(f"{kind}_transformer" for kind in chosen)] * ("transformer" in families)
    yield from (f"tests/engine/test_{name}.py" for name in names)
    yield from ["tests/engine/exporting.py"] + ["tests/engine/parity.py"] * (lightning and nnx)


@pytest.mark.parametrize("features", FEATURE_SETS, ids="+".join)
@pytest.mark.parametrize("framework", ["both", *FRAMEWORKS])
@pytest.mark.parametrize("tasks", TASK_SETS, ids="+".join)
def test_exactly_the_files_of_the_chosen_frameworks_tasks_and_features_stay(framework, tasks, features):
    given = answers(framework, ",".join(tasks), ",".join(features) or "none")
    assert set(post.kept(given, FILES)) == expected(framework, tasks, features)


def test_all_features_are_all_but_the_proofs_of_the_engine():
    assert post.kept(answers(features="all"), FILES) == post.kept(answers(features="compare, export,scale,tune"), FILES)


def test_all_means_every_task():
    assert post.kept(answers(tasks="all"), FILES) == post.kept(answers(tasks=" text, table,image_pairs ,image"), FILES)


def test_a_persons_own_tasks_models_and_tests_stay():
    own = [
        "src/p/tasks/mine/__init__.py",
        "src/p/models/mine/net.py",
        "configs/mine/default.yaml",
        "tests/test_mine.py",
        "tests/test_metrics_mine.py",
        "tests/small/mine.yaml",
        "src/p/lightning.py",
        "notes/tasks/text/nnx.py",
    ]
    assert list(post.kept(answers("nnx", "image"), own)) == own


@pytest.mark.parametrize("path", ["tests/test_image_pairs_data.py", "tests/test_twins_image_pairs.py"])
def test_a_test_belongs_to_the_task_with_the_longest_name_that_fits(path):
    assert post.task_of_test(path, ["image", "pairs", "image_pairs", "data"]) == "image_pairs"


@pytest.mark.parametrize("path", ["tests/small/image_pairs.yaml", "tests/test_imagepairs.py", "src/test_image.py"])
def test_a_file_that_only_resembles_a_tasks_belongs_to_none(path):
    assert post.task_of_test(path, ["image", "pairs"]) is None


@pytest.mark.parametrize("license", TABLES["license"])
def test_one_license_stays_and_is_named_license(license):
    paths = [f"LICENSE-{name}" for name in TABLES["license"]]
    assert post.kept(answers(license=license), paths) == {f"LICENSE-{license}": "LICENSE"}


def test_caches_of_a_template_that_was_run_where_it_stands_do_not_stay():
    assert post.kept(answers(), ["src/p/__pycache__/config.cpython-311.pyc", "src/p/engine/config.py"]) == {
        "src/p/engine/config.py": "src/p/engine/config.py"
    }


CONFIG = """\
# An experiment.
# lightning: 20 s on two cores.
# nnx: 10 s on two cores.
trainer:
  epochs: 3
  # nnx: the first step compiles
  # About lightning: in general.
lightning:
  compile: true

  # about compile
nnx:
  steps_per_call: 8
    # deeper
optimizer: {name: adamw}
framework: nnx  # lightning: or so
"""


def test_a_framework_that_was_not_chosen_loses_its_comments_and_sections():
    assert (
        post.trimmed(CONFIG, {"nnx"})
        == """\
# An experiment.
# lightning: 20 s on two cores.
trainer:
  epochs: 3
  # About lightning: in general.
lightning:
  compile: true

  # about compile
optimizer: {name: adamw}
framework: nnx  # lightning: or so
"""
    )
    assert (
        post.trimmed(CONFIG, {"lightning"})
        == """\
# An experiment.
# nnx: 10 s on two cores.
trainer:
  epochs: 3
  # nnx: the first step compiles
  # About lightning: in general.
nnx:
  steps_per_call: 8
    # deeper
optimizer: {name: adamw}
framework: nnx  # lightning: or so
"""
    )


def test_a_section_at_the_end_leaves_no_blank_lines_behind():
    assert post.trimmed("seed: 1\n\nnnx:\n  remat: true\n\n", {"nnx"}) == "seed: 1\n"


def test_a_file_with_nothing_else_becomes_empty():
    assert post.trimmed("nnx:\n  remat: true\n", {"nnx"}) == ""


def test_only_configs_and_launch_files_are_trimmed(tmp_path):
    for path in ("configs/a.yaml", "configs/deep/b.yml", "launch/run.sh", "configs/c.txt", "tests/d.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("# nnx: x\nkept: 1\n")
    post.clean(tmp_path, answers("lightning", "image"))
    trimmed = {path for path in files_of(tmp_path) if "nnx" not in (tmp_path / path).read_text()}
    assert trimmed == {"configs/a.yaml", "configs/deep/b.yml", "launch/run.sh"}


def test_folders_that_become_empty_go_and_linked_folders_are_not_entered(tmp_path):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "src/p/tasks/text").mkdir(parents=True)
    (project / "src/p/tasks/text/nnx.py").touch()
    (project / "src/p/train.py").touch()
    (elsewhere / "engine/nnx").mkdir(parents=True)
    (elsewhere / "engine/nnx/loop.py").touch()
    (project / "src/linked").symlink_to(elsewhere, target_is_directory=True)
    post.clean(project, answers("lightning", "image"))
    assert not (project / "src/p/tasks").exists()
    assert (elsewhere / "engine/nnx/loop.py").exists()


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("accelerator", TABLES["accelerator"])
@pytest.mark.parametrize("framework", TABLES["framework"])
def test_the_next_steps_are_at_most_four_lines(framework, accelerator, windows):
    lines = post.next_steps(answers(framework, accelerator=accelerator), "some-project", windows)
    assert len(lines) <= 4
    assert ("nnx" in "\n".join(lines)) == (framework == "both" and accelerator == "tpu")
    assert all(line.isascii() for line in lines)


def test_the_way_to_a_project_is_from_where_the_shell_is(tmp_path):
    assert post.way(tmp_path / "out" / "p", tmp_path) == str(Path("out", "p"))
    assert post.way(tmp_path / "p", tmp_path / "deep" / "er") in (str(Path("..", "..", "p")), str(tmp_path / "p"))


def test_the_way_to_a_project_that_is_moved_from_a_temporary_folder_does_not_name_it(tmp_path, monkeypatch):
    monkeypatch.setattr(post.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    rendered, shell = tmp_path / "tmp" / "tmpab_12xyz" / "p", tmp_path / "home"
    shell.mkdir()
    assert post.way(rendered, shell) == "p"
    (shell / ".cruft.json").touch()  # cruft's update: the shell is at the project
    assert post.way(rendered, shell) is None
    # A folder of a person's own, there or in one that their shell is in.
    assert post.way(tmp_path / "tmp" / "mine" / "p", tmp_path / "tmp") == str(Path("mine", "p"))
    assert post.way(rendered, rendered.parent) == "p"


def test_the_questions_are_these():
    asked = [key for key in TABLES if not key.startswith("_")]
    assert (
        asked
        == "project_name project_slug package_name description author license framework tasks".split()
        + "accelerator features".split()
    )
    assert set(TABLES["__prompts__"]) == set(asked)


def test_every_task_and_model_folder_of_the_template_has_its_row_and_every_row_its_folders():
    source = PROJECT / "src" / "{{cookiecutter.package_name}}"
    folders = {
        kind: {path.name for path in (source / kind).iterdir() if (path / "__init__.py").is_file()}
        for kind in ("tasks", "models")
    }
    assert folders["tasks"] == set(TASKS)
    families = {family for row in TABLES["_tasks"].values() for family in row["models"]}
    assert folders["models"] == families | {"layers"}  # what families share is in every project
    assert {path.name for path in (PROJECT / "configs").iterdir() if path.is_dir()} >= set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_brings_its_tests_and_its_options_for_tests(task):
    files = [f"test_{task}.py", f"small/{task}.yaml"]
    assert [file for file in files if not (PROJECT / "tests" / file).is_file()] == []


def test_every_pattern_in_the_tables_names_a_file_of_the_template():
    paths = files_of(PROJECT, template=True)
    rows = [*TABLES["_frameworks"].values(), *TABLES["_features"].values()]
    tables = [*(row["files"] for row in rows), TABLES["_both"]]
    optional = {pattern for pattern in chain.from_iterable(tables) if pattern.startswith("tests/")}
    unused = {
        pattern
        for pattern in chain.from_iterable(tables)
        if pattern not in optional and not any(post.matches(path, pattern) for path in paths)
    }
    assert not unused
    source = PROJECT / "src" / "{{cookiecutter.package_name}}" / "engine"
    assert all((source / f"{name}.py").is_file() for row in TABLES["_tasks"].values() for name in row["engine"])


def test_the_tables_are_plain_data():
    assert json.loads(json.dumps(TABLES)) == TABLES
    for row in TABLES["_tasks"].values():
        assert set(row) == {"summary", "example", "predict", "models", "engine", "dependencies"}
        assert all(set(need) == {"requirement", "imports", "reason"} for need in row["dependencies"])


SIZES = {
    "one framework, one task, `features=none`": (FRAMEWORKS, TASKS, "none"),
    "one framework, one task, all features": (FRAMEWORKS, TASKS, "all"),
    "both, `image_classification`, all features (the default)": (["both"], ["image_classification"], "all"),
}


def sizes(framework, task, features):
    """Lines of Python in src/, of them in engine/, lines of Python in tests/, and the number of files."""
    given = answers(framework, task, features, TABLES["_tasks"])
    paths = post.kept(given, files_of(PROJECT, template=True))
    lines = {path: (PROJECT / path).read_text(encoding="utf-8").count("\n") for path in paths if path.endswith(".py")}
    rooms = ("src/", "src/{{cookiecutter.package_name}}/engine/", "tests/")
    return [*(sum(lines[path] for path in lines if path.startswith(room)) for room in rooms), len(paths)]


@pytest.mark.parametrize("name", SIZES)
def test_a_project_is_as_large_as_the_documentation_says(name):
    frameworks, tasks, features = SIZES[name]
    found = [sizes(framework, task, features) for framework in frameworks for task in tasks]
    rows = (TEMPLATE / "docs" / "design.md").read_text(encoding="utf-8").splitlines()
    [cells] = [line.split("|")[2:-1] for line in rows if line.startswith(f"| {name} |")]
    for cell, values in zip(cells, zip(*found, strict=True), strict=True):
        least, *_, most = map(int, (cell.replace(",", "").split(" to ") * 2)[:2])
        assert min(values) == pytest.approx(least, rel=0.03) and max(values) == pytest.approx(most, rel=0.03), name
