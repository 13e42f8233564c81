"""What TensorBoard finds in a log folder: runs by their folders, settings, steps once."""

import time

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
from tensorboard.util import tensor_util

from config.schema import PROJECT_ROOT
from utils.training.run.events import event_files, hyperparameters, recorded_events
from utils.training.run.log import RunLog

SETTINGS = {"lr": 0.001, "steps": [30, 35], "backbone": "vgg", "workers": 2, "about": ["a | b"]}


def written(folder):
    """[(step, {tag: value})] of every event with values, in the order of steps.

    The names of files do not tell the order of those that one process begins in one second.
    """
    events = [e for path in event_files(folder) for e in EventFileLoader(str(path)).Load()]
    return [
        (e.step, {v.tag: tensor_util.make_ndarray(v.tensor) for v in e.summary.value})
        for e in sorted(events, key=lambda event: event.step)
        if e.summary.value
    ]


def test_all_numbers_of_a_step_are_one_event(tmp_path):
    values = {"step/loss": 2.5, "step/xy": 1.25, "step/learning_rate": 0.5}
    with RunLog(tmp_path, SETTINGS) as log:
        log.scalars(10, values)
    assert written(tmp_path)[-1] == (10, values)
    assert recorded_events(tmp_path) >= {(tag, 10) for tag in values}


def test_settings_are_a_table_that_shows_their_changes(tmp_path):
    def tables():
        rows = [(step, values["settings"]) for step, values in written(tmp_path)
                if "settings" in values]  # fmt: skip
        return [(step, str(text.item(), "utf-8").splitlines()[2:]) for step, text in rows]

    first = ["| lr | 0.001 |", "| steps | [30, 35] |", "| backbone | vgg |", "| workers | 2 |"]
    for epoch in (1, 2):  # Once, however often the run resumes.
        with RunLog(tmp_path, SETTINGS) as log:
            log.scalars(epoch, {"loss": 1.0})
    assert tables() == [(0, first)]
    with RunLog(tmp_path, SETTINGS | {"backbone": "a|b"}) as log:
        log.scalars(3, {"loss": 1.0})
    assert tables()[1][0] == 3
    assert "| backbone | a\\|b |" in tables()[1][1]


def test_a_run_that_logs_nothing_leaves_no_settings(tmp_path):
    RunLog(tmp_path, SETTINGS).close()
    assert recorded_events(tmp_path) == set()


def test_hyperparameters_are_those_with_an_effect():
    settings = SETTINGS | {"train_set": str(PROJECT_ROOT / "data" / "train.txt")}
    assert hyperparameters(settings) == {
        "lr": 0.001, "steps": "30, 35", "backbone": "vgg", "train_set": "data/train.txt",
    }  # fmt: skip


def test_tensorboard_names_and_compares_runs(tmp_path):
    """By TensorBoard's own reading of two folders, one resumed."""
    accuracy = {"first": 50.0, "second": 75.0}
    for name, value in accuracy.items():
        settings = SETTINGS | {"lr": value / 1000, "log_path": name}
        for epochs in ((1, 2), (2, 3)):
            second = int(time.time())
            with RunLog(tmp_path / name, settings) as log:
                for epoch in epochs:
                    log.scalars(epoch, {"val/Acc@0.5": value})
            # TensorBoard reads files in the order of their names, which count seconds.
            while int(time.time()) == second:
                time.sleep(0.01)
    multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 0})
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) == {*accuracy}
    for name in accuracy:
        assert [e.step for e in multiplexer.Tensors(name, "val/Acc@0.5")] == [1, 2, 3]
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(
        TBContext(data_provider=provider, logdir=str(tmp_path), multiplexer=multiplexer)
    )
    experiment = context.experiment_from_metadata(
        RequestContext(), "", False, context.hparams_metadata(RequestContext(), ""), None
    )
    assert {info.name for info in experiment.hparam_infos} == {"lr"} | {"backbone", "steps"}
    statuses = [value.number for value in api_pb2.Status.DESCRIPTOR.values]
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=10)
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    groups = handler.run().session_groups
    rates = {g.sessions[0].name: g.hparams["lr"].number_value for g in groups}
    assert rates == {name: pytest.approx(value / 1000) for name, value in accuracy.items()}
