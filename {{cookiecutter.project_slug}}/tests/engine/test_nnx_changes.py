"""What the documentation of Flax teaches works in a run: modules, losses and metrics of one's own.

The other files of this name show it of optimizers, and of what is done with a run.
"""

import contextlib
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from clu import metrics
from conftest import make_engine, values_of
from flax import linen as nn
from flax import nnx, struct, traverse_util
from helpers import load_data

from {{cookiecutter.package_name}} import load, train
from {{cookiecutter.package_name}}.engine import registry, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.config import DataConfig, ModelConfig
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.data.sources import Arrays, Dataset
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_record, read_result
from {{cookiecutter.package_name}}.engine.nnx import checkpoint
from {{cookiecutter.package_name}}.engine.task import Loss

# A task that no project has, as small as can be: a number for each short series of vectors.
LENGTH, WIDTH, UNITS = 5, 3, 4


def dataset(draw=None):
    series = np.random.default_rng(0).normal(size=(120, LENGTH, WIDTH)).astype(np.float32)
    rows = Arrays(series=series, target=np.sin(series.sum((1, 2))))
    train, val, test = (Arrays(**rows[np.arange(*ends)]) for ends in ((80,), (80, 100), (100, 120)))
    return Dataset(train, val, test, {}, draw)


class Model(nnx.Module):
    """float [batch, LENGTH, WIDTH] -> float [batch], by a layer that gives UNITS numbers for each vector."""

    def __init__(self, layer, rngs, dtypes):
        self.layer = layer(rngs, **dtypes)
        self.output = nnx.Linear(UNITS, 1, rngs=rngs, **dtypes)

    def __call__(self, series):
        return self.output(nnx.tanh(self.layer(series))).mean((1, 2))


def linear(rngs, **options):
    return nnx.Linear(WIDTH, UNITS, rngs=rngs, **options)


def errors(model, batch):
    return (model(batch["series"]) - batch["target"]) ** 2


def loss_fn(model, batch, rngs):
    return errors(model, batch).sum(), len(batch["target"])


def eval_step(model, batch, metrics):
    found = {"loss": errors(model, batch), "prediction": model(batch["series"]), "target": batch["target"]}
    return metrics.single_from_model_output(**found, mask=batch["mask"])


def nnx_half(layer=linear, losses=None, **own_metrics):
    """The task's file for this framework. layer: of the model. losses: by their names."""
    found = {"loss": metrics.Average.from_output("loss"), **own_metrics}
    return types.SimpleNamespace(
        create_metrics=lambda spec: metrics.Collection.create(**found),
        create_model=lambda config, spec, *, rngs, **dtypes: Model(layer, rngs, dtypes),
        losses=lambda config: losses or {"loss": Loss(loss_fn)},
        eval_step=eval_step,
        predict_step=lambda model, batch: {"prediction": model(batch["series"])},
    )


@contextlib.contextmanager
def in_place(half, draw=None):
    """The task, with this file, in the place of those that the project has; by hand, too, the CPU computes."""
    task = tasks.Task(
        name="series",
        title="Series",
        models={"only": ModelConfig},
        datasets={"made": DataConfig},
        monitor="val/loss",
        mode="min",
        load=lambda config, spec: dataset(draw),
        inputs=lambda given, spec, bad: tasks.Inputs(Arrays(series=given), [*map(str, range(len(given)))]),
        describe=lambda names, outputs, spec: [{"prediction": float(x)} for x in outputs["prediction"]],
        examples=lambda *_: {},
        overfit=tasks.Overfit(10, 1.0),
    )
    with pytest.MonkeyPatch.context() as patch, jax.default_device(jax.devices("cpu")[0]):
        patch.setattr(tasks, "find", lambda name: task)
        patch.setattr(tasks, "twin", lambda task, framework: half)
        yield half


@pytest.fixture
def made(project):
    """`made(**parts)`: the task is made of these parts of `nnx_half`, until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda draw=None, **parts: stack.enter_context(in_place(nnx_half(**parts), draw))


def config(*options):
    plain = {"log_every": 1, "val_every": 100, "checkpoint_every": 100, "epochs": 0, "max_steps": 4}
    values = {"data": {"batch_size": 16}, "trainer": plain, "accelerator": {"platform": "cpu"}}
    values["optimizer"] = {"name": "sgd", "momentum": 0.9, "learning_rate": 0.1}
    return registry.load_config("", options, saved={"task": "series", "framework": "nnx", **values})


def batches(settings, count, start=0):
    """Those of a run's first steps."""
    found = TrainBatches(load_data(settings), settings.data.batch_size, settings.seed)
    return [found[step] for step in range(start, start + count)]


def fresh(settings):
    """The model that a run begins with."""
    dtypes = dict.fromkeys(("dtype", "param_dtype"), settings.accelerator.precision)
    return tasks.twin(None, "nnx").create_model(settings, {}, rngs=nnx.Rngs(settings.seed), **dtypes)


