"""The page in a real browser."""

import itertools
import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.utils.page.axe import axe_script
from tests.utils.page.client import free_port
from tests.utils.prediction.test_photographs import png_of_size

pytestmark = [
    pytest.mark.slow,
    # Gradio 6 does not close the images of its examples and sets a deprecated option of pandas.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
]

ROOT = Path(__file__).resolve().parents[3]
WAIT_SECONDS = 60
PHONE, DESKTOP = (390, 844), (1280, 900)


def need_gradio():
    pytest.importorskip("gradio", reason="pip install -r requirements-page.txt")


class CountingPredictor:
    """A predictor that counts the calls that run the network."""

    def __init__(self, predictor):
        self._predictor, self.calls, self.encoded = predictor, 0, 0

    def __getattr__(self, name):
        if name in ("set_image", "predict", "attention"):
            self.calls += 1
            self.encoded += name == "set_image"
        return getattr(self._predictor, name)


@pytest.fixture(scope="module")
def predictor(grounder, tiny_set):
    from utils.prediction.expressions import ExpressionReader
    from utils.prediction.predictor import Predictor

    return CountingPredictor(Predictor(grounder, ExpressionReader(tiny_set.config())))


@pytest.fixture(scope="module")
def address(predictor, tiny_set, tmp_path_factory):
    """The address of an open page with examples of the tiny set."""
    need_gradio()
    from utils.page.app import build_page, example_rows
    from utils.page.uploads import Uploads

    rows = example_rows(tiny_set.config())
    uploads = Uploads(tmp_path_factory.mktemp("uploads"))
    page, settings = build_page(predictor, rows, uploads, local=True, demo=True)
    _, address, _ = page.launch(server_name="127.0.0.1", server_port=free_port(), **settings)
    yield address
    page.close(verbose=False)


class Visitor:
    """A visitor of the page."""

    def __init__(self, browser, address, size=DESKTOP, dark=False):
        from utils.page.browser import set_screen

        self.browser = browser
        set_screen(browser, *size, dark)
        browser.get_log("performance")
        browser.get(address)
        self.wait(lambda: self.all("#find") and self.all("#words textarea, #words input"))

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        self.wait(lambda: self.all(selector))
        return self.all(selector)[0]

    def wait(self, condition):
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < end, f"still not there; the page says: {self.text('body')}"
            time.sleep(0.1)

    def text(self, selector):
        return "\n".join(element.text for element in self.all(selector))

    def picture(self, name):
        """URL of the picture that is shown, None if there is none."""
        shown = self.all(f"#{name} img")
        return shown[0].get_attribute("src") if shown else None

    def ask(self, words, path=None):
        if path is not None:
            self.one("#photograph input[type=file]").send_keys(str(path))
            self.wait(lambda: self.all("#photograph img"))
        field = self.one("#words textarea, #words input")
        field.clear()
        field.send_keys(words)
        self.one("#find").click()

    def answered(self, needle):
        self.wait(lambda: needle in self.text("#facts"))

    def top_and_bottom(self, selector):
        """Where an element is, in pixels of the window."""
        place = "const r = arguments[0].getBoundingClientRect(); return [r.top, r.bottom]"
        return self.browser.execute_script(place, self.one(selector))


@pytest.fixture
def visitor(browser, address):
    return Visitor(browser, address)


@pytest.fixture(scope="module")
def axe(request):
    return axe_script(request.config.cache.mkdir("axe-core"))


