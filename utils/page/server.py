"""Opens the page for the browser and closes it.

Needs Gradio: pip install -r requirements-page.txt. The page answers on this machine alone unless
told otherwise, sends nothing anywhere, and deletes uploaded photographs when it closes.
"""

import socket
import tempfile
import threading

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(config, weights=None, host="127.0.0.1", port=7860):
    """Opens the page and keeps it open until Ctrl-C.

    Args:
        config: `config.schema.Config`.
        weights: file of weights; default: config.evaluate_model.
        host: address to answer on.
        port: number to answer on.

    Returns:
        0, the exit code.

    Raises:
        ValueError: Gradio is not installed.
        OSError: the address cannot be used.
        The errors of `Predictor.from_config`.
    """
    from utils.page.app import build_page, example_rows, import_gradio

    import_gradio()
    check_address(host, port)

    from utils.prediction.predictor import Predictor

    predictor = Predictor.from_config(config, weights)
    predictor.warm_up(attention=True)
    print(predictor.weights_report)
    with tempfile.TemporaryDirectory(prefix="mcn_page_") as uploads:
        page, settings = build_page(predictor, example_rows(config), uploads)
        page.launch(server_name=host, server_port=port, **settings)
        print(f"\nThe page is open at http://{host}:{port} - Ctrl-C closes it.", flush=True)
        if host not in LOOPBACK:
            print("Everyone who reaches this address can use it; there is no password.")
        try:
            _wait()
        except KeyboardInterrupt:
            print("\nClosed.")
        finally:
            page.close(verbose=False)
    return 0


def _wait():
    """Sleeps until Ctrl-C: the page answers in threads of its own."""
    threading.Event().wait()


def check_address(host, port):
    """Raises OSError with what to do where an address cannot be answered on."""
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
