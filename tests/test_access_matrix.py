"""Every address × every role × in and out of scope, against the one table of roles.

The test walks the URL configuration, so a new page is in it as soon as it is wired. It fails when

* a view neither carries a permission (`@required(...)`, or a `permission` attribute of a DRF view) nor stands in
  PUBLIC below, with the reason why everybody may open it;
* an address with a parameter begins like none in ROWS (a function that makes one for a legal entity) nor in
  VALUES (the parameter names no row that belongs to an entity);
* anybody gets another answer than the table says: 404 for what one may not do or see, sign-in for visitors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import URLResolver, get_resolver, path, reverse

from opsboard import pipeline
from opsboard.accounts.access import SIGNED_IN, may, required
from opsboard.accounts.models import ALL_ENTITIES, User
from opsboard.accounts.roles import PERMISSIONS, ROLES, SCOPES
from opsboard.core.clock import now
from opsboard.kpis.queries import catalogue
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Membership, Object, Quarantine
from opsboard.triage.models import Case
from tests.personas import OTHER_ENTITY, OWN_ENTITY, make_person

T = TypeVar("T")

# Who may open these is everybody, because ...
PUBLIC: dict[str, str] = {
    "livez": "a load balancer has no account, and it tells nothing but that the process answers",
    "readyz": "as livez; it tells counts and ages, no data",
    "metrics": "guarded by itself: this host, or the bearer of OPSBOARD_METRICS_TOKEN, else 404",
    "api-event-schema": "the contract of an event holds no data of the firm",
    "api-openapi": "the description of the API holds no data of the firm",
    "api-nothing": "answers 404 to everybody",
    "otlp-nothing": "answers 404 to everybody",
    "account_login": "the way in",
    "account_logout": "the way out, also half-way through a sign-in",
    "account_inactive": "tells a deactivated person so",
    "account_reset_password": "for who has forgotten the password",
    "account_reset_password_done": "for who has forgotten the password",
    "account_reset_password_from_key": "the key in the address is the permission",
    "account_reset_password_from_key_done": "for who has forgotten the password",
    "mfa_authenticate": "second step of signing in; allauth lets in only who passed the first",
}

SECRET = "rate-of-the-consultant-is-142"  # stands only in payloads


def refused_invoice(entity: str) -> dict[str, Any]:
    """An exception of that legal entity, come in by the same door as every other."""
    moment = now()
    key = f"INV-{uuid4()}"
    entry = Entry(
        source="urn:test:matrix",
        id=key,
        type="invoice",
        kind="rejected",
        flow="time-to-billing",
        key=key,
        objects=(Named("erp", "invoice", key), Named("psa", "project", f"P-{key}")),
        system="erp",
        entity=entity,
        amount=Decimal("1200.00"),
        currency="EUR",
        occurred_at=moment,
        received_at=moment,
        payload={"number": key, "note": SECRET},
        error={"system": "erp", "code": "period", "message": "The period is closed.", "body": {"echo": SECRET}},
    )
    pipeline.accept([entry])
    return {"number": Case.objects.get(object_label__contains=key).number}


def engagement(entity: str) -> dict[str, Any]:
    """The thread of a refused invoice of that legal entity."""
    case = Case.objects.get(**refused_invoice(entity))
    pipeline.correlate()
    project = Object.objects.get(type="project", external_id=f"P-{case.transaction.key}")
    return {"thread_id": Membership.objects.get(object_id=project.pk).thread_id}


def refused_event() -> dict[str, Any]:
    """An event in quarantine. It could not be read, so nobody knows its legal entity: the role alone decides."""
    problem = {"title": "The event is not valid", "detail": "", "errors": [{"pointer": "/id", "detail": "missing"}]}
    row = Quarantine.objects.create(client="psa", content_type="application/json", body="{}", problem=problem)
    return {"number": row.pk}


# Beginning of the path → makes a row of that legal entity and returns the address's parameters.
ROWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "exceptions/EXC-<": refused_invoice,
    "threads/<": engagement,
    "api/v1/exceptions/<": refused_invoice,
    "api/v1/threads/<": engagement,
}

# Beginning of the path → parameters that name no row of a legal entity: it exists for everybody with the permission.
VALUES: dict[str, Callable[[], dict[str, Any]]] = {
    "kpis/<": lambda: {"key": catalogue()[0].key},
    "quarantine/<": refused_event,
    "api/v1/quarantine/<": refused_event,
}

SCOPE_PREFIX = "token:"  # the permission of a view that only a service account's token opens


@dataclass(frozen=True)
class Route:
    """One address: its name (or path when it has none), full path, view, and the names of its parameters."""

    name: str
    path: str
    view: Callable[..., Any]
    parameters: frozenset[str]

    @property
    def permission(self) -> str | None:
        """What the view says it needs: a function's own mark, or that of the class behind it."""
        for holder in (self.view, getattr(self.view, "cls", None), getattr(self.view, "view_class", None)):
            permission = getattr(holder, "permission", None)
            if permission:
                return str(permission)
        return None

    def url(self, parameters: dict[str, Any]) -> str:
        """The address with these parameters."""
        return reverse(self.name, kwargs=parameters) if parameters else "/" + self.path


