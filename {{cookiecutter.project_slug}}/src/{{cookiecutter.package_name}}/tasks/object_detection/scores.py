"""Average precision as COCO computes it: of all classes, over overlaps from 0.5 to 0.95."""

from collections.abc import Mapping

import hotcoco
import numpy as np

from ...engine.api import Spec

OVERLAP_50, OVERLAP_75 = 0, 5  # of the ten


def scores(arrays: Mapping[str, np.ndarray], spec: Spec) -> dict[str, float]:
    """`ap`, the mean of ten overlaps, `ap50` and `ap75`; 0 where there is no box."""
    found = precisions(arrays, len(spec["classes"]))
    return {"ap": mean(found), "ap50": mean(found[OVERLAP_50]), "ap75": mean(found[OVERLAP_75])}


def precisions(arrays: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    """float [overlaps, recalls, classes]: the interpolated precision, -1 of classes that have no box.

    Args:
        arrays: `found`: [images, detections, 6], left, top, right, bottom, score and label; `truth`: [images, boxes,
            6], with a label and whether it is a crowd: what lies in one is no mistake, and it is not missed. A label of
            -1 is none.
    """
    truth, found = (np.asarray(arrays[name], np.float64) for name in ("truth", "found"))
    annotations = [
        {
            "id": i + 1,
            "image_id": image + 1,
            "category_id": int(label) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": int(crowd),
        }
        for i, (image, (left, top, right, bottom, label, crowd)) in enumerate(_real(truth, 4))
    ]
    images = [{"id": i + 1, "width": 1, "height": 1} for i in range(len(truth))]
    categories = [{"id": i + 1, "name": str(i)} for i in range(classes)]
    there = hotcoco.COCO({"images": images, "annotations": annotations, "categories": categories})
    rows = [
        [image + 1, left, top, right - left, bottom - top, score, label + 1]
        for image, (left, top, right, bottom, score, label) in _real(found, 5)
    ]
    evaluation = hotcoco.COCOeval(there, there.load_res(np.array(rows, np.float64).reshape(-1, 7)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    return evaluation.eval["precision"][:, :, :, 0, -1]  # boxes of all areas, and most detections of an image


def mean(precision: np.ndarray) -> float:
    """Of what has boxes."""
    there = precision[precision > -1]
    return float(there.mean()) if there.size else 0.0


def _real(values: np.ndarray, label: int) -> list[tuple[int, list[float]]]:
    """(image, row) of rows that have a label."""
    return [(int(image), values[image, i].tolist()) for image, i in np.argwhere(values[..., label] >= 0)]
