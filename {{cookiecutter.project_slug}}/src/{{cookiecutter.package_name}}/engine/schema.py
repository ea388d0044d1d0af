"""JSON Schema of config files, by which an editor completes and checks them."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal

from . import config as types
from .registry import configs, frameworks
from .task import find

KINDS: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    types.NonNegativeInt: {"type": "integer", "minimum": 0},
    types.PositiveInt: {"type": "integer", "minimum": 1},
    types.NonNegativeFloat: {"type": "number", "minimum": 0},
    types.PositiveFloat: {"type": "number", "exclusiveMinimum": 0},
    types.Probability: {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    types.Seed: {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**32},
    types.FolderName: {"type": "string"},
}


def of_task(name: str) -> dict[str, Any]:
    """The schema of a task's presets, as plain values. A section has the keys of the model, or data, that it names."""
    task, own = find(name), frameworks()
    accelerator = _section(types.AcceleratorConfig, mesh=_section(types.MeshConfig))
    names = {"enum": sorted(file.stem for file in (configs() / "accelerator").glob("*.yaml"))}
    properties = {
        "task": {"const": name},
        "preset": {"type": "string"},
        **_section(types.Config)["properties"],
        "framework": {"enum": [*own, *["both"] * (len(own) > 1)]},
        "model": _named(task.models),
        "data": _named(task.datasets),
        "optimizer": _section(types.OptimizerConfig),
        "trainer": _section(types.TrainerConfig),
        "accelerator": {"anyOf": [names, {"type": "string", "pattern": r"\.ya?ml$"}, accelerator]},
        **{framework: _section(module.Section) for framework, module in own.items()},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"configs/{name}/",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _named(classes: Mapping[str, type]) -> dict[str, Any]:
    """A section whose keys depend on its name; without one it is the first."""
    first = next(iter(classes))
    return {
        "anyOf": [
            {**_section(cls, name={"const": name}), **({} if name == first else {"required": ["name"]})}
            for name, cls in classes.items()
        ]
    }


def _section(cls: type, **known: Any) -> dict[str, Any]:
    """known: properties that are told elsewhere."""
    hints = typing.get_type_hints(cls)
    found = {
        field.name: {**_kind(hints[field.name]), "description": field.metadata["help"], "default": field.default}
        for field in dataclasses.fields(cls)
        if "help" in field.metadata
    }
    return {"type": "object", "additionalProperties": False, "properties": {**found, **known}}


def _kind(hint: Any) -> dict[str, Any]:
    """Of a type that is not listed, as one of the owner's, any value is taken."""
    return {"enum": [*typing.get_args(hint)]} if typing.get_origin(hint) is Literal else KINDS.get(hint, {})
