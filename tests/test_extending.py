"""The code of docs/extending.md: quoted files are quoted word for word, and new code works."""

import importlib

import numpy as np
import pytest
from PIL import Image

from config.registry import Registry
from config.schema import load_config
from data import import_jsonl
from data.loading.annotations import read_annotations
from data.loading.masks import open_masks
from model.losses import LOSS_TERMS, mcn_losses
from model.mcn import build_mcn
from model.targets import box_targets
from tests.test_documents import blocks
from tests.test_imports import ROOT
from tests.tiny import ANCHORS, network_config, outputs_of, random_batch
from utils.evaluation.metrics import METRICS, Metrics, format_summary

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# Path → its blocks, without the comment that names it.
CODE = {}
for block in blocks(TEXT, "python"):
    first, code = block.split("\n", 1)
    CODE.setdefault(first.removeprefix("# "), []).append(code)
QUOTED = ("model/backbones/convnext_tiny.py", "model/backbones/__init__.py")


def run(path):
    """Runs the block of a file within the module, or alone if there is no such file."""
    (code,) = CODE[path]
    known = (ROOT / path).exists()
    module = importlib.import_module(path.removesuffix(".py").replace("/", ".")) if known else None
    exec(compile(code, path, "exec"), dict(vars(module)) if module else {})


def test_every_block_is_tested():
    assert set(CODE) == {
        *QUOTED, "model/text_encoders/mean.py", "model/losses.py", "utils/evaluation/metrics.py",
    }  # fmt: skip


@pytest.mark.parametrize("path", QUOTED)
def test_quoted_code_is_that_of_the_file(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    assert all(code in source for code in CODE[path])


def test_text_encoder(monkeypatch):
    monkeypatch.setattr("model.text_encoders.registry._REGISTRY", Registry("text_encoder"))
    run("model/text_encoders/mean.py")
    config = network_config(text_encoder="mean")
    outputs = outputs_of(build_mcn(config), random_batch(config))
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_loss_term(monkeypatch):
    monkeypatch.setattr("model.losses.LOSS_TERMS", dict(LOSS_TERMS))
    run("model/losses.py")
    config = network_config()
    outputs = {
        "boxes": np.zeros((2, 3, 3, 15), np.float32),
        "mask": np.full((2, 12, 12, 1), 20, np.float32),
        "co_energy": np.ones((2, 1), np.float32),
    }
    targets = box_targets(np.array([(8, 8, 48, 48)] * 2, np.float32), ANCHORS, config.input_size)
    mask = np.zeros((2, 12, 12, 1), np.uint8)
    mask[0] = 1  # the first mask is entirely right, the second one entirely wrong
    terms = mcn_losses(outputs, targets, mask, ANCHORS, config.input_size, 0.1)
    assert list(terms) == [*LOSS_TERMS, "dice"]
    assert float(terms["dice"]) == pytest.approx((0 + (1 - 1 / (144 + 1))) / 2, rel=1e-5)


def test_metric(monkeypatch):
    monkeypatch.setattr("utils.evaluation.metrics.METRICS", dict(METRICS))
    run("utils/evaluation/metrics.py")
    metrics = Metrics()
    metrics.update(np.array([0.5, 0.25]), np.ones(2), np.ones(2), np.ones(2))
    result = metrics.result()
    assert result["box_iou"] == pytest.approx(0.375)
    assert "mean box IoU 37.50 %" in format_summary(result)


def test_data_set(tmp_path, monkeypatch):
    (line,) = blocks(TEXT, "json")
    (tmp_path / "objects.jsonl").write_text(line, encoding="utf-8")
    Image.new("RGB", (120, 230)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(import_jsonl, "DATA_FOLDER", tmp_path)
    assert import_jsonl.main([str(tmp_path / "objects.jsonl"), "--name", "mine"]) == 0
    config = load_config(tmp_path / "anns" / "mine" / "config.json")
    (referent,) = read_annotations(config.train_set)
    assert referent.expressions == ("the red kite", "kite on the left")
    mask = open_masks(tmp_path / "masks" / "mine").read(referent, 120, 230)
    assert 0.4 < mask[20:220, 10:110].mean() < 0.6  # the triangle fills half of its box
