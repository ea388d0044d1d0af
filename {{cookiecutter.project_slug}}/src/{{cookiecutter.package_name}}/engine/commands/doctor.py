"""Tells versions, known bad pairs of them, devices, and which of these would be used.

With TASK one step, too, as the accelerator would take it: on the CPU, so that it need not be here. What a device would
hold is compared with its memory, or with --memory.
"""

import argparse
import dataclasses
import platform

from .. import registry
from ..arguments import Parser, add_task, number
from ..config import Config
from ..errors import InputError
from ..processes import check_several

USAGE = "[TASK[/PRESET]] [--accelerator NAME] [--memory GIB] [--KEY VALUE ...]"
KEYS = "task"


def arguments(parser: Parser, first: str) -> None:
    add_task(parser)
    parser.add_argument("--memory", metavar="GIB", type=number, help="what a device has, in place of what is here")


def run(given: argparse.Namespace) -> int:
    from ..folder import versions

    config = registry.load_config(given.target, given.keys)
    wrong = []
    print(f"python {platform.python_version()}, {platform.platform()}")
    for name, framework in registry.frameworks().items():
        found = versions(framework.PACKAGES)
        print(f"{name}: " + ", ".join(f"{package} {found.get(package, 'missing')}" for package in framework.PACKAGES))
        wrong += [f"{name}: {package} is not installed" for package in framework.PACKAGES if package not in found]
        wrong += registry.bad_versions(framework, found)
        try:
            registry.check(dataclasses.replace(config, framework=name))
            devices = framework.hardware()
            print(f"{name}: devices: " + ", ".join(f"{number} {kind}" for kind, number in devices.count().items()))
            if cache := getattr(devices, "compilation_cache", None):
                print(f"{name}: programs are kept in {cache() or 'no folder'}")
            if not given.target:
                picked = devices.pick(config.accelerator.platform, config.accelerator.devices, config.accelerator.nodes)
                print(f"{name}: --accelerator {config.accelerator.name} picks {', '.join(map(str, picked))}")
        except (InputError, ImportError) as error:
            wrong.append(f"{name}: {error}")
    for name in registry.chosen(config) if given.target else ():
        try:
            wrong += _rehearsed(dataclasses.replace(config, framework=name), given.memory)
        except InputError as error:
            wrong.append(f"{name}: {error}")
    for line in wrong:
        print(f"wrong: {line}")
    print(f"{len(wrong)} problems" if wrong else "all is well")
    return 2 if wrong else 0


def _rehearsed(config: Config, memory: float | None) -> list[str]:
    check_several(f"doctor {config.task}")
    from ..scale.doctor import rehearsed

    return rehearsed(config, memory)
