"""Faster R-CNN in PyTorch: proposals, losses and detections against loops over one image, by the papers' rules."""

import numpy as np
import pytest
import torch
from test_boxes import iou_of, match_of, mixed, sample_of, suppress_of

from {{cookiecutter.package_name}}.models.boxes import anchors
from {{cookiecutter.package_name}}.models.faster_rcnn import VARIANTS
from {{cookiecutter.package_name}}.models.faster_rcnn.torch import FasterRCNN, Truth

OPTIONS = {"proposals": 50, "test_proposals": 30, "sampled_anchors": 64, "sampled_boxes": 32, "candidates": 1000}
OPTIONS |= {"detections": 100, "width": 16, "hidden": 32, "anchor": 16}
SHAPE, SIZE = (64, 64), (50, 64)  # of the canvas, and of the image on it
GRIDS = ((16, 16), (8, 8), (4, 4), (2, 2), (1, 1))


@pytest.fixture(scope="module")
def net():
    """Of three classes, which says something."""
    torch.manual_seed(0)
    net = FasterRCNN(VARIANTS["faster_rcnn_small"](name="faster_rcnn_small", **OPTIONS), 3).double()
    with torch.no_grad():
        for layer in (net.rpn.cls_logits, net.rpn.bbox_pred, net.heads.cls_score):
            layer.weight *= 30
        net.heads.bbox_pred.weight *= 300
    return net


@pytest.fixture(scope="module")
def given():
    """(images, sizes, truth) of one image."""
    images = torch.tensor(np.random.default_rng(1).standard_normal((1, *SHAPE, 3)))
    boxes = torch.tensor([[[5.0, 5, 25, 22], [30, 10, 50, 45], [4, 30, 20, 48], [0, 0, 0, 0]]], dtype=torch.float64)
    return images, torch.tensor([SIZE]), Truth(boxes, torch.tensor([[0, 2, 1, -1]]), torch.tensor([12345]))


def moved(delta, box, weights):
    """By the formula of R-CNN's appendix."""
    (left, top, right, bottom), (dx, dy, dw, dh) = box, np.array(delta) / weights
    w, h = right - left, bottom - top
    x, y = left + w / 2 + dx * w, top + h / 2 + dy * h
    w, h = w * np.exp(min(dw, np.log(1000 / 16))), h * np.exp(min(dh, np.log(1000 / 16)))
    height, width = SIZE
    sides = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.clip(sides, 0, [width, height, width, height])


def target_of(box, anchor, weights):
    (w, h), (aw, ah) = (np.array([b[2] - b[0], b[3] - b[1]]) for b in (box, anchor))
    x, y, ax, ay = *(np.array(box[:2]) + [w / 2, h / 2]), *(np.array(anchor[:2]) + [aw / 2, ah / 2])
    return np.array([(x - ax) / aw, (y - ay) / ah, np.log(w / aw), np.log(h / ah)]) * weights


def smooth_l1(x):
    x = np.abs(x)
    return np.where(x < 1 / 9, x**2 * 9 / 2, x - 1 / 18).sum()


def is_inside(box):
    """Whether its centre lies in the image."""
    return box[0] + box[2] < 2 * SIZE[1] and box[1] + box[3] < 2 * SIZE[0]


def proposals_of(net, images, count):
    """[(score, anchor's number, box)], the best first."""
    with torch.no_grad():
        objectness, deltas = (x[0].numpy() for x in net.rpn(net.fpn(net.backbone(images))))
    found, start = [], 0
    boxes = anchors(SHAPE, GRIDS, 16).astype(float)
    for rows, columns in GRIDS:
        level = range(start, start + 3 * rows * columns)
        inside = [
            i for i in level if boxes[i, 0] + boxes[i, 2] < 2 * SIZE[1] and boxes[i, 1] + boxes[i, 3] < 2 * SIZE[0]
        ]
        order = sorted(inside, key=lambda i: -objectness[i])[:count]
        near = [moved(deltas[i], boxes[i], np.ones(4)) for i in order]
        real = [min(b[2] - b[0], b[3] - b[1]) >= 1e-3 for b in near]
        stays = suppress_of(near, real, 0.7, np.zeros(len(near)))
        found += [(objectness[i], i, box) for i, box, stay in zip(order, near, stays, strict=True) if stay]
        start = level.stop
    return sorted(found, key=lambda each: -each[0])[:count], objectness, deltas, boxes


