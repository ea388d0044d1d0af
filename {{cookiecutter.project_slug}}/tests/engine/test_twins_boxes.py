"""What detectors compute with boxes, in each framework, against loops in NumPy: at random, in ties, at borders."""

import jax
import numpy as np
import pytest
import torch
from test_boxes import iou_of, match_of, mixed, random_boxes, roi_align_of, sample_of, suppress_of

from {{cookiecutter.package_name}}.models.boxes import nnx as nnx_ops
from {{cookiecutter.package_name}}.models.boxes import torch as torch_ops


def with_torch(name, *arrays, **options):
    def given(x):
        if isinstance(x, list):  # of features, whose channels stand second here
            return [given(each).permute(0, 3, 1, 2) for each in x]
        return torch.tensor(x) if isinstance(x, np.ndarray) else x

    def taken(found):
        return tuple(map(taken, found)) if isinstance(found, tuple) else found.numpy()

    return taken(getattr(torch_ops, name)(*map(given, arrays), **options))


def with_jax(name, *arrays, **options):
    def given(x):
        if isinstance(x, list):
            return [given(each) for each in x]
        return jax.numpy.asarray(x) if isinstance(x, np.ndarray) else x

    with jax.enable_x64(True):
        static = [i for i, x in enumerate(arrays) if isinstance(x, int | float | tuple | bool)]
        op = jax.jit(getattr(nnx_ops, name), static_argnums=static, static_argnames=options)
        return jax.tree.map(np.asarray, op(*map(given, arrays), **options))


@pytest.fixture(scope="module", params=[with_torch, with_jax])
def ops(request):
    """`ops(name, *arrays)` computes in a framework, in the precision of the arrays."""
    return request.param


# Overlaps, and what brings one box to another.


@pytest.mark.parametrize("whole", [False, True])
def test_overlaps_are_those_of_two_boxes_at_a_time(ops, whole):
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 2, 9, whole=whole), random_boxes(rng, 2, 7, whole=whole)
    b[0, 0], a[0, 0] = a[0, 1], 5  # the same box, and one without area
    expected = [[[iou_of(x, y) for y in b[i]] for x in a[i]] for i in range(2)]
    assert ops("iou", a, b) == pytest.approx(np.array(expected), rel=1e-12)


def test_boxes_that_only_touch_do_not_overlap(ops):
    a = np.array([[[0.0, 0, 4, 4]]])
    b = np.array([[[4.0, 0, 8, 4], [0, 4, 4, 8], [4, 4, 8, 8]]])
    assert ops("iou", a, b).tolist() == [[[0, 0, 0]]]


def test_the_coder_moves_and_grows_by_sides_of_the_anchor(ops):
    anchor, box = np.array([[[10.0, 20, 30, 60]]]), np.array([[[15.0, 20, 55, 60]]])
    # Centres 20, 40 and 35, 40; sides 20, 40 and 40, 40.
    expected = [15 / 20 * 10, 0, np.log(2) * 5, 0]
    assert ops("encode", box, anchor, weights=(10.0, 10.0, 5.0, 5.0))[0, 0] == pytest.approx(expected)


def test_decoding_undoes_encoding_but_for_what_grows_too_much(ops):
    rng = np.random.default_rng(1)
    boxes, anchors, weights = random_boxes(rng, 2, 20), random_boxes(rng, 2, 20), (10.0, 10.0, 5.0, 5.0)
    deltas = ops("encode", boxes, anchors, weights=weights)
    assert ops("decode", deltas, anchors, weights=weights) == pytest.approx(boxes, rel=1e-9)
    grown = ops("decode", np.array([[[0.0, 0, 99, 2]]]), np.array([[[0.0, 0, 16, 16]]]), weights=(1.0, 1.0, 1.0, 1.0))
    assert grown[0, 0] == pytest.approx([8 - 500, 8 - 8 * np.e**2, 8 + 500, 8 + 8 * np.e**2])


def test_boxes_are_clipped_to_their_own_image(ops):
    boxes = np.array([[[-3.0, -4, 70, 80]], [[-3, 5, 20, 99]]])
    found = ops("clip", boxes, np.array([[40, 50], [60, 10]], np.int32))
    assert found.tolist() == [[[0, 0, 50, 40]], [[0, 5, 10, 60]]]


# Which anchors and proposals are positive.


@pytest.mark.parametrize("best", [False, True])
def test_matches_are_those_of_a_loop_with_all_ties_for_a_boxs_best(ops, best):
    rng = np.random.default_rng(2)
    overlap = np.round(rng.uniform(0, 1, (3, 60, 6)), 1) * (rng.uniform(0, 1, (3, 60, 6)) < 0.3)  # many are equal
    real = np.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    overlap[0, :, 5] = 0  # a box that nothing overlaps
    found = ops("match", overlap, real, low=0.3, high=0.7, best=best)
    for i in range(3):
        index, positive, negative = match_of(overlap[i], real[i], 0.3, 0.7, best)
        assert found[1][i].tolist() == positive and found[2][i].tolist() == negative
        assert [j for j, there in zip(found[0][i], positive, strict=True) if there] == [
            j for j, there in zip(index, positive, strict=True) if there
        ]


