"""The style and the script of `utils.visualization.gallery`."""

from utils.visualization.palette import BLUE, FAINT_INK, GRID, INK, PAPER, SKY_BLUE, hex_code

DARK_PAPER, DARK_INK, DARK_FAINT_INK, DARK_GRID = "#17181b", "#eceef1", "#a9aeb7", "#3a3d44"

STYLE = f"""
:root {{ --paper: {hex_code(PAPER)}; --ink: {hex_code(INK)}; --faint: {hex_code(FAINT_INK)};
  --line: {hex_code(GRID)}; --focus: {hex_code(BLUE)}; color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: {DARK_PAPER}; --ink: {DARK_INK}; --faint: {DARK_FAINT_INK};
    --line: {DARK_GRID}; --focus: {hex_code(SKY_BLUE)}; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 100rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.4 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.4rem; margin: 0 0 .5rem; }}
header p {{ margin: .25rem 0; color: var(--faint); max-width: 60rem; }}
form {{ display: flex; flex-wrap: wrap; gap: .75rem 1.25rem; align-items: end; padding: .75rem 0; }}
form[hidden] {{ display: none; }}
label, fieldset {{ display: flex; flex-direction: column; gap: .2rem; border: 0; margin: 0;
  padding: 0; font-size: .875rem; color: var(--faint); }}
fieldset {{ flex-direction: row; flex-wrap: wrap; }}
legend {{ padding: 0 0 .2rem; }}
input, select, button {{ font: inherit; font-size: 1rem; color: var(--ink); padding: .3rem .5rem;
  background: var(--paper); border: 1px solid var(--faint); border-radius: .25rem; }}
input[type=number] {{ width: 5.5rem; }}
:focus-visible {{ outline: 3px solid var(--focus); outline-offset: 2px; }}
main {{ display: grid; gap: 1.25rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }}
figure {{ margin: 0; border-bottom: 1px solid var(--line); padding-bottom: .5rem; }}
figure[hidden] {{ display: none; }}
button.picture {{ display: block; padding: 0; border: 0; background: none; cursor: zoom-in; }}
button.picture[aria-expanded=true] {{ cursor: zoom-out; }}
figure:has(button[aria-expanded=true]) {{ grid-column: 1 / -1; }}
img {{ display: block; max-width: 100%; height: auto; }}
button[aria-expanded=false] img {{ width: auto; max-height: 26rem; }}
figcaption ul {{ list-style: none; margin: .4rem 0 0; padding: 0; }}
figcaption p {{ margin: .1rem 0; font-size: .875rem; color: var(--faint); white-space: pre-wrap; }}
u {{ text-decoration: underline dotted 2px; text-underline-offset: 3px; }}
"""

SCRIPT = """
"use strict";
const form = document.querySelector("form");
const count = document.getElementById("count");
const figures = [...document.querySelectorAll("figure")].map((element) => ({
  element,
  expressions: element.dataset.words.split("\\n"),
  groups: JSON.parse(element.dataset.groups),
  values: JSON.parse(element.dataset.values),
}));
function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
function names(key) {
  return [...new Set(figures.flatMap((figure) => Object.keys(figure[key])))];
}
function addFilters() {
  const before = form.querySelector("[type=reset]");
  for (const name of names("groups")) {
    const choices = [...new Set(figures.flatMap((figure) => figure.groups[name] ?? []))];
    if (choices.length < 2) continue;
    const select = make("select", {}, make("option", {value: "", textContent: "all"}),
      ...choices.map((choice) => make("option", {value: choice, textContent: choice})));
    select.dataset.group = name;
    before.before(make("label", {}, `${name} `, select));
  }
  for (const name of names("values")) {
    const bounds = [["least", "0"], ["most", "1"]].map(([bound, value]) => {
      const input = make("input", {type: "number", min: 0, max: 1, step: 0.05,
        defaultValue: value, ariaLabel: `${name}: ${bound}`});
      input.dataset.value = name;
      input.dataset.bound = bound;
      return input;
    });
    before.before(make("fieldset", {}, make("legend", {textContent: name}), ...bounds));
  }
}
// As `words_of` in gallery.py.
function wordsOf(text) {
  return text.toLowerCase().split(/\\s+/).filter(Boolean).map(
    (part) => part.replace(/^[^\\p{L}\\p{N}]+|[^\\p{L}\\p{N}]+$/gu, "") || part);
}
function filter() {
  const words = wordsOf(form.elements.words.value);
  const groups = [...form.querySelectorAll("[data-group]")].filter((choice) => choice.value);
  // Values beyond the first bounds are hidden only by bounds that somebody has set.
  const bounds = [...form.querySelectorAll("[data-value]")].filter(
    (bound) => bound.value !== "" && Number(bound.value) !== Number(bound.defaultValue));
  let shown = 0;
  for (const figure of figures) {
    const visible =
      figure.expressions.some((text) => words.every((word) => text.includes(` ${word} `))) &&
      groups.every((choice) => figure.groups[choice.dataset.group]?.includes(choice.value)) &&
      bounds.every((bound) => {
        const value = figure.values[bound.dataset.value];
        if (value === undefined) return false;
        return bound.dataset.bound === "least"
          ? value >= Number(bound.value) : value <= Number(bound.value);
      });
    figure.element.hidden = !visible;
    shown += visible;
  }
  count.textContent = `${shown} of ${figures.length} pictures`;
}
addFilters();
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
document.querySelector("main").addEventListener("click", (event) => {
  const button = event.target.closest("button.picture");
  if (!button) return;
  const enlarged = button.getAttribute("aria-expanded") === "false";
  button.setAttribute("aria-expanded", enlarged);
  button.title = enlarged ? "reduce" : "enlarge";
});
filter();
"""
