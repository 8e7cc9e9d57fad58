"""One address, two answers."""

import pytest
from django.contrib import messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.http import HttpRequest
from django.test import RequestFactory

from opsboard.core.htmx import go, page_or_fragment, target

FRAGMENTS = {"toasts": "_shared/_toast_list.html"}


def asked(**headers: str) -> HttpRequest:
    request = RequestFactory().get("/", headers=headers)
    request.session = {}  # type: ignore[assignment]
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return request


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"HX-Request": "true", "HX-Target": "queue"}, "queue"),
        ({"HX-Request": "true"}, ""),
        ({"HX-Request": "true", "HX-Target": "queue", "HX-Boosted": "true"}, None),
        ({"HX-Request": "true", "HX-Target": "queue", "HX-History-Restore-Request": "true"}, None),
    ],
)
def test_a_fragment_only_for_htmx_and_never_for_history(headers, wanted):
    assert target(asked(**headers)) == wanted


def test_a_target_that_is_not_listed_gets_the_page():
    request = asked(**{"HX-Request": "true", "HX-Target": "elsewhere"})
    answer = page_or_fragment(request, "404.html", {}, FRAGMENTS)
    assert b"<html" in answer.content
    assert {"HX-Request", "HX-Target"} <= set(answer["Vary"].split(", "))


def test_what_is_to_be_said_rides_along_with_a_fragment():
    request = asked(**{"HX-Request": "true", "HX-Target": "toasts"})
    messages.success(request, "Taken <EXC-7>.")
    answer = page_or_fragment(request, "404.html", {}, {"toasts": "_shared/_crumbs.html"})
    assert b'hx-swap-oob="true"' in answer.content
    assert b"Taken &lt;EXC-7&gt;." in answer.content


def test_after_a_command_the_browser_goes_on_either_way():
    assert go(asked(), "/exceptions/")["Location"] == "/exceptions/"
    answer = go(asked(**{"HX-Request": "true"}), "/exceptions/")
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/exceptions/")
