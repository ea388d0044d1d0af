"""The contract holds for tasks unlike the first: two losses that move two parts, and a weight that differs by example.

Each goes through both trainers: the same losses in float64, one compile, exact resume.
"""

import dataclasses
import types

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from clu import metrics
from conftest import history, values_of
from flax import nnx
from safetensors.numpy import save_file
from torch import nn
from torchmetrics import MeanMetric, MetricCollection

from {{cookiecutter.package_name}} import train
from {{cookiecutter.package_name}}.engine import registry, session, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.config import DataConfig, ModelConfig
from {{cookiecutter.package_name}}.engine.data.sources import Arrays, Dataset
from {{cookiecutter.package_name}}.engine.lightning import trainer, weights
from {{cookiecutter.package_name}}.engine.lightning.manual import ManualModule
from {{cookiecutter.package_name}}.engine.lightning.module import TaskModule
from {{cookiecutter.package_name}}.engine.task import Loss
from {{cookiecutter.package_name}}.engine.twins import convert

VOCABULARY, LENGTH, NOISE = 11, 7, 3


@flax.struct.dataclass
class Metrics(metrics.Collection):
    loss: metrics.Average.from_output("loss")


def create_metrics(spec):
    return MetricCollection({"loss": MeanMetric(nan_strategy="disable")}, compute_groups=False)


# Two losses: a discriminator tells data from what a generator makes of noise; each loss moves its own part.


def load_points(config, spec):
    rng = np.random.default_rng(0)
    points = Arrays(point=rng.normal(2.0, 1.0, (96, 2)).astype(np.float32))
    few = Arrays(point=points.arrays["point"][:20])

    def add_noise(rng, n):
        return {"noise": rng.normal(size=(n, NOISE)).astype(np.float32)}

    return Dataset(points, few, few, {}, add_noise)


class NnxGan(nnx.Module):
    def __init__(self, rngs, dtypes):
        self.generator = nnx.Linear(NOISE, 2, rngs=rngs, **dtypes)
        self.discriminator = nnx.Linear(2, 1, rngs=rngs, **dtypes)


class TorchGan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(NOISE, 2)
        self.discriminator = nn.Linear(2, 1)


def nnx_discriminator_loss(model, batch, rngs):
    fake = jax.lax.stop_gradient(model.generator(batch["noise"]))
    losses = nnx.softplus(-model.discriminator(batch["point"])) + nnx.softplus(model.discriminator(fake))
    return losses.sum(), len(batch["point"])


class GanModule(ManualModule):
    PARTS = {"discriminator": "discriminator", "generator": "generator"}

    def create_metrics(self):
        return create_metrics(self.spec)

    def create_model(self):
        return TorchGan()

    def loss_fn(self, name, batch):
        return {"discriminator": torch_discriminator_loss, "generator": torch_generator_loss}[name](self.net, batch)

    def validation_step(self, batch, batch_idx):
        self.metrics["loss"].update(self.evaluated.discriminator(batch["point"])[batch["mask"]])

    def predict_step(self, batch, batch_idx):
        return {"score": self.evaluated.discriminator(batch["point"])}


def torch_discriminator_loss(model, batch):
    softplus, fake = nn.functional.softplus, model.generator(batch["noise"]).detach()
    losses = softplus(-model.discriminator(batch["point"])) + softplus(model.discriminator(fake))
    return losses.sum(), len(batch["point"])


def nnx_generator_loss(model, batch, rngs):
    return nnx.softplus(-model.discriminator(model.generator(batch["noise"]))).sum(), len(batch["point"])


def torch_generator_loss(model, batch):
    scores = model.discriminator(model.generator(batch["noise"]))
    return nn.functional.softplus(-scores).sum(), len(batch["point"])


