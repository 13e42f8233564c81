"""The layout of the page in Gradio: photograph and expression left, results right."""

import os
import traceback
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

from config.errors import UserError
from config.schema import Config
from data.loading.annotations import read_annotations
from utils.demo import TRAINED_ON_SHAPES, demo_warning
from utils.page.answers import (
    BUG,
    LONGEST_EXPRESSION,
    NO_UPLOAD,
    Answerer,
    PageError,
    problem_html,
)
from utils.page.gate import UPLOAD_BYTES, Gate, Questions
from utils.page.uploads import KEPT_SECONDS, Uploads
from utils.prediction.predictor import Predictor
from utils.visualization.palette import ERROR, NOTE, hex_code

EXAMPLES = 5
# Questions that wait, and visitors whose last answer is kept to change its mask (3 MB each).
MOST_QUEUED, MOST_SESSIONS = 32, 100
INTRODUCTION = """
<header><h1>Which one do you mean?</h1>
<p>Choose a photograph and describe an object in it. The network always answers with exactly one box
and its mask. Its score is the confidence in this box, not the probability that the object
exists.</p>
</header>"""
DEMO_INTRODUCTION = f"""{INTRODUCTION}
<p class="note">{TRAINED_ON_SHAPES[0].upper()}{TRAINED_ON_SHAPES[1:]}. Try the examples.</p>"""
PLACEHOLDER = "the woman on the left"
STYLE = Template("""
.gradio-container > .main { max-width: 1240px; margin: 0 auto; }
header h1 { font-size: 1.7rem; font-weight: 650; margin: 0.3rem 0 0.1rem; }
header p { color: var(--body-text-color-subdued); margin: 0; }
#photograph img, #result img { width: 100%; height: 100%; object-fit: contain; }
#examples .container { width: 48px; height: 48px; }
#examples img { width: 100%; height: 100%; object-fit: cover; }
#examples td { padding: 4px 10px; text-align: left; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 0; }
dl.facts div { background: var(--block-background-fill); border-radius: 8px; padding: 8px 12px;
  border: 1px solid var(--border-color-primary); }
dl.facts dt { font-size: 0.8rem; color: var(--body-text-color-subdued); }
dl.facts dd { margin: 2px 0 0; font-weight: 600; font-variant-numeric: tabular-nums; }
p.note, p.problem { margin: 10px 0 0; padding: 8px 12px; border-radius: 8px; }
p.note { background: $note; }
p.problem { margin: 0; background: $error_background; border-left: 4px solid $error; }
""").substitute(
    note=hex_code(NOTE, 0.18), error=hex_code(ERROR), error_background=hex_code(ERROR, 0.15)
)


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
        gradio.HTML(DEMO_INTRODUCTION if demo else INTRODUCTION)
        answer = gradio.State(time_to_live=KEPT_SECONDS)
        with gradio.Row():
            with gradio.Column(scale=4, min_width=300):
                placeholder = examples[0][1] if demo and examples else PLACEHOLDER
                photograph, words, find = _inputs(gradio, placeholder)
                if examples:
                    chosen = gradio.Examples(
                        examples, [photograph, words], label="Examples", elem_id="examples"
                    )
            with gradio.Column(scale=9, min_width=460):
                shown, settings = _results(gradio, predictor)

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
            "outputs": [answer, *shown],
        }
        gradio.on([find.click, words.submit], **find_event)
        if examples:
            chosen.load_input_event.then(**find_event)
        gradio.on(
            [setting.change for setting in settings],
            fn=lambda *inputs: _with_mask(gradio.skip, *inputs),
            inputs=[answer, *settings],
            outputs=[answer, *shown[:2]],
            trigger_mode="always_last",
            show_progress="hidden",
            **shared,
        )
    page.queue(max_size=MOST_QUEUED, api_open=False)  # Closed: nobody passes the queue by.
    uploads.keep_present()
    questions = Questions(
        n_values={number: len(function.inputs) for number, function in page.fns.items()},
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
    """(photograph, words, button)."""
    photograph = gradio.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
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
    return photograph, words, gradio.Button("Find", variant="primary", elem_id="find")


def _results(gradio, predictor):
    """([picture, facts, two attention maps], [mask threshold, ASNLS, smallest score])."""

    def picture(label, name, height, *buttons):
        return gradio.Image(
            label=label,
            elem_id=name,
            height=height,
            interactive=False,
            format="png",
            buttons=list(buttons),
        )

    with gradio.Row():
        with gradio.Column(scale=7, min_width=300):
            result = picture("Box and mask", "result", 560, "download", "fullscreen")
        with gradio.Column(scale=4, min_width=200):
            attention = [
                picture("Attention for the mask", "attention_mask", 272, "fullscreen"),
                picture("Attention for the box", "attention_box", 272, "fullscreen"),
            ]
    facts = gradio.HTML(elem_id="facts")
    return [result, facts, *attention], _settings(gradio, predictor)


def _settings(gradio, predictor):
    """[mask threshold, ASNLS, smallest score]."""
    with gradio.Row():
        threshold = gradio.Slider(
            0.05,
            0.95,
            value=predictor.segment_thresh,
            step=0.05,
            label="Mask threshold",
            elem_id="threshold",
        )
        use_nls = gradio.Checkbox(
            value=predictor.use_nls,
            label="ASNLS",
            info="Weigh the mask by the box: boost it inside, suppress it outside.",
            elem_id="use_nls",
        )
        min_score = gradio.Slider(
            0,
            1,
            value=predictor.min_score,
            step=0.05,
            label="Smallest score",
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
        body_text_color_subdued="*neutral_500",
        block_label_background_fill="*neutral_100",
        block_label_text_color="*neutral_600",
        block_title_background_fill="none",
        block_title_text_color="*neutral_600",
        block_title_padding="0",
    )
    return {
        "theme": theme,
        "css": STYLE,
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
    """Values of the state, the picture, the facts and the attention maps."""
    try:
        path = name = None
        if photograph:
            path, name = uploads.find(photograph["path"]), photograph["orig_name"]
            if path is None:
                raise PageError(NO_UPLOAD)
        answer = answerer.answer(path, expression, threshold, use_nls, name, min_score)
        shown = answer.picture, answer.facts, answer.attention_mask, answer.attention_box
        return answer.kept(), *shown
    except PageError as error:
        return None, None, problem_html(str(error)), None, None
    except Exception:  # Whatever it is, the visitor learns nothing about the server from it.
        traceback.print_exc()
        return None, None, problem_html(BUG), None, None


def _with_mask(skip, answer, threshold, use_nls, min_score):
    """Values of the state, the picture and the facts after a change of the settings."""
    if answer is None:
        return [skip()] * 3
    try:
        answer = answer.with_mask(threshold, use_nls, min_score)
    except PageError as error:
        return answer, None, problem_html(str(error))
    return answer.kept(), answer.picture, answer.facts
