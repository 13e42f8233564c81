"""The layout of the page in Gradio: photograph and expression, the answer, examples."""

import os
import traceback
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from config.errors import UserError
from config.schema import Config
from data.loading.annotations import read_annotations
from utils.demo import demo_warning
from utils.page.answers import BUG, LONGEST_EXPRESSION, NO_UPLOAD, Answerer, PageError
from utils.page.gate import UPLOAD_BYTES, Gate, Questions
from utils.page.markup import (
    DEMO_BANNER,
    EXPLANATION_OF_ASNLS,
    EXPLANATION_OF_SCORE,
    EXPLANATION_OF_THRESHOLD,
    HINT,
    INTRODUCTION,
    ON_ANSWER,
    ON_LOAD,
    STYLE,
    problem_html,
)
from utils.page.uploads import KEPT_SECONDS, Uploads
from utils.prediction.attention import BRANCHES
from utils.prediction.predictor import Predictor
from utils.visualization.gallery import jpeg_bytes

EXAMPLES = 5
# Questions that wait, and visitors whose last answer is kept to change its mask (3 MB each).
MOST_QUEUED, MOST_SESSIONS = 32, 100
PLACEHOLDER = "the woman on the left"
ANSWER = "answer.jpg"  # The name under which browsers save a picture.