GAN = types.SimpleNamespace(
    load=load_points,
    nnx=types.SimpleNamespace(
        create_metrics=lambda spec: Metrics,
        create_model=lambda config, spec, *, rngs, **dtypes: NnxGan(rngs, dtypes),
        losses={"discriminator": nnx_discriminator_loss, "generator": nnx_generator_loss},
        eval_step=lambda model, batch, metrics: Metrics.single_from_model_output(
            loss=model.discriminator(batch["point"])[:, 0], mask=batch["mask"]
        ),
        predict_step=lambda model, batch: {"score": model.discriminator(batch["point"])},
    ),
    lightning=types.SimpleNamespace(Module=GanModule),
)

# Ragged weights: the next token is predicted, and an example counts as often as it has tokens.


def load_sentences(config, spec):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, VOCABULARY, (96, LENGTH)).astype(np.int32)
    lengths = rng.integers(1, LENGTH + 1, 96)
    train = Arrays(token=tokens, counted=np.arange(LENGTH) < lengths[:, None])
    few = train.split(0.2)[1]
    return Dataset(train, few, few, {}, weights=lengths)


class NnxTagger(nnx.Module):
    def __init__(self, rngs, dtypes):
        self.embed = nnx.Embed(VOCABULARY, 5, rngs=rngs, **dtypes)
        self.output = nnx.Linear(5, VOCABULARY, rngs=rngs, **dtypes)

    def __call__(self, tokens):
        return self.output(self.embed(tokens))


class TorchTagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 5)
        self.output = nn.Linear(5, VOCABULARY)

    def forward(self, tokens):
        return self.output(self.embed(tokens))


def nnx_token_losses(model, batch):
    target = jnp.roll(batch["token"], -1, 1)
    return optax.softmax_cross_entropy_with_integer_labels(model(batch["token"]), target)


def torch_token_losses(model, batch):
    target = torch.roll(batch["token"], -1, 1).long()
    return nn.functional.cross_entropy(model(batch["token"]).transpose(1, 2), target, reduction="none")


def nnx_token_loss(model, batch, rngs):
    return (nnx_token_losses(model, batch) * batch["counted"]).sum(), batch["counted"].sum()


def torch_token_loss(model, batch):
    return (torch_token_losses(model, batch) * batch["counted"]).sum(), batch["counted"].sum()


class TaggerModule(TaskModule):
    def create_metrics(self):
        return create_metrics(self.spec)

    def create_model(self):
        return TorchTagger()

    def training_step(self, batch, batch_idx):
        return self.mean(torch_token_loss(self.net, batch), batch)

    def validation_step(self, batch, batch_idx):
        counted = batch["counted"] & batch["mask"][:, None]
        self.metrics["loss"].update(torch_token_losses(self.evaluated, batch)[counted])

    def predict_step(self, batch, batch_idx):
        return {"logits": self.evaluated(batch["token"])}


RAGGED = types.SimpleNamespace(
    load=load_sentences,
    nnx=types.SimpleNamespace(
        create_metrics=lambda spec: Metrics,
        create_model=lambda config, spec, *, rngs, **dtypes: NnxTagger(rngs, dtypes),
        losses={"loss": nnx_token_loss},
        eval_step=lambda model, batch, metrics: Metrics.single_from_model_output(
            loss=nnx_token_losses(model, batch), mask=batch["counted"] & batch["mask"][:, None]
        ),
        predict_step=lambda model, batch: {"logits": model(batch["token"])},
    ),
    lightning=types.SimpleNamespace(Module=TaggerModule),
)


@pytest.fixture(params=["gan", "ragged"])
def made_up(request, monkeypatch):
    """A task that the project does not have, in the place of one that it has, with a count of its losses' calls."""
    definition = {"gan": GAN, "ragged": RAGGED}[request.param]
    parts = {"gan": ["discriminator", "generator"], "ragged": [""]}[request.param]
    task = tasks.Task(
        name=request.param,
        title="Made up",
        models={"only": ModelConfig},
        datasets={"made": DataConfig},
        monitor="val/loss",
        mode="min",
        load=definition.load,
        inputs=lambda *_: None,
        describe=lambda *_, **options: [],
        examples=lambda *_: {},
        charts=lambda *_: {},
        overfit=tasks.Overfit(10, 1.0),
    )
    calls = []

    def twin(task, framework):
        half = vars(getattr(definition, framework))
        if "Module" in half:
            return types.SimpleNamespace(**half)
        counted = {}
        for (name, fn), part in zip(half["losses"].items(), parts, strict=True):
            counted[name] = Loss(lambda *args, fn=fn: (calls.append(framework), fn(*args))[1], part)
        return types.SimpleNamespace(**{**half, "losses": lambda config: counted})

    monkeypatch.setattr(tasks, "find", lambda name: task)
    monkeypatch.setattr(tasks, "twin", twin)
    return types.SimpleNamespace(task=task, losses=len(parts), calls=calls)