def routes(
    patterns: list[Any], prefix: str = "", space: str = "", names: frozenset[str] = frozenset()
) -> Iterator[Route]:
    """All addresses below these patterns."""
    for entry in patterns:
        here = prefix + str(entry.pattern)
        known = names | set(entry.pattern.converters) | set(getattr(entry.pattern.regex, "groupindex", {}))
        if isinstance(entry, URLResolver):
            inner = f"{space}{entry.namespace}:" if entry.namespace else space
            yield from routes(entry.url_patterns, here, inner, known)
        else:
            yield Route(space + (entry.name or here), here, entry.callback, frozenset(known))


ROUTES = list(routes(get_resolver().url_patterns))
GUARDED = [route for route in ROUTES if route.permission and route.name not in PUBLIC]
FOR_PEOPLE = [route for route in GUARDED if not (route.permission or "").startswith(SCOPE_PREFIX)]
FOR_TOKENS = [route for route in GUARDED if route not in FOR_PEOPLE]


def found_in(table: dict[str, T], route: Route) -> T | None:
    """What the table says about addresses that begin like the route's."""
    return next((value for start, value in table.items() if route.path.startswith(start)), None)


def name_of(route: Route) -> str:
    """How the test run calls the route."""
    return route.name


def unguarded(found: list[Route]) -> list[str]:
    """Addresses that neither carry a known permission nor are public for a reason."""
    known = {*PERMISSIONS, SIGNED_IN, *(SCOPE_PREFIX + scope for scope in SCOPES)}
    return [
        f"{route.name} ({route.path})" for route in found if route.name not in PUBLIC and route.permission not in known
    ]


def test_every_address_needs_a_permission_or_a_reason_why_not():
    assert unguarded(ROUTES) == []


def test_every_parameter_is_a_row_of_some_entity_or_a_plain_value():
    unknown = [r.name for r in GUARDED if r.parameters and not found_in(ROWS, r) and not found_in(VALUES, r)]
    assert unknown == [], "add them to ROWS or VALUES above"


def test_the_lists_above_name_nothing_that_is_gone_or_guarded():
    names = {route.name: route for route in ROUTES}
    assert set(PUBLIC) - set(names) == set()
    assert [start for start in (*ROWS, *VALUES) if not any(r.path.startswith(start) for r in ROUTES)] == []
    assert [name for name in PUBLIC if names[name].permission not in (None, "public")] == []


def test_a_page_that_somebody_forgot_to_guard_is_noticed():
    def forgotten(request: HttpRequest) -> HttpResponse:
        return HttpResponse("salaries")

    class Misspelt:
        permission = "salaries.fly"

    patterns = [
        path("salaries/", forgotten, name="salaries"),
        path("salaries/all/", type("View", (), {"cls": Misspelt, "__call__": forgotten})(), name="all"),
        path("guarded/", required("kpis.view")(forgotten), name="guarded"),
    ]
    assert unguarded(list(routes(patterns))) == ["salaries (salaries/)", "all (salaries/all/)"]


def in_browser(user: User | None) -> Client:
    """A browser of the person, or of a visitor."""
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def with_second_factor(user: User) -> None:
    """Give the person an authenticator app and recovery codes: some pages exist only for who has them."""
    TOTP.activate(user, generate_totp_secret())
    RecoveryCodes.activate(user)


def is_refused(answer: HttpResponseBase) -> bool:
    """What one may not do does not exist; 405 says no more than that the address takes another method."""
    return answer.status_code in (404, 405)


