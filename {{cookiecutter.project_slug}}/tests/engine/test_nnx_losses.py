"""What a loss says of itself: its parts, which are logged, and the parameters that it moves."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import make_engine, steps, values_of
from flax import nnx
from helpers import SMALL, TASK, load_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from {{cookiecutter.package_name}}.engine import registry, workflow
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.nnx import loop
from {{cookiecutter.package_name}}.engine.session import check_parts
from {{cookiecutter.package_name}}.engine.task import Loss
from {{cookiecutter.package_name}}.extensions import nnx as own

TWIN = tasks.twin(tasks.find(TASK), "nnx")


class Fixed(nnx.Variable):
    """A parameter of a kind of its own, which is not trained."""


@pytest.fixture
def has(monkeypatch):
    """`has(losses=..., model=...)`: the task has these losses, and a model as this function leaves it."""
    create = TWIN.create_model

    def change(losses=None, model=lambda model: None):
        def create_model(*given, **named):
            made = create(*given, **named)
            model(made)
            return made

        monkeypatch.setattr(TWIN, "create_model", create_model)
        if losses:
            monkeypatch.setattr(TWIN, "losses", lambda config: losses)

    return change


def config(*options):
    return registry.load_config(TASK, ["--framework=nnx", *SMALL, *options])


def run_steps(settings, count=1, rate=1e-3):
    """(the state before, the state after some steps, the last one's logs, its batch)."""
    data = load_data(settings)
    made = make_engine(settings, data.spec)
    batches = TrainBatches(data, settings.data.batch_size, settings.seed)
    with made.settings():
        state, train_step = made.init(), made.train_step()
        before = jax.tree.map(np.asarray, state)
        for i in range(count):
            state, logs = train_step(state, batches.stack(i, 1), np.full(1, rate), True, {})
    return before, state, logs, batches[count - 1]


def leaves(tree):
    return {"/".join(map(str, path)): np.asarray(value[...]) for path, value in nnx.to_flat_state(tree)}


# Parts.


@pytest.fixture
def plain():
    """The name of the task's loss, and its function."""
    [(name, loss)] = TWIN.losses(config()).items()
    return name, loss.fn


@pytest.fixture(params=["one after the other", "in a loop"])
def micro_batches(request, monkeypatch):
    """Both ways in which micro-batches are gone through: on a CPU, and elsewhere."""
    if request.param == "in a loop":
        make = loop.make_train_step
        monkeypatch.setattr(loop, "make_train_step", lambda *given: make(*given[:-2], False, given[-1]))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_parts_of_a_loss_are_weighted_as_it_is(has, plain, micro_batches, accumulate):
    name, fn = plain

    def ragged(model, batch, rngs):
        total, _ = fn(model, batch, rngs)
        weights = _weights(batch)
        return total, weights.sum(), {"squares": (weights**2).sum(), "five": 5 * weights.sum()}

    has({name: Loss(ragged)})
    _, _, logs, batch = run_steps(config(f"--trainer.accumulate={accumulate}"))
    weights = np.asarray(_weights(batch), np.float64)
    assert weights.std() > 0
    assert logs["five"] == pytest.approx(5, rel=1e-5)
    assert logs["squares"] == pytest.approx((weights**2).sum() / weights.sum(), rel=1e-5)


def with_part(fn, name, part):
    """A loss, with a part of it that is made of its sum and weight."""

    def loss_fn(model, batch, rngs):
        total, weight = fn(model, batch, rngs)
        return total, weight, {name: part(total, weight)}

    return loss_fn


def _weights(batch):
    """Of each example a positive number that its values determine."""
    values = [abs(value.reshape(len(value), -1)).sum(1) % 7 + 1.0 for value in batch.values()]
    return sum(values[1:], values[0])


def test_parts_change_nothing_else(has, plain):
    name, fn = plain
    _, expected, logs, _ = run_steps(config())
    has({name: Loss(with_part(fn, "one", lambda total, weight: weight))})
    _, found, more, _ = run_steps(config())
    jax.tree.map(np.testing.assert_array_equal, leaves(expected.params), leaves(found.params))
    assert dict(more) == {**logs, "one": 1.0}


def test_parts_are_logged_beside_the_loss(project, has, plain):
    name, fn = plain
    has({name: Loss(with_part(fn, "half", lambda total, weight: total / 2))})
    folder = workflow.train(config(*steps(4), "--trainer.log_every=2"))
    halves, losses = values_of(folder, "train/half"), values_of(folder, "train/loss")
    assert list(halves) == [2, 4]
    assert [2 * value for value in halves.values()] == pytest.approx(list(losses.values()), rel=1e-6)


@pytest.mark.parametrize("part", ["loss", "grad_norm", "learning_rate", "epoch", "skipped_updates", "loss/other"])
def test_a_part_that_is_named_as_something_else_is_refused(part):
    with pytest.raises(InputError, match=f"^a loss names a part of itself '{part}', but train/{part} is .* rename it$"):
        check_parts([part])


def test_that_is_one_line(project, cli, has, plain):
    name, fn = plain
    has({name: Loss(with_part(fn, "epoch", lambda total, weight: total))})
    done = cli("train", TASK, "--framework=nnx", *SMALL, "--debug=fast")
    assert done.code == 2
    *_, line = done.err.splitlines()
    assert line == "error: a loss names a part of itself 'epoch', but train/epoch is something else: rename it"


def test_so_is_a_part_that_two_losses_name(has, plain):
    name, fn = plain
    both = [path[0] for path, _ in nnx.to_flat_state(nnx.state(_model(), nnx.Param))]
    parts = {"first": both[0], "second": next(word for word in both if word != both[0])}
    same = with_part(fn, "same", lambda total, weight: total)
    has({word: Loss(same, part) for word, part in parts.items()})
    with pytest.raises(InputError, match="'same', but train/same is something else"):
        run_steps(config())


# The parameters that it moves.


def _model():
    settings = config()
    return make_engine(settings, load_data(settings).spec)._model()


def test_what_a_filter_leaves_out_is_frozen(has, plain):
    name, fn = plain
    frozen = nnx.to_flat_state(nnx.state(_model(), nnx.Param))[0][0]
    has({name: Loss(fn, nnx.All(nnx.Param, lambda path, _: path != frozen))})
    before, after, _, _ = run_steps(config("--optimizer.weight_decay=0.5"), 3)
    word = "/".join(map(str, frozen))
    np.testing.assert_array_equal(leaves(before.rest)[word], leaves(after.rest)[word])
    moved = leaves(after.params)
    assert moved and word not in moved
    assert all((value != leaves(before.params)[path]).any() for path, value in moved.items())
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in _flat(after.opt_state)]
    assert not any(path.removesuffix("/value").endswith(f"/{word}") for path in paths)


