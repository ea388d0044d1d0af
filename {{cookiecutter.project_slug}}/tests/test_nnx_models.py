"""Every network in Flax NNX: it gives what its task promises, and the loss moves all of it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import EACH, TASKS, filled_up, small
from flax import nnx

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.folder import plain_values
from {{cookiecutter.package_name}}.engine.task import find, twin

MODELS = [(task, name) for task in TASKS for name in find(task).models]


def created(task, name):
    """(the config of a task's model, its dataset, what makes the model)."""
    settings = load_config(task, ["--framework=nnx", *small(task), f"--model.name={name}"])
    data, half = find(task).load(settings, None), twin(find(task), "nnx")
    return settings, data, lambda: half.create_model(settings, plain_values(data.spec), rngs=nnx.Rngs(0))


def arrays(batch):
    return {name: value for name, value in batch.items() if value.dtype != object}


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, name in MODELS if find(task).signature])
def test_it_gives_what_its_task_says(task, name):
    """Whatever its size: nothing is computed."""
    _, data, create = created(task, name)
    signature, batch = find(task).signature(data.spec), arrays(data.val[np.arange(3)])
    inputs = {name: batch[name] for name in signature.inputs}
    model = nnx.eval_shape(create)
    model.eval()
    outputs = nnx.eval_shape(twin(find(task), "nnx").predict_step, model, inputs)
    expected = {name: (3, *field.shape) for name, field in signature.outputs.items()}
    assert {name: value.shape for name, value in outputs.items()} == expected


@pytest.mark.parametrize("task", EACH)
def test_the_loss_moves_every_parameter_of_the_smallest_of_each_kind(task):
    smallest = {}
    for name in find(task).models:
        settings, data, create = created(task, name)
        model = nnx.eval_shape(create)
        size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
        smallest[type(model)] = min((size, name, settings, data, create), smallest.get(type(model), (math.inf,)))
    for _, _, settings, data, create in smallest.values():
        batch, losses = arrays(TrainBatches(data, 4, seed=0)[0]), twin(find(task), "nnx").losses(settings).values()
        graphdef, params, rest = nnx.split(create(), nnx.Param, ...)
        # Away from where they begin: what is 0 there would hide others.
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda value, rng=rng: rng.normal(0, 0.1, value.shape).astype(value.dtype), params)

        def total(params, graphdef=graphdef, rest=rest, losses=losses, batch=batch):
            model = nnx.merge(graphdef, params, rest, copy=True)
            return sum(loss.fn(model, batch, nnx.Rngs(0))[0] for loss in losses)

        gradients = nnx.to_flat_state(jax.jit(jax.grad(total))(params))
        assert [path for path, gradient in gradients if not np.any(gradient[...])] == []


@pytest.mark.parametrize("task", EACH)
def test_the_loss_of_evaluation_is_that_of_training_over_the_examples_that_are_there(task):
    """Without what only training has, as dropout, augmentation and smoothing. A loss is a sum and its weight."""
    settings = load_config(task, ["--framework=nnx", *small(task), "--debug=overfit"])
    data, half = find(task).load(settings, None), twin(find(task), "nnx")
    rows, batch = filled_up(data.val)
    spec = plain_values(data.spec)
    model = nnx.jit(lambda: half.create_model(settings, spec, rngs=nnx.Rngs(0)))()
    model.eval()

    def evaluated(model):
        return half.eval_step(model, batch, half.create_metrics(spec))

    def trained(model):
        return [loss.fn(model, rows, nnx.Rngs(0))[:2] for loss in half.losses(settings).values()]

    found, sums = nnx.jit(evaluated)(model).compute()["loss"], nnx.jit(trained)(model)
    expected = sum(total / weight for total, weight in sums)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("task", "name"), MODELS)
def test_every_parameter_has_the_dtype_that_is_asked_for(task, name):
    """A layer that is made without the dtypes of the others computes in float32, whatever `accelerator.precision`."""
    settings, data, _ = created(task, name)
    dtypes = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    with jax.enable_x64(True):
        half, spec = twin(find(task), "nnx"), plain_values(data.spec)
        model = nnx.eval_shape(lambda: half.create_model(settings, spec, rngs=nnx.Rngs(0), **dtypes))
    params = nnx.to_flat_state(nnx.state(model, nnx.Param))
    assert [path for path, value in params if value.dtype != jnp.float64] == []
