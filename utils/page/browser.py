"""Chromium without a window, in which the README's picture is drawn and tests visit the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.errors import UserError

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def open_browser(profile: str | os.PathLike) -> Iterator[Any]:
    """Opens Chromium without a window.

    Args:
        profile: folder for its profile.

    Yields:
        selenium.webdriver.Chrome.

    Raises:
        UserError: Selenium or Chromium is not installed, or Chromium does not start.
    """
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
    except ImportError:
        raise UserError("Selenium is not installed: pip install -r requirements-dev.txt") from None
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise UserError(
            "Chromium and its driver are not installed (Debian: apt install chromium "
            "chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except WebDriverException as error:
        # Selenium appends the address of its documentation.
        reason = (error.msg or "no reason given").partition("; For documentation")[0]
        reason = reason.splitlines()[0].rstrip(".")
        raise UserError(
            f"{chromium} does not start with {driver} ({reason}); install both in one version"
        ) from None
    try:
        yield browser
    finally:
        browser.quit()


def set_screen(browser: Any, width: int, height: int, dark: bool = False) -> None:
    """Lets pages see a screen of this size in pixels, that of a phone if it is narrow.

    Args:
        browser: of `open_browser`.
        width, height: size of the page's window.
        dark: whether the visitor prefers dark colors.
    """
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
