"""The two halves of every task that the project has are the same algorithm. A new task is found by itself.

`small/<task>.yaml` makes a task small here. What a task has beside that, as other models, its own file proves.
"""

import pytest
from conftest import small
from parity import (
    assert_gradients_agree,
    assert_rounding_stays_small,
    assert_runs_agree,
    assert_weights_go_across_and_back,
)

from {{cookiecutter.package_name}}.engine import task as tasks

every = pytest.mark.parametrize("task", tasks.names())
# Of a detector these take minutes; a shorter run of both halves is among its own tests.
quick = pytest.mark.parametrize(
    "task", [pytest.param(x, marks=[pytest.mark.slow] * (x == "object_detection")) for x in tasks.names()]
)

first = pytest.mark.parametrize(
    "task", [pytest.param(x, marks=[pytest.mark.slow] * bool(i)) for i, x in enumerate(tasks.names())]
)


@quick
def test_outputs_and_gradients_are_the_same(task):
    assert_gradients_agree(task, *small(task))


@first
def test_a_run_is_the_same(project, task):
    """A hundred steps; `tests/test_twins.py` has twenty of every task."""
    assert_runs_agree(task, *small(task))


@first
def test_in_float32_only_rounding_differs(project, task):
    assert_rounding_stays_small(task, *small(task))


@every
def test_weights_go_across_and_back(task):
    assert_weights_go_across_and_back(task, *small(task))
