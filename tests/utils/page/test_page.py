"""The page in a real browser."""

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1320,1250",
)  # fmt: skip


def need_gradio():
    pytest.importorskip("gradio", reason="pip install -r requirements-page.txt")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_gradio()
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with its driver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


class CountingPredictor:
    """A predictor that counts the calls that run the network."""

    def __init__(self, predictor):
        self._predictor, self.calls = predictor, 0

    def __getattr__(self, name):
        if name in ("set_image", "predict", "attention"):
            self.calls += 1
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
    page, settings = build_page(predictor, rows, uploads, local=True)
    _, address, _ = page.launch(server_name="127.0.0.1", server_port=free_port(), **settings)
    yield address
    page.close(verbose=False)


class Visitor:
    """A visitor of the page."""

    def __init__(self, browser, address):
        self.browser = browser
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


@pytest.fixture
def visitor(browser, address):
    return Visitor(browser, address)


def test_an_example(visitor, predictor):
    assert len(visitor.all("#examples tbody tr")) == 4
    visitor.all("#examples tbody tr")[1].click()
    visitor.answered("pixels of 200×70")
    visitor.wait(lambda: all(visitor.picture(n) for n in ("result", "attention_mask")))
    for name in ("result", "attention_mask", "attention_box"):
        image = visitor.one(f"#{name} img")
        visitor.wait(lambda image=image: int(image.get_attribute("naturalWidth")) == 560)
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
    assert "Unknown words, ignored: <img, src=x>" in visitor.text("#facts")


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