def import_gradio(folder: str | os.PathLike) -> ModuleType:
    """Imports Gradio with its usage statistics disabled and all of its files in one folder.

    Raises:
        UserError: it is not installed.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio summarizes this many past questions after each question.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    try:
        import gradio
    except ImportError:
        raise UserError(
            "the page needs Gradio, which is not installed: pip install -r requirements-page.txt"
        ) from None
    return gradio


def example_rows(config: Config) -> list[list[str]]:
    """Selects images with one expression each, evenly spaced over the evaluation set.

    Returns:
        list of [path, expression]; empty if the evaluation set does not exist.
    """
    if not Path(config.evaluate_set).is_file():
        return []
    images: dict[str, str] = {}
    for referent in read_annotations(config.evaluate_set):
        images.setdefault(referent.image, referent.expressions[0])
    step = max(len(images) // EXAMPLES, 1)
    rows = [
        [str(Path(config.image_path) / image), expression]
        for image, expression in list(images.items())[::step][:EXAMPLES]
    ]
    return [row for row in rows if Path(row[0]).is_file()]


def build_page(
    predictor: Predictor,
    examples: Sequence[list[str]],
    uploads: Uploads,
    local: bool,
    demo: bool = False,
) -> tuple[Any, dict]:
    """Builds the page without opening it.

    Args:
        predictor: the `Predictor`.
        examples: of `example_rows`.
        uploads: the folder for uploaded photographs and drawn answers.
        local: whether only this machine can reach the page.
        demo: whether the network is the demo network, see `utils.demo`.

    Returns:
        (gradio.Blocks, keyword arguments for its `launch`).
    """
    gradio = import_gradio(uploads.folder)
    from starlette.middleware import Middleware

    answerer = Answerer(predictor, demo_warning if demo else None)
    with gradio.Blocks(title="MCN", analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(INTRODUCTION + (DEMO_BANNER if demo else ""))
        answer = gradio.State(time_to_live=KEPT_SECONDS)
        with gradio.Row(elem_id="layout"):
            with gradio.Column(elem_id="ask"):
                placeholder = examples[0][1] if demo and examples else PLACEHOLDER
                photograph, words, weights, find = _inputs(gradio, placeholder)
            with gradio.Column(elem_id="answer"):
                shown, settings = _results(gradio, predictor)
            if examples:
                with gradio.Column(elem_id="others"):
                    chosen = gradio.Examples(
                        examples, [photograph, words], label="Examples", elem_id="examples"
                    )

        shared: dict[str, Any] = {
            # One worker in order of arrival: the memory that answers take does not add up.
            "concurrency_id": "answers",
            "concurrency_limit": 1,
            # Gradio would decode the photograph and fail without a clear message.
            "preprocess": False,
            "api_visibility": "private",
        }
        find_event = shared | {
            "fn": lambda *inputs: _answer(answerer, uploads, *inputs),
            "inputs": [photograph, words, *settings],
            "outputs": [answer, *shown, weights],
        }
        asked = [gradio.on([find.click, words.submit], **find_event)]
        if examples:
            asked.append(chosen.load_input_event.then(**find_event))
        for event in asked:
            event.then(None, js=ON_ANSWER)
        gradio.on(
            [setting.change for setting in settings],
            fn=lambda *inputs: _with_mask(gradio.skip, uploads, *inputs),
            inputs=[answer, *settings],
            outputs=[answer, *shown[:2]],
            trigger_mode="always_last",
            show_progress="hidden",
            **shared,
        )
    page.queue(max_size=MOST_QUEUED, api_open=False)  # Closed: nobody passes the queue by.
    uploads.keep_present()
    questions = Questions(
        # Without those that only run JavaScript.
        n_values={
            number: len(function.inputs)
            for number, function in page.fns.items()
            if function.fn is not None
        },
        n_examples=len(examples),
        n_waiting=lambda session: len(page._queue.pending_event_ids_session.get(session, ())),
    )
    return page, _launch_settings(gradio, Middleware(Gate, uploads, questions, local))


def make_room(page: Any, uploads: Uploads) -> None:
    """Forgets what is no longer needed: files, and questions whose visitors left.

    Args:
        page: the `gradio.Blocks` of `build_page`.
        uploads: its folder.
    """
    deleted = uploads.make_room()
    for names in page.temp_file_sets:
        names.difference_update(deleted)
    queue = page._queue
    for session in list(queue.pending_event_ids_session):
        if session not in queue.pending_messages_per_session:
            queue.pending_event_ids_session.pop(session, None)


def _inputs(gradio, placeholder):
    """(photograph, words, their weights, button)."""
    photograph = gradio.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        show_label=False,
        label="Photograph",
        height=300,
        elem_id="photograph",
    )
    words = gradio.Textbox(
        label="What to find",
        placeholder=placeholder,
        max_length=LONGEST_EXPRESSION,
        elem_id="words",
    )
    weights = gradio.HTML(elem_id="weights")
    return photograph, words, weights, gradio.Button("Find", variant="primary", elem_id="find")


def _results(gradio, predictor):
    """([picture, facts, two attention maps], [mask threshold, ASNLS, smallest score])."""
    result = gradio.HTML(elem_id="result")
    facts = gradio.HTML(HINT, elem_id="facts")
    settings = _settings(gradio, predictor)
    with gradio.Row(elem_id="maps"):
        attention = [
            gradio.HTML(elem_id=f"attention_{branch}", elem_classes="attention")
            for branch in BRANCHES
        ]
    return [result, facts, *attention], settings


def _settings(gradio, predictor):
    """[mask threshold, ASNLS, smallest score]."""
    with gradio.Row(elem_id="settings"):
        threshold = gradio.Slider(
            0.05,
            0.95,
            value=predictor.segment_thresh,
            step=0.05,
            label="Mask threshold",
            info=EXPLANATION_OF_THRESHOLD,
            elem_id="threshold",
        )
        use_nls = gradio.Checkbox(
            value=predictor.use_nls,
            label="ASNLS",
            info=EXPLANATION_OF_ASNLS,
            elem_id="use_nls",
        )
        min_score = gradio.Slider(
            0,
            1,
            value=predictor.min_score,
            step=0.05,
            label="Smallest score",
            info=EXPLANATION_OF_SCORE,
            elem_id="min_score",
        )
    return [threshold, use_nls, min_score]


def _launch_settings(gradio, gate):
    theme = gradio.themes.Soft(
        primary_hue="orange",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # Contrasts of at least 4.5 : 1, as WCAG 2.2 AA asks for.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        input_border_width="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_padding="0",
    )
    return {
        "theme": theme,
        "css": STYLE,
        "js": ON_LOAD,
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
        "footer_links": [],
        "max_file_size": UPLOAD_BYTES,
        "ssr_mode": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "run_history": False,
        "state_session_capacity": MOST_SESSIONS,
        "app_kwargs": {"middleware": [gate], "lifespan": _without_cors},
    }


@asynccontextmanager
async def _without_cors(app):
    """Removes what lets pages of other sites send any header and read the answers.

    It is in front of `Gate` and answers their preflight requests itself.
    """
    from gradio.route_utils import CustomCORSMiddleware

    app.user_middleware = [m for m in app.user_middleware if m.cls is not CustomCORSMiddleware]
    app.middleware_stack = app.build_middleware_stack()
    yield


def _answer(answerer, uploads, photograph, expression, threshold, use_nls, min_score=0.0):
    """Values of the state, the picture, the facts, the attention maps and the words."""
    try:
        path = name = None
        if photograph:
            path, name = uploads.find(photograph["path"]), photograph["orig_name"]
            if path is None:
                raise PageError(NO_UPLOAD)
        answer = answerer.answer(path, expression, threshold, use_nls, name, min_score)
        address = _address(uploads)
        shown = answer.figure(address), answer.facts, *answer.attention_figures(address)
        return answer.kept(), *shown, answer.words
    except PageError as error:
        return None, None, problem_html(str(error)), None, None, None
    except Exception:  # Whatever it is, the visitor learns nothing about the server from it.
        traceback.print_exc()
        return None, None, problem_html(BUG), None, None, None


def _address(uploads):
    """Puts pictures into files of the page, whose number is bounded, and returns their addresses.

    Gradio keeps what is shown for as long as the session: the pictures themselves need too much.
    """
    return lambda picture: f"gradio_api/file={uploads.add(jpeg_bytes(picture), ANSWER)}"


def _with_mask(skip, uploads, answer, threshold, use_nls, min_score):
    """Values of the state, the picture and the facts after a change of the settings."""
    if answer is None:
        return [skip()] * 3
    try:
        answer = answer.with_mask(threshold, use_nls, min_score)
    except PageError as error:
        return answer, None, problem_html(str(error))
    return answer.kept(), answer.figure(_address(uploads)), answer.facts