def by_hand(model, optimizer, batches, *losses):
    """A loop as the documentation of Flax has it: the model afterwards."""
    losses = losses or (Loss(loss_fn),)
    takes_value = isinstance(optimizer, optax.GradientTransformationExtraArgs | optax.MultiSteps)
    optimizers = [nnx.Optimizer(model, optimizer, wrt=loss.params or nnx.Param) for loss in losses]

    @nnx.jit
    def step(model, optimizers, batch):
        for loss, optimizer in zip(losses, optimizers, strict=True):

            def mean(model, loss=loss):
                total, weight, *_ = loss.fn(model, batch, None)
                return total / weight

            value, grads = nnx.value_and_grad(mean, argnums=nnx.DiffState(0, optimizer.wrt))(model)
            optimizer.update(model, grads, **({"value": value} if takes_value else {}))
        nnx.pop(model, nnx.Intermediate)

    for batch in batches:
        step(model, optimizers, batch)
    return model


OPTIMIZER = optax.sgd(0.1, momentum=0.9)  # that of `config`


def last(run):
    """A run's last checkpoint."""
    return run / "checkpoints" / read_record(run).last


def opened(checkpoint, *items):
    """The arrays of a checkpoint's parts by their paths, as plain Orbax reads them; of a random key, its numbers."""
    found = {}
    with ocp.StandardCheckpointer() as checkpointer, jax.enable_x64(True):
        for item in items or ("model",):
            found |= traverse_util.flatten_dict(checkpointer.restore((checkpoint / item).absolute()), sep="/")
        return {name: numbers(value) for name, value in found.items()}


def arrays(tree):
    """Those of a model or a state by their paths, in the same way."""
    state = nnx.state(tree) if isinstance(tree, nnx.Module) else tree
    return {"/".join(map(str, path)): numbers(value[...]) for path, value in nnx.to_flat_state(state)}


def numbers(value):
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if is_key else value)


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, **tolerance or {"rtol": 0, "atol": 0}, err_msg=name)


# Modules.


class Noisy(nnx.Module):
    """Adds noise in training, as the guide to randomness has it."""

    def __init__(self, rngs, **dtypes):
        self.linear, self.rngs, self.deterministic = linear(rngs, **dtypes), rngs, False

    def __call__(self, x):
        x = self.linear(x)
        return x if self.deterministic else x + 0.1 * jax.random.normal(self.rngs.noise(), x.shape)


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(UNITS, use_bias=False)(x))
        return nn.Dropout(0.5, deterministic=not train)(x)


class OfLinen(nnx.Module):
    """A module of Linen that has running statistics and draws random numbers."""

    def __init__(self, rngs, **dtypes):
        self.block = nnx.bridge.ToNNX(LinenBlock(), rngs=rngs)
        nnx.bridge.lazy_init(self.block, jnp.ones((1, LENGTH, WIDTH)), train=False)
        self.deterministic = False

    def __call__(self, x):
        train = not self.deterministic
        return self.block(x, train=train, mutable=["batch_stats"] if train else False)


class Sown(nnx.Module):
    def __init__(self, rngs, **dtypes):
        self.linear = linear(rngs, **dtypes)

    def __call__(self, x):
        x = self.linear(x)
        self.sow(nnx.Intermediate, "activity", jnp.abs(x).mean())
        return x


class Recomputed(nnx.Module):
    """Keeps what its matrices give, and computes the rest twice."""

    def __init__(self, rngs, **dtypes):
        self.linear, self.norm = linear(rngs, use_bias=False, **dtypes), nnx.BatchNorm(UNITS, momentum=0.5, rngs=rngs)

    @functools.partial(nnx.remat, policy=jax.checkpoint_policies.dots_saveable)
    def __call__(self, x):
        return nnx.gelu(self.norm(self.linear(x)))


def sown_loss(model, batch, rngs):
    """Reads what is sown in both ways: what the model holds then, and what `nnx.capture` gives beside its output."""
    total, weight = loss_fn(model, batch, rngs)
    [held] = model.layer.activity.get_value()
    _, captured = nnx.capture(model, nnx.Intermediate)(batch["series"])
    [given] = captured["layer"]["activity"].get_value()
    return total + weight * (held + given), weight, {"activity": weight * held}


def attention(rngs, **dtypes):
    options = {"dropout_rate": 0.5, "deterministic": False, "decode": False}
    return nnx.MultiHeadAttention(1, WIDTH, UNITS, UNITS, rngs=rngs, **options, **dtypes)


def recurrent(cell):
    return {"layer": lambda rngs, **dtypes: nnx.RNN(cell(WIDTH, UNITS, rngs=rngs, **dtypes), rngs=rngs)}