def is_let_in(answer: HttpResponseBase) -> bool:
    """Any answer of the page itself; 405 when it takes only POST, which is not tried here."""
    to_sign_in = answer.status_code == 302 and answer["Location"].startswith(reverse("account_login"))
    return answer.status_code < 500 and answer.status_code not in (401, 403, 404) and not to_sign_in


def parameters_of(route: Route, entity: str = OWN_ENTITY) -> dict[str, Any]:
    """Parameters with which the address exists."""
    if not route.parameters:
        return {}
    row, value = found_in(ROWS, route), found_in(VALUES, route)
    if row is not None:
        return row(entity)
    return {} if value is None else value()


@pytest.mark.django_db
@pytest.mark.parametrize("route", FOR_PEOPLE, ids=name_of)
def test_the_page_exists_for_exactly_the_roles_of_the_table(route):
    address = route.url(parameters_of(route))
    for code in ["", *ROLES]:
        user = make_person(code, f"Some {code or 'stranger'}", [ALL_ENTITIES])
        if address.startswith("/account/"):
            with_second_factor(user)
        client = in_browser(user)
        if may(user, route.permission or ""):
            answer = client.get(address)
            assert is_let_in(answer), f"{code} may {route.permission}, but {address} says {answer.status_code}"
            continue
        for answer in (client.get(address), client.post(address)):
            assert is_refused(answer), f"{code or 'nobody'} at {address}: {answer.status_code}"


@pytest.mark.django_db
@pytest.mark.parametrize("route", FOR_PEOPLE, ids=name_of)
def test_visitors_and_deactivated_people_are_sent_to_sign_in(route, owner):
    address = route.url(parameters_of(route))
    deactivated = in_browser(owner)
    User.objects.filter(pk=owner.pk).update(is_active=False)
    for client in (in_browser(None), deactivated):
        for answer in (client.get(address), client.post(address)):
            if address.startswith("/api/"):
                assert answer.status_code in (401, 405), f"{address}: {answer.status_code}"
            else:
                assert answer.status_code in (302, 405), f"{address}: {answer.status_code}"
                assert answer.status_code == 405 or answer["Location"].startswith(reverse("account_login"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "route", [route for route in FOR_PEOPLE if route.parameters and found_in(ROWS, route) is not None], ids=name_of
)
def test_a_row_exists_only_for_people_of_its_legal_entity(route):
    mine, other, unplaced = (route.url(parameters_of(route, entity)) for entity in (OWN_ENTITY, OTHER_ENTITY, ""))
    for code in ROLES:
        user = make_person(code, f"Local {code}", [OWN_ENTITY])
        if not may(user, route.permission or ""):
            continue
        client = in_browser(user)
        assert is_let_in(client.get(mine)), f"{code} at {mine}"
        hidden = [other] if code in ("platform", "auditor") else [other, unplaced]
        for address in hidden:
            for answer in (client.get(address), client.post(address)):
                assert is_refused(answer), f"{code} at {address}: {answer.status_code}"


@pytest.mark.django_db
@pytest.mark.parametrize("route", FOR_TOKENS, ids=name_of)
def test_the_door_of_the_jobs_opens_to_no_person(route, platform):
    address = route.url(parameters_of(route))
    for client in (in_browser(None), in_browser(platform)):
        for answer in (client.get(address), client.post(address)):
            assert answer.status_code in (401, 403, 404, 405), f"{address}: {answer.status_code}"


@pytest.mark.django_db
def test_what_was_sent_and_answered_is_shown_only_to_who_may_see_payloads():
    without = [code for code, role in ROLES.items() if "payloads.view" not in role.permissions]
    clients = {code: in_browser(make_person(code, f"Some {code}", [ALL_ENTITIES])) for code in [*without, "auditor"]}
    shown: dict[str, set[str]] = {code: set() for code in clients}
    for route in FOR_PEOPLE:
        if found_in(ROWS, route) is None or not (route.permission or "").endswith(".view"):
            continue
        address = route.url(parameters_of(route))
        for code, client in clients.items():
            for view in ("", "?tab=message", "?show=all"):
                if SECRET in client.get(address + view).content.decode(errors="replace"):  # evidence is a zip
                    shown[code].add(route.name)
    assert shown.pop("auditor"), "shown to nobody, the secret would prove nothing"
    assert shown == {code: set() for code in without}
