"""Opens and closes the page.

Needs Gradio: pip install -r requirements-page.txt. By default the page is reachable from this
machine only. It sends nothing to other servers, and deletes uploaded photographs when it closes.
"""

import os
import socket
import tempfile
import threading

from config.schema import Config
from utils.page.app import build_page, example_rows, import_gradio
from utils.prediction.predictor import Predictor

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    config: Config,
    weights: str | os.PathLike | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
) -> None:
    """Opens the page and keeps it open until Ctrl-C.

    Args:
        config: `config.schema.Config`.
        weights: weight file; None for config.evaluate_model.
        host, port: address to listen on.

    Raises:
        UserError: Gradio is not installed.
        OSError: the address cannot be used.
        The errors of `Predictor.from_config`.
    """
    import_gradio()
    check_address(host, port)
    predictor = Predictor.from_config(config, weights)
    predictor.warm_up(attention=True)
    print(predictor.weights_report)
    with tempfile.TemporaryDirectory(prefix="mcn_page_") as uploads:
        page, settings = build_page(predictor, example_rows(config), uploads)
        page.launch(server_name=host, server_port=port, **settings)
        print(f"\nThe page is open at http://{host}:{port} - press Ctrl-C to close it.", flush=True)
        if host not in LOOPBACK:
            print("Anyone who can reach this address can use the page; there is no password.")
        try:
            _wait()
        except KeyboardInterrupt:
            print("\nThe page is closed.")
        finally:
            page.close(verbose=False)


def check_address(host: str, port: int) -> None:
    """Raises OSError, with the way out, if the page cannot listen on an address."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise OSError(
            f"cannot open the page on {host}, port {port} ({error}): choose others with --host "
            "and --port"
        ) from None


def _wait():
    """Sleeps until Ctrl-C; the page answers in threads of its own."""
    threading.Event().wait()
