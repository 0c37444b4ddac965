"""A real browser on the studio's page: Debian's Chromium, driven by Playwright; nothing is fetched for it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "studio-page"
SHOTS = ROOT / "out" / "studio"  # pictures of the page, to be looked at

# Runs before anything of the page: counts what the content policy forbids, and what a hostile text would set off.
WATCH = """
window.__forbidden = [];
window.__hit = 0;
addEventListener("securitypolicyviolation",
    (event) => window.__forbidden.push(event.violatedDirective + " " + event.blockedURI));
"""


def browser_path() -> str | None:
    """The browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = browser_path()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, server: Any) -> Iterator[Callable[..., Any]]:
    """Pages of the studio; after the test none of them may have broken, been refused by the policy, or asked another host."""
    contexts, broken, asked = [], [], []

    def start(route: str = "", width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 860}, **options)
        context.set_default_timeout(180_000)
        context.add_init_script(WATCH)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: broken.append(error.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/#/{route}")
        return page

    yield start
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.__forbidden") == []
            assert page.evaluate("window.__hit") == 0
        context.close()
    assert broken == []
    assert [url for url in asked if not re.match(rf"(blob:)?{re.escape(server.url)}/|data:", url)] == []


@pytest.fixture
def shot() -> Callable[[Any, str], None]:
    """Keep a picture of a page as it is now."""

    def take(page: Any, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    return take
