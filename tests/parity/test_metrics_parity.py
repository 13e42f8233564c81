"""IoUs, precisions, inconsistency equal those of the published evaluation."""

from pathlib import Path

import numpy as np
import pytest

from data.loading.annotations import read_annotations
from utils.evaluation.metrics import PRECISION_THRESHOLDS, Metrics, detection_iou, mask_iou

GOLDEN = Path(__file__).parent / "golden"
FIXTURE = GOLDEN / "data_fixture"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "golden_eval.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def true_masks(golden):
    """The stored mask of each of the eleven expressions."""
    referents = read_annotations(FIXTURE / "lines.txt")
    with np.load(FIXTURE / "masks.npz") as masks:
        return [masks[f"m{referents[line].mask_id}"] for line in golden["expr_line"]]


def final_mask(golden, mode, k):
    height, width = golden[f"native_hw_{k}"]
    bits = np.unpackbits(golden[f"{mode}_finalbits_{k}"], count=height * width)
    return bits.reshape(height, width).astype(bool)


def test_boxes_are_right_where_the_published_ones_are(golden):
    iou = detection_iou(golden["iou_b1"], golden["iou_b2"])
    right = iou[:, None] > np.array([0.25, 0.5, 0.7])
    np.testing.assert_array_equal(right, golden["iou_res"].astype(bool))

    iou = detection_iou(golden["pred_box_fixed_xyxy"], golden["gt_box_416"])
    np.testing.assert_array_equal(iou > 0.5, golden["det_each"].astype(bool))


@pytest.mark.parametrize("mode", ["nls0", "nls1"])
def test_iou_of_each_mask(golden, true_masks, mode):
    for k, truth in enumerate(true_masks):
        iou, _, _ = mask_iou(final_mask(golden, mode, k), truth)
        assert iou == pytest.approx(golden[f"{mode}_iou_each"][k], rel=1e-12)


@pytest.mark.parametrize("mode", ["nls0", "nls1"])
def test_result_over_the_set(golden, true_masks, mode):
    metrics = Metrics(det_thresh=0.5)
    boxes = detection_iou(golden["pred_box_fixed_xyxy"], golden["gt_box_416"])
    for k, truth in enumerate(true_masks):
        metrics.update(boxes[k], *mask_iou(final_mask(golden, mode, k), truth))
    result = metrics.result()
    assert result["n_expressions"] == 11
    for name in ("det_acc", "seg_iou", "ie_score"):
        assert result[name] == pytest.approx(float(golden[f"{mode}_{name}"]), rel=1e-12)
    np.testing.assert_allclose(PRECISION_THRESHOLDS, golden["prec_thresholds"])
    np.testing.assert_allclose(
        list(result["seg_prec"].values()), golden[f"{mode}_seg_prec"], rtol=1e-12
    )
