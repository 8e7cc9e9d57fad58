"""The exception queue and one exception. Thin: parse, ask a query or give a command, answer with a page or fragment."""

import json
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_safe

from opsboard.accounts.access import may, person, required
from opsboard.accounts.models import User
from opsboard.accounts.queries import people
from opsboard.accounts.roles import TEAMS
from opsboard.catalog.queries import flow_labels, systems
from opsboard.core.errors import Refused
from opsboard.core.htmx import go, page_or_fragment, target
from opsboard.log.evidence import hand_over
from opsboard.log.queries import trail
from opsboard.triage import commands, queries
from opsboard.triage.forms import FORMS, document
from opsboard.triage.lifecycle import REPLAYING, TABLE
from opsboard.triage.queries import TABS, Detail, Filters

DIALOG = {"dialog-body": "triage/_action.html"}
FOR_MANY = ("assign", "take", "snooze", "resolve", "replay")  # what can be done with many at once
DONE = {
    "assign": "Assigned",
    "take": "Taken",
    "comment": "Comment added to",
    "snooze": "Snoozed",
    "wake": "Woken",
    "discard_fix": "Correction discarded for",
    "replay": "Replay started for",
    "resolve": "Resolved",
    "reopen": "Reopened",
}


@required("exceptions.view")
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    """The worklist: tabs, filters and sorting are in the address; htmx asks for the card alone."""
    who, filters = person(request), Filters.of(request.GET)
    page = queries.page(who, filters)
    counts = queries.counts(who, filters)
    context = {
        "filters": filters,
        "page": page,
        "tabs": [(tab, label, counts.get(tab, 0), filters.url(tab=tab, sort="")) for tab, label in TABS.items()],
        "facets": queries.facets(who, filters),
        "labels": labels(),
        "sort": filters.sort,
        "sorts": {name: filters.url(sort=name) for name in queries.SORTS},
        "plain": filters.url(**dict.fromkeys([name for name, _, _ in filters.chips if name != "team"], "")),
        "query": filters.url(),
        "team_urls": {"mine": filters.url(team=who.team), "all": filters.url(team="")},
        "narrowed": [name for name, value, _ in filters.chips if (name, value) != ("team", who.team)],
        "bulk": [(f"exceptions-{name}", TABLE[name]) for name in FOR_MANY if may(who, TABLE[name].permission or "")],
    }
    answer = page_or_fragment(request, "triage/queue.html", context, {"queue": "triage/_queue.html"})
    if target(request) == "queue":
        answer["HX-Push-Url"] = request.path + filters.url(after=filters.after)  # without the empty fields of the form
    return answer


def labels() -> dict[str, dict[str, str]]:
    """What people call the values of filters and columns."""
    owners = {str(user.pk): str(user) for user in people(None)}
    called = {system.key: system.label for system in systems()}
    return {"team": TEAMS, "flow": flow_labels(), "system": called, "owner": owners | {"me": "Me", "none": "Nobody"}}


@required("exceptions.view")
@require_safe
def changed(request: HttpRequest) -> HttpResponse:
    """A line to load the list anew when it holds another number of exceptions than shown; else nothing."""
    filters = Filters.of(request.GET)
    now = queries.counts(person(request), filters).get(filters.tab, 0)
    seen = request.GET.get("seen", "")
    more = now - int(seen) if seen.isdecimal() else 0
    return render(request, "triage/_changed.html", {"more": more, "fewer": -more, "query": filters.url()})


@required("exceptions.view")
@require_safe
def detail(request: HttpRequest, number: int) -> HttpResponse:
    """One exception with everything needed to decide and act."""
    shown = found(request, number)
    tab = request.GET.get("tab", "timeline")
    context = {"shown": shown, "case": shown.case, "tab": tab, "labels": labels()}
    context["may_take_evidence"] = may(person(request), "audit.view")
    return page_or_fragment(request, "triage/detail.html", context, {"story": "triage/_story.html"})


def found(request: HttpRequest, number: int) -> Detail:
    """The exception, or 404 when it does not exist for this person."""
    shown = queries.detail(person(request), number)
    if shown is None:
        raise Http404
    return shown


@required("exceptions.view")
@require_safe
def progress(request: HttpRequest, number: int) -> HttpResponse:
    """Asked every other second while a replay runs; when it has ended the page is loaded anew with the outcome."""
    shown = found(request, number)
    answer = render(request, "triage/_progress.html", {"shown": shown, "case": shown.case})
    if shown.case.state != REPLAYING:
        answer["HX-Refresh"] = "true"
    return answer


@required("audit.view")
@require_safe
def evidence(request: HttpRequest, number: int) -> HttpResponse:
    """The exception's events with their proofs, as a zip that verifies without the database; see log.evidence."""
    case = found(request, number).case
    if request.method == "HEAD":
        return HttpResponse(content_type="application/zip")  # nothing is taken
    try:
        bundle = hand_over(subject=case.reference, events=trail(case.transaction_id), by=person(request))
    except Refused as refused:
        messages.warning(request, refused.reason)
        return go(request, reverse("exception", args=[number]))
    answer = HttpResponse(bundle, content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{case.reference}-evidence.zip"'
    answer["Cache-Control"] = "no-store"
    return answer


@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, number: int, action: str) -> HttpResponse:
    """One action on one exception: GET asks, POST does. `required` stands in urls.py, by the table."""
    shown, back = found(request, number), came_from(request, reverse("exception", args=[number]))
    form = FORMS[action](request.POST if request.method == "POST" else None)
    context = {"action": TABLE[action], "name": action, "shown": shown, "case": shown.case, "form": form, "back": back}
    if request.method != "POST":
        return page_or_fragment(request, "triage/action.html", context, DIALOG)
    if not form.is_valid():
        return page_or_fragment(request, "triage/action.html", context, DIALOG, status=422)
    version = request.POST.get("version", "")
    try:
        run(action, [number], person(request), form.cleaned_data, int(version) if version.isdecimal() else None)
    except Refused as refused:
        context["refused"] = refused.reason
        return page_or_fragment(request, "triage/action.html", context, DIALOG, status=409 if refused.stale else 422)
    messages.success(request, f"{DONE[action]} {shown.case.reference}.")
    return go(request, back)


