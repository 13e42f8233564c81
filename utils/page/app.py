"""The layout of the page in Gradio: photograph and expression left, results right."""

import os
from collections.abc import Sequence
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

from config.errors import UserError
from config.schema import Config
from data.loading.annotations import read_annotations
from utils.page.answers import LONGEST_EXPRESSION, Answerer, error_html
from utils.prediction.predictor import Predictor
from utils.visualization.palette import ERROR, NOTE, hex_code

UPLOAD_LIMIT = "20mb"
EXAMPLES = 5
KEPT_SECONDS = 3600
INTRODUCTION = """
<header><h1>Which one do you mean?</h1>
<p>Choose a photograph and describe an object in it. The network answers with a box and a mask.</p>
</header>"""
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


def import_gradio() -> ModuleType:
    """Imports Gradio with its usage statistics disabled. Raises UserError if it is missing."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
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
    predictor: Predictor, examples: Sequence[list[str]], uploads: str | os.PathLike
) -> tuple[Any, dict]:
    """Builds the page without opening it.

    Args:
        predictor: the `Predictor`.
        examples: of `example_rows`.
        uploads: folder for uploaded photographs.

    Returns:
        (gradio.Blocks, keyword arguments for its `launch`).
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    gradio = import_gradio()
    answerer = Answerer(predictor)
    with gradio.Blocks(
        title="MCN", analytics_enabled=False, delete_cache=(600, KEPT_SECONDS), fill_width=True
    ) as page:
        gradio.HTML(INTRODUCTION)
        answer = gradio.State(time_to_live=KEPT_SECONDS)
        with gradio.Row():
            with gradio.Column(scale=4, min_width=300):
                photograph, words, find = _inputs(gradio)
                if examples:
                    chosen = gradio.Examples(
                        examples, [photograph, words], label="Examples", elem_id="examples"
                    )
            with gradio.Column(scale=9, min_width=460):
                shown, (threshold, use_nls) = _results(gradio, predictor)

        find_event = {
            "fn": lambda *inputs: _answer(answerer, *inputs),
            "inputs": [photograph, words, threshold, use_nls],
            "outputs": [answer, *shown],
            "concurrency_limit": 1,
            "api_visibility": "private",
        }
        gradio.on([find.click, words.submit], **find_event)
        if examples:
            chosen.load_input_event.then(**find_event)
        gradio.on(
            [threshold.change, use_nls.change],
            fn=_with_mask,
            inputs=[answer, threshold, use_nls],
            outputs=[answer, *shown[:2]],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
    return page, _launch_settings(gradio)


def _inputs(gradio):
    """(photograph, words, button)."""
    photograph = gradio.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label="Photograph",
        height=300,
        elem_id="photograph",
    )
    # Gradio would decode the photograph here, whatever its size, and fail without a clear message.
    photograph.preprocess = lambda payload: payload and payload.path
    words = gradio.Textbox(
        label="What to find",
        placeholder="the woman on the left",
        max_length=LONGEST_EXPRESSION,
        elem_id="words",
    )
    return photograph, words, gradio.Button("Find", variant="primary", elem_id="find")


def _results(gradio, predictor):
    """([picture, facts, two attention maps], [mask threshold, ASNLS])."""

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
    return [result, facts, *attention], [threshold, use_nls]


def _launch_settings(gradio):
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
        "max_file_size": UPLOAD_LIMIT,
        "ssr_mode": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "state_session_capacity": 100,
    }


def _answer(answerer, path, expression, threshold, use_nls):
    """Values of the state, the picture, the facts and the attention maps."""
    try:
        answer = answerer.answer(path, expression, threshold, use_nls)
    except (UserError, OSError) as error:
        return None, None, error_html(error), None, None
    return answer, answer.picture, answer.facts, answer.attention_mask, answer.attention_box


def _with_mask(answer, threshold, use_nls):
    """Values of the state, the picture and the facts after a change of the mask's settings."""
    if answer is None:
        return [import_gradio().skip()] * 3
    answer = answer.with_mask(threshold, use_nls)
    return answer, answer.picture, answer.facts
