"""What the hook keeps, as a function of the answers and the tables; nothing is baked here."""

import json
from itertools import chain, combinations
from pathlib import Path

import pytest
from baking import FRAMEWORKS, PROJECT, TABLES, TASKS, files_of, hook

post = hook("post_gen_project")

# Four tasks: two share a family, one has a family for itself, two have names of which one begins the other.
ROWS = {
    "image": {"models": ["mlp", "convnet"]},
    "image_pairs": {"models": ["convnet"]},
    "table": {"models": ["mlp"]},
    "text": {"models": ["transformer"]},
}
FILES = [
    "train.py",
    "configs/project.yaml",
    "configs/accelerator/gpu.yaml",
    "configs/accelerator/tpu.yaml",
    "src/p/engine/cli.py",
    "src/p/data/files.py",
    "src/p/extensions/__init__.py",
    "src/p/extensions/lightning.py",
    "src/p/extensions/nnx.py",
    "src/p/engine/schedule.py",
    "src/p/engine/lightning/__init__.py",
    "src/p/engine/lightning/deep/module.py",
    "src/p/engine/nnx/__init__.py",
    "src/p/engine/twins/bridge.py",
    "src/p/tasks/__init__.py",
    "src/p/models/__init__.py",
    "tests/test_cli.py",
    "tests/test_lightning.py",
    "tests/test_lightning_resume.py",
    "tests/test_nnx.py",
    "tests/test_nnx_resume.py",
    "tests/test_twins.py",
    "tests/test_twins_bridge.py",
    "tests/parity.py",
    "tests/test_imagery.py",
    "tests/test_old_imagery.py",
    "tests/small/imagery.yaml",
    *(f"src/p/tasks/{task}/{name}" for task in ROWS for name in ("__init__.py", "data.py", "lightning.py", "nnx.py")),
    *(f"src/p/tasks/{task}/README.md" for task in ROWS),
    *(f"configs/{task}/default.yaml" for task in ROWS),
    *(f"tests/test_{task}.py" for task in ROWS),
    *(f"tests/test_{task}_data.py" for task in ROWS),
    *(f"tests/test_{kind}_{task}.py" for kind in ("lightning", "twins", "metrics") for task in ROWS),
    *(f"tests/small/{task}.yaml" for task in ROWS),
    *(f"src/p/models/{model}/{name}.py" for model in ("mlp", "convnet", "transformer") for name in ("torch", "nnx")),
    "src/p/models/layers/torch.py",
    "src/p/models/layers/nnx.py",
    "tests/test_transformer.py",
    "tests/test_lightning_transformer.py",
    "tests/test_nnx_transformer.py",
    "tests/test_twins_transformer.py",
]
TASK_SETS = list(chain.from_iterable(combinations(ROWS, size) for size in range(1, len(ROWS) + 1)))


def answers(framework="both", tasks="all", rows=ROWS, **others):
    return {**TABLES, "_tasks": rows, "framework": framework, "tasks": tasks, "license": "MIT", **others}


def expected(framework, tasks):
    """Said once more, in the words of DESIGN and not in patterns: which of FILES belong to these answers."""
    families = {"image": "mlp convnet", "image_pairs": "convnet", "table": "mlp", "text": "transformer"}
    families = {family for task in tasks for family in families[task].split()}
    lightning, nnx = framework in ("both", "lightning"), framework in ("both", "nnx")
    files = {
        "train.py",
        "configs/project.yaml",
        "configs/accelerator/gpu.yaml",
        "src/p/engine/cli.py",
        "src/p/data/files.py",
        "src/p/extensions/__init__.py",
        "src/p/engine/schedule.py",
        "src/p/tasks/__init__.py",
        "src/p/models/__init__.py",
        "tests/test_cli.py",
        "tests/test_imagery.py",
        "tests/test_old_imagery.py",
        "tests/small/imagery.yaml",
    }
    families.add("layers")
    tested = "transformer" in families
    files |= {"tests/test_transformer.py"} if tested else set()
    files |= {"tests/test_lightning_transformer.py"} if tested and lightning else set()
    files |= {"tests/test_nnx_transformer.py"} if tested and nnx else set()
    files |= {"tests/test_twins_transformer.py"} if tested and lightning and nnx else set()
    if lightning:
        files |= {"src/p/engine/lightning/__init__.py", "src/p/engine/lightning/deep/module.py"}
        files |= {"src/p/extensions/lightning.py", "tests/test_lightning.py", "tests/test_lightning_resume.py"}
        files |= {f"src/p/tasks/{task}/lightning.py" for task in tasks}
        files |= {f"tests/test_lightning_{task}.py" for task in tasks}
        files |= {f"src/p/models/{family}/torch.py" for family in families}
    if nnx:
        files |= {"src/p/engine/nnx/__init__.py", "src/p/extensions/nnx.py"}
        files |= {"tests/test_nnx.py", "tests/test_nnx_resume.py"}
        files |= {f"src/p/tasks/{task}/nnx.py" for task in tasks}
        files |= {f"src/p/models/{family}/nnx.py" for family in families}
        files |= {"configs/accelerator/tpu.yaml"}
    if lightning and nnx:
        files |= {
            "src/p/engine/twins/bridge.py",
            "tests/parity.py",
            "tests/test_twins.py",
            "tests/test_twins_bridge.py",
        }
        files |= {f"tests/test_twins_{task}.py" for task in tasks}
    for task in tasks:
        files |= {f"src/p/tasks/{task}/{name}" for name in ("__init__.py", "data.py", "README.md")}
        files |= {f"configs/{task}/default.yaml", f"tests/test_{task}.py", f"tests/test_{task}_data.py"}
        files |= {f"tests/test_metrics_{task}.py", f"tests/small/{task}.yaml"}
    return files


@pytest.mark.parametrize("framework", ["both", *FRAMEWORKS])
@pytest.mark.parametrize("tasks", TASK_SETS, ids="+".join)
def test_exactly_the_files_of_the_chosen_frameworks_and_tasks_stay(framework, tasks):
    assert set(post.kept(answers(framework, ",".join(tasks)), FILES)) == expected(framework, tasks)


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
    assert post.kept(answers(), ["src/p/__pycache__/cli.cpython-311.pyc", "src/p/engine/cli.py"]) == {
        "src/p/engine/cli.py": "src/p/engine/cli.py"
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
    (project / "src/p/engine/cli.py").touch()
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
        asked == "project_name project_slug package_name description author license framework tasks accelerator".split()
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
    tables = [row["files"] for row in TABLES["_frameworks"].values()] + [TABLES["_both"]]
    optional = {pattern for pattern in chain.from_iterable(tables) if pattern.startswith("tests/")}
    unused = {
        pattern
        for pattern in chain.from_iterable(tables)
        if pattern not in optional and not any(post.matches(path, pattern) for path in paths)
    }
    assert not unused


def test_the_tables_are_plain_data():
    assert json.loads(json.dumps(TABLES)) == TABLES
    for row in TABLES["_tasks"].values():
        assert set(row) == {"summary", "example", "predict", "models", "dependencies"}
        assert all(set(need) == {"requirement", "imports", "reason"} for need in row["dependencies"])
