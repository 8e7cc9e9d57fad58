"""What we know about exceptions. The person comes first: rows outside their legal entities do not exist for them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import jsonpatch
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils.timezone import localtime

from integrations.flows import Flow, flows, idempotency_key
from opsboard.accounts.access import in_scope, may
from opsboard.accounts.models import User
from opsboard.catalog.models import System
from opsboard.core.clock import now
from opsboard.jobs import queries as work
from opsboard.jobs.models import WorkItem
from opsboard.log.models import Event, Payload, Transaction
from opsboard.log.queries import payloads, trail
from opsboard.triage import lifecycle, playbook
from opsboard.triage.lifecycle import RESOLVED, TABLE, UNRESOLVED, Action
from opsboard.triage.models import Case

TABS = {
    "triage": "Needs triage",
    "mine": "Assigned to me",
    "due": "Due today",
    "blocking": "Blocking most money",
    "open": "All open",
    "snoozed": "Snoozed",
    "replaying": "Replaying",
    "resolved": "Resolved",
}
BLOCKING = Decimal(10_000)  # in the reporting currency: severity high and above
SORTS = {"money": ("-amount_base", "number"), "due": ("due_at", "number"), "newest": ("-opened_at", "number")}
EXACT = 10_000  # counts are exact up to here
PAGE_SIZES = (50, 100)


@dataclass(frozen=True)
class Filters:
    """What the address says: every filter, the sorting and the place in the list. Unknown values are ignored."""

    tab: str = "triage"
    team: str = ""
    category: str = ""
    flow: str = ""
    entity: str = ""
    severity: str = ""
    owner: str = ""  # me, none, or a person's id
    cause: str = ""  # fingerprint
    q: str = ""
    sort: str = "money"
    after: str = ""
    per: int = 50

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filters":
        """From a query string (QueryDict or dict)."""
        names = [name for name in cls.__dataclass_fields__ if name != "per"]
        given = {name: query.get(name, "").replace("\x00", "").strip() for name in names}
        tab = given["tab"] if given["tab"] in TABS else "triage"
        sort = given["sort"] if given["sort"] in SORTS else "due" if tab == "due" else "money"
        per = 100 if query.get("per") == "100" else 50
        return cls(**(given | {"tab": tab, "sort": sort}), per=per)

    def url(self, **changes: Any) -> str:
        """The query string of these filters with changes; leads back to the first page unless `after` is given."""
        changed = replace(self, **({"after": ""} | changes))
        said = {name: getattr(changed, name) for name in self.__dataclass_fields__}
        default = Filters()
        kept = {name: value for name, value in said.items() if value != getattr(default, name)}
        return "?" + urlencode(kept | {"tab": changed.tab})

    @property
    def chips(self) -> list[tuple[str, str, str]]:
        """The filters that are set: (name, value, query string without it)."""
        names = ("team", "category", "flow", "entity", "severity", "owner", "cause", "q")
        return [(name, getattr(self, name), self.url(**{name: ""})) for name in names if getattr(self, name)]


@dataclass(frozen=True)
class QueuePage:
    """One page of the queue. `total` is exact up to 10,000; `sums` is per currency over the whole filter."""

    rows: list[Case]
    next: str  # query string of the next page, empty on the last
    total: int
    more_than_counted: bool
    sums: list[tuple[str, Decimal]]
    sum_base: Decimal


def visible(person: User) -> QuerySet[Case]:
    """The exceptions the person may see."""
    if not may(person, "exceptions.view"):
        return Case.objects.none()
    return in_scope(Case.objects.all(), person)


def _in_tab(cases: QuerySet[Case], person: User, tab: str) -> QuerySet[Case]:
    end_of_day = localtime(now()).replace(hour=23, minute=59, second=59)
    conditions = {
        "triage": Q(state=lifecycle.OPEN, assignee__isnull=True),
        "mine": Q(state__in=UNRESOLVED, assignee=person),
        "due": Q(state=lifecycle.OPEN, due_at__lte=end_of_day),
        "blocking": Q(state__in=UNRESOLVED, amount_base__gte=BLOCKING),
        "open": Q(state__in=UNRESOLVED),
        "snoozed": Q(state=lifecycle.SNOOZED),
        "replaying": Q(state=lifecycle.REPLAYING),
        "resolved": Q(state=RESOLVED),
    }
    return cases.filter(conditions[tab])


def _filtered(person: User, filters: Filters) -> QuerySet[Case]:
    """Everything but the tab."""
    cases = visible(person)
    for name in ("team", "category", "flow", "entity"):
        if value := getattr(filters, name):
            cases = cases.filter(**{name: value})
    if filters.cause:
        cases = cases.filter(fingerprint=filters.cause)
    if filters.severity.isdecimal():
        cases = cases.filter(severity=int(filters.severity))
    if filters.owner == "me":
        cases = cases.filter(assignee=person)
    elif filters.owner == "none":
        cases = cases.filter(assignee__isnull=True)
    elif filters.owner.isdecimal():
        cases = cases.filter(assignee_id=int(filters.owner))
    for word in filters.q.split():
        number = word.upper().removeprefix("EXC-")
        means = Q(title__icontains=word) | Q(customer__icontains=word) | Q(object_label__icontains=word)
        cases = cases.filter(means | (Q(number=int(number)) if number.isdecimal() and len(number) < 18 else Q()))
    return cases


def queue(person: User, filters: Filters) -> QuerySet[Case]:
    """The exceptions of a tab and filter, sorted."""
    cases = _in_tab(_filtered(person, filters), person, filters.tab)
    order = ("-resolved_at", "number") if filters.tab == "resolved" else SORTS[filters.sort]
    return cases.order_by(*order)


def page(person: User, filters: Filters) -> QueuePage:
    """One page by keyset: the place in the list is a row, not a number, so nothing is skipped or shown twice."""
    cases = queue(person, filters)
    rows = list(_after(cases, filters.after).select_related("assignee")[: filters.per + 1])
    following = filters.url(after=str(rows[filters.per - 1].number)) if len(rows) > filters.per else ""
    counted = cases.order_by()[: EXACT + 1].count()
    sums = cases.order_by().values("currency").annotate(sum=Sum("amount"), base=Sum("amount_base")).order_by("currency")
    per_currency = list(sums)
    return QueuePage(
        rows=rows[: filters.per],
        next=following,
        total=min(counted, EXACT),
        more_than_counted=counted > EXACT,
        sums=[(row["currency"], row["sum"]) for row in per_currency if row["sum"] is not None and row["currency"]],
        sum_base=sum((row["base"] for row in per_currency), Decimal(0)),
    )


def _after(cases: QuerySet[Case], number: str) -> QuerySet[Case]:
    """What stands behind the given row in the queryset's own order."""
    last = Case.objects.filter(number=int(number)).first() if number.isdecimal() and len(number) < 18 else None
    if last is None:
        return cases
    first = str(cases.query.order_by[0])
    name = first.removeprefix("-")
    value = getattr(last, name)
    direction = "lt" if first.startswith("-") else "gt"
    return cases.filter(Q(**{f"{name}__{direction}": value}) | Q(**{name: value, "number__gt": last.number}))


