"""Both Faster R-CNNs are the same algorithm, with each norm and backbone, and with the same published weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import save_file
from test_resnet import timm_weights

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.engine.weights import is_count, overlay, read
from {{cookiecutter.package_name}}.models.faster_rcnn import PARTS, VARIANTS
from {{cookiecutter.package_name}}.models.faster_rcnn import nnx as nnx_half
from {{cookiecutter.package_name}}.models.faster_rcnn import torch as torch_half

FEW = {"proposals": 60, "test_proposals": 40, "sampled_anchors": 64, "sampled_boxes": 32, "candidates": 80}
FEW |= {"detections": 20, "width": 32, "hidden": 64, "anchor": 16}
X64 = {"dtype": jnp.float64, "param_dtype": jnp.float64}


def twins(name, **options):
    """(net, model) in float64, with the same weights, whose biases are not 0."""
    config = VARIANTS[name](name=name, **FEW, **options)
    torch.manual_seed(0)
    net = torch_half.FasterRCNN(config, 3).double()
    weights = lightning_weights.get(net)
    rng = np.random.default_rng(0)
    for entry, value in weights.items():
        if value.ndim == 1 and not entry.endswith("running_var"):
            weights[entry] = value + 0.1 * rng.standard_normal(value.shape)
    # Of untrained heads all scores are the same, but for rounding: far apart, none is likelier on one side alone.
    for entry in ("rpn.cls_logits.weight", "heads.cls_score.weight"):
        weights[entry] = weights[entry] * 50
    lightning_weights.put(weights, net, "the test")
    with jax.enable_x64(True):
        model = nnx_half.FasterRCNN(config, 3, rngs=nnx.Rngs(0), **X64)
        nnx_weights.put(weights, model, "the test")
    return net, model


def scene(seed=0):
    """(images, sizes, boxes, labels, seeds) of two pictures, of which one does not fill its canvas."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, 64, 96, 3))
    low = rng.uniform(0, 40, (2, 5, 2))
    boxes = np.concatenate([low, low + rng.uniform(6, 30, (2, 5, 2))], -1)
    boxes = np.round(np.minimum(boxes, [90, 50, 90, 50]))
    boxes[0, 1] = boxes[0, 0]  # two classes at one place
    labels = np.array([[0, 1, 2, 1, -1], [2, 0, -1, -1, -1]], np.int32)
    return images, np.array([[64, 96], [52, 90]], np.int32), boxes, labels, np.array([1, 2**31 - 1], np.int32)


def losses_and_detections(net, model, images, size, boxes, labels, seed):
    ours = net(torch.tensor(images), torch.tensor(size), torch_half.Truth(*map(torch.tensor, (boxes, labels, seed))))
    with jax.enable_x64(True):
        truth = nnx_half.Truth(*map(jnp.asarray, (boxes, labels, seed)))
        graphdef, state = nnx.split(model)
        call = jax.jit(lambda *given: nnx.merge(graphdef, state)(*given))
        theirs = call(jnp.asarray(images), jnp.asarray(size), truth)

    def arrays(part):
        return [np.asarray(x.detach() if isinstance(x, torch.Tensor) else x) for x in part]

    return tuple(
        ({name: arrays([x])[0] for name, x in losses.items()}, arrays(found)) for losses, found in (ours, theirs)
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("faster_rcnn_small", {}),
        ("faster_rcnn_small", {"norm": "frozen"}),
        pytest.param("faster_rcnn_resnet18", {"norm": "frozen", "frozen_stages": 2}, marks=pytest.mark.slow),
        pytest.param("faster_rcnn_resnet50", {}, marks=pytest.mark.slow),
    ],
)
def test_losses_and_detections_are_the_same(name, options):
    (losses, found), (others, also) = losses_and_detections(*twins(name, **options), *scene())
    assert set(losses) == set(others) == set(PARTS)
    for part, values in losses.items():
        assert values.shape == (2,) and (values > 0).all() and values == pytest.approx(others[part], rel=1e-9), part
    assert (found[2] >= 0).sum() > 5 and (found[2] == also[2]).all()
    assert found[0] == pytest.approx(also[0], abs=1e-8) and found[1] == pytest.approx(also[1], abs=1e-10)


def test_an_image_has_the_same_losses_in_any_batch():
    net, _ = twins("faster_rcnn_small")
    images, size, boxes, labels, seed = map(torch.tensor, scene())
    whole, _ = net(images, size, torch_half.Truth(boxes, labels, seed), detect=False)
    for i in range(2):
        one = slice(i, i + 1)
        alone, _ = net(images[one], size[one], torch_half.Truth(boxes[one], labels[one], seed[one]), detect=False)
        for name, values in alone.items():
            assert values.item() == pytest.approx(whole[name][i].item(), rel=1e-10)


def test_an_image_without_boxes_has_losses_of_nothing_being_there():
    net, model = twins("faster_rcnn_small")
    images, size, boxes, labels, seed = scene()
    (losses, _), (others, _) = losses_and_detections(net, model, images, size, boxes, np.full_like(labels, -1), seed)
    assert (losses["rpn_box"] == 0).all() and (losses["box"] == 0).all() and (losses["class"] > 0).all()
    assert losses["class"] == pytest.approx(others["class"], rel=1e-9)


def test_other_samples_are_taken_for_another_seed():
    net, _ = twins("faster_rcnn_small")
    images, size, boxes, labels, seed = map(torch.tensor, scene())
    a, b = (net(images, size, torch_half.Truth(boxes, labels, s), detect=False)[0] for s in (seed, seed - 1))
    assert all((a[name] != b[name]).all() for name in ("rpn_objectness", "class"))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_backbone_of_timms_fits_both(tmp_path, name):
    weights = {entry: value for entry, value in timm_weights(name).items() if not is_count(entry)}
    save_file(weights, tmp_path / "timm.safetensors")
    config = VARIANTS[f"faster_rcnn_{name}"](name=f"faster_rcnn_{name}", norm="frozen")
    adopted = config.adopt(read(tmp_path / "timm.safetensors"))
    with torch.device("meta"):
        net = torch_half.FasterRCNN(config, 3).to_empty(device="cpu")
    model = nnx.eval_shape(lambda: nnx_half.FasterRCNN(config, 3, rngs=nnx.Rngs(0)))
    for half, weights_of in ((net, lightning_weights), (model, nnx_weights)):
        fresh = {entry: np.zeros(value.shape, np.float32) for entry, value in lightning_weights.tensors(net).items()}
        weights_of.put(overlay(adopted, fresh, "fpn,rpn,heads"), half, "timm")
        found = weights_of.get(half)
        mine = {entry: value for entry, value in weights.items() if not entry.startswith("fc.")}
        assert [entry for entry, value in mine.items() if (found[f"backbone.{entry}"] != value).any()] == []


def test_frozen_stages_are_not_trained():
    config = VARIANTS["faster_rcnn_small"](name="faster_rcnn_small", norm="frozen", frozen_stages=2)
    net = torch_half.FasterRCNN(config, 3)
    model = nnx.eval_shape(lambda: nnx_half.FasterRCNN(config, 3, rngs=nnx.Rngs(0)))
    trained = nnx.to_flat_state(nnx.state(model, nnx_half.trained(config)))
    ours = {name.removesuffix(".weight").removesuffix(".bias") for name, p in net.named_parameters() if p.requires_grad}
    assert {".".join(map(str, path[:-1])) for path, _ in trained} == ours
    assert not any(name.startswith(("backbone.conv1", "backbone.layer1")) for name in ours)
    assert any(name.startswith("backbone.layer2") for name in ours)
