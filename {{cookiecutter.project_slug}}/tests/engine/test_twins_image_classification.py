"""Both halves of image classification are the same algorithm, for each of its models."""

import dataclasses

import pytest
from conftest import steps
from parity import assert_runs_agree, assert_steps_agree, assert_weights_go_across_and_back, config, make_twins

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_config
from {{cookiecutter.package_name}}.engine.twins import bridge
from {{cookiecutter.package_name}}.engine.twins.convert import convert

TASK = "image_classification"
MODELS = list(tasks.find(TASK).models)
# Too large for a hundred steps in a test, with what spares time otherwise; and one that is not, with small batches.
LARGE = {"resnet18": "small", "resnet34": "imagenet", "resnet50": "small"}
SLOW = {"resnet_small": ["--data.batch_size=20"]}


@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS if name not in LARGE],
)
def test_a_run_is_the_same(project, model):
    assert_runs_agree(TASK, f"--model.name={model}", *SLOW.get(model, []))


@pytest.mark.slow
@pytest.mark.parametrize("model", LARGE)
def test_steps_of_large_models_are_the_same(model):
    assert_steps_agree(TASK, f"--model.name={model}", f"--model.stem={LARGE[model]}")


@pytest.mark.parametrize("model", MODELS)
def test_weights_go_across_and_back(model):
    assert_weights_go_across_and_back(TASK, f"--model.name={model}")


@pytest.mark.parametrize("framework", ["lightning", pytest.param("nnx", marks=pytest.mark.slow)])
def test_an_average_goes_over_with_its_running_statistics(project, framework):
    settings = config(
        TASK, framework, "--model.name=resnet_small", *steps(1), "--optimizer.ema_decay=0.5", "--data.batch_size=20"
    )
    first, [other] = workflow.train(settings), {"lightning", "nnx"} - {framework}
    settings = dataclasses.replace(settings, framework=other, resume=str(first))
    a, b = (workflow.evaluate(f, load_config(saved=read_config(f)))[0] for f in (first, convert(settings, best=True)))
    assert a == pytest.approx(b, rel=1e-6)


def test_weights_of_another_model_are_refused():
    spec = {"shape": [8, 8, 1], "classes": ["a", "b"]}
    net, _ = make_twins(config(TASK, "nnx", "--model.name=mlp"), spec)
    _, model = make_twins(config(TASK, "nnx", "--model.name=convnet"), spec)
    with pytest.raises(InputError, match=r"MLP.*missing: conv1\.bias.*hidden\.weight is \[128, 64\]"):
        bridge.to_nnx(net, model)