def counts(person: User, filters: Filters) -> dict[str, int]:
    """How many each tab holds under the same filters: one query, so that tabs and lists agree."""
    base = _filtered(person, filters)
    inside = {tab: _in_tab(base, person, tab) for tab in TABS if tab != "resolved"}
    conditions = {tab: Count("pk", filter=Q(pk__in=those.values("pk"))) for tab, those in inside.items()}
    found = base.exclude(state=RESOLVED).aggregate(**conditions)
    return found | {"resolved": base.filter(state=RESOLVED).order_by()[: EXACT + 1].count()}


def facets(person: User, filters: Filters) -> dict[str, list[tuple[str, int]]]:
    """For the filter menus: the values that occur in this tab, with how often, commonest first."""
    names = ("team", "category", "flow", "entity", "severity")
    found: dict[str, list[tuple[str, int]]] = {}
    for name in names:
        cleared: dict[str, Any] = {name: ""}
        without = _in_tab(_filtered(person, replace(filters, **cleared)), person, filters.tab)
        rows = without.order_by().values_list(name).annotate(n=Count("pk")).order_by("-n", name)[:20]
        found[name] = [(str(value), count) for value, count in rows if value != ""]
    return found


def numbers(person: User, filters: Filters, limit: int) -> list[int]:
    """The numbers of a whole filter, for a bulk action over it; row rights are part of the query."""
    return list(queue(person, filters).values_list("number", flat=True)[:limit])


