"""JSON Schemas of configs: an editor takes and marks what a command takes and refuses."""

import json

import pytest
import yaml
from jsonschema import Draft7Validator

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.commands import main
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import configs, presets
from {{cookiecutter.package_name}}.engine.schema import of_task

TASK = next(iter(presets()))


@pytest.mark.parametrize("task", presets())
def test_every_preset_fits(task):
    schema = of_task(task)
    Draft7Validator.check_schema(schema)
    for preset in presets()[task]:
        values = yaml.safe_load((configs() / task / f"{preset}.yaml").read_text(encoding="utf-8"))
        assert not [*Draft7Validator(schema).iter_errors(values)], preset


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": {"learning_rat": 0.1}},
        {"optimizer": {"learning_rate": 0}},
        {"optimizer": {"schedule": "exponential"}},
        {"data": {"batch_size": 1.5}},
        {"data": {"name": "nowhere"}},
        {"model": {"layer": 1, "layers_": 2}},
        {"trainer": {"on_nan": "go"}},
        {"accelerator": {"mesh": {"fsdp": -1}}},
        {"accelerator": "abacus"},
        {"framework": "numpy"},
        {"seeds": 1},
    ],
    ids=str,
)
def test_what_a_command_refuses_is_marked(values):
    assert [*Draft7Validator(of_task(TASK)).iter_errors(values)]
    with pytest.raises(InputError):
        load_config(TASK, values)


def test_the_command_writes_one_for_each_task(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["project", "schema", str(tmp_path / "new")])
    assert main() == 0
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "new").iterdir()}
    assert written == {task: json.loads(json.dumps(of_task(task))) for task in presets()}
