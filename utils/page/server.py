"""Opens and closes the page.

Needs Gradio: pip install -r requirements-page.txt. By default the page is reachable from this
machine only. It sends nothing to other servers, and deletes uploaded photographs after an hour and
when it closes.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from config.schema import Config
from utils.demo import TRAINED_ON_SHAPES, is_demo_network
from utils.page.access import bracketed, check_address, is_loopback, url_of
from utils.page.app import build_page, example_rows, import_gradio, make_room
from utils.page.uploads import Uploads, private_folder
from utils.prediction.predictor import Predictor

TIDY_SECONDS = 60


def serve(
    config: Config,
    weights: str | os.PathLike | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    min_score: float = 0.0,
) -> None:
    """Opens the page and keeps it open until Ctrl-C, SIGTERM or SIGHUP.

    Args:
        config: `config.schema.Config`.
        weights: weight file; None for config.evaluate_model.
        host, port: address to listen on.
        auth: (user, password) that visitors must enter; None lets everyone in.
        min_score: smallest score with which a box counts as found, until a visitor changes it.

    Raises:
        UserError: Gradio is not installed.
        OSError: the address cannot be used.
        The errors of `Predictor.from_config`.
    """
    with _signals_as_ctrl_c(), private_folder() as folder:
        uploads = Uploads(folder)
        import_gradio(uploads.folder)
        check_address(host, port)
        predictor = Predictor.from_config(config, weights, min_score=min_score)
        predictor.warm_up(attention=True)
        print(predictor.weights_report)
        demo = is_demo_network(config, weights)
        if demo:
            print(f"note: {TRAINED_ON_SHAPES}")
        examples, local = example_rows(config), is_loopback(host)
        page, settings = build_page(predictor, examples, uploads, local, demo)
        page.launch(server_name=bracketed(host), server_port=port, auth=auth, **settings)
        print(f"\nThe page is open at {url_of(host, port)} - press Ctrl-C to close it.")
        if auth is None and not local:
            print("Anyone who can reach this address can use the page; there is no password.")
        try:
            print(end="", flush=True)
            _wait(page, uploads)
        except KeyboardInterrupt:
            print("\nThe page is closed.", flush=True)
        finally:
            page.close(verbose=False)


def _wait(page: Any, uploads: Uploads) -> NoReturn:
    """Tidies up until Ctrl-C; the page answers in threads of its own."""
    while True:
        time.sleep(TIDY_SECONDS)
        make_room(page, uploads)


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Closes the page as Ctrl-C does when it is told to end or its terminal is gone."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # `nohup` ignores SIGHUP on purpose.
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
