"""The HTML, CSS and JavaScript of the page."""

import html
from collections.abc import Callable, Sequence
from string import Template

import numpy as np

from utils.demo import TRAINED_ON_SHAPES
from utils.prediction.prediction import Prediction
from utils.visualization.palette import BLUE, ERROR, NOTE, PREDICTED, SKY_BLUE, hex_code

# What makes the address of a picture, (h, w, 3) uint8, RGB.
Address = Callable[[np.ndarray], str]
INTRODUCTION = """
<header><h1>Which one do you mean?</h1>
<p>Choose a photograph and describe an object in it. The network always answers with exactly one box
and its mask. Its score is the confidence in this box, not the probability that the object
exists.</p>
</header>"""
DEMO_BANNER = f"""
<p class="note" role="note"><b>{TRAINED_ON_SHAPES[0].upper()}{TRAINED_ON_SHAPES[1:]}.</b>
Try the examples.</p>"""
HINT = '<p class="hint">The answer appears here: box, mask, and what the network attends to.</p>'
EXPLANATIONS = {
    "mask": "Attention for the mask: the brighter a place, the more it counts when the network "
    "collects from the photograph what the words mean, to segment it.",
    "box": "Attention for the box: the same on a coarser grid, to locate the box.",
}
EXPLANATION_OF_WORDS = "Attention over the words: how much of the meaning comes from each of them."
REST_OF_WORDS = " The rest, {rest:.0f}\u00a0%, lies on the empty places behind the last word."
GAPS = " An unknown word is read as an empty place, too."
# Of ASNLS, adaptive soft non-located suppression.
EXPLANATION_OF_ASNLS = (
    "Let the box correct the mask: raise mask probabilities inside the box and lower those "
    "outside. The lower the score of the box, the stronger the effect (adaptive soft non-located "
    "suppression)."
)
EXPLANATION_OF_THRESHOLD = "Probability above which a pixel belongs to the mask."
EXPLANATION_OF_SCORE = "A box with a lower score counts as nothing found."

