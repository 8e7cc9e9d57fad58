"""One address, two answers: the whole page, or only the part of it that htmx asked for."""

from collections.abc import Mapping
from typing import Any

from django.contrib.messages import get_messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

TOASTS = "_shared/_toasts_oob.html"


def target(request: HttpRequest) -> str | None:
    """Id of the element htmx wants to fill, or None when a whole page is asked for (also for boosted links)."""
    headers = request.headers
    if headers.get("HX-Request") != "true" or headers.get("HX-Boosted") or headers.get("HX-History-Restore-Request"):
        return None
    return headers.get("HX-Target", "")


def page_or_fragment(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    fragments: Mapping[str, str] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render the page, or the fragment template listed for the id that htmx targets.

    `fragments` maps an element id to its template. Messages waiting for the person ride along with a fragment,
    out of band, as toasts. The answer varies by the htmx headers, so that no cache mixes the two.
    """
    wanted = target(request)
    chosen = (fragments or {}).get(wanted) if wanted is not None else None
    response = render(request, chosen or template, dict(context), status=status)
    if chosen and len(get_messages(request)):
        response.write(render_to_string(TOASTS, {}, request))
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response


def go(request: HttpRequest, address: str) -> HttpResponse:
    """After a command: send the person to `address`, whether a form or htmx asked."""
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)
