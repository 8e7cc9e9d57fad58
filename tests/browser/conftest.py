"""The system's Chromium, signed in, against the real pages; whatever the console complains about fails the test."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright

from opsboard.accounts.models import User

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
EXPECTED = ("422", "409")  # the browser reports answers that say "please correct" as failed resources


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser of the test run."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """After the clearing the log is closed again for whatever test comes next: the setting ends with the connection."""
    yield
    connection.close()


@pytest.fixture(autouse=True)
def clearing_is_allowed(transactional_db: None) -> Iterator[None]:
    """What the pages committed is cleared after the test; the log would refuse."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET opsboard.maintenance = 'on'")


@pytest.fixture
def look(chromium, live_server) -> Iterator[Callable[..., Page]]:
    """Open pages as a person: `look(user, theme=…, width=…)` gives a page with the address as its base."""
    contexts, complaints = [], []

    def open_as(user: User, *, theme: str = "light", width: int = 1440) -> Page:
        client = Client()
        client.force_login(user)
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            reduced_motion="reduce",
        )
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(code in text for code in EXPECTED)] == []