def unfollowed(limit: int = 1_000) -> list[UUID]:
    """Transactions whose exception does not say what they say: for the sweep behind law 6."""
    current = Case.objects.filter(transaction=OuterRef("pk")).exclude(state=RESOLVED)
    silent = Transaction.objects.filter(status="failed").exclude(
        Exists(current.filter(error_event=OuterRef("head_event")))
    )
    stale = Transaction.objects.filter(status__in=("succeeded", "superseded", "closed")).filter(Exists(current))
    return [*silent.values_list("pk", flat=True)[:limit], *stale.values_list("pk", flat=True)[:limit]]


# ---- one exception


@dataclass(frozen=True)
class Step:
    """A row of the timeline: the event, what was sent and answered (for those who may see it), the wait before it."""

    event: Event
    payload: Payload | None
    waited: timedelta | None


@dataclass(frozen=True)
class Field:
    """One field of the repair form, from the canonical schema."""

    path: str
    title: str
    help: str
    type: str  # text, date, number, currency
    value: Any
    sent: Any
    repairable: bool
    choices: list[str]


@dataclass(frozen=True)
class Detail:
    """Everything the page of one exception shows."""

    case: Case
    advice: playbook.Advice
    steps: list[Step]
    error: dict[str, Any]
    item: WorkItem | None
    payload: dict[str, Any]
    fields: list[Field]
    changes: list[dict[str, Any]]  # path, sent, yours
    behind: list[WorkItem]
    similar: list[Case]
    similar_total: int
    actions: dict[str, Action]
    why_not: dict[str, str]
    idempotency_key: str
    target: str


def detail(person: User, number: int) -> Detail | None:
    """One exception with all that belongs to it; None when it does not exist for the person."""
    case = visible(person).select_related("assignee", "transaction").filter(number=number).first()
    if case is None:
        return None
    events = trail(case.transaction_id)
    told = payloads(person, events)
    item = work.item(case.transaction_id)
    flow = flows().get(case.flow)
    may_see = may(person, "payloads.view")
    current = corrected(item, case) if item and may_see else {}
    advice = playbook.advice(case.category)
    same = visible(person).filter(fingerprint=case.fingerprint).exclude(pk=case.pk)
    failing = next((event for event in events if event.id == case.error_event), None)
    actions, why_not = _actions(person, case, item)
    return Detail(
        case=case,
        advice=advice,
        steps=_steps(events, told),
        error=(told[failing.seq].error or {}) if failing and failing.seq in told else {},
        item=item,
        payload=current,
        fields=fields(flow, item.payload, current, advice.repairable) if flow and item and may_see else [],
        changes=changes(item.payload, case.patch) if item and case.patch and may_see else [],
        behind=list(work.behind(item)[:50]) if item else [],
        similar=list(same.order_by(F("resolved_at").desc(nulls_first=True), "-amount_base")[:5]),
        similar_total=same.filter(state__in=UNRESOLVED).count(),
        actions=actions,
        why_not=why_not,
        idempotency_key=idempotency_key(flow.key, item.key, flow.message.model_validate(current))
        if flow and item and current
        else "",
        target=_target(case, flow, item),
    )


def corrected(item: WorkItem, case: Case) -> dict[str, Any]:
    """The payload as it would be sent now: with the correction that waits, if there is one."""
    result: dict[str, Any] = jsonpatch.apply_patch(item.payload, case.patch) if case.patch else item.payload
    return result


