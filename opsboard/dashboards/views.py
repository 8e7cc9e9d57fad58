"""Pages that bring figures, threads and exceptions together. Thin: one query or one command each."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from opsboard.accounts import commands as accounts
from opsboard.accounts.access import SIGNED_IN, person, required
from opsboard.accounts.models import THEMES
from opsboard.accounts.roles import TEAMS
from opsboard.catalog.queries import flow_labels, legal_entities, systems
from opsboard.core.htmx import page_or_fragment, target
from opsboard.dashboards import queries
from opsboard.kpis import queries as kpi_queries
from opsboard.kpis.queries import Filters, UnknownKpi
from opsboard.log import queries as log

STORIES = {"messages": "Messages", "errors": "Errors", "people": "People", "all": "All events"}
RANGES = {"4": "4 weeks", "13": "13 weeks", "52": "52 weeks"}
DIMENSIONS = {"part": "", "flow": "Flow", "entity": "Legal entity"}


@required(SIGNED_IN)
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The first page of the person's role: figures, trend, what is due first."""
    return render(request, "dashboards/home.html", {"home": queries.home(person(request)), "labels": labels()})


def labels() -> dict[str, dict[str, str]]:
    """What people call teams, flows and systems."""
    return {"team": TEAMS, "flow": flow_labels(), "system": {system.key: system.label for system in systems()}}


@required("threads.view")
@require_safe
def threads(request: HttpRequest) -> HttpResponse:
    """From any id to its engagement: one hit leads straight there, an exception's number to the exception."""
    who, text = person(request), request.GET.get("q", "").strip()
    number = queries.exception_number(who, text)
    if number is not None:
        return redirect("exception", number)
    found = log.find(who, text)
    if len(found) == 1:
        return redirect("thread", found[0].id)
    return render(request, "dashboards/threads.html", {"search_text": text, "found": found})


@required("threads.view")
@require_safe
def thread(request: HttpRequest, thread_id: UUID) -> HttpResponse:
    """One engagement from opportunity to cash."""
    who, show = person(request), request.GET.get("show", "messages")
    wanted = target(request) or ""
    if wanted.startswith("trail-"):
        return trail(request, thread_id, wanted)
    engagement = queries.engagement(who, thread_id, show if show in STORIES else "messages")
    if engagement is None:
        raise Http404
    context = {
        "engagement": engagement,
        "thread": engagement.thread,
        "labels": labels(),
        "stories": STORIES,
        "show": show,
    }
    return page_or_fragment(request, "dashboards/thread.html", context, {"story": "dashboards/_story.html"})


def trail(request: HttpRequest, thread_id: UUID, wanted: str) -> HttpResponse:
    """The events of one message, fetched when it is opened."""
    try:
        told = queries.trail(person(request), thread_id, UUID(wanted.removeprefix("trail-")))
    except ValueError as error:
        raise Http404 from error
    if told is None:
        raise Http404
    return render(request, "dashboards/_trail.html", {"told": told, "labels": labels()})


@required("kpis.view")
@require_safe
def kpis(request: HttpRequest) -> HttpResponse:
    """All figures there are, for the person's legal entities."""
    who = person(request)
    return render(request, "dashboards/kpis.html", {"figures": kpi_queries.overview(who)})


@required("kpis.view")
@require_safe
def kpi(request: HttpRequest, key: str) -> HttpResponse:
    """One figure: definition, trend, breakdown and the records that add up to it."""
    who, filters = person(request), Filters.from_query(request.GET)
    try:
        figure = kpi_queries.figure(who, key, filters)
    except UnknownKpi as unknown:
        raise Http404 from unknown
    context = {
        "figure": figure,
        "filters": filters,
        "chart": kpi_queries.chart_of(who, figure),
        "parts": kpi_queries.breakdown(who, key, filters),
        "page": kpi_queries.rows(who, key, filters, after=request.GET.get("after", "")),
        "ranges": RANGES,
        "dimensions": DIMENSIONS | {"part": figure.part_label},
        "entities": legal_entities(),
        "labels": labels(),
    }
    return page_or_fragment(request, "dashboards/kpi.html", context, {"records": "dashboards/_records.html"})


@required(SIGNED_IN)
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Switch between system, light and dark from the menu; the rest of the preferences stays."""
    user = person(request)
    wanted = request.POST.get("theme", "")
    if wanted in THEMES:
        kept = {name: getattr(user, name) for name in ("first_name", "last_name", "timezone", "locale", "density")}
        accounts.save_preferences(**kept, theme=wanted, by=user)
    back = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(back if safe else "/")