def run(action: str, numbers: list[int], by: User, said: dict[str, Any], version: int | None) -> commands.Outcome:
    """Give the command of that action. Raises Refused, as every command."""
    command = getattr(commands, action)
    if action == "discard_fix":
        return command(number=numbers[0], by=by, version=version, **said)
    if action != "comment":
        said = said | {"version": version}
    return command(numbers=numbers, by=by, **said)


def came_from(request: HttpRequest, default: str) -> str:
    """Where to go after the action: the page it was asked from, if it is one of ours."""
    for asked in (request.POST.get("next"), request.GET.get("next"), request.headers.get("HX-Current-URL")):
        secure = request.is_secure()
        if asked and url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=secure):
            return asked
    return default


@require_http_methods(["GET", "HEAD", "POST"])
def act_on_many(request: HttpRequest, action: str) -> HttpResponse:
    """One action on the picked ones, or on all that match the filter; the number shown is the number acted on."""
    who, asked = person(request), request.POST if request.method == "POST" else request.GET
    filters, back = Filters.of(asked), came_from(request, reverse("exceptions"))
    whole = asked.get("whole", "")
    if whole:
        numbers = queries.numbers(who, filters, commands.BULK_LIMIT + 1)
    else:
        numbers = [int(pick) for pick in asked.getlist("pick") if pick.isdecimal()]
    form = FORMS[action](request.POST if request.method == "POST" else None)
    context = {
        "action": TABLE[action],
        "name": action,
        "form": form,
        "back": back,
        "chosen": queries.selection(who, numbers, action),
        "whole": len(numbers) if whole else 0,
        "picks": [] if whole else numbers,
        "filters": filters,
    }
    page = "triage/action_many.html", context, {"dialog-body": "triage/_action_many.html"}
    if request.method != "POST":
        return page_or_fragment(request, *page)
    if whole and whole != str(len(numbers)):
        context["refused"] = (
            f"The list has changed: {len(numbers)} match now, {whole} were shown. Check and confirm again."
        )
        return page_or_fragment(request, *page, status=409)
    if not form.is_valid():
        return page_or_fragment(request, *page, status=422)
    try:
        outcome = run(action, numbers, who, form.cleaned_data, None)
    except Refused as refused:
        context["refused"] = refused.reason
        return page_or_fragment(request, *page, status=422)
    tell(request, action, outcome)
    return go(request, back)


def tell(request: HttpRequest, action: str, outcome: commands.Outcome) -> None:
    """Say what was done and what was refused, with the first reasons."""
    if outcome.done:
        messages.success(request, f"{DONE[action]} {len(outcome.done)} exceptions.")
    for _number, reason in outcome.refused[:3]:
        messages.warning(request, reason)
    if len(outcome.refused) > 3:
        messages.warning(request, f"{len(outcome.refused)} in all were refused; they stand where they stood.")


@required("exceptions.fix")
@require_http_methods(["GET", "HEAD", "POST"])
def fix(request: HttpRequest, number: int) -> HttpResponse:
    """Correct the payload: as a form made from the canonical schema, or as JSON."""
    shown = found(request, number)
    raw = request.GET.get("as") == "json" or "json" in request.POST
    context = {"shown": shown, "case": shown.case, "raw": raw, "reason": request.POST.get("reason", "")}
    context["text"] = request.POST.get("json") or as_json(shown.payload)
    if request.method != "POST":
        return render(request, "triage/fix.html", context)
    version = request.POST.get("version", "")
    try:
        commands.fix(
            number=number,
            document=document(shown, request.POST),
            by=person(request),
            reason=request.POST.get("reason", ""),
            version=int(version) if version.isdecimal() else None,
        )
    except Refused as refused:
        context |= {"refused": refused.reason, "typed": request.POST}
        return render(request, "triage/fix.html", context, status=409 if refused.stale else 422)
    messages.success(request, "The correction is kept. Nothing was sent yet: replay when you are ready.")
    return go(request, reverse("exception", args=[number]))


@required("exceptions.fix")
@require_http_methods(["GET", "HEAD", "POST"])
def check(request: HttpRequest, number: int) -> HttpResponse:
    """What the correction would change, or what is wrong with it; asked while the person types. Keeps nothing."""
    shown = found(request, number)
    context: dict[str, Any] = {"shown": shown}
    try:
        patch = commands.check_fix(shown.case, document(shown, request.POST))
        context["changes"] = queries.changes(shown.item.payload, patch) if shown.item else []
    except Refused as refused:
        context["refused"] = refused.reason
    return render(request, "triage/_verdict.html", context)


def as_json(payload: dict[str, Any]) -> str:
    """The payload as a person reads it."""
    return json.dumps(payload, indent=2, ensure_ascii=False)
