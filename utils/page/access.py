"""Who can reach the page: this machine alone, visitors with a password, or everyone on purpose."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from config.errors import UserError

AUTH_VARIABLE = "MCN_AUTH"
# Whatever the address of the page is, Gradio needs its port to be free here, too.
GRADIO_PROBES = "127.0.0.1"


def check_access(
    host: str, auth: str | None, public: bool, environment: Mapping[str, str] = os.environ
) -> tuple[str, str] | None:
    """Checks that a page that other machines can reach has a password, or has none on purpose.

    Args:
        host: address to listen on.
        auth: "user:password"; None for the environment variable `AUTH_VARIABLE`, which, unlike a
            command line, other users of the machine cannot see.
        public: whether everyone who can reach the address may use the page.
        environment: the environment variables.

    Returns:
        (user, password), or None for a page without a password.

    Raises:
        UserError: the address asks for a decision, or there is no user or password in `auth`.
    """
    if public:
        return None
    auth = environment.get(AUTH_VARIABLE) if auth is None else auth
    if auth is not None:
        user, _, password = auth.partition(":")
        if not user.strip() or not password:
            raise UserError(
                f"--auth and {AUTH_VARIABLE} must have the form user:password, both not empty"
            )
        return user.strip(), password
    if not is_loopback(host):
        raise UserError(
            f"other machines can reach the page at --host {host}: set a password with --auth "
            f"user:password or {AUTH_VARIABLE}=user:password, or let everyone in with --public"
        )
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def names_this_machine(netloc: str) -> bool:
    """Whether a host with or without a port, as in a Host header, is a name of this machine."""
    try:
        host = urlsplit(f"//{netloc}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)


def url_of(host: str, port: int) -> str:
    """The URL of a page; IPv6 addresses are in brackets."""
    return f"http://{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """An address as URLs contain it: IPv6 addresses in brackets."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def check_address(host: str, port: int) -> None:
    """Raises OSError, with the way out, if the page cannot listen on an address."""
    try:
        for address in (host, GRADIO_PROBES):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address.strip("[]"), port))
    except (OSError, OverflowError) as error:
        raise OSError(
            f"cannot open the page on {host}, port {port} ({error}): choose others with --host "
            "and --port"
        ) from None