# One column on phones: photograph, words and button, the answer, examples. Beside each other on
# wide screens. Nothing is shown that is empty before the first answer.
STYLE = Template("""
.gradio-container > .main { max-width: 1240px; margin: 0 auto; }
.gradio-container { --link: $light_link; }
.dark .gradio-container, .dark { --link: $dark_link; }
.gradio-container .html-container { padding: 0; }
header h1 { font-size: 1.7rem; font-weight: 650; margin: 0.3rem 0 0.1rem; line-height: 1.2; }
header p { color: var(--body-text-color-subdued); margin: 0; }
#layout { display: grid; gap: 16px; grid-template-columns: minmax(0, 1fr); align-items: start; }
#layout > * { min-width: 0 !important; width: 100%; }
#weights:not(:has(p)), .attention:not(:has(img)), #result:not(:has(img)) { display: none; }
#layout:not(:has(#result img)) :is(#maps, #settings) { display: none; }
@media (min-width: 900px) {
  #layout { grid-template-columns: minmax(0, 4fr) minmax(0, 9fr); grid-template-rows: auto 1fr; }
  #ask { grid-area: 1 / 1; }
  #others { grid-area: 2 / 1; }
  #answer { grid-area: 1 / 2 / span 2; }
  #layout:not(:has(#result img)) #ask { grid-area: 1 / 1 / span 2; }
  #layout:not(:has(#result img)) #answer { grid-area: 1 / 2; }
  #layout:not(:has(#result img)) #others { grid-area: 2 / 2; }
}
@media (max-width: 899px) {
  #photograph { height: 200px !important; }
  header h1 { font-size: 1.35rem; }
  header p, p.note { font-size: 0.85rem; line-height: 1.35; }
}
#photograph { border: 1px solid var(--border-color-primary) !important; }
#photograph img { width: 100%; height: 100%; object-fit: contain; }
#photograph .icon-button-wrapper:not(:has(button)) { display: none; }
#answer { scroll-margin-top: 8px; }
#answer figure { display: table; margin: 0 auto; }
#answer figure a { display: block; padding: 0; }
#answer figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
#result img { max-height: min(62vh, 560px); width: auto; }
.attention img { max-height: 320px; width: auto; }
#answer figcaption { display: table-caption; caption-side: bottom; margin-top: 6px; }
#answer figcaption i { display: inline-block; width: 1.6em; height: 0.4em; margin-right: 0.4em;
  vertical-align: middle; background: $predicted; outline: 1px solid #fff;
  box-shadow: 0 0 0 2px #000; }
.explanation, .hint { font-size: 0.85rem; line-height: 1.4; margin: 4px 0 0;
  color: var(--body-text-color-subdued); }
.hint { margin: 0; padding: 16px; border: 1px dashed var(--border-color-primary);
  border-radius: 8px; }
p.words { margin: 0; line-height: 2.3; overflow-wrap: anywhere; }
p.words span { display: inline-block; position: relative; margin-right: 0.7em; line-height: 1.3;
  padding-bottom: 6px; }
p.words small { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
p.words span i { position: absolute; left: 0; bottom: 0; height: 4px; border-radius: 2px;
  background: var(--link); }
p.words u { text-decoration: underline dotted 2px; text-underline-offset: 2px; }
#examples .container { width: 48px; height: 48px; }
#examples img { width: 100%; height: 100%; object-fit: cover; }
#examples td { padding: 4px 10px; text-align: left; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px;
  margin: 0; }
dl.facts div { background: var(--block-background-fill); border-radius: 8px; padding: 8px 12px;
  border: 1px solid var(--border-color-primary); }
dl.facts dt { font-size: 0.8rem; color: var(--body-text-color-subdued); }
dl.facts dd { margin: 2px 0 0; font-weight: 600; font-variant-numeric: tabular-nums; }
p.note, p.problem { margin: 10px 0 0; padding: 8px 12px; border-radius: 8px; }
p.note { background: $note; border-left: 4px solid $note_edge; }
p.problem { margin: 0; background: $error_background; border-left: 4px solid $error; }
.gradio-container :is(button, input, textarea, td, a):focus-visible {
  outline: 3px solid var(--link) !important; outline-offset: 2px; }
""").substitute(
    predicted=hex_code(PREDICTED),
    light_link=hex_code(BLUE),
    dark_link=hex_code(SKY_BLUE),
    note=hex_code(NOTE, 0.18),
    note_edge=hex_code(NOTE),
    error=hex_code(ERROR),
    error_background=hex_code(ERROR, 0.15),
)
# Once the page is there: answers are read aloud.
ON_LOAD = """() => {
  for (const name of ["facts", "weights"])
    document.getElementById(name)?.setAttribute("aria-live", "polite");
}"""
# After an answer: it is in view, also where it lies below the button. Pictures have no height until
# they are loaded.
ON_ANSWER = """async () => {
  await new Promise(requestAnimationFrame);
  const answer = document.getElementById("answer");
  const photograph = document.querySelector("#photograph img");
  if (photograph) photograph.alt = "The photograph that you chose";
  const pictures = [...answer.querySelectorAll("img")];
  await Promise.all(pictures.map((picture) => picture.decode().catch(() => {})));
  const shown = answer.querySelector("#result img") ?? answer;
  const place = shown.getBoundingClientRect();
  if (place.top < 0 || place.bottom > window.innerHeight) answer.scrollIntoView();
}"""


def figure_html(picture: np.ndarray, alternative: str, caption: str, address: Address) -> str:
    """Formats a picture with its caption, which a click opens at its full size.

    Args:
        picture: (h, w, 3) uint8, RGB.
        alternative: text for those who do not see the picture.
        caption: HTML.
        address: makes the address of the picture.
    """
    height, width = picture.shape[:2]
    link, text = html.escape(address(picture)), html.escape(alternative)
    return (
        f'<figure><a href="{link}" target="_blank" title="Open at full size"><img src="{link}" '
        f'width="{width}" height="{height}" alt="{text}"></a><figcaption>{caption}</figcaption>'
        "</figure>"
    )


