"""Every network in PyTorch: it gives what its task promises, and the loss moves all of it.

On a device that computes nothing, so that their size does not matter, but for one of each task.
"""

import numpy as np
import pytest
import torch
from conftest import TASKS, filled_up, small

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.config import to_dict
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.folder import plain_values
from {{cookiecutter.package_name}}.engine.task import find, twin

MODELS = [(task, name) for task in TASKS for name in find(task).models]


def created(task, name):
    """(module, dataset) of a task's model."""
    settings = load_config(task, ["--framework=lightning", *small(task), f"--model.name={name}"])
    data = find(task).load(settings, None)
    with torch.device("meta"):
        return twin(find(task), "lightning").Module(to_dict(settings), plain_values(data.spec)), data


def loss_of(module, batch):
    """The mean over a batch; of several losses, their sum."""
    if not module.PARTS:
        return module.training_step(batch, 0)["loss"]
    return sum(module.mean(module.loss_fn(name, batch), batch)["loss"] for name in module.PARTS)


def on_meta(batch):
    return {name: torch.from_numpy(value).to("meta") for name, value in batch.items() if value.dtype != object}


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, name in MODELS if find(task).signature])
def test_it_gives_what_its_task_says(task, name):
    module, data = created(task, name)
    signature, batch = find(task).signature(data.spec), on_meta(data.val[np.arange(3)])
    outputs = module.eval().predict_step({name: batch[name] for name in signature.inputs}, 0)
    expected = {name: (3, *field.shape) for name, field in signature.outputs.items()}
    assert {name: tuple(value.shape) for name, value in outputs.items()} == expected


@pytest.mark.parametrize(("task", "name"), MODELS)
def test_the_loss_moves_every_parameter(task, name):
    module, data = created(task, name)
    batches = TrainBatches(data, 4, seed=0)
    found, weight = batches[0], {} if data.weights is None else {"weight": batches.weight(0)}
    try:
        loss = loss_of(module.train(), on_meta(found) | weight)
    except NotImplementedError:  # of an operation that PyTorch has for other devices only
        module = module.to_empty(device="cpu")
        loss = loss_of(module, {name: torch.as_tensor(x) for name, x in found.items()} | weight)
    loss.backward()
    assert loss.shape == ()
    assert [name for name, parameter in module.net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_of_evaluation_is_that_of_training_over_the_examples_that_are_there(task):
    """Without what only training has, as dropout, augmentation and smoothing. A loss is a sum and its weight."""
    settings = load_config(task, ["--framework=lightning", *small(task), "--debug=overfit"])
    data = find(task).load(settings, None)
    rows, batch = ({name: torch.from_numpy(x) for name, x in part.items()} for part in filled_up(data.val))
    module = twin(find(task), "lightning").Module(to_dict(settings), plain_values(data.spec)).eval()
    module.validation_step(batch, 0)
    loss = loss_of(module, rows).detach()
    assert float(module.metrics["loss"].compute()) == pytest.approx(float(loss), rel=1e-5)
