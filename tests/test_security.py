"""What a project and its baking may not do: reach the network, run what an answer says, or trust what moves."""

import re

import pytest
import yaml
from baking import FRAMEWORKS, TEMPLATE, bake, command, files_of

# Python runs a `sitecustomize` at every start. In the hooks' processes nothing may go out and nothing may be started;
# cookiecutter's own starts the hooks.
WATCH = """
import sys


def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto") or (
        event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn")
        and "cookiecutter" not in sys.orig_argv
    ):
        with open({log!r}, "a") as log:
            print(event, arguments[:2], file=log)
        raise PermissionError(event)


with open({starts!r}, "a") as starts:
    print(sys.orig_argv, file=starts)
sys.addaudithook(watch)
"""


def test_hooks_reach_no_network_and_start_nothing(tmp_path):
    log, starts, watch = tmp_path / "log", tmp_path / "starts", tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH.format(log=str(log), starts=str(starts)))
    for answers, code in ([], 0), (["package_name=torch"], 1):
        arguments = ["--no-input", "--default-config", "-o", tmp_path / f"out-{code}", TEMPLATE, *answers]
        result = command("cookiecutter", *arguments, cwd=tmp_path, PYTHONPATH=str(watch), HOME=str(tmp_path))
        assert result.returncode == code, result.stderr
    assert not log.exists(), log.read_text()
    assert len(starts.read_text().splitlines()) == 5  # twice cookiecutter, and three hooks: the watch was there


WHERE = {
    "project_name": ["CITATION.cff", "README.md"],
    "description": ["README.md", "pyproject.toml"],
    "author": ["CITATION.cff", "LICENSE", "pyproject.toml"],
}


@pytest.mark.parametrize("license", ["MIT", "BSD-3-Clause", "Apache-2.0", "Proprietary"])
def test_free_texts_stand_in_no_file_that_is_run(tmp_path, license):
    """They are in metadata and in what people read; Makefile, Dockerfile, scripts and source never hold them."""
    marks = {question: f"zq{question.replace('_', '')}qz" for question in WHERE}
    project = bake(tmp_path, **marks, project_slug="fine", package_name="fine", license=license)
    texts = {path: (project / path).read_text(encoding="utf-8") for path in files_of(project)}
    for question, places in WHERE.items():
        assert [path for path, text in texts.items() if marks[question] in text] == places


WORKFLOWS = sorted(TEMPLATE.glob(".github/workflows/*.yml")) + sorted(TEMPLATE.glob("{{*/.github/workflows/*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.relative_to(TEMPLATE).as_posix())
def test_workflows_may_only_read_and_name_actions_by_their_commit(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job and job["timeout-minutes"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.search(rf"{re.escape(step['uses'])} # v\d+\.\d+\.\d+$", text, re.MULTILINE)
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "")  # what an event brings would be a part of the script


@pytest.mark.parametrize("framework", ["both", *FRAMEWORKS])
def test_tensorboard_is_only_started_for_this_machine(baked, framework):
    """By itself it listens on the loopback address alone."""
    project, started = baked(framework=framework), 0
    for path in files_of(project):
        for line in (project / path).read_text(encoding="utf-8").splitlines():
            assert "bind_all" not in line and "6006" not in line, path
            if re.search(r"tensorboard\b.*--logdir", line):
                assert "--host" not in line, path
                started += 1
    assert started
    own = [TEMPLATE / name for name in ("README.md", "Makefile", "CONTRIBUTING.md")]
    assert not [path for path in own if re.search(r"bind_all|tensorboard.*--host", path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("framework", ["both", *FRAMEWORKS])
def test_no_module_can_unpickle_or_evaluate(baked, framework):
    """Of what Python itself has for running code that stands in data; torch's and NumPy's loaders are told not to."""
    project = baked(framework=framework)
    for path in files_of(project / "src"):
        text = (project / "src" / path).read_text(encoding="utf-8")
        found = re.findall(
            r"(?:import|from) (?:c?pickle|shelve|marshal|dill|joblib)\b(?! import UnpicklingError)"
            r"|(?<![\w.])(?:eval|exec)\("
            r"|allow_pickle=True|weights_only=False|yaml\.(?:unsafe_load|full_load|Loader\b|UnsafeLoader)|shell=True|os\.system",
            text,
        )
        assert found == [], f"{path}: {found}"
        for call in re.findall(r"torch\.load\([^)]*\)?", text):
            assert "weights_only=True" in call, path
