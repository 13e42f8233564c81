"""The ablation: its table on figures computed by hand, and which programs it runs, without them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import ablate as module
from benchmarks.ablate import Ablation, Finished, ablate, main
from benchmarks.ablation_table import format_ablation, mean_text
from benchmarks.hard_suppression import cut_to_box
from benchmarks.records import placed
from benchmarks.variants import CLAIMS, VARIANTS
from config.errors import UserError
from utils.evaluation.results.measurement import encode_mask

VALUES = {"det_acc": 0.5, "seg_iou": 0.4, "ie_score": 0.1}


def finished(variant, seed, *values):
    return Finished(variant, seed, {}, {}, {"val": dict(zip(VALUES, values, strict=True))})


def test_means_and_deviations_by_hand():
    assert mean_text([0.5, 0.6, 0.7]) == "60.00 ± 10.00"
    assert mean_text([0.91, 0.92]) == "91.50 ± 0.71"  # √(0.5² + 0.5²) = 0.707
    assert mean_text([0.123456]) == "12.35"


def test_the_table_and_its_claims_by_hand():
    runs = [
        finished("no_cem", 1, 0.4, 0.3, 0.3),
        finished("paper", 1, 0.5, 0.4, 0.1),
        finished("paper", 2, 0.7, 0.4, 0.2),
        finished("no_cem", 2, 0.4, 0.3, 0.1),
        finished("rec", 2, 0.8, 0.0, 0.9),
    ]
    assert format_ablation(runs, ["val"], 0.5).splitlines() == [
        "|  | seeds | val Acc@0.5 | val mIoU | val IE |",
        "|---|---|---|---|---|",
        "| paper recipe | 2 | 60.00 ± 14.14 | 40.00 ± 0.00 | 15.00 ± 7.07 |",
        "| CEM off | 2 | 40.00 ± 0.00 | 30.00 ± 0.00 | 20.00 ± 14.14 |",
        "| REC only | 1 | 80.00 | – | – |",
        "",
        "- Joint training raises the accuracy of boxes? Acc@0.5 of “paper recipe” minus "
        "“REC only”: val -10.00, in 0 of 1 seed.",
        "- CEM reduces the inconsistency? IE of “paper recipe” minus “CEM off”: "
        "val -5.00 ± 21.21, in 1 of 2 seeds.",
    ]


def test_claims_compare_what_both_variants_measure():
    for claim in CLAIMS:
        for name in (claim.better, claim.worse):
            assert claim.measure in VARIANTS[name].measures


def test_the_table_stands_between_its_marks(tmp_path):
    document = tmp_path / "a.md"
    text = "# A\n<!-- ablation -->\nold\n<!-- end of ablation -->\nend\n"
    document.write_text(text)
    new = placed(document, "ablation", "| a |\n")
    assert new == "# A\n<!-- ablation -->\n\n| a |\n\n<!-- end of ablation -->\nend\n"
    document.write_text(new)
    assert placed(document, "ablation", "| a |\n") == new
    document.write_text(text.replace("end of ", ""))
    with pytest.raises(UserError, match=r"a\.md: must have the lines <!-- ablation --> and"):
        placed(document, "ablation", "")


def test_masks_are_cut_to_the_box():
    """An image of 20 × 10 in an input of 40: scaled by two, below a border of ten."""
    mask = np.ones((10, 20), np.uint8)
    expected = np.zeros_like(mask)
    expected[2:5, 1:4] = 1  # Input columns 2 … 7 and rows 14 … 19.
    np.testing.assert_array_equal(cut_to_box(mask, [2, 14, 7, 19], 40), expected)
    mask[3] = 0
    expected[3] = 0
    np.testing.assert_array_equal(cut_to_box(mask, [2, 14, 7, 19], 40), expected)
    assert not cut_to_box(mask, [2, 0, 7, 5], 40).any()


class Programs:
    """Stands for train.py and test.py: notes their arguments and writes what the ablation reads."""

    def __init__(self):
        self.calls, self.fail_at, self.cut = [], None, None

    def __call__(self, arguments):
        if len(self.calls) == self.fail_at:
            raise UserError("stopped here")
        self.calls.append(list(arguments))
        if arguments[0] == "train.py":
            return
        name = "cut" if "--predictions" in arguments else "set"
        output = SimpleNamespace(path=arguments[arguments.index("--output") + 1])
        for split in ("train", "val"):
            folder = module.Path(output.path) / f"{name}_{split}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").write_text(json.dumps({**VALUES, "n_expressions": 3}))
        if "--dump" in arguments:
            mask = np.ones((40, 40), np.uint8)
            row = {"box_xyxy_input": [0, 0, 47, 47], "mask": encode_mask(mask)}
            dump = module.Path(arguments[arguments.index("--dump") + 1])
            dump.with_stem(f"{dump.stem}_val").write_text(json.dumps(row) + "\n")
        if name == "cut":
            dump = module.Path(arguments[arguments.index("--predictions") + 1])
            self.cut = json.loads(dump.with_stem(f"{dump.stem}_val").read_text())["mask"]

    def settings(self, number):
        """The --set of a call."""
        call = self.calls[number]
        first = call.index("--set") + 1 if "--set" in call else len(call)
        pairs = (text.split("=", 1) for text in call[first:] if "=" in text)
        return dict(pairs)


@pytest.fixture
def plan(tiny_set, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("train.txt", "val.txt"):
        (folder / name).write_bytes((tiny_set.root / name).read_bytes())
    config = tiny_set.config(
        train_set=str(folder / "train.txt"), evaluate_set=str(folder / "val.txt"), seed=7
    )
    return Ablation(config, tmp_path / "out", ("paper", "no_cem", "no_asnls"), 2, ("train", "val"))


def test_every_variant_can_be_expressed(plan):
    for variant in VARIANTS.values():
        plan.config.replace(cache_features=0, **plan.changes(variant))
        plan.config.replace(**variant.evaluation)


def test_finished_runs_are_recorded_and_not_repeated(plan):
    programs = Programs()
    table = ablate(plan, programs)
    programs_of = [call[0] for call in programs.calls]
    assert programs_of == ["train.py", "test.py"] * 6
    assert table == (plan.output / "table.md").read_text()
    assert "| CEM off | 2 | 50.00 ± 0.00 | 40.00 ± 0.00 | 10.00 ± 0.00 |" in table
    # The folder of a training follows from its settings: ASNLS changes the evaluation alone.
    logs = [programs.settings(n)["log_path"] for n in range(0, 12, 2)]
    assert [log.removeprefix(f"{plan.output}/runs/") for log in logs] == [
        "paper/seed=7", "cem_loss_weight=0.0/seed=7", "paper/seed=7",
        "paper/seed=8", "cem_loss_weight=0.0/seed=8", "paper/seed=8",
    ]  # fmt: skip
    assert programs.settings(2) == {
        "cem_loss_weight": "0.0", "seed": "7", "log_path": logs[1],
        "cache_dir": f"{plan.output}/features",
    }  # fmt: skip
    assert programs.settings(5) == {"use_nls": "0"}
    assert f"{logs[2]}/best.weights.h5" in programs.calls[5]
    rows = [json.loads(line) for line in (plan.output / "results.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "variant": "paper", "seed": 7, "training": {}, "evaluation": {},
        "results": {"train": VALUES, "val": VALUES},
    }  # fmt: skip
    assert ablate(plan, programs) == table
    assert len(programs.calls) == 12
    ablate(replace(plan, seeds=3), programs)
    assert len(programs.calls) == 18


@pytest.mark.parametrize(("fail_at", "left"), [(0, 6), (1, 6), (2, 4)])
def test_an_interrupted_ablation_resumes(plan, fail_at, left):
    programs, plan = Programs(), replace(plan, seeds=1)
    programs.fail_at = fail_at
    with pytest.raises(UserError, match="stopped here"):
        ablate(plan, programs)
    programs.calls, programs.fail_at = [], None
    ablate(plan, programs)
    assert len(programs.calls) == left  # The call that failed, and what comes after it.


def test_hard_suppression_scores_masks_cut_to_the_box(plan):
    programs = Programs()
    ablate(replace(plan, variants=("hard_nls",), seeds=1), programs)
    _, test, score = programs.calls
    assert programs.settings(1)["use_nls"] == "0"
    assert "--dump_masks" in test
    assert "--predictions" in score
    half = np.zeros((40, 40), np.uint8)
    half[:20, :20] = 1  # 48 pixels of an input of 96.
    assert programs.cut == encode_mask(half)
    assert not list(plan.output.glob("tmp*"))  # Dumps are large.


def change_lr(plan):
    return replace(plan, config=plan.config.replace(lr=0.5)), r"settings\.lr \(0\.001 → 0\.5\)"


def change_data(plan):
    path = module.Path(plan.config.train_set)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    return plan, r"contents\.train, contents\.train_set, which"


def change_splits(plan):
    return replace(plan, splits=("val",)), r"contents\.train, splits \("


@pytest.mark.parametrize("change", [change_lr, change_data, change_splits])
def test_other_settings_and_data_are_not_mixed(plan, change):
    programs, plan = Programs(), replace(plan, variants=("paper",), seeds=1)
    ablate(plan, programs)
    other, difference = change(plan)
    before = (plan.output / "results.jsonl").read_bytes()
    with pytest.raises(UserError, match=rf"results\.jsonl:1: holds .* other {difference}"):
        ablate(other, programs)
    assert len(programs.calls) == 2
    assert (plan.output / "results.jsonl").read_bytes() == before


def test_other_definitions_of_a_variant_are_not_mixed(plan, monkeypatch):
    programs, plan = Programs(), replace(plan, variants=("ema",), seeds=1)
    ablate(plan, programs)
    changed = replace(VARIANTS["ema"], training={"ema": 0.9})
    monkeypatch.setitem(VARIANTS, "ema", changed)
    with pytest.raises(UserError, match=r"jsonl:2: .* other training\.ema \(0\.999 → 0\.9\)"):
        ablate(plan, programs)


def test_settings_of_the_machine_may_differ(plan):
    programs, plan = Programs(), replace(plan, variants=("paper",), seeds=1)
    ablate(plan, programs)
    ablate(replace(plan, config=plan.config.replace(workers=5, log_images=1)), programs)
    # Features are cached or not, depending on the variant; results are the same.
    cached = replace(plan, config=plan.config.replace(free_body=1, cache_features=1))
    assert cached.changes(VARIANTS["flip"]) == {"flip": 0.5, "cache_features": 0}
    assert cached.log_path(VARIANTS["flip"], 7) == plan.log_path(VARIANTS["flip"], 7)
    assert len(programs.calls) == 2


@pytest.mark.parametrize("text", ["[]", "}", '{"variant": "paper"}', '{"variant": 1, "seed": []}'])
def test_a_damaged_line_is_named(plan, text):
    programs, plan = Programs(), replace(plan, variants=("paper",), seeds=1)
    ablate(plan, programs)
    with (plan.output / "results.jsonl").open("a") as file:
        file.write(text + "\n")
    with pytest.raises(UserError, match=r"results\.jsonl:3: "):
        ablate(plan, programs)


def test_a_document_without_marks_is_refused_before_anything_runs(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_program", pytest.fail)
    (tmp_path / "a.md").write_text("# A\n")
    with pytest.raises(UserError, match="must have the lines"):
        main(["--document", str(tmp_path / "a.md"), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