def config(made_up, framework, name, **trainer_options):
    settings = {"log_every": 1, "epochs": 4, "accumulate": 4, "val_every": 10, "checkpoint_every": 7, **trainer_options}
    values = {
        "task": made_up.task.name,
        "framework": framework,
        "name": name,
        "data": {"batch_size": 16},
        "optimizer": {"schedule": "cosine", "warmup_steps": 5, "clip_norm": 0.5, "weight_decay": 0.1},
        "trainer": settings,
        "accelerator": {"platform": "cpu", "precision": "float64"},
    }
    return registry.load_config(saved=values)


def test_both_trainers_take_the_same_steps(project, made_up):
    lightning, nnx_ = (
        dataclasses.replace(config(made_up, name, "a"), init="start.safetensors") for name in ("lightning", "nnx")
    )
    save_file(weights.get(trainer.Engine(lightning, made_up.task, {}).module().net), "start.safetensors")
    a, b = history(workflow.train(lightning)), history(workflow.train(nnx_))
    assert len(a) == len(b) and a[0].keys() == b[0].keys()
    for ours, theirs in zip(a, b, strict=True):
        exact = not any(tag.startswith(("val/", "test/")) for tag in ours)
        assert ours == pytest.approx(theirs, rel=1e-9 if exact else 1e-6)


def test_the_step_is_compiled_once(project, made_up):
    workflow.train(config(made_up, "nnx", "a"))
    assert made_up.calls == ["nnx"] * made_up.losses * 4  # traced once for each loss and micro-batch, in 24 steps


@pytest.mark.parametrize("framework", ["lightning", "nnx"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(project, monkeypatch, made_up, framework):
    whole = history(workflow.train(config(made_up, framework, "whole")))
    advance = session.Progress.advance

    def interrupt(self, steps):
        advance(self, steps)
        if self.step == 11:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(session.Progress, "advance", interrupt)
        with pytest.raises(RuntimeError, match="power cut"):
            workflow.train(config(made_up, framework, "cut"))
    assert history(workflow.train(config(made_up, framework, "cut"))) == whole


@pytest.mark.parametrize("framework", ["lightning", "nnx"])
def test_a_run_goes_on_in_the_other_framework(project, monkeypatch, made_up, framework):
    [other] = {"lightning", "nnx"} - {framework}
    monkeypatch.setattr(convert, "convert_apart", convert.convert)
    whole = workflow.train(config(made_up, framework, "whole", max_steps=12))
    settings = config(made_up, framework, "half", max_steps=6)
    settings = dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, schedule_steps=12))
    half = workflow.train(settings)
    rest = train(dataclasses.replace(settings, framework=other, name="", resume=str(half)))
    names = ["loss/discriminator", "loss/generator"] if made_up.losses > 1 else ["loss"]
    for tag in (f"train/{name}" for name in names):
        a, b = values_of(whole, tag), values_of(rest, tag)
        assert list(b) == list(range(7, 13))
        assert b == pytest.approx({step: a[step] for step in b}, rel=1e-9)


@pytest.mark.parametrize("framework", ["lightning", "nnx"])
def test_micro_batches_of_different_weight_change_nothing(project, made_up, framework):
    losses = []
    for pieces in (1, 8):
        folder = workflow.train(config(made_up, framework, f"{pieces}", accumulate=pieces))
        losses.append([line["train/loss"] for line in history(folder) if "train/loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
