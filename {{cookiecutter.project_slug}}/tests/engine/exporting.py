"""Exports as a stranger takes them: by the code of the card, in a fresh process, with nothing but the folder."""

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, make_engine, small, steps
from helpers import load_data

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.sources import Arrays
from {{cookiecutter.package_name}}.engine.export import formats
from {{cookiecutter.package_name}}.engine.folder import read_config, read_record, read_spec

COUNTS = (1, 5)  # of examples; an export is made with two


def case(framework, format):
    """A parameter of a test of (framework of the run, format), skipped where the extra is not installed."""
    missing = [package for package in formats()[format].packages if importlib.util.find_spec(package) is None]
    reason = f"needs the extra [export]: {', '.join(missing)}"
    return pytest.param(framework, format, marks=pytest.mark.skipif(bool(missing), reason=reason))


# What each framework writes of its own runs, and the first of each.
OWN = [case(format.framework, name) for name, format in formats().items() if format.framework]
FIRST = [next(own for own in OWN if own.values[0] == framework) for framework in FRAMEWORKS]


def short_run(cli, run_dir, task, framework, *options):
    """The folder of a run of some steps, with a moving average."""
    words = ("train", task, "--framework", framework, *small(task), f"--run_dir={run_dir}", "--name=one")
    outcome = cli(*words, *steps(4), "--trainer.val_every=2", "--optimizer.ema_decay=0.5", *options)
    assert outcome.code == 0, outcome.err
    return next(run_dir.glob(f"{task}/*/{framework}/one"))


def assert_exported(cli, run, format, folder):
    """The export of a run, into `folder`, gives what the run itself predicts of examples of its test split."""
    outcome = cli("export", run, "--format", format, "--output", folder)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == sorted(str(path) for path in folder.iterdir())
    places = [str(Path(tasks.__file__).parent).encode(), str(run).encode()]
    assert not [path for path in folder.iterdir() for place in places if place in path.read_bytes()]
    batch, expected = predicted(run)
    signature = tasks.find(read_config(run)["task"]).signature(read_spec(run))
    assert {name: value.dtype for name, value in batch.items()} == dtypes(signature.inputs)
    for count, outputs in run_card(folder, batch).items():
        assert {name: value.dtype for name, value in outputs.items()} == dtypes(signature.outputs)
        for name, value in outputs.items():
            assert value.shape == (count, *signature.outputs[name].shape)
            np.testing.assert_allclose(value, expected[name][:count], rtol=0, atol=1e-4, err_msg=name)


def dtypes(fields):
    return {name: np.dtype(field.dtype) for name, field in fields.items()}


def predicted(run, batch=None):
    """(a batch of inputs, what the best checkpoint of a run gives for it)."""
    settings, spec = registry.load_config("", {"accelerator.precision": "float32"}, read_config(run)), read_spec(run)
    fields = tasks.find(settings.task).signature(spec).inputs
    examples = load_data(settings).test[np.arange(max(COUNTS))]
    # Of some, test examples hold more: a window of text its last target.
    batch = batch or {name: examples[name][(slice(None), *map(slice, field.shape))] for name, field in fields.items()}
    checkpoint = run / "checkpoints" / read_record(run).best
    return batch, make_engine(settings, spec).predict(checkpoint, Arrays(**batch))


def run_card(folder, batch):
    """What the code of an export's card gives, by the number of examples."""
    [code] = re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    code, replaced = re.subn("^batch = .*$", 'batch = dict(numpy.load(f"batch{count}.npz"))', code, flags=re.M)
    assert replaced == 1
    for count in COUNTS:
        np.savez(folder / f"batch{count}.npz", **{name: value[:count] for name, value in batch.items()})
    program = f"import numpy\nfor count in {COUNTS}:\n"
    program += textwrap.indent(code + '\nnumpy.savez(f"outputs{count}.npz", **outputs)', "    ")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", program]  # -I: nothing of this folder's is imported
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {count: dict(np.load(folder / f"outputs{count}.npz")) for count in COUNTS}
