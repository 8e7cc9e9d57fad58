"""The quarantine as pages: what was refused at the door, correct it, send it through again, or put it away."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from opsboard.accounts.access import may, person, required
from opsboard.api import door, events
from opsboard.api.events import Invalid
from opsboard.core.errors import Refused
from opsboard.core.htmx import go
from opsboard.log import quarantine
from opsboard.log.models import Quarantine

PAGE = 50
TABS = {"open": "To be dealt with", "resubmitted": "Sent again", "discarded": "Discarded"}


@required("quarantine.view")
@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """What was refused, newest first, by state and sender."""
    state = request.GET.get("state", "open")
    state = state if state in TABS else "open"
    client = request.GET.get("client", "").replace("\x00", "")
    found = quarantine.listing(person(request), state=state, client=client)
    rows = list(quarantine.before(found, request.GET.get("after", ""))[: PAGE + 1])
    context = {
        "rows": rows[:PAGE],
        "next": rows[PAGE - 1].pk if len(rows) > PAGE else None,
        "tabs": TABS.items(),
        "state": state,
        "client": client,
    }
    return render(request, "api/quarantine.html", context)


@required("quarantine.view")
@require_safe
def item(request: HttpRequest, number: int) -> HttpResponse:
    """One refused item: why, and what came."""
    return _shown(request, quarantine.one(person(request), number))


def _shown(request: HttpRequest, found: Quarantine, *, status: int = 200, **more: Any) -> HttpResponse:
    context = {
        "item": found,
        "tabs": TABS,
        "text": readable(found.body),
        "head": "\n".join(f"{name}: {value}" for name, value in found.headers.items()),
        "single": "cloudevents-batch" not in found.content_type,
        "may_act": found.state == "open" and may(request.user, "quarantine.resubmit"),
        "refused": found.problem,
    }
    return render(request, "api/quarantine_item.html", context | more, status=status)


def readable(body: str) -> str:
    """JSON with a line for each member, as long as nothing is lost by that; else as it came."""
    try:
        return json.dumps(events.read_json(body.encode()), indent=2, ensure_ascii=False)
    except (Invalid, UnicodeEncodeError):
        return body


@required("quarantine.resubmit")
@require_http_methods(["POST"])
def resubmit(request: HttpRequest, number: int) -> HttpResponse:
    """Send the corrected item through the door; when it is refused again, say why beside what was typed."""
    found, by = quarantine.one(person(request), number), person(request)
    typed = {name: request.POST.get(name, "") for name in ("body", "head", "reason")}
    shown = {"text": typed["body"], "head": typed["head"], "reason": typed["reason"], "tried": True}
    try:
        again = door.resubmit(
            item=found, body=typed["body"], headers=_headers(typed["head"]), reason=typed["reason"], by=by
        )
    except Refused as refusal:
        problem = {"title": "Not sent", "detail": refusal.reason}
        return _shown(request, found, status=409 if refusal.stale else 422, **shown | {"refused": problem})
    if again.problem:
        return _shown(request, found, status=422, **shown | {"refused": again.problem})
    said = "taken" if again.status == "accepted" else "in the log already"
    messages.success(request, f"Item {number} went through the door: it was {said}.")
    return go(request, reverse("quarantine"))


def _headers(text: str) -> dict[str, str]:
    """The ce- headers as typed, one "name: value" a line."""
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip().lower().removeprefix("ce-"): value.strip() for name, _, value in pairs}


@required("quarantine.resubmit")
@require_POST
def discard(request: HttpRequest, number: int) -> HttpResponse:
    """Put the item away for good, with the reason."""
    found = quarantine.one(person(request), number)
    try:
        quarantine.discard(number=number, reason=request.POST.get("reason", ""), by=person(request))
    except Refused as refusal:
        problem = {"title": "Not discarded", "detail": refusal.reason}
        return _shown(request, found, status=409 if refusal.stale else 422, refused=problem, tried=True)
    messages.success(request, f"Item {number} is discarded.")
    return go(request, reverse("quarantine"))
