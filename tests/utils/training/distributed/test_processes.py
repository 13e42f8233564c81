"""What the processes of a run agree on; test_equal_runs.py and test_launch.py run several."""

import signal
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from config.signals import Stopped, StopRequest
from data.loading.errors import DataError
from utils.evaluation.metrics import Metrics
from utils.training.distributed.cluster import ClusterError
from utils.training.distributed.evaluation import evaluate
from utils.training.distributed.processes import Processes, loss_reported
from utils.training.run.resumption import check_same_start
from utils.training.run.settings import check_same_settings
from utils.training.run.state import RunState

CONTENTS = {"train_set": "a", "evaluate_set": "b", "anchors_file": "c"}
SETTINGS = {"lr": 0.1, "batch_size": 4, "log_path": "/a", "workers": 8, "contents": CONTENTS}


def several(*others):
    """Processes whose others answer what `others` make of the value of this one, the first."""
    return SimpleNamespace(
        gather=lambda value: [value, *(other(value) for other in others)],
        count=1 + len(others), index=0, local=1, replicas=1 + len(others), chief=True,
    )  # fmt: skip


def test_one_process_exchanges_nothing():
    processes = Processes(tf.distribute.get_strategy())
    assert (processes.count, processes.index, processes.chief) == (1, 0, True)
    assert processes.gather({"a": [1, None]}) == [{"a": [1, None]}]
    with processes.chief_first():
        processes.barrier()


def test_settings_of_all_processes_agree():
    same = several(lambda theirs: {**theirs, "log_path": "/b", "workers": 2})
    check_same_settings(same, SETTINGS)
    with pytest.raises(
        ClusterError, match=r"^process 1 has other settings than process 0 \(lr: 0.1 → 0.2\)"
    ):
        check_same_settings(several(lambda theirs: {**theirs, "lr": 0.2}), SETTINGS)
    changed = several(lambda theirs: {**theirs, "contents": {**CONTENTS, "train_set": "other"}})
    with pytest.raises(ClusterError, match="contents of train_set have changed"):
        check_same_settings(changed, SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda start: [0, 0, start[2]], "process 1 would start at step 0 of epoch 1, unlike pro"),
        (lambda start: [*start[:2], "other"], "process 1 would start with other weights than pro"),
    ],
)
def test_all_processes_start_at_one_place(change, message):
    checkpoints = SimpleNamespace(variables=lambda: [tf.Variable([1.0, 2.0])])
    check_same_start(several(list), checkpoints, RunState(3, step=5))
    with pytest.raises(ClusterError, match=message):
        check_same_start(several(change), checkpoints, RunState(3, step=5))


def test_a_lost_process_is_one_sentence():
    with (
        pytest.raises(
            ClusterError, match=r"ended .*\(Connection reset by peer\).* Run the same com"
        ),
        loss_reported(),
    ):
        raise tf.errors.UnavailableError(None, None, "Graph execution\nConnection reset by peer")
    detected = "Detected at node gather/CollectiveGatherV2 defined at (most recent call last):"
    aborted = f"{detected}\nCollective ops is aborted by: Socket closed"
    with pytest.raises(ClusterError, match=r"more \(Collective ops is aborted"), loss_reported():
        raise tf.errors.AbortedError(None, None, aborted)
    with pytest.raises(tf.errors.InternalError), loss_reported():
        raise tf.errors.InternalError(None, None, f"{detected}\ncuDNN launch failure")


@pytest.mark.parametrize("error", [None, Stopped(15), ValueError("a bug")])
def test_processes_leave_together_unless_one_fails(error, monkeypatch):
    processes, calls = Processes(tf.distribute.get_strategy()), []
    monkeypatch.setattr(processes, "barrier", lambda: calls.append("barrier"))
    with pytest.raises(type(error)) if error else nullcontext(), processes.leaving_together():
        if error:
            raise error
    assert calls == ([] if isinstance(error, ValueError) else ["barrier"])