def _flat(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def test_a_parameter_of_another_kind_is_frozen(has, plain):
    def add(model):
        model.spare, model.decays = Fixed(jnp.ones((3, 3))), nnx.Param(jnp.ones((3, 3)))

    has(model=add)
    _, after, _, _ = run_steps(config("--optimizer.weight_decay=0.5"), 3)
    assert (leaves(after.rest)["spare"] == 1).all()
    assert (leaves(after.params)["decays"] < 1).all()
    paths = [jax.tree_util.keystr(path) for path, _ in _flat(after.opt_state)]
    assert any("decays" in path for path in paths) and not any("spare" in path for path in paths)


def test_what_is_frozen_is_marked_and_counted(project, has, plain):
    name, fn = plain
    has({name: Loss(fn, nnx.All(nnx.Param, lambda path, _: path[0] != "spare"))}, _add_spare)
    folder = workflow.train(config("--debug=fast"))
    result = json.loads((folder / "result.json").read_text())
    assert result["parameters"] - result["trained_parameters"] == 12
    events = EventAccumulator(str(folder)).Reload()
    text = events.Tensors("parameters")[0].tensor_proto.string_val[0].decode()
    assert "| spare (frozen) | 3 x 4 | 12 |" in text and text.count("(frozen)") == 1
    assert f"| trained | | {result['trained_parameters']:,} |" in text
    assert "weights/spare" in events.Tags()["tensors"]


def _add_spare(model):
    model.spare = nnx.Param(jnp.ones((3, 4)))


def test_a_loss_that_moves_nothing_is_one_line(has, plain):
    name, fn = plain
    has({name: Loss(fn, "nothing")})
    with pytest.raises(InputError) as caught:
        run_steps(config())
    line = f"loss {name!r} moves nothing: the model has no parameter for params = 'nothing'"
    assert str(caught.value) == line


# Optimizers.


def test_an_optimizer_of_ones_own_follows_the_schedule(monkeypatch):
    monkeypatch.setitem(own.OPTIMIZERS, "sign", lambda config: optax.sign_sgd(config.learning_rate))
    settings = config("--optimizer.name=sign", "--optimizer.learning_rate=0.5", "--accelerator.precision=float64")
    before, after, _, _ = run_steps(settings, rate=0.005)
    both = (leaves(state.params) for state in (before, after))
    lengths = np.abs(np.concatenate([(a - b).ravel() for a, b in zip(*map(dict.values, both), strict=True)]))
    assert lengths.max() == pytest.approx(0.005, rel=1e-9)
    assert lengths[lengths > 0].min() == pytest.approx(0.005, rel=1e-9)
