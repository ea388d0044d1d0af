"""Hostile input to what every task shares: files, configs, command lines. It is data, or one line, and nothing else."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from hostile import QUICK, check_damaged, data_or_one_line, each_of, tries
from hypothesis import strategies as st
from safetensors.numpy import save

from {{cookiecutter.package_name}}.engine import config as configs
from {{cookiecutter.package_name}}.engine import layers, registry, weights
from {{cookiecutter.package_name}}.engine.commands import train
from {{cookiecutter.package_name}}.engine.registry import load_config
from {{cookiecutter.package_name}}.engine.scale import doctor

WEIGHTS = {"a.weight": np.zeros((2, 3), np.float32), "a.bias": np.ones(3, np.int8)}


READERS = {
    "safetensors": (".safetensors", save(WEIGHTS), weights.read),
    "yaml": (".yaml", b"trainer: {epochs: 3}\nname: x\ndata:\n  batch_size: 4\n", layers.read_yaml),
}


@pytest.mark.parametrize("name", READERS)
@tries(QUICK, 500)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, count):
    suffix, content, read = READERS[name]
    check_damaged(tmp_path / f"file{suffix}", content, read, count)


# Configs and command lines.

KEYS = sorted(configs.flatten(configs.to_dict(load_config()))) + ["config", "accelerator", "model", "print_config"]
TARGETS = sorted(
    file.relative_to(folder).with_suffix("").as_posix()
    for folder in [Path(__file__).parents[2] / "configs"]
    for file in folder.glob("*/*.yaml")
)
WORDS = ["0", "1", "-1", "3", "1e-3", "1e999", "nan", "inf", "true", "null", "cpu", "auto", "never", "[1, 2]", "{a: 1}"]
WORDS += ["", " ", ".", "..", "/", "a/b", "~", "*", "%s", "{", "[", "'", '"', "!!python/name:os.system", "&a", "*a"]
WORDS += ["2026-02-31", "0x_", "1:90", "--", "-h", "adamw", "cosine", "runs/none", "x" * 300, "9" * 5000, "[" * 3000]

# What a shell can pass: any text without a byte 0, also such that is no UTF-8.
texts = st.text(st.characters(exclude_characters="\0"), max_size=20)
values = st.one_of(st.sampled_from(WORDS), texts, st.integers().map(str), st.floats().map(str))
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS).map(lambda key: key[:-1]), texts)
options = st.one_of(
    st.tuples(keys, values).map(lambda pair: [f"--{pair[0]}", pair[1]]),
    st.tuples(keys, values).map(lambda pair: [f"--{pair[0]}={pair[1]}"]),
    values.map(lambda value: [value]),
)
targets = st.one_of(st.just(""), st.sampled_from(TARGETS), values)


@tries(200, 2000)
def test_a_command_line_is_a_config_or_one_line(project, count):
    def check(words):
        target, *rest = words
        chosen = []

        def read():
            chosen.append(load_config(target, sum(rest, [])))
            registry.check(chosen[0])

        data_or_one_line(read)
        for config in chosen:  # what is accepted can be written and read again
            written = yaml.safe_dump(configs.to_dict(config), allow_unicode=True)
            assert configs.to_dict(load_config(saved=yaml.safe_load(written))) == configs.to_dict(config)

    each_of(st.tuples(targets, options, options), count, check)
    assert list(project.iterdir()) == []


COMMANDS = ["train", "evaluate", "predict", "doctor", "--help", "-h", "tarin"]
lines = st.tuples(st.sampled_from(COMMANDS), st.lists(values, max_size=2), st.lists(options, max_size=2))


@tries(100, 1000)
def test_a_command_ends_well_or_with_one_line(cli, project, monkeypatch, count):
    """What would train or look for devices is not begun: that they do is tested elsewhere."""
    monkeypatch.setattr(train, "_train_one", lambda *_: 0)
    if len(registry.frameworks()) > 1:
        monkeypatch.setattr("{{cookiecutter.package_name}}.engine.twins.both.train_both", lambda *_: ([], 0))
    monkeypatch.setattr(doctor, "rehearsed", lambda *_: [])
    for framework in registry.frameworks().values():
        monkeypatch.setattr(framework, "hardware", lambda: Nothing())

    def check(words):
        command, inputs, rest = words
        outcome = cli(command, *inputs, *sum(rest, []))
        assert outcome.code in (0, 2), outcome
        if outcome.code and command != "doctor":
            assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err

    each_of(lines, count, check)
    assert list(project.iterdir()) == []


class Nothing:
    """Hardware that is not asked."""

    def count(self):
        return {}

    def pick(self, *_):
        return []


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(WORDS))
trees = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(plain, inner, max_size=3)), max_leaves=8
)
sections = st.dictionaries(st.sampled_from(KEYS), trees, min_size=1, max_size=4)


@tries(100, 1000)
def test_a_config_file_is_a_config_or_one_line(project, count):
    def check(found):
        with contextlib.suppress(UnicodeEncodeError):  # half of a character, which no file can hold
            Path("some.yaml").write_text(yaml.safe_dump(found, allow_unicode=True), encoding="utf-8")
            data_or_one_line(lambda: load_config("", ["--config", "some.yaml"]))

    each_of(st.one_of(sections, trees), count, check)
