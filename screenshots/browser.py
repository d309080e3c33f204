"""How is MLflow's page looked at without a person? A headless Chromium on a real `mlflow ui`.

Used by `make screenshots` (make_screenshots.py) and by `python -m pytest tests/test_browser.py`.

The browser is Debian's: playwright drives it and downloads none of its own.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PACKAGES = ("chromium", "fonts-dejavu-core")
HOW_TO = f"install one: apt-get install {' '.join(_PACKAGES)}"
_PATIENCE_MS = 120_000  # a page of MLflow takes seconds, on a busy machine many
# MLflow opens its assistant's panel over the page of a first visitor.
_NO_ASSISTANT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""


class BrowserMissing(Exception):
    """There is no browser and none can be installed; the message says how to get one."""


def find_browser() -> Path:
    """Chromium's path, installed if root may; raises BrowserMissing."""
    found = _installed()
    if found is None and _may_install():
        sys.stderr.write(f"installing {' '.join(_PACKAGES)} (apt-get)\n")
        _install()
        found = _installed()
    if found is None:
        raise BrowserMissing(f"no Chromium on this machine; {HOW_TO}")
    return found


def _installed() -> Path | None:
    """A Chromium that starts: Ubuntu's package is a stub that asks for snap."""
    for name in _NAMES:
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return Path(path)
    return None


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_PACKAGES]
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            cause = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BrowserMissing(f"{' '.join(command)}: {cause}; {HOW_TO}")


@contextmanager
def browsing() -> Iterator[Browser]:
    """A running browser; raises BrowserMissing."""
    path = find_browser()
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, as whom containers run.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[*flags, "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
            timeout=_PATIENCE_MS,
        )
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, width: int = 1600, height: int = 1000) -> BrowserContext:
    """A window of its own, of that many pixels; pages are opened in it."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale="en-GB", color_scheme="light"
    )
    context.set_default_timeout(_PATIENCE_MS)
    context.add_init_script(f"try {{ {_NO_ASSISTANT} }} catch {{}}")
    return context


def open_page(context: BrowserContext, url: str, text: str) -> Page:
    """The page at `url`, once `text` is to be seen on it."""
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded")
    page.get_by_text(text).first.wait_for()
    settle(page)
    return page


def settle(page: Page) -> None:
    """Wait until the page has looked the same for a while."""
    before = b""
    for _ in range(40):
        page.wait_for_timeout(700)
        now = page.screenshot()
        if now == before:
            return
        before = now


def show_assessments(page: Page) -> None:
    """On a trace's page, open the panel with its assessments, and each of them."""
    page.get_by_role("button", name="Assess").click()
    toggle = '[data-component-id="shared.model-trace-explorer.toggle-assessment-expanded"]'
    page.locator(toggle).first.wait_for()
    for button in page.locator(toggle).all():
        button.click()
    settle(page)


@contextmanager
def mlflow_ui(tracking_uri: str) -> Iterator[str]:
    """`mlflow ui` on a free port of 127.0.0.1; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--workers", "1", "--backend-store-uri", tracking_uri],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health", process)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{url}: mlflow ui does not start ({error})") from None
            time.sleep(0.3)
        else:
            return