MODULES = {
    "Dropout": {"layer": lambda rngs, **dtypes: nnx.Sequential(linear(rngs, **dtypes), nnx.Dropout(0.5, rngs=rngs))},
    "noise": {"layer": Noisy},
    "LSTM": recurrent(nnx.LSTMCell),
    "GRU": recurrent(nnx.GRUCell),
    "MultiHeadAttention": {"layer": attention},
    "Linen": {"layer": OfLinen},
    "sow": {"layer": Sown, "losses": {"loss": Loss(sown_loss)}},
    "SpectralNorm": {"layer": lambda rngs, **dtypes: nnx.SpectralNorm(linear(rngs, **dtypes), rngs=rngs)},
    "LoRA": {
        "layer": lambda rngs, **dtypes: nnx.LoRALinear(WIDTH, UNITS, lora_rank=2, rngs=rngs, **dtypes),
        "losses": {"loss": Loss(loss_fn, nnx.LoRAParam)},
    },
    "remat": {"layer": Recomputed},
}


# Flax asks for `nnx.capture` around what is sown, and still says how it was done before.
pytestmark = pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning")


@pytest.fixture(scope="module", params=MODULES)
def module(request, tmp_path_factory):
    """A run with a module of those that documentations show, and what it began with."""
    parts = MODULES[request.param]
    with in_place(nnx_half(**parts)), pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("module"))
        settings = config("--trainer.checkpoint_every=2")
        [loss] = parts.get("losses", {"": Loss(loss_fn)}).values()
        yield types.SimpleNamespace(settings=settings, loss=loss, begin=fresh(settings), run=train(settings))


def test_a_module_trains_as_in_a_loop_by_hand(module):
    model = by_hand(nnx.clone(module.begin), OPTIMIZER, batches(module.settings, 4), module.loss)
    assert_same(opened(last(module.run)), arrays(model), rtol=1e-4, atol=1e-6)


def test_with_it_a_checkpoint_holds_all_that_the_next_bits_depend_on(module, tmp_path):
    engine = make_engine(module.settings, {})
    state, step = engine.restore(module.run / "checkpoints" / "00000002"), engine.train_step()
    for batch in batches(module.settings, 2, start=2):
        batch = {name: value[None] for name, value in batch.items()}
        state, _ = step(state, batch, np.full(1, 0.1, np.float32), True, {})
    checkpoint.save(tmp_path / "again", state)
    both = [opened(path, "model", "train") for path in (tmp_path / "again", last(module.run))]
    assert_same(*both)


def test_it_is_evaluated_and_predicts_without_what_is_random(module):
    test, model, found = load_data(module.settings).test.arrays, nnx.clone(module.begin), opened(last(module.run))
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if not isinstance(variable, nnx.RngState):
            variable.set_value(found["/".join(map(str, path))])
    model.eval()
    expected = nnx.jit(lambda model, series: model(series))(model, test["series"])
    predictions = load(module.run).outputs(test["series"])["prediction"]
    np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-6)
    loss = ((predictions - test["target"]) ** 2).mean()
    assert read_result(module.run)["metrics"]["test/loss"] == pytest.approx(loss, rel=1e-5)


class Shifted(nnx.Module):
    """Holds an array that is no Variable."""

    def __init__(self, rngs, hold, **dtypes):
        self.linear, self.shift = linear(rngs, **dtypes), hold(jnp.linspace(0.0, 1.0, UNITS))

    def __call__(self, x):
        return self.linear(x) + self.shift


def test_an_array_that_a_module_holds_as_data_is_one_of_the_model(made):
    made(layer=functools.partial(Shifted, hold=nnx.data))
    run = train(config())
    assert_same(opened(last(run)), arrays(by_hand(fresh(config()), OPTIMIZER, batches(config(), 4))), rtol=1e-4)


def test_an_array_that_it_holds_otherwise_is_refused_in_one_line(made):
    made(layer=functools.partial(Shifted, hold=lambda array: array))
    with pytest.raises(InputError, match="^.*shift.*nnx.data.*$") as caught:
        train(config())
    assert str(caught.value).count("\n") == 0


# What a loss moves.


def but(name):
    """A filter: all parameters but those of an attribute of the model."""
    return nnx.All(nnx.Param, lambda path, _: path[0] != name)


def moved(before, after):
    """The paths of what differs."""
    assert before.keys() == after.keys()
    return {path for path in before if (before[path] != after[path]).any()}


def test_a_part_is_frozen_before_another_run_begins_with_its_weights_or_after(made):
    made(losses={"loss": Loss(loss_fn, but("layer"))})
    first = train(config("--name=first", "--trainer.checkpoint_every=3"))
    before, after = (opened(first / "checkpoints" / name) for name in ("00000003", "00000004"))
    assert moved(before, after) == {"output/kernel", "output/bias"}
    made(losses={"loss": Loss(loss_fn, but("output"))})
    second = train(config("--name=second", f"--init={first}"))
    assert moved(opened(last(first)), opened(last(second))) == {"layer/kernel", "layer/bias"}


