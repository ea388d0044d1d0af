"""What the documentation of optax teaches works in a run: optimizers and schedules of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import make_engine, values_of
from helpers import SMALL, TASK
from test_nnx_changes import OPTIMIZER, arrays, assert_same, batches, by_hand, config, fresh, last, linear, opened
from test_nnx_changes import made as made  # a fixture

from {{cookiecutter.package_name}} import train
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.extensions import nnx as extensions


def by_part(rate):
    """The last layer learns faster, by another optimizer; as the guide to optax.partition has it."""

    def labels(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key, params)

    return optax.partition({"layer": optax.sgd(rate), "output": optax.adam(10 * rate)}, labels)


def masked(rate):
    """Biases are left as they are."""

    def biases(params):
        return jax.tree.map(lambda p: p.ndim < 2, params)

    return optax.chain(optax.adam(rate), optax.masked(optax.set_to_zero(), biases))


def on_plateau(rate):
    """Halves its updates at every second step, as no loss is so much better than the best."""
    return optax.chain(optax.adam(rate), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, atol=1e9))


OPTIMIZERS = {
    "lion": lambda rate: optax.lion(rate, weight_decay=0.1),
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adafactor": lambda rate: optax.adafactor(rate, min_dim_size_to_factor=2),
    "muon": lambda rate: optax.contrib.muon(rate, weight_decay=0.1),
    "adaptive clipping": lambda rate: optax.chain(optax.adaptive_grad_clip(0.01), optax.adam(rate)),
    "MultiSteps": lambda rate: optax.MultiSteps(on_plateau(rate), every_k_schedule=2),
    "partition": by_part,
    "masked": masked,
}


@pytest.fixture
def own(monkeypatch):
    """`own(optimizer)`: what makes `optimizer.name = own` of a config."""
    return lambda optimizer: monkeypatch.setitem(extensions.OPTIMIZERS, "own", optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_of_optax_trains_as_in_a_loop_by_hand(made, own, name):
    made()
    own(lambda config: OPTIMIZERS[name](config.learning_rate))
    settings = config("--optimizer.name=own", "--accelerator.precision=float64")
    engine = make_engine(settings, {})
    with engine.settings():
        state, step = engine.init(), engine.train_step()
        for batch in batches(settings, 4):
            state, _ = step(state, {key: value[None] for key, value in batch.items()}, np.full(1, 0.01), True, {})
        expected = by_hand(fresh(settings), OPTIMIZERS[name](0.01), batches(settings, 4))
        assert_same(arrays(state.params), arrays(expected), rtol=1e-9, atol=1e-12)


def trained(own, optimizer, *options):
    """A run with an optimizer that has a learning rate of its own, whose weights are those of a loop by hand."""
    own(lambda config: optimizer)
    run = train(config("--optimizer.name=own", *options))
    expected = by_hand(fresh(config()), optimizer, batches(config(), 4))
    assert_same(opened(last(run)), arrays(expected), rtol=1e-4, atol=1e-6)
    return run


def test_a_schedule_of_ones_own_is_used_and_the_configs_is_not_logged(made, own, capsys):
    made()
    run = trained(own, optax.adamw(optax.cosine_decay_schedule(0.02, 4)))
    assert not values_of(run, "train/learning_rate")
    assert capsys.readouterr().err.count("optimizer.name = 'own' has a learning rate of its own: ") == 1


def test_the_rate_that_an_optimizer_tells_of_itself_is_logged(made, own):
    made()
    schedule = optax.cosine_decay_schedule(0.02, 4)
    run = trained(own, optax.inject_hyperparams(optax.adam)(schedule))
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx([float(schedule(i)) for i in range(4)])


def test_the_configs_schedule_is_followed_and_logged(made, own, capsys):
    made()
    own(lambda config: optax.lion(config.learning_rate))
    run = train(config("--optimizer.name=own", "--optimizer.schedule=linear"))
    assert list(values_of(run, "train/learning_rate").values()) == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert "learning rate of its own" not in capsys.readouterr().err
    expected = by_hand(fresh(config()), optax.lion(optax.linear_schedule(0.1, 0, 4)), batches(config(), 4))
    assert_same(opened(last(run)), arrays(expected), rtol=1e-4, atol=1e-6)


def test_an_optimizer_gets_the_value_of_the_loss(made, own):
    made()
    run = trained(own, on_plateau(0.01))
    found = opened(last(run), "train")
    assert found["opt_state/loss/1/scale"] < 1
    losses = list(values_of(run, "train/loss").values())
    assert found["opt_state/loss/1/best_value"] in np.float32(losses)


def test_an_optimizer_that_keeps_the_first_parameters_begins_with_those_of_another_run(made, own):
    made()
    first = train(config("--name=first"))
    own(lambda config: optax.contrib.dog())
    run = train(config("--optimizer.name=own", f"--init={first}"))
    kept = [(path.partition("/init_params/")[2], value) for path, value in opened(last(run), "train").items()]
    assert_same({path: value for path, value in kept if path}, opened(last(first)))


def test_an_optimizer_whose_sign_was_forgotten_is_refused_in_one_line(complaint, own):
    own(lambda config: optax.scale_by_adam())
    line = complaint("train", TASK, "--framework=nnx", *SMALL, "--optimizer.name=own")
    assert "'own': what it adds to the parameters climbs the loss: end its chain with" in line


def test_so_is_one_that_asks_for_more_than_a_step_has(complaint, own):
    own(lambda config: optax.lbfgs())
    assert "optimizer.name = 'own'" in complaint("train", TASK, "--framework=nnx", *SMALL, "--optimizer.name=own")


CLIPPED = ("--optimizer.clip_norm=0.1", "--nnx.steps_per_call=4", "--trainer.log_every=4")


@pytest.mark.parametrize("options", [(), CLIPPED])
def test_parameters_of_bfloat16_stay_so_among_others(made, options):
    made(layer=lambda rngs, **dtypes: linear(rngs, **{**dtypes, "param_dtype": jnp.bfloat16}))
    run = train(config(*options))
    clip = optax.clip_by_global_norm(0.1) if options else optax.identity()
    expected = by_hand(fresh(config()), optax.chain(clip, OPTIMIZER), batches(config(), 4))
    found = opened(last(run), "model", "train")
    of_layer = {value.dtype.name for path, value in found.items() if "/layer/" in f"/{path}"}
    assert of_layer == {"bfloat16"} and found["output/kernel"].dtype == np.float32
    assert_same(opened(last(run)), arrays(expected), rtol=2e-2, atol=1e-3)


def test_an_optimizer_in_place_of_what_makes_it_is_one_line(made, own):
    made()
    own(optax.adam(1e-3))
    with pytest.raises(InputError, match="OPTIMIZERS in extensions/nnx.py has an optimizer, and wants what makes it"):
        train(config("--optimizer.name=own"))