@pytest.mark.parametrize(
    ("jobs", "kind", "number", "index"),
    [
        ({"worker": ["a", "b"]}, "worker", 0, 0),
        ({"worker": ["a", "b"]}, "worker", 1, 1),
        ({"chief": ["c"], "worker": ["a", "b"]}, "chief", 0, 0),
        ({"chief": ["c"], "worker": ["a", "b"]}, "worker", 1, 2),
    ],
)
def test_one_process_of_a_run_writes(jobs, kind, number, index):
    cluster = SimpleNamespace(as_dict=lambda: jobs)
    resolver = SimpleNamespace(task_type=kind, task_id=number, cluster_spec=lambda: cluster)
    count = sum(map(len, jobs.values()))
    strategy = SimpleNamespace(cluster_resolver=resolver, num_replicas_in_sync=2 * count)
    processes = Processes(strategy)
    assert (processes.index, processes.count, processes.local) == (index, count, 2)
    assert processes.chief == (index == 0)


def test_what_each_replica_sends_counts_once_per_process(monkeypatch):
    """Two processes of two replicas each, with values of different lengths."""
    processes = Processes(tf.distribute.get_strategy())
    processes.count = processes.local = 2
    other = b'{"theirs": 12345}'

    def gathered(own):
        theirs = [len(other)] if len(own) == 1 else list(other)
        return np.concatenate([own, own, theirs, theirs])

    monkeypatch.setattr(processes, "_gather", gathered)
    assert processes.gather({"mine": 1}) == [{"mine": 1}, {"theirs": 12345}]


class Evaluated:
    """An evaluator of one image that measures what it is given."""

    det_thresh = 0.5

    def __init__(self, seg_iou=0.25, bad=None, stop=None):
        self.seg_iou, self.bad_images, self.stop = seg_iou, dict(bad or {}), stop

    def part(self, index, count):
        assert (index, count) == (0, 2)
        return self

    def collect(self, grounder, word_len, label, on_measured, shown, lasting):
        assert not lasting
        if self.stop:
            self.stop()
        on_measured(None)
        metrics = Metrics(self.det_thresh)
        metrics.update(1.0, self.seg_iou, 1.0, 2.0)
        return metrics

    def check_any_usable(self):
        if len(self.bad_images) == 2:
            raise DataError("no image")


def of_other(seg_iou, bad):
    metrics = Metrics(0.5)
    metrics.update(0.0, seg_iou, 3.0, 4.0)
    return lambda _: {"stopped": None, "sums": [metrics.to_dict()], "bad": bad, "quality": []}


def test_the_sums_and_bad_images_of_all_parts_are_joined():
    evaluator = Evaluated(bad={"a.png": "torn"})
    processes = several(of_other(0.75, {}))
    result, quality = evaluate(processes, evaluator, None, 4, "label", StopRequest())
    assert quality == {}
    assert result["n_expressions"] == 2
    assert result["seg_iou"] == 0.5
    assert result["overall_iou"] == pytest.approx(4 / 6)
    assert evaluator.bad_images == {"a.png": "torn"}
    processes = several(of_other(0.75, {"b.png": "missing"}))
    with pytest.raises(DataError, match="no image"):
        evaluate(processes, evaluator, None, 4, "label", StopRequest())


def test_a_stop_of_one_process_stops_the_evaluation_of_all():
    other = several(lambda _: {"stopped": int(signal.SIGTERM)})
    with pytest.raises(Stopped) as stopped:
        evaluate(other, Evaluated(), None, 4, "label", StopRequest())
    assert stopped.value.exit_code == 143
    request, sent = StopRequest(), []
    request.deferred = True

    def answer(outcome):
        sent.append(outcome)
        return of_other(0.5, {})(outcome)

    own = Evaluated(stop=lambda: request(signal.SIGINT))
    with pytest.raises(Stopped) as stopped:
        evaluate(several(answer), own, None, 4, "label", request)
    assert stopped.value.exit_code == 130
    assert sent == [{"stopped": int(signal.SIGINT)}]  # The others have heard of it.


def test_metrics_survive_the_exchange_exactly():
    metrics = Metrics(0.3)
    metrics.update(*np.random.default_rng(0).uniform(size=(4, 7)))
    again = Metrics.from_dict(metrics.to_dict())
    assert again.result() == metrics.result()
