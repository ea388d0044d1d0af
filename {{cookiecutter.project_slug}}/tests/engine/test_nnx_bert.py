"""BERT in Flax NNX: sizes, published weights, half precision, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_bert import CLASSES, PADDING, POSITIONS, SIZES, TINY, TOKENS, VOCABULARY, expected, published

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.nnx.weights import put
from {{cookiecutter.package_name}}.models.bert import BertConfig
from {{cookiecutter.package_name}}.models.bert.nnx import BertClassifier


def abstract(config=TINY, vocabulary=VOCABULARY, length=TOKENS.shape[1], **dtypes):
    """Without arrays."""
    return nnx.eval_shape(lambda: BertClassifier(config, vocabulary, length, CLASSES, rngs=nnx.Rngs(0), **dtypes))


def create(**dtypes):
    """With published weights, to evaluate."""
    model = abstract(**dtypes)
    put(TINY.adopt(published()), model, "the test")
    model.eval()
    return model


logits = nnx.jit(lambda model, tokens, rngs=None: model(tokens, rngs))


@pytest.mark.parametrize("name", SIZES)
def test_it_has_the_published_number_of_parameters(name):
    model = abstract(BertConfig(name), 30_522, 128)
    del model.classifier
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == SIZES[name][-1]


def test_published_weights_give_the_published_logits():
    assert np.asarray(logits(create(), TOKENS)) == pytest.approx(expected(), abs=1e-5)
    with jax.enable_x64(True):
        found = logits(create(dtype=jnp.float64, param_dtype=jnp.float64), TOKENS)
    assert np.asarray(found) == pytest.approx(expected(), abs=1e-12)


def test_weights_without_a_classifier_are_refused():
    weights = {name: value for name, value in TINY.adopt(published()).items() if not name.startswith("classifier")}
    with pytest.raises(InputError, match=r"another model: missing: classifier\.bias, classifier\.weight$"):
        put(weights, abstract(), "the test")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_in_half_precision_a_row_of_padding_and_its_gradient_are_finite(dtype):
    tokens = np.concatenate([TOKENS, PADDING])

    @nnx.jit
    @nnx.value_and_grad(has_aux=True)
    def total(model):
        found = model(tokens).astype(jnp.float32)
        return found.sum(), found

    (_, found), grads = total(create(dtype=dtype))
    assert np.isfinite(found).all() and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert np.asarray(found[:-1]) == pytest.approx(expected(), abs=0.1)


def test_it_drops_something_only_in_training():
    model = create()
    model.train()
    a, b = (np.asarray(logits(model, TOKENS, nnx.Rngs(seed))) for seed in range(2))
    assert np.abs(a - b).max() > 1e-3


def test_texts_longer_than_the_table_of_positions_are_refused():
    with pytest.raises(InputError, match=r"model\.positions"):
        abstract(length=POSITIONS + 1)


def test_it_begins_as_it_is_told():
    model = nnx.jit(lambda: BertClassifier(TINY, 1_000, POSITIONS, CLASSES, rngs=nnx.Rngs(0)))()
    drawn = [model.embeddings.word_embeddings.embedding, model.layers[1].intermediate.kernel, model.pooler.kernel]
    for weight in drawn:
        assert np.std(weight[...]) == pytest.approx(0.88 * 0.02, rel=0.02)  # 0.88: of a normal one cut off at 2
        assert 0.039 < np.abs(weight[...]).max() <= 0.04
    assert not model.classifier.bias[...].any() and not model.layers[0].query.bias[...].any()