def test_statistics_of_a_frozen_part_move_unless_it_uses_those_that_it_has(made):
    def normalized(rngs, **dtypes):
        moving = nnx.BatchNorm(WIDTH, momentum=0.5, rngs=rngs, **dtypes)
        fixed = nnx.BatchNorm(WIDTH, use_running_average=True, rngs=rngs, **dtypes)
        return nnx.Sequential(moving, fixed, linear(rngs, **dtypes))

    made(layer=normalized, losses={"loss": Loss(loss_fn, but("layer"))})
    found, mean = opened(last(train(config()))), np.zeros(WIDTH)
    for batch in batches(config(), 4):
        mean = 0.5 * mean + 0.5 * batch["series"].mean((0, 1))
    np.testing.assert_allclose(found["layer/layers/0/mean"], mean, rtol=1e-5, atol=1e-7)
    assert (found["layer/layers/0/scale"] == 1).all() and (found["layer/layers/1/mean"] == 0).all()


def test_a_loss_has_a_term_of_ones_own_that_is_logged_beside_it(made):
    def with_l2(model, batch, rngs):
        total, weight = loss_fn(model, batch, rngs)
        l2 = (model.layer.kernel[...] ** 2).sum()
        return total + weight * l2, weight, {"l2": weight * l2}

    made(losses={"loss": Loss(with_l2)})
    run, model = train(config()), fresh(config())
    assert values_of(run, "train/l2")[1] == pytest.approx(float((model.layer.kernel[...] ** 2).sum()), rel=1e-5)
    by_hand(model, OPTIMIZER, batches(config(), 4), Loss(with_l2))
    assert_same(opened(last(run)), arrays(model), rtol=1e-4, atol=1e-6)


def test_two_losses_move_the_same_parameters_one_after_the_other(made):
    def size(model, batch, rngs):
        return jnp.abs(model(batch["series"])).sum(), len(batch["series"])

    made(losses={"fit": Loss(loss_fn), "size": Loss(size, "output")})
    run = train(config())
    both = Loss(loss_fn), Loss(size, nnx.PathContains("output"))
    model = by_hand(fresh(config()), OPTIMIZER, batches(config(), 4), *both)
    assert_same(opened(last(run)), arrays(model), rtol=1e-4, atol=1e-6)
    assert list(values_of(run, "train/loss/size")) == [1, 2, 3, 4]


def test_a_batch_that_weighs_nothing_is_left_out_counted_and_told(made, capsys):
    def known_only(model, batch, rngs):
        return (errors(model, batch) * batch["known"]).sum(), batch["known"].sum()

    def draw(rng, n):  # of some batches nothing is known, of the others a part
        return {"known": (rng.random(n) < 0.7) & (rng.random() < 0.5)}

    made(draw, losses={"loss": Loss(known_only)})
    settings = config("--trainer.max_steps=8")
    run, model = train(settings), fresh(settings)
    weighing = [batch for batch in batches(settings, 8) if batch["known"].any()]
    assert 0 < len(weighing) < 8
    by_hand(model, OPTIMIZER, weighing, Loss(known_only))
    assert_same(opened(last(run)), arrays(model), rtol=1e-4, atol=1e-6)
    assert values_of(run, "train/skipped_updates")[8] == 8 - len(weighing)
    assert all(np.isfinite(list(values_of(run, "train/loss").values())))
    assert capsys.readouterr().err.count("updates of batches that weigh nothing are left out and counted") == 1


# Metrics.


@struct.dataclass
class Bias(metrics.Average):
    """How much is predicted too much, in the mean."""

    @classmethod
    def from_model_output(cls, *, prediction, target, mask, **_):
        return super().from_model_output(prediction - target, mask)


@struct.dataclass
class MedianError(metrics.CollectingMetric.from_outputs(("prediction", "target", "mask"))):
    """Of the absolute errors, over the whole split."""

    def compute(self):
        found = super().compute()
        return np.median(np.abs(found["prediction"] - found["target"])[found["mask"]])


def test_metrics_of_ones_own_are_those_of_the_whole_split(made):
    made(bias=Bias, median_error=MedianError)
    run = train(config())
    test = load_data(config()).test.arrays
    errors = load(run).outputs(test["series"])["prediction"] - test["target"]
    found = workflow.evaluate(run, config())[0]
    assert found["test/bias"] == pytest.approx(errors.mean(), rel=1e-5)
    assert found["test/median_error"] == pytest.approx(np.median(np.abs(errors)), rel=1e-5)
    for tag in ("test/bias", "test/median_error"):
        assert list(values_of(run, tag).values()) == [found[tag]]
