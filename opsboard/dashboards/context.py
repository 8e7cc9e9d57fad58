"""What every page needs around its content: navigation the person may use, theme, density, environment."""

from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject

from opsboard.accounts.access import SIGNED_IN, may
from opsboard.accounts.models import User
from opsboard.accounts.roles import role
from opsboard.triage import queries as triage

COUNTED = 999  # counting further costs more than it tells


@dataclass(frozen=True)
class Item:
    """One entry of the navigation. `key` is the second key after g; `count` shows only where somebody must act."""

    label: str
    icon: str
    route: str
    permission: str
    key: str = ""
    url: str = ""
    current: bool = False
    count: int = 0


SECTIONS: tuple[tuple[str, tuple[Item, ...]], ...] = (
    (
        "Work",
        (
            Item("Home", "house", "home", SIGNED_IN, "h"),
            Item("Exceptions", "inbox", "exceptions", "exceptions.view", "e"),
            Item("Threads", "waypoints", "threads", "threads.view", "t"),
        ),
    ),
    ("Insight", (Item("KPIs", "chart-line", "kpis", "kpis.view", "k"),)),
    (
        "Platform",
        (
            Item("Flows", "workflow", "flows", "platform.view", "f"),
            Item("Quarantine", "shield-alert", "quarantine", "quarantine.view", "q"),
            Item("API", "braces", "api-docs", "platform.view"),
        ),
    ),
)


def sections(request: HttpRequest, user: User) -> list[tuple[str, list[Item]]]:
    """The groups of the navigation with the entries this person may use; an empty group is left out."""
    shown = []
    for title, items in SECTIONS:
        mine = [_own(_placed(item, request.path), user) for item in items if may(user, item.permission)]
        present = [item for item in mine if item.url]
        if present:
            shown.append((title, present))
    return shown


def _placed(item: Item, path: str) -> Item:
    """The entry with its address, empty when no page of that name is wired, and whether the person is there."""
    try:
        url = reverse(item.route)
    except NoReverseMatch:
        return item
    return replace(item, url=url, current=path == url if url == "/" else path.startswith(url))


def _own(item: Item, user: User) -> Item:
    """The queue opens with the person's team, and says how many there have no owner yet."""
    if item.route != "exceptions" or not may(user, "exceptions.assign"):
        return item
    waiting = triage.queue(user, triage.Filters(team=user.team)).order_by()[: COUNTED + 1].count()
    return replace(item, url=f"{item.url}?team={user.team}" if user.team else item.url, count=waiting)


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context of every template; for visitors only what the plain frame needs."""
    user = getattr(request, "user", None)
    base = {
        "environment": settings.OPSBOARD_ENVIRONMENT,
        "production": settings.OPSBOARD_ENVIRONMENT.lower().startswith("production"),
        "reporting_currency": settings.OPSBOARD_REPORTING_CURRENCY,
        "theme": "system",
        "density": "regular",
        "sections": [],
    }
    if not isinstance(user, User):
        return base
    return base | {
        "theme": user.theme,
        "density": user.density,
        "role": role(user.role),
        "sections": SimpleLazyObject(lambda: sections(request, user)),  # fragments do not draw it
    }
