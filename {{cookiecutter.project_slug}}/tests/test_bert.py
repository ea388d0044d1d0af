"""BERT as Hugging Face has it: names, shapes and the formulas stand here once more, in NumPy."""

import functools
import math

import numpy as np
import pytest
from conftest import make_engine
from safetensors.numpy import save_file

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.bert import VARIANTS, BertConfig, check_length

# Layers and width; parameters with the pooler, without a classifier, of 30,522 tokens and 512 positions.
SIZES = {
    "bert_tiny": (2, 128, 4_385_920),
    "bert_mini": (4, 256, 11_170_560),
    "bert_small": (4, 512, 28_763_648),
    "bert_medium": (8, 512, 41_373_184),
    "bert_base": (12, 768, 109_482_240),
}
VOCABULARY, POSITIONS, CLASSES = 41, 12, 3
TINY = BertConfig("bert_tiny", positions=POSITIONS)
TOKENS = np.array([[2, 7, 40, 1, 9, 9, 11, 3], [2, 5, 3, 0, 0, 0, 0, 0], [2, 3, 0, 0, 0, 0, 0, 0]], np.int32)
PADDING = np.zeros((1, 8), np.int32)


def published_shapes(name, vocabulary, positions, classes):
    """Every entry of the state dict of a BertForSequenceClassification."""
    layers, width, _ = SIZES[name]
    tables = {"word": vocabulary, "position": positions, "token_type": 2}
    shapes = {f"bert.embeddings.{table}_embeddings.weight": (rows, width) for table, rows in tables.items()}

    def linear(name, inputs, outputs):
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def norm(name):
        shapes.update({f"{name}.LayerNorm.weight": (width,), f"{name}.LayerNorm.bias": (width,)})

    norm("bert.embeddings")
    for i in range(layers):
        layer = f"bert.encoder.layer.{i}"
        for projection in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{projection}", width, width)
        norm(f"{layer}.attention.output")
        linear(f"{layer}.intermediate.dense", width, 4 * width)
        linear(f"{layer}.output.dense", 4 * width, width)
        norm(f"{layer}.output")
    linear("bert.pooler.dense", width, width)
    linear("classifier", width, classes)
    return shapes


@functools.cache
def published():
    """What a file of a small one could hold: numbers so large that every part of the network tells in the logits."""
    rng = np.random.default_rng(0)
    shapes = published_shapes("bert_tiny", VOCABULARY, POSITIONS, CLASSES)
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: value + ("LayerNorm.weight" in name) for name, value in weights.items()}


def reference(weights, tokens):
    """Logits, float64 [batch, classes], of weights by their published names."""
    weights = {name.removeprefix("bert."): value.astype(np.float64) for name, value in weights.items()}
    layers, width, heads = VARIANTS["bert_tiny"]

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]

    def by_head(x):
        return x.reshape(*tokens.shape, heads, -1).transpose(0, 2, 1, 3)

    words, positions, types = (weights[f"embeddings.{t}_embeddings.weight"] for t in ("word", "position", "token_type"))
    x = norm("embeddings", words[tokens] + positions[: tokens.shape[1]] + types[0])
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        q, k, v = (by_head(linear(f"{layer}.attention.self.{part}", x)) for part in ("query", "key", "value"))
        scores = np.exp(q @ k.swapaxes(-1, -2) / math.sqrt(width / heads)) * (tokens != 0)[:, None, None]
        y = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(f"{layer}.attention.output", x + linear(f"{layer}.attention.output.dense", y))
        y = linear(f"{layer}.intermediate.dense", x)
        y = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
        x = norm(f"{layer}.output", x + linear(f"{layer}.output.dense", y))
    return linear("classifier", np.tanh(linear("pooler.dense", x[:, 0])))


@functools.cache
def expected():
    return reference(published(), TOKENS)


@pytest.mark.parametrize("name", SIZES)
def test_the_rules_here_give_the_published_sizes(name):
    shapes = published_shapes(name, 30_522, 512, CLASSES)
    sizes = {entry: math.prod(shape) for entry, shape in shapes.items() if not entry.startswith("classifier")}
    assert sum(sizes.values()) == SIZES[name][-1]
    assert VARIANTS[name] == (*SIZES[name][:2], SIZES[name][1] // 64)


def test_padding_changes_nothing():
    assert reference(published(), TOKENS[1:, :3]) == pytest.approx(expected()[1:], abs=1e-12)
    assert np.ptp(expected()) > 1


def test_old_names_and_those_of_a_model_without_a_head_are_adopted_too():
    new = TINY.adopt(published())
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in published().items()
    }
    bare = {name.removeprefix("bert."): value for name, value in published().items()}
    for names in (old, bare, new):
        found = TINY.adopt(names)
        assert found.keys() == new.keys()
        assert all(found[name] is new[name] for name in new)


def test_what_only_pre_training_needs_is_left_out():
    weights = {name: value for name, value in published().items() if not name.startswith("classifier")}
    others = ["cls.predictions.bias", "cls.predictions.transform.LayerNorm.gamma", "cls.seq_relationship.weight"]
    others += ["bert.embeddings.position_ids"]
    assert TINY.adopt({**weights, **dict.fromkeys(others)}).keys() == TINY.adopt(weights).keys()


@pytest.fixture
def folder(tmp_path):
    """Of a BertModel, in the layout of Hugging Face, with as many word pieces."""
    (tmp_path / "bert").mkdir()
    weights = {name: value for name, value in published().items() if not name.startswith("classifier")}
    save_file(weights, tmp_path / "bert" / "model.safetensors")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"##{c}" for c in "abcdefghijk"), *"abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return tmp_path / "bert"


def words(framework, folder):
    """Options to begin with a folder's weights and word pieces."""
    model = ["--model.name=bert_tiny", f"--model.positions={POSITIONS}", f"--data.length={POSITIONS}"]
    return ["--framework", framework, "--accelerator=cpu", *model, f"--init={folder}", f"--data.tokenizer={folder}"]


def test_a_run_begins_with_the_weights_of_a_folder(framework, folder):
    settings = registry.load_config("text_classification", [*words(framework, folder), "--init_skip=classifier"])
    engine = make_engine(settings, {"vocabulary": VOCABULARY, "length": POSITIONS, "classes": ["a", "b"]})
    engine.start_from(settings.model.adopt(read(folder)))
    kept = {name: value for name, value in TINY.adopt(published()).items() if not name.startswith("classifier")}
    assert [name for name, value in kept.items() if not np.array_equal(engine.initial[name], value)] == []
    assert {name: value.shape for name, value in engine.initial.items() if name not in kept} == {
        "classifier.weight": (2, 128),
        "classifier.bias": (2,),
    }


def test_a_folder_without_a_classifier_is_no_beginning_for_one(framework, folder, complaint):
    line = complaint("train", "text_classification", *words(framework, folder))
    assert "bert (--init_skip NAME leaves some as they are): the weights are of another model" in line
    assert "missing: classifier.bias, classifier.weight" in line


def test_a_folder_for_other_positions_says_which(framework, folder, complaint):
    line = complaint("train", "text_classification", *words(framework, folder), "--model.positions=20")
    assert "bert: the weights are for 12 positions: --model.positions 12 takes them" in line


def test_texts_longer_than_the_table_of_positions_are_refused():
    check_length(TINY, POSITIONS)
    with pytest.raises(InputError, match=r"texts of 13 tokens are longer than model\.positions = 12"):
        check_length(TINY, POSITIONS + 1)
