"""The network's stages and outputs against the published implementation."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.slow

# Stage of the golden file → layer of ours whose output it is.
STAGES = {
    "fq": "fq",
    "Fm": "fusion",
    "Fm_mid_td": "merge_2",
    "garan_seg_in": "merge_3",
    "Fm_down": "garan_mask",
    "F_att_seg": "garan_mask_attention",
    "garan_det_in": "box_in",
    "Fm_top": "garan_box",
    "F_att_det": "garan_box_attention",
}
BACKBONE_STAGES = {"Fv0": "fusion_1_conv", "Fv1": "lateral_2_conv", "Fv2": "lateral_3_conv"}
TOLERANCE = 1e-4  # of the standard deviation of the stage


@pytest.fixture(scope="module")
def stages(published):
    model = published.model
    tensors = {stage: model.get_layer(name).output for stage, name in STAGES.items()}
    tensors |= {stage: model.get_layer(name).input for stage, name in BACKBONE_STAGES.items()}
    tensors |= dict(model.output)
    image, words = published.inputs
    computed = keras.Model(model.input, tensors)({"image": image, "words": words}, training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in computed.items()}


def relative_error(ours, golden, scale):
    return float(np.max(np.abs(ours.astype(np.float64) - golden)) / scale)


def test_the_report_counts_every_parameter(published):
    expected = {"darknet": 81_799_538, "vgg": 55_960_146}[published.backbone]
    assert published.report.parameters == expected == published.model.count_params()


def test_inputs_are_those_of_the_golden_figures(published):
    image, words = published.inputs
    assert np.sum(image, dtype=np.float64) == published.forward["image_sum"]
    assert np.sum(words, dtype=np.float64) == published.forward["q_sum"]


@pytest.mark.parametrize("stage", [*BACKBONE_STAGES, *STAGES])
def test_stage(published, stages, stage, record_property):
    golden, ours = published.forward, stages[stage]
    assert ours.shape == tuple(golden[f"shape_{stage}"])
    mean, std, _, _ = golden[f"stat_{stage}"]
    step = int(golden[f"sampstep_{stage}"])
    samples = ours.reshape(len(ours), -1)[:, ::step][:, :128]
    error = relative_error(samples, golden[f"samp_{stage}"], std)
    # For fq the golden file holds the whole vector in place of channel means.
    channels = ours if ours.ndim == 2 else ours.mean(axis=(1, 2), dtype=np.float64)
    error = max(error, relative_error(channels, golden[f"chmean_{stage}"], std))
    error = max(error, abs(ours.mean(dtype=np.float64) - mean) / std)
    record_property("relative_error", error)
    assert error < TOLERANCE


@pytest.mark.parametrize(("output", "key"), [("boxes", "y"), ("mask", "E")])
def test_output(published, stages, output, key, record_property):
    golden = published.forward[key]
    error = relative_error(stages[output], golden, golden.std())
    record_property("relative_error", error)
    assert error < TOLERANCE


def test_co_energy(published, stages, record_property):
    golden = published.forward["co_energy"]
    error = float(np.max(np.abs(stages["co_energy"] / golden - 1)))
    record_property("relative_error", error)
    assert error < TOLERANCE
