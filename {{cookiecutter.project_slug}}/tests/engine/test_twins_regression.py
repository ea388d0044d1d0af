"""Both halves of regression are the same algorithm, on numbers, gaps and categories."""

import pytest
from parity import assert_runs_agree, assert_weights_go_across_and_back

TASK = "regression"
OPTIONS = ["--data.name=csv", "--data.path=table.csv", "--data.target=y", "--data.categorical=c,d"]


@pytest.fixture
def options(project):
    """Of a table in the current folder."""
    rows = ["a,b,c,d,y"]
    for i in range(200):
        rows.append(f"{i * 37 % 101},{i % 9 or 'NA'},{'xyz'[i % 3]},{i * i % 17},{i * 37 % 101 + 20 * (i % 3)}")
    (project / "table.csv").write_text("\n".join(rows))
    return [f"--data.root={project}", *OPTIONS]


def test_a_run_is_the_same(options):
    assert_runs_agree(TASK, *options)


def test_weights_go_across_and_back(options):
    assert_weights_go_across_and_back(TASK, *options)
