"""What the page says when the server fails, and what it forgets."""

import json
from collections import defaultdict
from types import SimpleNamespace

import pytest
from PIL import Image

from utils.page import app
from utils.page.answers import BUG, NO_UPLOAD
from utils.page.markup import problem_html
from utils.page.uploads import Uploads


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyError, MemoryError])
def test_a_fault_of_the_server_is_printed_there_and_not_shown(uploads, capsys, error):
    def answer(*_):
        raise error("/secret/folder")

    values = app._answer(SimpleNamespace(answer=answer), uploads, None, "red box", 0.35, True)
    assert values == (None, None, problem_html(BUG), None, None, None)
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "/secret/folder" in printed


def test_a_photograph_that_is_gone_is_never_opened(uploads):
    for path in (str(uploads.folder / "a/gone.png"), "/etc/passwd", None, 1):
        photograph = {"path": path, "orig_name": "a.png"}
        values = app._answer(None, uploads, photograph, "red box", 0.35, True)
        assert values[2] == problem_html(NO_UPLOAD)


def test_what_is_deleted_and_who_left_is_forgotten(uploads, monkeypatch):
    monkeypatch.setattr(uploads, "make_room", lambda: {"old.png"})
    queue = SimpleNamespace(
        pending_event_ids_session=defaultdict(set, here={"1"}, left={"2"}),
        pending_messages_per_session={"here": None},
    )
    page = SimpleNamespace(temp_file_sets=[{"old.png", "new.png"}, set()], _queue=queue)
    app.make_room(page, uploads)
    assert page.temp_file_sets == [{"new.png"}, set()]
    assert dict(queue.pending_event_ids_session) == {"here": {"1"}}


def shown_by(page):
    """All texts of a page, as Gradio sends them."""
    return json.dumps(page.get_config_file(), default=str)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")
def test_the_page_says_what_the_network_can_do(uploads, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="pip install -r requirements-page.txt")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    predictor = SimpleNamespace(segment_thresh=0.35, use_nls=True, min_score=0.4)
    examples = [[str(tmp_path / "a.png"), "the largest ring"]]
    plain, _ = app.build_page(predictor, examples, uploads, local=True)
    demo, _ = app.build_page(predictor, examples, uploads, local=True, demo=True)
    for page in (plain, demo):
        assert "always answers with exactly one box" in shown_by(page)
        assert '"value": 0.4' in shown_by(page)
    assert "The demo network was trained only on synthetic shapes; " in shown_by(demo)
    assert "synthetic" not in shown_by(plain)
    assert "woman on the left" in shown_by(plain)
    assert "woman on the left" not in shown_by(demo)
    # Nothing but the functions of the page can be asked for; others run in the browser alone.
    asked = {}

    def build(questions):
        asked.update(questions.n_values)
        return questions

    monkeypatch.setattr(app, "Questions", lambda **given: build(SimpleNamespace(**given)))
    page, _ = app.build_page(predictor, examples, uploads, local=True)
    assert sorted(asked.values()) == [1, 4, 5, 5]
    assert {number for number, fn in page.fns.items() if fn.fn is None}.isdisjoint(asked)


def test_gradio_has_what_the_page_reads_of_it():
    """The names that are not documented; the version of Gradio is pinned."""
    gradio = pytest.importorskip("gradio", reason="pip install -r requirements-page.txt")
    with gradio.Blocks() as page:
        pass
    page.queue()
    assert isinstance(page.temp_file_sets, list)
    assert isinstance(page._queue.pending_event_ids_session, dict)
    assert "a" not in page._queue.pending_messages_per_session
