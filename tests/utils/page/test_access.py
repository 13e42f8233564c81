"""A page that others can reach needs a password, or has none on purpose."""

import socket

import pytest

from config.errors import UserError
from utils.page.access import (
    AUTH_VARIABLE,
    check_access,
    check_address,
    is_loopback,
    names_this_machine,
    url_of,
)

LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]", "127.5.5.5")
REMOTE = ("0.0.0.0", "::", "192.168.0.7", "example.org", "10.0.0.1", "", "127.0.0.1.example.org")


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_needs_no_password(host):
    assert is_loopback(host)
    assert check_access(host, None, False, {}) is None


@pytest.mark.parametrize("host", REMOTE)
def test_other_machines_need_a_decision(host):
    assert not is_loopback(host)
    with pytest.raises(UserError, match=f"--host {host}: set a password with --auth .* --public$"):
        check_access(host, None, False, {})
    assert check_access(host, None, True, {}) is None
    assert check_access(host, "me:a:b", False, {}) == ("me", "a:b")
    assert check_access(host, None, False, {AUTH_VARIABLE: "me:secret"}) == ("me", "secret")


@pytest.mark.parametrize("auth", ["", ":", "me", "me:", ":secret", " :secret"])
def test_a_user_and_a_password_are_needed(auth):
    for given, environment in ((auth, {}), (None, {AUTH_VARIABLE: auth})):
        with pytest.raises(UserError, match="must have the form user:password") as error:
            check_access("127.0.0.1", given, False, environment)
        assert "secret" not in str(error.value)


def test_ipv6_addresses_are_in_brackets():
    assert url_of("::1", 7860) == url_of("[::1]", 7860) == "http://[::1]:7860"
    assert url_of("localhost", 80) == "http://localhost:80"


@pytest.mark.parametrize(
    ("netloc", "local"),
    [
        ("localhost", True), ("LOCALHOST:7860", True), ("127.0.0.1:80", True), ("[::1]:80", True),
        ("", False), ("evil.example", False), ("localhost.evil.example:7860", False),
        ("localhost@evil.example", False), ("192.168.1.5", False), ("[::1", False),
    ],
)  # fmt: skip
def test_names_of_this_machine(netloc, local):
    assert names_this_machine(netloc) == local


def test_a_port_in_use_is_reported():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1, port {port} .*choose others with --host"):
            check_address("127.0.0.1", port)
        with pytest.raises(OSError, match=f"::1, port {port} .*choose others with --host"):
            check_address("::1", port)  # Gradio would look for the port on 127.0.0.1.
    with pytest.raises(OSError, match="port 99999"):
        check_address("127.0.0.1", 99999)
