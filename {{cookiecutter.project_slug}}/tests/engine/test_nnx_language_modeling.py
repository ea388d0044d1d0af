"""Language modelling in Flax NNX: how a token is chosen, and what is compiled for a text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import history, small, steps
from flax import nnx

from {{cookiecutter.package_name}}.models.gpt import GptConfig
from {{cookiecutter.package_name}}.models.gpt.nnx import GPT
from {{cookiecutter.package_name}}.tasks.language_modeling.nnx import choose, generate, read_and_choose

PROBABILITIES = np.array([0.1, 0.4, 0.2, 0.3])
LOGITS = np.broadcast_to(np.log(PROBABILITIES), (4000, 4))


def shares(temperature, top_k, dtype=jnp.float32):
    """How often each token is chosen."""
    chosen = choose(jnp.asarray(LOGITS, dtype), jax.random.key(0), temperature, top_k)
    return np.bincount(chosen, minlength=4) / len(LOGITS)


def test_tokens_are_chosen_as_often_as_they_are_likely():
    assert shares(1.0, 0) == pytest.approx(PROBABILITIES, abs=0.03)
    assert shares(1.0, 9, jnp.bfloat16) == pytest.approx(PROBABILITIES, abs=0.03)


def test_a_low_temperature_makes_likely_tokens_likelier():
    assert shares(0.5, 0) == pytest.approx(PROBABILITIES**2 / (PROBABILITIES**2).sum(), abs=0.03)
    assert shares(1e-30, 0).tolist() == [0, 1, 0, 0]


def test_only_the_likeliest_are_chosen_from():
    assert shares(1.0, 2) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=0.03)
    assert shares(1.0, 1).tolist() == [0, 1, 0, 0]


def test_two_programs_are_compiled_for_texts_of_any_length():
    """One reads a prompt, the other a token; for another text, nothing is compiled."""
    model = GPT(GptConfig(layers=1, heads=2, width=8, context=16), 11, rngs=nnx.Rngs(0))
    read_and_choose.clear_cache()
    for prompt in ([5], [3, 1, 4], [1] * 16):
        batch = {"tokens": np.array([prompt + [-1] * (16 - len(prompt))])}
        loaded = nnx.merge(*nnx.split(model))
        loaded.eval()
        assert len(list(generate(loaded, batch, seed=0, tokens=20, temperature=0.8, top_k=5))) == 20
    assert read_and_choose._cache_size() == 2


def test_blocks_computed_twice_train_as_others(cli, project):
    words = ["train", "language_modeling", "--framework=nnx", *small("language_modeling"), *steps(5)]
    words += ["--trainer.log_every=1", "--accelerator.precision=float64"]
    for value in ("false", "true"):
        assert cli(*words, f"--nnx.remat={value}", f"--name={value}").code == 0
    once, twice = (history(project / f"runs/language_modeling/default/nnx/{value}") for value in ("false", "true"))
    assert len(once) > 5
    for a, b in zip(once, twice, strict=True):
        assert a == pytest.approx(b, rel=1e-9)