def test_an_overlap_at_a_bound_is_positive_and_not_negative(ops):
    overlap, real = np.array([[[0.7], [0.3], [np.nextafter(0.7, 0)], [np.nextafter(0.3, 0)]]]), np.array([[True]])
    _, positive, negative = ops("match", overlap, real, low=0.3, high=0.7, best=False)
    assert positive.tolist() == [[True, False, False, False]] and negative.tolist() == [[False, False, False, True]]


# Which of them are sampled.


def test_priorities_are_murmur3s_last_step_of_seed_and_index(ops):
    seed, index = np.array([0, 7, 2**31 - 1], np.int32), np.arange(1000, dtype=np.int32)
    for stream in (0, 1):
        found = ops("priorities", seed, index, stream=stream)
        expected = [[max(1, mixed(mixed(i) ^ (2 * int(s) + stream))) for i in range(1000)] for s in seed]
        assert found.astype(np.int64).tolist() == expected
        assert all(len(set(row)) == 1000 for row in expected)


@pytest.mark.parametrize(("positives", "negatives"), [(40, 160), (3, 160), (40, 5), (0, 160), (0, 0), (6, 3)])
def test_samples_are_those_of_the_highest_priority_positives_first(ops, positives, negatives):
    rng = np.random.default_rng(3)
    order = np.stack([rng.permutation(200) for _ in range(2)])
    priority = rng.permutation(400).reshape(2, 200).astype(np.int64) + 1
    if ops is with_jax:
        priority = priority.astype(np.uint32)
    positive, negative = order < positives, order >= 200 - negatives
    index, real = ops("sample", positive, negative, priority, count=32, most=8)
    for i in range(2):
        expected = sample_of(positive[i], negative[i], priority[i], 32, 8)
        assert index[i][real[i]].tolist() == expected
        assert real[i].tolist() == [True] * len(expected) + [False] * (32 - len(expected))


def test_of_fewer_than_are_wanted_all_are_sampled(ops):
    positive = np.array([[True, False, True]])
    priority = np.array([[5, 9, 7]], np.uint32 if ops is with_jax else np.int64)
    index, real = ops("sample", positive, ~positive, priority, count=8, most=4)
    assert index.tolist() == [[2, 0, 1]] and real.all()


def test_of_equal_scores_the_first_are_the_best(ops):
    values, index = ops("best_first", np.array([[1.0, 3, 2, 3, 1, 3]]), count=4)
    assert values.tolist() == [[3, 3, 3, 2]] and index.tolist() == [[1, 3, 5, 2]]


# Which boxes are suppressed.


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("whole", [False, True])
def test_boxes_stay_as_in_a_loop_one_after_the_other(ops, threshold, whole):
    rng = np.random.default_rng(4)
    boxes, real = random_boxes(rng, 5, 150, whole=whole), rng.uniform(0, 1, (5, 150)) < 0.9
    labels = rng.integers(0, 3, (5, 150))
    for given in (None, labels):
        found = ops("suppress", boxes, real, threshold, given)
        for i in range(5):
            classes = np.zeros(150) if given is None else given[i]
            assert found[i].tolist() == suppress_of(boxes[i], real[i], threshold, classes).tolist()


def test_in_a_chain_every_second_box_stays(ops):
    """Each overlaps the next by more than the threshold, and the one after that by less: as many rounds as boxes."""
    low = np.arange(60.0)[:, None] * 4
    boxes = np.concatenate([low, 0 * low, low + 10, 0 * low + 10], 1)
    assert ops("suppress", boxes, np.ones(60, bool), 0.4).tolist() == [True, False] * 30


def test_an_overlap_of_just_the_threshold_suppresses_nothing(ops):
    boxes = np.array([[0.0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1]])
    assert ops("suppress", boxes, np.ones(3, bool), 0.5).tolist() == [True, True, False]


# What is seen of a box.


def test_a_bin_is_the_mean_of_four_interpolated_points(ops):
    rng = np.random.default_rng(5)
    features = [rng.standard_normal((2, 64 // 2**i, 96 // 2**i, 3)) for i in range(2, 6)]
    boxes = random_boxes(rng, 2, 40, most=90)
    boxes[:, :20] += rng.uniform(-40, 40, (2, 20, 1))  # over the borders
    boxes[0, 0], boxes[0, 1], boxes[0, 2] = [0, 0, 96, 64], [95, 63, 96, 64], [30, 30, 30, 30]
    boxes[1, 0], boxes[1, 1] = [-200, -200, -100, -100], [-4, -4, 100, 68]
    levels = rng.integers(0, 4, (2, 40))
    found = ops("roi_align", features, boxes, levels, 64).reshape(2, 40, 7, 7, 3)
    for i in range(2):
        for j in range(40):
            k = levels[i, j]
            expected = roi_align_of(features[k][i], boxes[i, j], 4 * 2**k)
            assert found[i, j] == pytest.approx(expected, abs=1e-12), (i, j)
