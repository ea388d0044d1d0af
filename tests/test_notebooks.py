"""The notebooks of a project run from top to bottom, as a person would run them."""

import ast
import re

import nbformat
import pytest
from baking import FRAMEWORKS, bake
from nbclient import NotebookClient


def notebook_of(project, framework):
    return nbformat.read(project / "notebooks" / f"{framework}.ipynb", as_version=4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_notebook_runs(tmp_path, monkeypatch, framework):
    project = bake(tmp_path, framework=framework, features="none")
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = notebook_of(project, framework)
    place = {"metadata": {"path": str(project / "notebooks")}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    results = [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "execute_result"
    ]
    metrics, losses, *_, parameters = results
    assert ast.literal_eval(metrics)["test/accuracy"] > 0.3
    assert ast.literal_eval(losses)[-1][0] == 100
    assert int(parameters) > 10_000


def test_notebooks_hold_no_outputs_and_go_in_the_same_order(tmp_path):
    project = bake(tmp_path)
    notebooks = [notebook_of(project, framework) for framework in FRAMEWORKS]
    for notebook in notebooks:
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    first, second = (re.findall(r"^## [\w ]+", "\n".join(cell.source for cell in n.cells), re.M) for n in notebooks)
    assert len(first) == 4 and first == second