def answer_html(picture: np.ndarray, prediction: Prediction, address: Address) -> str:
    """Formats the picture of an answer, (h, w, 3) uint8, RGB."""
    expression = html.escape(prediction.expression)
    if not prediction.found:
        alternative = f"Nothing found in the photograph for: {prediction.expression}"
        return figure_html(picture, alternative, f"Nothing found: <b>{expression}</b>", address)
    left, top, right, bottom = (f"{value:.0f}" for value in prediction.box_xyxy)
    alternative = (
        f"The photograph with box and mask of: {prediction.expression}. The box reaches from "
        f"{left} to {right} pixels from the left, and from {top} to {bottom} from the top."
    )
    return figure_html(picture, alternative, f"<i></i><b>{expression}</b>, box and mask", address)


def attention_html(picture: np.ndarray, branch: str, expression: str, address: Address) -> str:
    """Formats an attention map, (h, w, 3) uint8, of one of `utils.prediction.attention.BRANCHES`"""
    alternative = f"Where the network attends to for the {branch} of: {expression}"
    caption = f'<p class="explanation">{EXPLANATIONS[branch]}</p>'
    return figure_html(picture, alternative, caption, address)


def words_html(prediction: Prediction) -> str:
    """Formats the words of an expression with their weights; empty if the network has none."""
    weights = prediction.word_weights
    if not weights:
        return ""
    largest = max(weight for _, weight in weights)
    words = []
    for word, weight in weights:
        text = html.escape(word)
        if word in prediction.unknown_words:
            text = f'<u title="unknown word">{text}</u>'
        bar = f'<i style="width: {100 * weight / max(largest, 1e-9):.0f}%"></i>'
        words.append(f"<span>{text} <small>{100 * weight:.0f}\u00a0%</small>{bar}</span>")
    unread = "".join(f'<s title="not read">{html.escape(w)}</s> ' for w in prediction.unread_words)
    rest = max(100 - sum(100 * weight for _, weight in weights), 0)
    text = EXPLANATION_OF_WORDS + (REST_OF_WORDS.format(rest=rest) if rest >= 0.5 else "")
    text += GAPS if prediction.unknown_words else ""
    return f'<p class="words">{"".join(words)}{unread}</p><p class="explanation">{text}</p>'


def facts_html(prediction: Prediction, image_seconds: float, warning: str | None) -> str:
    """Formats score, box, area and time, and what the network does not know.

    Args:
        prediction: the `Prediction`.
        image_seconds: time taken to encode the photograph; 0 if it was encoded before.
        warning: clause about what the network does not know; None if there is nothing to say.
    """
    height, width = prediction.mask.shape
    area, found = int(prediction.mask.sum()), prediction.found
    box = ", ".join(f"{value:.0f}" for value in prediction.box_xyxy)
    score, share = f"{prediction.score:.2f}", f"{100 * area / prediction.mask.size:.1f}\u00a0%"
    refused = f"{score}: nothing found, below {prediction.min_score:g}"
    photograph = f"{image_seconds:.2f} s" if image_seconds else "encoded before"
    rows = {
        "Box score": score if found else refused,
        f"Box, pixels of {width}×{height}": box if found else "–",
        "Mask": f"{area:,} px, {share}" if found else "–",
        "Time, photograph + words": f"{photograph} + {prediction.seconds:.2f} s",
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in rows.items())
    notes = ""
    if warning is not None:
        notes += f'<p class="note">{html.escape(warning[0].upper() + warning[1:])}.</p>'
    elif prediction.unknown_words:  # A warning names them, too.
        notes += _note("Unknown words", prediction.unknown_words)
    if prediction.unread_words:
        notes += _note("Words beyond the limit, ignored", prediction.unread_words)
    return f'<dl class="facts">{cells}</dl>{notes}'


def problem_html(sentence: str) -> str:
    """Formats a problem for the page."""
    return f'<p class="problem">{html.escape(sentence)}</p>'


def _note(text: str, words: Sequence[str]) -> str:
    return f'<p class="note">{text}: <b>{html.escape(", ".join(words))}</b></p>'
