"""What train.py prints about a run: plan, time left, table of epochs."""

from config.schema import Config
from utils.training.run.state import Best
from utils.training.run.terminal import TimeLeft, best_lines, epochs_table, plan_lines


def record(epoch, loss=1.5, acc=0.5):
    val = {"det_acc": acc, "seg_iou": 0.25, "overall_iou": 0.125, "ie_score": None}
    return {"epoch": epoch, "train": {"loss": loss}, "val": val}


def test_the_plan_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(epoches=1, batch_size=1, log_path=str(tmp_path / "log" / "mine"))
    training, settings, output = plan_lines(config, 1000)
    assert training == (
        "training: 1 epoch of 1,000 steps, 1 sample per step; input 416 × 416 pixels, 15 words "
        "per expression"
    )
    assert settings == "settings other than the defaults: batch_size=1 epoches=1"
    assert output == "output: log/mine/ (to watch it: tensorboard --logdir log/mine)"
    assert plan_lines(config, 2, dry_run=True)[-1] == "output: none, as in every dry run"


def test_the_time_left_counts_training_and_validation():
    left = TimeLeft(epochs=3, samples_per_epoch=100)
    left.begin_epoch()
    # Compilation takes 60 s; then ten samples take 5 s.
    assert left.text(60.0, 1, 10) is None
    assert left.text(65.0, 1, 20) == "0:02:20"  # 280 samples of 0.5 s
    assert left.text(70.0, 1, 30) == "0:02:15"
    left.validated(30.0)
    left.begin_epoch()
    # The rate of the previous epoch, until this one has its own: 190 samples, two validations.
    assert left.text(200.0, 2, 10) == "0:02:35"
    assert left.text(220.0, 2, 20) == "0:07:00"  # 180 samples of 2 s
    left.begin_epoch()
    assert left.text(500.0, 3, 100) == "0:00:30"


def test_days_are_left():
    left = TimeLeft(epochs=1, samples_per_epoch=200_001)
    assert left.text(0.0, 1, 0) is None
    assert left.text(1.0, 1, 1) == "2 days, 7:33:20"


def test_the_table_of_a_short_run():
    lines = epochs_table([record(1), record(2, float("nan"), 0.75)], 0.5, 2).splitlines()
    assert [line.split() for line in lines] == [
        ["epoch", "loss", "Acc@0.5", "mean", "IoU", "overall", "IoU", "inconsistency", "(IE)"],
        ["1", "1.500", "50.00", "25.00", "12.50", "–"],
        ["*", "2", "–", "75.00", "25.00", "12.50", "–"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_averages_have_a_line_of_their_own():
    lines = epochs_table([record(1) | {"val_ema": {"det_acc": 0.75}}], 0.5, 1).splitlines()
    assert lines[2].split() == ["ema", "75.00", "–", "–", "–"]
    assert len({len(line) for line in lines}) == 1


def test_each_file_of_best_weights_is_named():
    bests = {"best_ema.weights.h5": Best(0.5, 2), "best.weights.h5": Best(0.25, 1)}
    assert best_lines(bests, 0.5, "log/a") == [
        "Best Acc@0.5 25.00 % after epoch 1: log/a/best.weights.h5",
        "Best Acc@0.5 of the averages 50.00 % after epoch 2: log/a/best_ema.weights.h5",
    ]


def test_the_table_of_a_long_run_has_its_best_and_last_epochs():
    def shown(best, epochs=30):
        rows = epochs_table([record(k) for k in range(1, epochs + 1)], 0.5, best).splitlines()[1:]
        return " ".join(row.split("1.500")[0].replace(" ", "") for row in rows)

    last = "21 22 23 24 25 26 27 28 29 30"
    assert shown(None) == f"… {last}"
    assert shown(1) == f"*1 … {last}"
    assert shown(7) == f"… *7 … {last}"
    assert shown(20) == f"… *20 {last}"
    assert shown(25) == f"… {last}".replace("25", "*25")
    assert shown(2, epochs=10) == "1 *2 3 4 5 6 7 8 9 10"
