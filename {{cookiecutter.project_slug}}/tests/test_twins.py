"""The two halves are the same algorithm: from the same weights, on the same batches, they take the same steps."""

import json

import pytest

from {{cookiecutter.package_name}} import task as tasks
from {{cookiecutter.package_name}} import trainers
from {{cookiecutter.package_name}}.errors import InputError
from {{cookiecutter.package_name}}.trainers import workflow
from {{cookiecutter.package_name}}.trainers.lightning import trainer
from {{cookiecutter.package_name}}.trainers.nnx import loop
from {{cookiecutter.package_name}}.twins import bridge

TWINS = [(name, model) for name in tasks.names() for model in tasks.find(name).models]
PROOF = ("--accelerator=cpu", "--accelerator.precision=float64", "--model.dropout=0", "--trainer.log_every=1")


def config(task, framework, *options):
    return trainers.load_config(task, ["--framework", framework, *PROOF, *options])


def start_from_same_weights(monkeypatch, settings):
    """Makes the NNX model begin with the Lightning model's weights."""
    task = tasks.find(settings.task)
    weights = bridge.from_torch(trainer.Engine(settings, task, task.load(settings.data).spec).module().double().net)
    create = loop.Engine._model

    def with_weights(self):
        model = create(self)
        bridge.to_nnx(weights, model)
        return model

    monkeypatch.setattr(loop.Engine, "_model", with_weights)


def rows(folder, tag):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if tag in line}


@pytest.mark.parametrize(("task", "model"), TWINS)
def test_losses_agree_in_float64(project, monkeypatch, task, model):
    options = [f"--model.name={model}", "--trainer.max_steps=100", "--trainer.epochs=0", "--trainer.accumulate=2"]
    options += ["--optimizer.schedule=cosine", "--optimizer.warmup_steps=10", "--optimizer.clip_norm=0.5"]
    start_from_same_weights(monkeypatch, config(task, "lightning", *options))
    torch_run, nnx_run = (workflow.train(config(task, framework, *options)) for framework in ("lightning", "nnx"))
    a, b = rows(torch_run, "train/loss"), rows(nnx_run, "train/loss")
    assert list(a) == list(b) == list(range(1, 101))
    for tag in ("train/loss", "train/grad_norm", "train/learning_rate"):
        assert [a[step][tag] for step in a] == pytest.approx([b[step][tag] for step in b], rel=1e-9)
    a, b = rows(torch_run, "val/loss"), rows(nnx_run, "val/loss")
    assert list(a) == list(b)
    for step in a:  # both libraries add metrics up in float32
        assert a[step] == pytest.approx(b[step], rel=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimizers_agree_with_weight_decay(project, monkeypatch, optimizer):
    options = [f"--optimizer.name={optimizer}", "--optimizer.weight_decay=0.1", "--model.name=mlp"]
    options += ["--trainer.epochs=1"]
    start_from_same_weights(monkeypatch, config("image_classification", "lightning", *options))
    runs = [workflow.train(config("image_classification", name, *options)) for name in ("lightning", "nnx")]
    a, b = ([row["train/loss"] for row in rows(folder, "train/loss").values()] for folder in runs)
    assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize(("task", "model"), TWINS)
def test_weights_go_across_and_back(task, model):
    settings = config(task, "nnx", f"--model.name={model}", "--accelerator.precision=float32")
    found = tasks.find(task)
    spec = found.load(settings.data).spec
    nnx_model = loop.Engine(settings, found, spec)._model()
    torch_model = trainer.Engine(settings, found, spec).module().net
    weights = bridge.from_nnx(nnx_model)
    bridge.to_torch(weights, torch_model)
    back = bridge.from_torch(torch_model)
    assert weights.keys() == back.keys()
    assert all((weights[path] == back[path]).all() for path in weights)


def test_weights_of_another_model_are_refused():
    settings = config("image_classification", "nnx", "--model.name=mlp", "--accelerator.precision=float32")
    task = tasks.find("image_classification")
    model = loop.Engine(settings, task, task.load(settings.data).spec)._model()
    weights = bridge.from_nnx(model)
    weights["other/kernel"] = weights.pop("output/kernel")
    with pytest.raises(InputError, match=r"other/kernel.*output/kernel"):
        bridge.to_nnx(weights, model)


def test_one_command_trains_both_and_shows_one_table(project, cli):
    done = cli("train", "image_classification", "--debug=fast", "--model.name=mlp", "--accelerator=cpu")
    assert done.code == 0
    header, *_ = done.out.splitlines()
    assert header.split() == ["lightning", "nnx"]
    assert "test/accuracy" in done.out and "tensorboard --logdir runs" in done.out


def test_the_worst_exit_code_of_both_is_returned(project, cli):
    diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e30")
    assert cli("train", "image_classification", "--accelerator=cpu", *diverging).code == 1
