"""The config: how its layers become one, and what is said about those that are wrong."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from {{cookiecutter.package_name}}.engine import commands, layers, meant, registry
from {{cookiecutter.package_name}}.engine import config as configs
from {{cookiecutter.package_name}}.engine.config import DataConfig, ModelConfig, PositiveInt, Probability, option, to_dict
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import frameworks, load_config

FOLDER = Path(__file__).parents[2] / "configs"
TASK_NAME = yaml.safe_load((FOLDER / "project.yaml").read_text(encoding="utf-8"))["task"]
PRESETS = sorted(
    file.relative_to(FOLDER).with_suffix("").as_posix()
    for file in FOLDER.glob("*/*.yaml")
    if file.parent.name != "accelerator"
)
ACCELERATORS = sorted(file.stem for file in (FOLDER / "accelerator").glob("*.yaml"))
COMMANDS = [[name] for name in commands.names()]


def test_the_task_alone_means_its_default_preset():
    default, named = load_config(TASK_NAME), load_config(f"{TASK_NAME}/default")
    assert {**to_dict(named), "preset": ""} == to_dict(default)


def test_without_a_task_it_is_the_projects_first():
    assert load_config().task == TASK_NAME


# Layers, of a task made for it.


@dataclass(frozen=True)
class Deep(ModelConfig):
    layers: PositiveInt = option(2, "how deep")
    dropout: Probability = option(0.0, "after each layer")


@dataclass(frozen=True)
class Wide(ModelConfig):
    width: PositiveInt = option(8, "how wide")
    dropout: Probability = option(0.0, "after the layer")


@dataclass(frozen=True)
class Toy(DataConfig):
    classes: PositiveInt = option(2, "how many")


@dataclass(frozen=True)
class Real(DataConfig):
    verify: bool = option(True, "check the files")


@dataclass(frozen=True)
class Section:
    turbo: bool = option(False, "faster")


TASK = SimpleNamespace(
    name="toys", title="Toys", models={"deep": Deep, "wide": Wide}, datasets={"toy": Toy, "real": Real}
)


@pytest.fixture
def write(project):
    """`write(path, **values)` writes a YAML file below this test's folder; `configs/` is its project's."""

    def file(path, **values):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    file("configs/project.yaml", task="toys", framework="one", accelerator="small")
    file("configs/accelerator/small.yaml", name="small", platform="cpu")
    file("configs/accelerator/large.yaml", name="large", platform="gpu", precision="bfloat16")
    file("configs/toys/default.yaml", model={"name": "deep", "layers": 4, "dropout": 0.5}, data={"batch_size": 32})
    return file


def load(*options, target="", saved=None):
    sections = {"one": Section, "two": Section}
    find = {"toys": TASK, "": TASK}.__getitem__
    return layers.load(target, options, layers.Project(Path("configs"), find, sections), saved)


def refused(*options, **kwargs):
    with pytest.raises(InputError) as caught:
        load(*options, **kwargs)
    return str(caught.value)


def test_authority_rises_from_defaults_to_options(write):
    seeds = [load().seed]
    write("configs/project.yaml", task="toys", framework="one", seed=1)
    seeds.append(load().seed)
    write("configs/toys/default.yaml", seed=2)
    seeds.append(load().seed)
    options = ["--config", write("a.yaml", seed=3)]
    seeds.append(load(*options).seed)
    options += ["--config", write("b.yaml", seed=4)]
    seeds.append(load(*options).seed)
    seeds.append(load(*options, "--seed", "5").seed)
    assert seeds == [0, 1, 2, 3, 4, 5]


def test_a_weak_option_before_a_strong_file_still_wins(write):
    assert load("--seed=5", "--config", write("a.yaml", seed=3)).seed == 5


def test_of_two_values_of_an_option_the_last_wins(write):
    assert load("--seed", "1", "--seed=2").seed == 2


def test_a_layer_leaves_alone_what_it_does_not_name(write):
    config = load("--config", write("a.yaml", model={"layers": 6}))
    assert (config.model.layers, config.model.dropout, config.data.batch_size) == (6, 0.5, 32)


def test_a_key_may_be_written_with_dots(write):
    assert load("--config", write("a.yaml", **{"model.layers": 6})).model.layers == 6


def test_another_preset_takes_the_place_of_the_default(write):
    write("configs/toys/big.yaml", model={"layers": 9})
    config = load(target="toys/big")
    assert (config.preset, config.model.layers, config.data.batch_size) == ("big", 9, 64)


def test_accelerator_is_a_plain_name_in_yaml(write):
    assert load("--config", write("a.yaml", accelerator="large")).accelerator.precision == "bfloat16"


def test_accelerator_has_a_section_in_yaml(write):
    assert load("--config", write("a.yaml", accelerator={"precision": "float64"})).accelerator.precision == "float64"


@pytest.mark.parametrize("place", [0, 2, 4])
def test_accelerator_wins_over_files_wherever_it_stands(write, place):
    options = ["--config", write("a.yaml", accelerator={"precision": "float64"}), "--seed", "1"]
    options[place:place] = ["--accelerator", "large"]
    assert load(*options).accelerator.precision == "bfloat16"


@pytest.mark.parametrize("place", [0, 2])
def test_an_option_wins_over_accelerator_wherever_it_stands(write, place):
    options = ["--accelerator.precision", "float32"]
    options[place:place] = ["--accelerator", "large"]
    assert load(*options).accelerator.precision == "float32"


def test_accelerator_may_be_a_file(write):
    file = write("mine.yaml", name="mine", precision="bfloat16")
    assert load("--accelerator", file).accelerator.name == "mine"


def test_a_framework_has_a_section_of_its_own(write):
    config = load("--two.turbo", "true")
    assert (config.frameworks["one"].turbo, config.frameworks["two"].turbo) == (False, True)


def test_another_model_drops_the_keys_that_it_lacks(write):
    assert load("--model.name", "wide").model == Wide(name="wide", width=8, dropout=0.5)


def test_another_dataset_drops_the_keys_that_it_lacks(write):
    write("configs/toys/default.yaml", data={"name": "toy", "classes": 5, "batch_size": 32})
    assert load("--data.name", "real").data == Real(name="real", batch_size=32)


def test_another_model_than_the_default_one_drops_keys_too(write):
    write("configs/toys/default.yaml", model={"layers": 4})
    assert load("--model.name", "wide").model == Wide(name="wide")


def test_a_model_that_comes_back_gets_its_keys_back(write):
    file = write("a.yaml", model={"name": "wide", "width": 3})
    assert load("--config", file, "--model.name", "deep").model == Deep(name="deep", layers=4, dropout=0.5)


def test_a_typo_beside_another_models_name_is_an_error(write):
    line = refused("--model.name", "wide", "--model.widht", "3")
    assert "--model.widht" in line and "did you mean 'model.width'?" in line


def test_a_key_of_the_weaker_model_is_an_error_beside_the_new_name(write):
    assert "--model.layers" in refused("--model.name", "wide", "--model.layers", "3")


def test_a_typo_in_a_preset_is_an_error_that_names_its_file(write):
    write("configs/toys/default.yaml", model={"name": "deep", "layres": 4})
    line = refused()
    assert "configs/toys/default.yaml" in line and "did you mean 'model.layers'?" in line


def test_a_saved_config_takes_the_place_of_a_preset(write):
    saved = to_dict(load("--seed=3", "--model.name=wide"))
    assert load(saved=saved) == load("--seed=3", "--model.name=wide")


def test_a_saved_config_may_have_a_section_of_a_framework_that_is_not_here(write):
    saved = to_dict(load("--seed=3"))
    assert load(saved={**saved, "elsewhere": {"steps": 1}}) == load("--seed=3")


def test_options_may_come_as_a_mapping_of_values(write):
    given = {
        "seed": 4,
        "model": {"name": "wide"},
        "trainer.accumulate": 2,
        "data.download": True,
        "accelerator": "large",
    }
    words = ("--seed=4", "--model.name=wide", "--trainer.accumulate=2", "--data.download=true", "--accelerator=large")
    sections = {"one": Section, "two": Section}
    find = {"toys": TASK, "": TASK}.__getitem__
    found = layers.load("", given, layers.Project(Path("configs"), find, sections))
    assert found == load(*words)


def test_debug_overfit_takes_away_what_keeps_a_model_from_learning_one_batch(write):
    settings = load(
        "--debug=overfit", "--model.dropout=0.5", "--optimizer.weight_decay=1", "--optimizer.warmup_steps=9"
    )
    assert (settings.optimizer.weight_decay, settings.optimizer.warmup_steps) == (0, 0)
    assert settings.model.dropout == 0.5  # of a model that does not say that it hinders


def test_options_win_over_a_saved_config(write):
    saved = to_dict(load("--seed=3"))
    assert load("--seed=4", saved=saved).seed == 4


def test_a_preset_named_in_a_file_is_that_preset(write):
    write("configs/toys/big.yaml", model={"layers": 9})
    assert load("--config", write("a.yaml", task="toys", preset="big")).model.layers == 9


def test_a_preset_named_in_a_file_needs_no_task(write):
    write("configs/toys/big.yaml", model={"layers": 9})
    assert load("--config", write("a.yaml", preset="big")).model.layers == 9


def test_a_file_of_another_task_is_refused(write):
    line = refused("--config", write("a.yaml", task="games"), target="toys")
    assert "a.yaml" in line and "'games'" in line and "'toys'" in line


def test_whole_numbers_stay_whole_and_fractions_stay_plain(write):
    config = load("--optimizer.learning_rate", "1")
    assert type(config.optimizer.learning_rate) is float and type(config.data.batch_size) is int


def test_a_number_with_an_exponent_is_a_number_in_yaml_too(write):
    Path("a.yaml").write_text("optimizer: {learning_rate: 1e-3}")
    assert load("--config", "a.yaml").optimizer.learning_rate == 0.001


@pytest.mark.parametrize("name", ["001", "1e5", "true", "null", "-x", "a b"])
def test_a_text_is_taken_as_it_stands(write, name):
    assert load(f"--name={name}").name == name


# Commands, of this project.


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_what_print_config_prints_is_the_same_config(cli, project, framework, preset):
    options = ["--framework", framework, "--seed=3", "--trainer.max_steps=7", "--accelerator=cpu", "--name=001"]
    printed = cli("train", *[preset] * bool(preset), *options, "--print_config").out
    Path("printed.yaml").write_text(printed, encoding="utf-8")
    assert cli("train", *[preset] * bool(preset), "--config", "printed.yaml", "--print_config").out == printed


def test_a_printed_config_brings_its_task_and_its_preset(cli, project):
    printed = cli("train", PRESETS[-1], "--print_config").out
    Path("printed.yaml").write_text(printed, encoding="utf-8")
    assert cli("train", "--config", "printed.yaml", "--print_config").out == printed


def test_print_config_prints_every_key_and_nothing_else(cli, project):
    outcome = cli("train", "--print_config")
    assert yaml.safe_load(outcome.out) == yaml.safe_load(yaml.safe_dump(to_dict(load_config())))
    assert (outcome.code, outcome.err, list(project.iterdir())) == (0, "", [])


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_help_all_lists_every_key(cli, preset):
    outcome = cli("train", *[preset] * bool(preset), "--help", "all")
    keys = set(configs.flatten(to_dict(load_config(preset)))) - {"task", "preset"}
    assert outcome.code == 0
    assert [key for key in keys if f"--{key}" not in outcome.out] == []


def test_help_shows_the_values_of_the_preset(cli):
    every = cli("train", PRESETS[-1], "--help", "all").out.rpartition("\nrun:")[2]
    option = every.partition("--optimizer.learning_rate")[2].partition("--")[0]
    assert f"default: {load_config(PRESETS[-1]).optimizer.learning_rate}" in " ".join(option.split())


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_the_commands_with_what_they_do(cli, word):
    outcome = cli(word)
    assert outcome.code == 0
    for command in ("train", "evaluate", "predict", "doctor"):
        assert re.search(rf"^  {command} +[A-Z].*\.$", outcome.out, re.MULTILINE), outcome.out


def test_a_command_is_missing_where_none_is_given(cli):
    outcome = cli()
    assert outcome.code == 2 and outcome.out == cli("--help").out


@pytest.mark.parametrize("words", [[], *(["train", target] for target in ["", *PRESETS]), *COMMANDS])
def test_help_fits_a_screen(cli, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "100")
    outcome = cli(*filter(None, words), "--help")
    lines = outcome.out.splitlines()
    assert outcome.code == 0 and len(lines) <= 24, outcome.out
    assert [line for line in lines if len(line) > 104 and not line.startswith("usage: ")] == []


@pytest.mark.parametrize("target", ["", TASK_NAME])
def test_help_shows_keys_that_there_are(cli, target):
    keys = re.findall(r"^  --([a-z._]+) [A-Z]", cli("train", *[target] * bool(target), "--help").out, re.MULTILINE)
    assert len(keys) > 8 and set(keys) - set(registry.suggestions(target)) == set()


def test_help_of_a_task_names_its_presets(cli):
    words = cli("train", TASK_NAME, "--help").out.partition("Presets")[2].replace(",", " ").split()
    names = [name for task, name in (preset.split("/") for preset in PRESETS) if task == TASK_NAME]
    assert [name for name in names if name not in words] == []


def test_help_of_a_task_that_is_none_is_one_line(complaint):
    assert "no task 'zzz'" in complaint("train", "zzz", "--help")


def imported_by(*words):
    """The packages of frameworks, numpy among them, and tensorboard, that a command has imported when it ends."""
    name = commands.__name__
    program = f"import sys, {name} as commands; sys.argv[1:] = {list(words)!r}; commands.main(); print(*sys.modules)"
    source = str(Path(commands.__file__).parents[3])
    path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    heavy = {package for framework in frameworks().values() for package in framework.PACKAGES}
    packages = packages_distributions()
    return {name for name in loaded if name == "tensorboard" or heavy & set(packages.get(name, ()))}


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train", PRESETS[-1], "--help"]])
def test_help_imports_not_even_numpy(project, words):
    assert imported_by(*words) == set()


def test_all_of_help_imports_no_framework(project):
    assert imported_by("train", "--help", "all") <= {"numpy"}


def test_a_mistake_is_told_before_a_framework_is_imported(project):
    assert imported_by("train", "--trainer.max_step", "3") <= {"numpy"}


@pytest.mark.parametrize(
    "options",
    [
        ("--data.batch_size=64", "--trainer.accumulate=3"),
        ("--data.batch_size=999999999",),
        ("--optimizer.name=adam", "--optimizer.nesterov=true"),
    ],
)
def test_what_needs_no_device_is_told_before_a_framework_is_imported(project, framework, options):
    assert imported_by("train", "--framework", framework, "--accelerator=cpu", *options) <= {"tensorboard", "numpy"}


# What is wrong is one line that names the thing, the value and the way out; nothing is written.


# For the case that a run starts that must not.
SHORT = ("--framework", next(iter(frameworks())), "--accelerator=cpu", "--debug=fast")

OPTIONS = {
    "a misspelt key": (["--trainer.max_step", "3"], ["--trainer.max_step:", "did you mean 'trainer.max_steps'?"]),
    "a shortened key": (["--trainer.max", "3"], ["--trainer.max:", "'trainer.max_steps'"]),
    "a key without its section": (["--max_steps", "3"], ["--max_steps:", "'trainer.max_steps'"]),
    "a key in the wrong section": (["--optimizer.max_steps", "3"], ["--optimizer.max_steps:", "'trainer.max_steps'"]),
    "a key that is like no other": (["--zzz", "3"], ["--zzz", "--help"]),
    "a section": (["--trainer", "3"], ["--trainer: a section", "'trainer.KEY'", "trainer has: epochs, min_steps, "]),
    "a key that its section has not": (["--optimizer.eps", "3"], ["--optimizer.eps: optimizer has: name, learning_"]),
    "a device that is none": (["--accelerator.num_gpus", "3"], ["accelerator has: name, platform, devices,"]),
    "an option without a value": (["--seed"], ["--seed needs a value"]),
    "an option before another option": (["--seed", "--name", "x"], ["--seed needs a value"]),
    "a text for a number": (["--trainer.max_steps", "many"], ["--trainer.max_steps many:", "a whole number >= 0"]),
    "a fraction for a whole number": (["--trainer.epochs", "2.5"], ["--trainer.epochs 2.5:", "a whole number >= 0"]),
    "a truth for a number": (["--seed", "true"], ["--seed true:", "a whole number >= 0"]),
    "nothing for a number": (["--seed="], ["--seed", "a whole number >= 0"]),
    "null for a number": (["--seed", "null"], ["--seed null:", "a whole number >= 0"]),
    "a list for a number": (["--seed", "[1, 2]"], ["--seed [1, 2]:", "a whole number >= 0"]),
    "a number for a truth": (["--data.download", "3"], ["--data.download 3:", "true or false"]),
    "a number below its range": (["--seed", "-1"], ["--seed -1:", "a whole number >= 0"]),
    "zero examples": (["--data.batch_size", "0"], ["--data.batch_size 0:", "a whole number >= 1"]),
    "a learning rate of zero": (["--optimizer.learning_rate", "0"], ["--optimizer.learning_rate 0:", "a number > 0"]),
    "a learning rate without end": (["--optimizer.learning_rate", "inf"], ["learning_rate inf:", "a number > 0"]),
    "a learning rate that is none": (["--optimizer.learning_rate", "nan"], ["learning_rate nan:", "a number > 0"]),
    "a momentum of one": (["--optimizer.momentum", "1"], ["--optimizer.momentum 1:", ">= 0 and < 1"]),
    "a choice that is none": (["--trainer.on_nan", "hope"], ["--trainer.on_nan hope:", "stop, skip"]),
    "nothing for a choice": (["--trainer.on_nan="], ["--trainer.on_nan", "stop, skip"]),
    "an optimizer that is none": (["--optimizer.name", "adan"], ["optimizer.name = 'adan': did you mean 'adam'?"]),
    "nothing for an optimizer": (["--optimizer.name="], ["optimizer.name = ''", "choose from adamw, adam, sgd,"]),
    "nesterov of another": (["--optimizer.name=muon", "--optimizer.nesterov=true"], ["nesterov", "sgd", "'muon'"]),
    "nesterov without momentum": (
        ["--optimizer.name=sgd", "--optimizer.momentum=0", "--optimizer.nesterov=true"],
        ["optimizer.nesterov", "optimizer.momentum = 0.0"],
    ),
    "a framework that is none": (["--framework", "caffe"], ["--framework caffe:", *frameworks()]),
    "a model that is none": (["--model.name", "zzz"], ["--model.name zzz:", "choose from"]),
    "a dataset that is none": (["--data.name", "zzz"], ["--data.name zzz:", "choose from"]),
    "a task that is misspelt": ([TASK_NAME[:-1]], [f"did you mean '{TASK_NAME}'?"]),
    "a task that is none": (["zzz"], ["'zzz'", "choose from", TASK_NAME]),
    "a preset that is misspelt": ([f"{TASK_NAME}/defaults"], ["'defaults'", "did you mean 'default'?"]),
    "a preset that is none": ([f"{TASK_NAME}/zzz"], ["'zzz'", "choose from", "default"]),
    "a preset outside its folder": ([f"{TASK_NAME}/../{TASK_NAME}/default"], [f"../{TASK_NAME}/default"]),
    "an accelerator that is misspelt": (["--accelerator", "cpuu"], ["'cpuu'", "did you mean 'cpu'?"]),
    "an accelerator that is none": (["--accelerator", "zzz"], ["'zzz'", *ACCELERATORS]),
    "an accelerator's file that is missing": (["--accelerator", "none.yaml"], ["none.yaml"]),
    "a config's file that is missing": (["--config", "none.yaml"], ["none.yaml", "No such file"]),
    "a task that does not come first": (["--seed", "1", TASK_NAME], [f"'{TASK_NAME}'", "come after everything else"]),
    "a preset as a second word": ([TASK_NAME, "default"], ["'default' is no option", f"{TASK_NAME}/default"]),
    "a task as an option": (["--task", TASK_NAME], ["--task: a task is the first word, TASK or TASK/PRESET"]),
    "a second word": ([TASK_NAME, "again"], ["'again'", "--KEY VALUE"]),
    "a short option": (["-s", "3"], ["'-s'", "--KEY VALUE"]),
    "a run to resume that is none": (["--resume", "runs/none"], ["runs/none", "no run"]),
    "a name that is a path": (["--name", "a/b"], ["--name a/b"]),
    "a name that leaves the folder": (["--name", ".."], ["--name .."]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_wrong_option_is_one_line(complaint, case):
    words, parts = OPTIONS[case]
    line = complaint("train", *words, *([] if "--framework" in words or words == ["--seed"] else SHORT))
    assert [part for part in parts if part not in line] == [], line


def test_a_seed_that_is_too_large_is_one_line(complaint, framework):
    seed = str(2**80)
    assert f"--seed {seed}:" in complaint("train", *SHORT, "--framework", framework, "--seed", seed)


MEANT = {
    # By their initials, and by beginnings of their words.
    "lr": ["optimizer.learning_rate"],
    "optimizer.lr": ["optimizer.learning_rate"],
    "optimizer.wd": ["optimizer.weight_decay"],
    "optimizer.min_lr": ["optimizer.min_learning_rate"],
    "data.bs": ["data.batch_size"],
    "bs": ["data.batch_size"],
    "optimizer.learn_rate": ["optimizer.learning_rate"],
    # As other programs write them.
    "learningRate": ["optimizer.learning_rate"],
    "weight-decay": ["optimizer.weight_decay"],
    "batchsize": ["data.batch_size"],
    "num_epochs": ["trainer.epochs"],
    "data.num_workers": ["data.workers"],
    "random_seed": ["seed"],
    "trainer.early_stopping_patience": ["trainer.patience"],
    # By a part.
    "epoch": ["trainer.epochs"],
    "optimizer.decay": ["optimizer.ema_decay", "optimizer.weight_decay"],
    "optimizer.grad_clip": ["optimizer.clip_norm"],
    "trainer.val_interval": ["trainer.val_every"],
    # In another section, or in none that there is.
    "model.batch_size": ["data.batch_size"],
    "batch_size": ["data.batch_size"],
    "train.epochs": ["trainer.epochs"],
    "acelerator": ["accelerator"],
}


@pytest.mark.parametrize("key", MEANT)
def test_a_key_that_is_meant_is_found(key):
    with pytest.raises(InputError) as caught:
        load_config("", [f"--{key}=3"])
    assert str(caught.value) == f"unknown option --{key}: did you mean {' or '.join(map(repr, MEANT[key]))}?"


@pytest.mark.parametrize("key", ["model.hidden", "model.eyes"])
def test_of_a_model_that_has_no_such_key_its_keys_are_listed(write, key):
    line = refused("--model.name", "wide", f"--{key}", "3")
    assert line == f"unknown option --{key}: model.name = wide has: name, width, dropout"


def test_a_key_that_is_meant_is_found_in_a_file(write):
    file = write("a.yaml", optimizer={"lr": 3})
    assert refused("--config", file).endswith("'optimizer.lr': did you mean 'optimizer.learning_rate'?")
    file = write("b.yaml", model={"name": "wide", "eyes": 3})
    assert refused("--config", file).endswith("'model.eyes': model.name = wide has: name, width, dropout")


YAML = {
    "a misspelt key": ("trainer: {max_step: 3}", ["'trainer.max_step'", "did you mean 'trainer.max_steps'?"]),
    "a key in the wrong section": ("optimizer: {max_steps: 3}", ["'optimizer.max_steps'", "'trainer.max_steps'"]),
    "a text for a number": ("trainer: {epochs: many}", ["trainer.epochs = 'many'", "a whole number >= 0"]),
    "a truth for a number": ("seed: true", ["seed = True", "a whole number >= 0"]),
    "a number for a text": ("name: 7", ["name = 7", "text"]),
    "a key without a value": ("seed:", ["seed", "a whole number >= 0"]),
    "a list for a number": ("trainer: {epochs: [3]}", ["trainer.epochs = [3]", "a whole number >= 0"]),
    "keys for a number": ("seed: {a: 1}", ["'seed.a'", "did you mean 'seed'?"]),
    "a number for a section": ("trainer: 3", ["'trainer'", "'trainer."]),
    "a number for the accelerator": ("accelerator: 3", ["accelerator", "3", "cpu"]),
    "an accelerator that is misspelt": ("accelerator: cpuu", ["'cpuu'", "did you mean 'cpu'?"]),
    "a choice that is none": ("optimizer: {schedule: cosin}", ["optimizer.schedule = 'cosin'", "cosine"]),
    "a model that is none": ("model: {name: zzz}", ["model.name = 'zzz'", "choose from"]),
    "a model that is a list": ("model: {name: [zzz]}", ["model.name = ['zzz']", "choose from"]),
    "a task that is none": ("task: zzz", ["'zzz'"]),
    "no YAML": ("trainer: [1", ["not YAML"]),
    "a list": ("- seed", ["keys with values", "list"]),
    "a text": ("seed", ["keys with values", "str"]),
    "a number for a key": ("1: 2", ["keys"]),
    "no text": (b"\xff\xfe\x00\x01", ["not YAML"]),
    "an object of Python": ("seed: !!python/object/apply:os.mkdir [made]", ["not YAML", "os.mkdir"]),
}


@pytest.mark.parametrize("case", YAML)
def test_a_wrong_file_is_one_line_that_names_it(complaint, case):
    text, parts = YAML[case]
    Path("wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    line = complaint("train", "--config", "wrong.yaml", *SHORT)
    assert [part for part in ["wrong.yaml", *parts] if part not in line] == [], line


def test_a_wrong_key_in_an_accelerators_file_is_one_line_that_names_it(complaint):
    Path("mine.yaml").write_text("platfrom: cpu")
    line = complaint("train", "--accelerator", "mine.yaml")
    assert "mine.yaml" in line and "did you mean 'accelerator.platform'?" in line


def test_a_folder_for_a_file_is_one_line(complaint):
    Path("folder.yaml").mkdir()
    assert "folder.yaml" in complaint("train", "--config", "folder.yaml")


def test_a_command_that_is_misspelt_is_one_line(complaint):
    assert "did you mean 'train'?" in complaint("trian")


@pytest.mark.parametrize("name", ["compare", "export"])
def test_a_command_of_a_feature_that_the_project_lacks_is_one_line(complaint, monkeypatch, name):
    monkeypatch.setattr(commands, "names", lambda: ["train"])
    assert f"{name}: this project was made without the feature '{name}'" in complaint(name, "runs/one")


def test_a_task_in_place_of_a_command_is_one_line(complaint):
    assert f"did you mean 'train {TASK_NAME}/default'?" in complaint(f"{TASK_NAME}/default")


@pytest.mark.parametrize("name", sorted({preset.partition("/")[2] for preset in PRESETS}))
def test_a_preset_without_its_task_is_one_line(complaint, name):
    first = next(preset for preset in PRESETS if preset.endswith(f"/{name}"))
    assert f"no task {name!r}: did you mean '{first}'?" in complaint("train", name)


def test_a_choice_in_other_letters_is_found():
    assert meant.closest("ONNX", ["safetensors", "onnx"]) == "did you mean 'onnx'?"
    assert meant.meant("to", ["data.tokenizer"]) == []


def test_a_command_that_is_none_is_one_line(complaint):
    line = complaint("zzz")
    assert all(command in line for command in ("'zzz'", "train", "evaluate", "predict", "doctor"))


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_command_without_its_run_is_one_line(complaint, command):
    assert f"{command} RUN" in complaint(command)


@pytest.mark.parametrize("words", [["evaluate", "none"], ["predict", "none", "input"]])
def test_a_command_on_what_is_no_run_is_one_line(complaint, project, words):
    assert "no run" in complaint(*words)


def test_a_warm_up_longer_than_training_is_no_mistake(framework):
    options = ["--framework", framework, "--optimizer.warmup_steps=100", "--trainer.max_steps=3"]
    registry.check(load_config("", options))