def test_losses_are_those_of_loops(net, given):
    images, size, truth = given
    true, labels = truth.boxes[0, :3].numpy(), truth.labels[0, :3].tolist()
    proposals, objectness, deltas, boxes = proposals_of(net, images, 50)

    # Proposals: 64 anchors, half of them positive at most.
    inside = np.array([is_inside(box) for box in boxes])
    overlap = np.array([[iou_of(b, t) if ok else 0.0 for t in true] for b, ok in zip(boxes, inside, strict=True)])
    owner, positive, negative = match_of(overlap, [True] * 3, 0.3, 0.7, best=True)
    priority = np.array([mixed(mixed(i) ^ (2 * 12345)) for i in range(len(boxes))])
    chosen = sample_of(np.array(positive) & inside, np.array(negative) & inside, priority, 64, 32)
    entropy = sum(np.logaddexp(0, -objectness[i] if positive[i] else objectness[i]) for i in chosen) / len(chosen)
    moves = [smooth_l1(deltas[i] - target_of(true[owner[i]], boxes[i], np.ones(4))) for i in chosen if positive[i]]
    expected = {"rpn_objectness": entropy, "rpn_box": sum(moves) / len(chosen)}

    # Boxes: 32 of the proposals and of the true ones, a quarter of them positive at most.
    candidates = [(i, box) for _, i, box in proposals] + [(2**32 - 1 - j, t) for j, t in enumerate(true)]
    overlap = np.array([[iou_of(b, t) for t in true] for _, b in candidates])
    owner, positive, negative = match_of(overlap, [True] * 3, 0.5, 0.5, best=False)
    priority = np.array([mixed(mixed(i) ^ (2 * 12345 + 1)) for i, _ in candidates])
    chosen = sample_of(np.array(positive), np.array(negative), priority, 32, 8)
    given_boxes = torch.tensor(np.array([[candidates[i][1] for i in chosen]]))
    with torch.no_grad():
        features = net.fpn(net.backbone(images))
        logits, box_deltas = (x[0].numpy() for x in net.look(features, SHAPE, given_boxes))
    entropy, moves = 0.0, 0.0
    for j, i in enumerate(chosen):
        label = labels[owner[i]] + 1 if positive[i] else 0
        entropy += np.log(np.exp(logits[j] - logits[j, label]).sum())
        if label:
            target = target_of(true[owner[i]], candidates[i][1], np.array([10, 10, 5, 5]))
            moves += smooth_l1(box_deltas[j, label] - target)
    expected |= {"class": entropy / len(chosen), "box": moves / len(chosen)}
    assert sum(positive) > 3  # it is more than the true boxes themselves

    losses, found = net(images, size, truth, detect=False)
    assert found is None and {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-9)


def test_detections_are_those_of_a_loop_for_each_class(net, given):
    images, size, _ = given
    proposals, *_ = proposals_of(net, images, 30)
    with torch.no_grad():
        features = net.fpn(net.backbone(images))
        boxes = torch.tensor(np.array([[box for _, _, box in proposals]]))
        logits, deltas = (x[0].numpy() for x in net.look(features, SHAPE, boxes))
        _, (found, scores, labels) = net(images, size)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = []
    for label in range(3):
        rows = [
            (shares[j, label + 1], moved(deltas[j, label + 1], box, np.array([10, 10, 5, 5])))
            for j, (_, _, box) in enumerate(proposals)
        ]
        rows = [row for row in rows if row[0] > 0.05 and min(row[1][2:] - row[1][:2]) >= 1e-2]
        rows.sort(key=lambda row: -row[0])
        stays = suppress_of([box for _, box in rows], [True] * len(rows), 0.5, np.zeros(len(rows)))
        expected += [(score, label, box) for (score, box), stay in zip(rows, stays, strict=True) if stay]
    expected.sort(key=lambda row: -row[0])
    count = len(expected)
    assert 3 < count < 100 and labels[0, :count].tolist() == [label for _, label, _ in expected]
    assert scores[0, :count].numpy() == pytest.approx(np.array([score for score, _, _ in expected]), rel=1e-9)
    assert found[0, :count].numpy() == pytest.approx(np.array([box for _, _, box in expected]), abs=1e-9)
    assert (labels[0, count:] == -1).all() and not scores[0, count:].any() and not found[0, count:].any()


def test_of_an_image_of_nothing_everything_is_finite(net):
    losses, found = net(
        torch.zeros(2, *SHAPE, 3).double(),
        torch.tensor([SIZE, (1, 1)]),
        Truth(torch.zeros(2, 3, 4), torch.full((2, 3), -1), torch.zeros(2, dtype=torch.int64)),
    )
    sum(value.sum() for value in losses.values()).backward()
    assert all(value.isfinite().all() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert all(part.isfinite().all() for part in found)
