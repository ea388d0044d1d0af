"""Faster R-CNN: whose names its weights have, and which networks it stands on."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.models.faster_rcnn import BACKBONES, VARIANTS


def test_it_stands_on_residual_networks():
    assert BACKBONES == {
        "faster_rcnn_small": "resnet_small",
        "faster_rcnn_resnet18": "resnet18",
        "faster_rcnn_resnet50": "resnet50",
    }


def test_a_published_backbone_becomes_the_backbone_without_its_last_layer():
    names = ["conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "fc.weight", "fc.bias"]
    found = VARIANTS["faster_rcnn_resnet50"](name="faster_rcnn_resnet50").adopt({name: np.ones(1) for name in names})
    assert set(found) == {"backbone.conv1.weight", "backbone.bn1.running_var", "backbone.layer1.0.downsample.0.weight"}


def test_the_models_own_weights_stay_as_they_are():
    weights = {name: np.ones(1) for name in ("backbone.conv1.weight", "fpn.inner_blocks.0.weight", "heads.fc6.bias")}
    assert VARIANTS["faster_rcnn_small"]().adopt(weights) == weights


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("backbone.body.layer4.2.conv3.weight", "backbone.layer4.2.conv3.weight"),
        ("backbone.fpn.inner_blocks.0.0.weight", "fpn.inner_blocks.0.weight"),
        ("backbone.fpn.layer_blocks.3.0.bias", "fpn.layer_blocks.3.bias"),
        ("rpn.head.conv.0.0.weight", "rpn.conv.weight"),
        ("rpn.head.cls_logits.bias", "rpn.cls_logits.bias"),
        ("roi_heads.box_head.fc6.weight", "heads.fc6.weight"),
        ("roi_heads.box_predictor.bbox_pred.weight", "heads.bbox_pred.weight"),
    ],
)
def test_names_of_torchvisions_detectors_are_known(there, here):
    weights = {"backbone.body.conv1.weight": np.zeros(1), there: np.arange(3.0)}
    found = VARIANTS["faster_rcnn_resnet50"]().adopt(weights)
    assert found.keys() == {"backbone.conv1.weight", here} and found[here].tolist() == [0, 1, 2]
