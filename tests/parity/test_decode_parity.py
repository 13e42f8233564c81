"""Box decoding, rounding and the suppression of the mask outside the box."""

import cv2
import numpy as np
import pytest

from data.loading.letterbox import Letterbox, unletterbox_box, unletterbox_map
from model.decode import best_box, round_box
from model.nls import asnls, hard_suppression
from tests.parity.published import GOLDEN

ANCHORS = np.array([(137, 256), (248, 272), (386, 271)], np.float32)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "golden_eval.npz")


@pytest.fixture(scope="module")
def decoded(golden):
    boxes, scores = best_box(golden["y"].astype(np.float32), ANCHORS, 416)
    return boxes.numpy(), scores.numpy()


def test_best_box(golden, decoded, record_property):
    boxes, scores = decoded
    error = float(np.abs(boxes[:, [1, 0, 3, 2]] - golden["raw_box_yxyx"]).max())
    record_property("absolute_error_px", error)
    assert error < 1e-2
    np.testing.assert_allclose(scores, golden["raw_score"], rtol=1e-6)


def test_rounded_box(golden, decoded):
    np.testing.assert_array_equal(round_box(decoded[0], 416), golden["pred_box_fixed_xyxy"])
    ours = round_box(golden["fix_in_yxyx"][:, [1, 0, 3, 2]], 416)
    np.testing.assert_array_equal(ours, golden["fix_out_xyxy"])


@pytest.mark.parametrize("backbone", ["darknet", "vgg"])
def test_boxes_of_network_outputs(golden, backbone):
    case = f"{backbone}_0"
    raw = np.load(GOLDEN / f"golden_forward_{backbone}_seed0.npz")["y"]
    boxes, scores = best_box(raw, ANCHORS, 416)
    np.testing.assert_allclose(
        boxes.numpy()[:, [1, 0, 3, 2]], golden[f"fwd_{case}_box"], rtol=1e-5, atol=1e-2
    )
    np.testing.assert_allclose(scores, golden[f"fwd_{case}_score"], rtol=1e-5)
    np.testing.assert_array_equal(round_box(boxes, 416), golden[f"fwd_{case}_fixed"])


def test_boxes_in_original_images(golden, decoded, record_property):
    worst = 0.0
    for index, (height, width) in enumerate(golden["image_shapes_hw"].tolist()):
        ours = unletterbox_box(decoded[0], Letterbox.fit(width, height, 416))[:, [1, 0, 3, 2]]
        expected = golden["raw_box_at_image_shape"][:, index]
        if height * 416 % max(height, width) == width * 416 % max(height, width) == 0:
            worst = max(worst, float(np.abs(ours - expected).max()))
        else:
            # The published function undoes a letterbox of fractional size; ours the one of whole
            # pixels in which the image was really pasted.
            size = np.abs(expected[:, 2:] - expected[:, :2]).max(axis=1, keepdims=True)
            assert np.all(np.abs(ours - expected) < 1 + 1e-3 * size)
    record_property("absolute_error_px", worst)
    assert worst < 1e-2


@pytest.fixture(scope="module")
def maps(golden):
    """(416, 416, 11): probabilities resized to the input."""
    logits = golden["E"].astype(np.float32)[..., 0].transpose(1, 2, 0)
    return cv2.resize(1 / (1 + np.exp(-logits)), (416, 416), interpolation=cv2.INTER_LINEAR)


def check_maps(ours, sub, sums, record_property):
    error = float(np.abs(ours[::8, ::8].transpose(2, 0, 1) - sub).max())
    record_property("absolute_error", error)
    assert error < 1e-5
    np.testing.assert_allclose(ours.sum((0, 1), dtype=np.float64), sums, rtol=1e-5)


def test_upsampling(golden, maps, record_property):
    check_maps(maps, golden["up416_sub"], golden["up416_sum"], record_property)


def test_asnls(golden, maps, record_property):
    ours = asnls(maps, golden["pred_box_fixed_xyxy"], golden["scores"])
    check_maps(ours, golden["asnls416_sub"], golden["asnls416_sum"], record_property)


def test_hard_suppression(golden, maps, record_property):
    ours = hard_suppression(maps, golden["pred_box_fixed_xyxy"])
    check_maps(ours, golden["hard416_sub"], golden["hard416_sum"], record_property)


@pytest.mark.parametrize("mode", ["nls1", "nls0"])
def test_maps_at_native_size(golden, maps, mode, record_property):
    weighed = (
        asnls(maps, golden["pred_box_fixed_xyxy"], golden["scores"]) if mode == "nls1" else maps
    )
    differing, pixels, worst = 0, 0, 0.0
    for k in range(weighed.shape[-1]):
        height, width = (int(v) for v in golden[f"native_hw_{k}"])
        native = unletterbox_map(weighed[..., k], Letterbox.fit(width, height, 416))
        assert native.shape == (height, width)
        worst = max(worst, float(np.abs(native[::9, ::9] - golden[f"{mode}_finalsub_{k}"]).max()))
        bits = np.unpackbits(golden[f"{mode}_finalbits_{k}"])[: height * width]
        differing += int(np.sum((native > 0.35).ravel() != bits.astype(bool)))
        pixels += height * width
    record_property("absolute_error", worst)
    record_property("differing_pixels", differing / pixels)
    assert worst < 1e-5
    assert differing / pixels < 5e-4