def changes(sent: dict[str, Any], patch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The correction as rows: where, what was sent, what it will be."""
    after = jsonpatch.apply_patch(sent, patch)
    return [
        {"path": step["path"], "op": step["op"], "sent": _at(sent, step["path"]), "yours": _at(after, step["path"])}
        for step in patch
    ]


def _at(document: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        if isinstance(document, list):
            document = document[int(part)] if part.isdecimal() and int(part) < len(document) else None
        elif isinstance(document, dict):
            document = document.get(part.replace("~1", "/").replace("~0", "~"))
    return document


def _steps(events: list[Event], told: dict[int, Payload]) -> list[Step]:
    steps: list[Step] = []
    before: datetime | None = None
    for event in events:
        waited = event.occurred_at - before if before else None
        steps.append(Step(event, told.get(event.seq), waited if waited and waited > timedelta(minutes=5) else None))
        before = event.occurred_at
    return steps


def fields(
    flow: Flow, sent: dict[str, Any], current: dict[str, Any], repairable: tuple[str, ...] | list[str]
) -> list[Field]:
    """The scalar fields of the canonical object, repairable ones first, each with what was sent."""
    properties = flow.message.model_json_schema()["properties"]
    shown = [
        Field(
            path=name,
            title=spec.get("title", name),
            help=spec.get("description", ""),
            type=_widget(spec),
            value=current.get(name),
            sent=sent.get(name),
            repairable="*" in repairable or name in repairable,
            choices=list(spec.get("enum", [])),
        )
        for name, spec in properties.items()
        if not isinstance(current.get(name), list | dict)
    ]
    return sorted(shown, key=lambda field: not field.repairable)


def _widget(spec: dict[str, Any]) -> str:
    kinds = [spec, *spec.get("anyOf", [])]
    if any(kind.get("format") == "date" for kind in kinds):
        return "date"
    return "number" if any(kind.get("type") in {"number", "integer"} for kind in kinds) else "text"


def _target(case: Case, flow: Flow | None, item: WorkItem | None) -> str:
    """The system a replay would post to, as people call it."""
    if flow is None or item is None:
        return case.system
    role = flow.targets[-1] if flow.key == "opportunity-to-project" else flow.targets[0]
    wanted = f"{item.landscape}-{role}"
    return System.objects.filter(key=wanted).values_list("label", flat=True).first() or wanted


def _actions(person: User, case: Case, item: WorkItem | None) -> tuple[dict[str, Action], dict[str, str]]:
    """What this person can do now, and for the rest of what they may do, why not now."""
    possible, why_not = {}, {}
    for name, action in TABLE.items():
        if action.permission is None or not may(person, action.permission):
            continue
        if case.state not in action.source:
            why_not[name] = f"Not while it is {case.state}."
        elif name in {"fix", "replay"} and item is None:
            why_not[name] = "This flow runs outside opsboard: correct and replay it there."
        elif name in {"fix", "replay"} and item is not None and item.state != "failed":
            why_not[name] = "It is on its way: its outcome is not known yet."
        elif name == "discard_fix" and not case.patch:
            continue
        else:
            possible[name] = action
    return possible, why_not


# ---- many exceptions


@dataclass(frozen=True)
class Selection:
    """What a bulk action would meet: how many are chosen, how many of them it applies to now, and their money."""

    total: int
    able: int
    sum_base: Decimal
    first: list[Case]
    causes: int


def selection(person: User, numbers: list[int], action: str) -> Selection:
    """The chosen exceptions the person may see, and how far the action applies to them."""
    chosen = visible(person).filter(number__in=numbers)
    able = chosen.filter(state__in=TABLE[action].source)
    said = able.aggregate(n=Count("pk"), base=Sum("amount_base"), causes=Count("fingerprint", distinct=True))
    first = list(able.order_by("-amount_base", "number")[:5])
    return Selection(chosen.count(), said["n"], said["base"] or Decimal(0), first, said["causes"])
