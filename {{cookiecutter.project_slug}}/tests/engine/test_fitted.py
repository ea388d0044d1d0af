"""What a run keeps of its data: plain values, and files of their own; and what predictions take beside inputs."""

from dataclasses import dataclass

import numpy as np
import pytest

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.config import PositiveInt, option
from {{cookiecutter.package_name}}.engine.data.sources import Arrays, Dataset, digest
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import check_spec, read_spec
from {{cookiecutter.package_name}}.engine.layers import read_options
from {{cookiecutter.package_name}}.engine.registry import frameworks
from {{cookiecutter.package_name}}.engine.run import Run

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


# Whatever stands in a file of `fitted/` that is not what was saved.
DAMAGES = {
    "a list": lambda content: b"[]",
    "another thing": lambda content: b'{"a": 1}',
    "half": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"",
    "no UTF-8": lambda content: b"\xff\xfe",
}


@pytest.mark.parametrize("name", ["spec.json", "tokenizer.json", "means.npy"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_one_line(folder, name, damage):
    path = folder / "fitted" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(InputError, match=f"fitted/{name}.* is damaged") as caught:
        read_spec(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["spec.json", "tokenizer.json", "means.npy"])
def test_every_missing_file_is_one_line(folder, name):
    (folder / "fitted" / name).unlink()
    with pytest.raises(InputError, match=f"fitted/{name} is (gone|damaged)"):
        read_spec(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_fingerprints_are_one_line(folder, damage):
    path = folder / "data.json"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(InputError, match="data.json is damaged"):
        read_spec(folder)


def test_lost_fingerprints_are_told(folder, capsys):
    (folder / "data.json").unlink()
    read_spec(folder)
    assert "data.json is gone, or the run is older" in capsys.readouterr().err


# Fingerprints: what tells whether the same examples stand there in the same order.


def arrays(count=20, **changes):
    rng = np.random.default_rng(0)
    return Arrays(**{"x": rng.normal(size=(count, 3)), "label": np.arange(count) % 3, **changes})


def test_the_same_examples_have_the_same_digest_and_others_another():
    plain = arrays()
    order = np.arange(20)[::-1]
    others = [
        arrays(21),
        Arrays(**plain[order]),
        arrays(x=100 * plain.arrays["x"]),
        arrays(label=np.arange(20) % 2),
        arrays(x=plain.arrays["x"].astype(np.float32)),
    ]
    digests = [digest(source) for source in (plain, *others)]
    assert len(set(digests)) == 6 and digest(arrays()) == digests[0]


class Counting:
    """A source without a digest of its own."""

    def __init__(self, count, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def __getitem__(self, indices):
        return {"x": indices + self.first}


def test_a_source_without_a_digest_has_that_of_some_of_its_examples():
    assert digest(Counting(1000)) == digest(Counting(1000))
    assert len({digest(Counting(1000)), digest(Counting(1001)), digest(Counting(1000, first=1))}) == 3


def test_test_examples_that_are_trained_on_are_counted():
    train, rest = arrays(), np.arange(5)
    both = {name: np.concatenate([array[rest], 7 + array[rest]]) for name, array in train.arrays.items()}
    assert Dataset(train, train, Arrays(**both), {}).leaked() == 5
    assert Dataset(train, train, Counting(3), {}).leaked() == Dataset(Counting(3), train, train, {}).leaked() == 0


def test_drawn_data_have_no_fingerprint():
    assert Dataset(arrays(), arrays(), arrays(), {}, drawn=True).fingerprint() == {}


@dataclass(frozen=True)
class Options:
    top: PositiveInt = option(10, "how many")
    name: str = option("", "whose")


def test_options_of_predictions_have_values_of_their_type():
    assert read_options(Options, {"top": "3"}) == Options(3, "")
    assert read_options(Options, {"top": 3, "name": "a"}) == Options(3, "a")


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
