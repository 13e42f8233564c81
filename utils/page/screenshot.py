"""Draws the picture of the page in the README: the demo network and its answer to an example.

    python -m utils.page.screenshot --output assets/page.jpg --overwrite

Needs Gradio, Selenium and Chromium with its driver.
"""

import argparse
import io
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from config.command_line import not_empty, run
from config.errors import UserError
from config.files import check_folder, check_place, write_bytes
from config.quiet import quiet_tensorflow
from utils.demo import DEMO_WEIGHTS
from utils.page.browser import open_browser, set_screen

SIZE = 1280, 900
WAIT_SECONDS, JPEG_QUALITY = 60, 88


def draw_screenshot(temporary: Path) -> bytes:
    """Opens the page with the demo network, chooses its first example and draws all of it.

    Args:
        temporary: an empty folder.

    Returns:
        The content of a JPEG file.

    Raises:
        UserError: Gradio, Selenium or Chromium is not installed.
    """
    from utils.page.app import build_page, example_rows
    from utils.page.uploads import Uploads
    from utils.prediction.predictor import Predictor
    from utils.prediction.run_folder import settings_of_weights

    with open_browser(temporary / "profile") as browser:
        uploads = Uploads(temporary / "uploads")
        config = settings_of_weights(str(DEMO_WEIGHTS), None, []).config
        predictor = Predictor.from_config(config, DEMO_WEIGHTS)
        predictor.warm_up(attention=True)
        rows = example_rows(config)
        page, settings = build_page(predictor, rows, uploads, local=True, demo=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        _, address, _ = page.launch(server_name="127.0.0.1", server_port=port, **settings)
        try:
            return _answered(browser, address)
        finally:
            page.close(verbose=False)


def _answered(browser: Any, address: str) -> bytes:
    def all_of(selector: str) -> list[Any]:
        return browser.find_elements("css selector", selector)

    set_screen(browser, *SIZE)
    browser.get(address)
    _wait(lambda: all_of("#examples tbody td"))
    all_of("#examples tbody td")[0].click()
    _wait(lambda: all_of("#result img") and all_of("#attention_box img"))
    time.sleep(1)  # Transitions of the page.
    height = browser.execute_script("return document.documentElement.scrollHeight")
    set_screen(browser, SIZE[0], height)
    stream = io.BytesIO()
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as drawn:
        # Full resolution of colors, which expressions speak of.
        drawn.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise UserError("the page did not answer within a minute; run the same command again")
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.page.screenshot", description=__doc__)
    parser.add_argument("--output", type=not_empty, required=True, metavar="FILE", help=".jpg file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_args(arguments)
    path = Path(options.output)
    if path.suffix != ".jpg":
        raise UserError(f"--output {path}: name a file that ends with .jpg")
    check_folder(path.parent)
    check_place(path)
    if path.exists() and not options.overwrite:
        raise UserError(f"{path}: exists already; name another file, or replace it by --overwrite")
    quiet_tensorflow()
    from utils.page.uploads import private_folder

    try:
        with private_folder() as temporary:
            content = draw_screenshot(temporary)
    except UserError as error:
        raise UserError(f"{path} is not drawn: {error}") from None
    write_bytes(path, content, replace=options.overwrite)
    print(f"The page with the answer to an example is in {path}")


if __name__ == "__main__":
    run(main, "Run the same command again.")
