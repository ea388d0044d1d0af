"""What a run keeps of its data: plain values, and files of their own; and what predictions take beside inputs."""

from dataclasses import dataclass

import numpy as np
import pytest

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.config import PositiveInt, option, options_help, read_options
from {{cookiecutter.package_name}}.errors import InputError
from {{cookiecutter.package_name}}.run import Run, check_spec, read_spec
from {{cookiecutter.package_name}}.trainers import frameworks

SPEC = {"classes": ["a", "b"], "shape": (2, 3), "tokenizer.json": '{"é": 1}', "means.npy": np.arange(3.0)}


@pytest.fixture
def folder(project):
    run = Run.choose(load_config("", {"framework": list(frameworks())[0], "name": "one"}))
    run.start(SPEC, 10, ["numpy"], "none")
    run.close()
    return run.folder


def test_what_is_fitted_is_kept_in_files_of_its_own(folder):
    assert sorted(path.name for path in (folder / "fitted").iterdir()) == ["means.npy", "spec.json", "tokenizer.json"]
    assert (folder / "fitted/tokenizer.json").read_text(encoding="utf-8") == '{"é": 1}'


def test_what_is_fitted_comes_back(folder):
    spec = read_spec(folder)
    assert np.array_equal(spec.pop("means.npy"), [0, 1, 2])
    assert spec == {"classes": ["a", "b"], "shape": [2, 3], "tokenizer.json": '{"é": 1}'}
    check_spec(folder, SPEC)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"tokenizer.json": "{}"}, "tokenizer.json is another one"),
        ({"means.npy": np.ones(3)}, "means.npy is another one"),
        ({"new.txt": ""}, "new.txt is another one"),
        ({"shape": (2, 4)}, "shape: gone [3], new [4]"),
    ],
)
def test_data_that_have_changed_are_told(folder, changed, part):
    with pytest.raises(InputError, match="the data have changed since this run began") as caught:
        check_spec(folder, {**SPEC, **changed})
    assert part in str(caught.value) and "\n" not in str(caught.value)


@dataclass(frozen=True)
class Options:
    top: PositiveInt = option(10, "how many")
    name: str = option("", "whose")


def test_options_of_predictions_have_values_of_their_type():
    assert read_options(Options, {"top": "3"}) == Options(3, "")
    assert read_options(Options, {"top": 3, "name": "a"}) == Options(3, "a")
    assert options_help(Options) == ["--top   how many (10)", "--name  whose ('')"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"top": "many"}, "--top many: expected a whole number >= 1"),
        ({"topp": 1}, "unknown option --topp: did you mean 'top'?"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(given, line):
    with pytest.raises(InputError) as caught:
        read_options(Options, given)
    assert str(caught.value) == line
