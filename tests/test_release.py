"""Releases: what the script makes, and that a project of the last release can be brought to this commit."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from baking import TEMPLATE, command, files_of

SCRIPT = "tools/release.py"
NOW = datetime.date.today().year


def git(folder, *words):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "template"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(TEMPLATE / SCRIPT, folder / SCRIPT)
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.1.0 (2026-01-01)\n\n- Old.\n")
    git(folder, "init", "-q", "-b", "main")
    for name, value in {"user.name": "A", "user.email": "a@example.org", "commit.gpgsign": "false"}.items():
        git(folder, "config", name, value)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    git(folder, "tag", "v0.1.0")
    return folder


def release(folder, version):
    return subprocess.run([sys.executable, SCRIPT, version], cwd=folder, capture_output=True, text=True)


def test_a_release_is_a_dated_changelog_a_commit_and_a_tag(repository):
    done = release(repository, "0.2.0")
    assert done.returncode == 0, done.stderr
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.sub(rf"\({NOW}-\d\d-\d\d\)", "(TODAY)", changelog, count=1)
    assert dated.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0 (TODAY)\n\n- New.\n\n## 0.1.0 (2026-01-01)\n")
    assert git(repository, "log", "-1", "--format=%s") == "Release 0.2.0"
    assert git(repository, "describe") == "v0.2.0" and not git(repository, "status", "--porcelain")
    assert done.stdout.endswith("Next: git push --follow-tags\n")


@pytest.mark.parametrize(
    ("version", "change", "part"),
    [
        ("next", None, "'next' is no version"),
        ("0.1.0", None, "0.1.0 is not above 0.1.0"),
        ("0.2.0", "new.txt", "changes that are not committed"),
        ("0.2.0", "CHANGELOG.md", "has nothing under '## Unreleased'"),
    ],
)
def test_what_is_no_release_is_one_line_and_changes_nothing(repository, version, change, part):
    if change:
        (repository / change).write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0 (2026-01-01)\n\n- Old.\n")
    if change == "CHANGELOG.md":
        git(repository, "commit", "-q", "-a", "-m", "no news")
    before = git(repository, "rev-parse", "HEAD")
    done = release(repository, version)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert part in done.stderr
    assert git(repository, "rev-parse", "HEAD") == before and git(repository, "tag") == "v0.1.0"


def last_release():
    """The commit of the one before this; "" in a copy without history."""
    if not (TEMPLATE / ".git").exists():
        return ""
    this, found = git(TEMPLATE, "rev-parse", "HEAD"), git(TEMPLATE, "log", "--format=%H", "--grep=^Release [0-9]")
    return next((commit for commit in found.split() if commit != this), "")


def test_a_project_of_the_last_release_is_brought_to_this_commit_by_an_update(tmp_path):
    """With a task that its owner has changed, and the rest as it was."""
    if not (commit := last_release()):
        pytest.skip("no release in the history of this clone")
    template, environment = tmp_path / "template", {"HOME": str(tmp_path)}
    git(tmp_path, "clone", "-q", TEMPLATE, template)
    answers = json.dumps({"project_name": "Crafted", "framework": "both", "tasks": "regression"})
    options = ("--no-input", "--checkout", commit, "--extra-context", answers)
    done = command("cruft", "create", template, *options, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    project = tmp_path / "crafted"
    mine = project / "src" / "crafted" / "tasks" / "regression" / "nnx.py"
    mine.write_text(mine.read_text(encoding="utf-8") + "\n\nMINE = 1\n", encoding="utf-8")
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "all")
    words = ("update", "-y", "--checkout", "HEAD")
    done = command("cruft", *words, cwd=project, PWD=str(project), **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [path for path in files_of(project) if path.endswith((".rej", ".orig"))]
    assert mine.read_text(encoding="utf-8").endswith("MINE = 1\n")
    done = subprocess.run(
        [sys.executable, "train.py", "regression", "--debug=fast", "--framework=lightning"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