def violations(browser, axe):
    """Serious faults of accessibility: [rule, HTML of the elements]."""
    browser.execute_script(axe)
    # What waits for an answer is faint, and becomes clear gradually.
    found = browser.execute_async_script("""(async () => {
        while (document.querySelector(".pending") || document.getAnimations().length)
            await new Promise(requestAnimationFrame);
        return axe.run(document, {resultTypes: ["violations"]});
    })().then(arguments[0])""")
    return [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


LAYOUTS = [(size, dark) for size in (DESKTOP, PHONE) for dark in (False, True)]
NAMES = ["desktop, light", "desktop, dark", "phone, light", "phone, dark"]


@pytest.mark.parametrize(("size", "dark"), LAYOUTS, ids=NAMES)
def test_the_answer_is_in_view(browser, address, size, dark):
    from selenium.webdriver.common.keys import Keys

    visitor = Visitor(browser, address, size, dark)
    width, height = size
    scroll = "return document.documentElement.scrollWidth"
    assert browser.execute_script(scroll) == width
    background = "return getComputedStyle(document.body).backgroundColor"
    red, green, blue = re.findall(r"\d+", browser.execute_script(background))[:3]
    assert (int(red) + int(green) + int(blue) < 3 * 128) == dark
    # Before the first answer, what will be empty takes no room.
    for selector in ("#result", "#maps", "#settings", "#weights"):
        assert not visitor.one(selector).is_displayed()
    assert "synthetic shapes" in visitor.text("p.note")
    visitor.all("#examples tbody td")[1].send_keys(Keys.ENTER)
    visitor.wait(lambda: visitor.all("#attention_box img"))
    visitor.wait(lambda: visitor.top_and_bottom("#result img")[1] <= height)
    top, bottom = visitor.top_and_bottom("#result img")
    assert 0 <= top < bottom <= height
    assert browser.execute_script(scroll) == width
    for selector in ("#result", "#maps", "#settings", "#weights"):
        assert visitor.one(selector).is_displayed()
    find, examples = visitor.top_and_bottom("#find"), visitor.top_and_bottom("#examples")
    if size == PHONE:  # The answer is right below the button, the examples are below the answer.
        assert 0 <= visitor.top_and_bottom("#answer")[0] - find[1] < 30
        assert examples[0] > visitor.top_and_bottom("#maps")[1]
    else:
        assert 0 <= examples[0] - find[1] < 60
    for image in visitor.all("#answer img"):
        assert "red box" in image.get_attribute("alt")
    assert "ASNLS" in visitor.text("#settings")
    assert "suppression" in visitor.text("#settings")
    assert "the brighter a place" in visitor.text("#attention_mask")
    assert re.search(r"red \d+\s%\s*box \d+\s%", visitor.text("#weights p.words"))


@pytest.mark.parametrize(("size", "dark"), LAYOUTS, ids=NAMES)
def test_there_are_no_serious_faults_of_accessibility(browser, address, axe, size, dark):
    visitor = Visitor(browser, address, size, dark)
    assert violations(browser, axe) == []
    visitor.ask("red box")
    visitor.answered("Choose a photograph first.")
    assert violations(browser, axe) == []
    visitor.all("#examples tbody td")[2].click()
    visitor.wait(lambda: visitor.all("#attention_box img"))
    assert violations(browser, axe) == []


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(visitor):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    visitor.all("#examples tbody td")[0].send_keys(Keys.ENTER)
    visitor.wait(lambda: visitor.all("#attention_box img"))
    browser = visitor.browser
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached, outlines = [], {}
    block = (
        "const e = document.activeElement; const s = getComputedStyle(e);"
        "return [e.closest('[id]:not([id^=range])')?.id, s.outlineStyle, s.outlineWidth]"
    )
    for _ in range(30):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        name, style, width = browser.execute_script(block)
        reached.append(name)
        outlines.setdefault(name, (style, width))
    order = [name for name, _ in itertools.groupby(reached)]
    expected = ["photograph", "words", "find", "threshold", "use_nls", "min_score", "examples"]
    assert [name for name in order if name in expected][: len(expected)] == expected
    assert all(outlines[name] == ("solid", "3px") for name in expected)


def test_expressions_about_one_photograph_encode_it_once(visitor, predictor, tmp_path):
    Image.new("RGB", (50, 40), "red").save(tmp_path / "once.png")
    before = predictor.encoded
    visitor.ask("red box", tmp_path / "once.png")
    visitor.answered("pixels of 50×40")
    assert "encoded before" not in visitor.text("#facts")
    title = visitor.browser.title
    for expression in ("blue box", "${document.title = 1} {{value}}"):
        visitor.ask(expression)
        visitor.wait(lambda expression=expression: expression in visitor.text("#result"))
    assert "encoded before" in visitor.text("#facts")
    assert predictor.encoded == before + 1
    assert visitor.browser.title == title


def test_an_example(visitor, predictor):
    assert len(visitor.all("#examples tbody tr")) == 4
    visitor.all("#examples tbody tr")[1].click()
    visitor.answered("pixels of 200×70")
    visitor.wait(lambda: all(visitor.picture(n) for n in ("result", "attention_mask")))
    for name in ("result", "attention_mask", "attention_box"):
        image = visitor.one(f"#{name} img")
        assert int(image.get_attribute("naturalWidth")) == 560
    asked = visitor.one("#words textarea, #words input").get_property("value")
    assert asked == "round thing right"

    before, calls = visitor.picture("result"), predictor.calls
    area = visitor.text("#facts")
    visitor.one("#use_nls input").click()
    visitor.wait(lambda: visitor.picture("result") != before)
    number = visitor.one("#threshold input[type=number]")
    number.clear()
    number.send_keys("0.95\n")
    visitor.wait(lambda: visitor.text("#facts") != area)
    assert predictor.calls == calls


def test_an_uploaded_photograph(visitor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(tmp_path / "turned.jpg", exif=exif)
    visitor.ask("the <img src=x> box", tmp_path / "turned.jpg")
    visitor.answered("pixels of 60×100")
    assert "does not know the words <img, src=x>: the demo" in visitor.text("#facts")


def test_errors_are_shown(visitor, tmp_path):
    visitor.ask("red box")
    visitor.answered("Choose a photograph first.")
    (tmp_path / "broken.jpg").write_text("no image")
    png_of_size(tmp_path / "huge.png", 10_000, 8_000)
    for name, sentence in (
        ("broken.jpg", "broken.jpg: not a readable image"),
        ("huge.png", "huge.png has 10000×8000 pixels; at most 64 million"),
    ):
        visitor.browser.refresh()
        visitor.ask("red box", tmp_path / name)
        visitor.answered(sentence)
        assert str(tmp_path) not in visitor.text("body")
    assert visitor.picture("result") is None


def test_large_files_are_refused(visitor, tmp_path):
    (tmp_path / "large.jpg").write_bytes(bytes(21 << 20))
    visitor.one("#photograph input[type=file]").send_keys(str(tmp_path / "large.jpg"))
    visitor.wait(lambda: "exceed the maximum allowed size of 20" in visitor.text("body"))


def test_no_other_server_is_contacted(visitor, address):
    visitor.ask("red box")
    visitor.answered("Choose a photograph first.")
    asked = [
        message["params"]["request"]["url"]
        for entry in visitor.browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    web = [url for url in asked if url.startswith(("http", "ws"))]
    assert web
    assert all(url.startswith(address) for url in web)


def test_no_endpoint_is_public(address):
    with urllib.request.urlopen(f"{address}gradio_api/info", timeout=20) as answer:
        assert json.load(answer)["named_endpoints"] == {}


def test_files_of_the_machine_are_not_served(address, tiny_set):
    for path in (ROOT / "README.md", tiny_set.root / "glove.txt"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}gradio_api/file={path}", timeout=20)


def test_an_old_photograph_must_be_uploaded_again(visitor, tmp_path):
    from utils.page.answers import NO_UPLOAD

    Image.new("RGB", (40, 30), "red").save(tmp_path / "old.png")
    visitor.ask("red box", tmp_path / "old.png")
    visitor.answered("pixels of 40×30")
    source = visitor.picture("photograph")
    Path(source.split("file=")[1]).unlink()
    visitor.ask("blue box")
    visitor.answered(NO_UPLOAD)


def test_examples_are_those_of_the_evaluation_set(tiny_set, tmp_path):
    from utils.page.app import example_rows

    rows = example_rows(tiny_set.config())
    assert [Path(path).name for path, _ in rows] == ["a.png", "d.png", "b.png", "c.png"]
    assert [words for _, words in rows][:2] == ["red box", "round thing right"]
    assert example_rows(tiny_set.config(evaluate_set=str(tmp_path / "none.txt"))) == []
    assert example_rows(tiny_set.config(image_path=str(tmp_path))) == []
