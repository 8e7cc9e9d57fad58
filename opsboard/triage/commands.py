"""What can be done with exceptions. Every action is one event in the log that carries what it changed; a Case is the
fold of those events, so that `rebuild` makes the same rows again without deciding anything anew.

Locks are taken in one order everywhere: work item, transaction, case.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonpatch
from django.db import connection
from django.db.models import F
from django.db.transaction import atomic
from pydantic import ValidationError

from integrations.flows import flows
from opsboard.accounts.access import in_scope, may
from opsboard.accounts.models import User
from opsboard.catalog.models import System
from opsboard.catalog.queries import to_base
from opsboard.core.clock import iso, now
from opsboard.core.doorbell import ring
from opsboard.core.errors import Refused
from opsboard.jobs import commands as jobs
from opsboard.jobs import queries as work
from opsboard.log.commands import append
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Event, Payload, Transaction
from opsboard.triage import lifecycle, playbook
from opsboard.triage.classify import Verdict, classify
from opsboard.triage.lifecycle import RESOLUTIONS, RESOLVED, TABLE
from opsboard.triage.models import TEAMS, Case

SOURCE = "urn:opsboard:triage"
STEPS = ((Decimal(50_000), 1), (Decimal(10_000), 2), (Decimal(1_000), 3))  # money at stake → severity
DUE = {1: timedelta(hours=4), 2: timedelta(days=1), 3: timedelta(days=3), 4: timedelta(days=5)}
BULK_LIMIT = 1_000
FINISHED = ("succeeded", "superseded", "closed")


@dataclass(frozen=True)
class Outcome:
    """What a command on one or many exceptions achieved: numbers done, and numbers refused with the reason."""

    done: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)


# ---- by the machine: exceptions follow their transactions


def follow(transactions: Iterable[uuid.UUID]) -> int:
    """Open, update or resolve the exceptions of transactions that moved; returns how many changed.

    Idempotent: called again it finds nothing to do. Rows are locked in the order of their ids, so two followers of
    the same transaction act one after the other.
    """
    moved = _concerned(list(transactions))
    if not moved:
        return 0
    with atomic():
        locked = list(Transaction.objects.select_for_update().filter(pk__in=moved).order_by("pk"))
        cases = {
            case.transaction_id: case
            for case in Case.objects.filter(transaction__in=moved).exclude(state=RESOLVED).select_for_update()
        }
        evidence = _Evidence.of([one for one in locked if one.status == "failed"])
        return sum(_follow(one, cases.get(one.pk), evidence) for one in locked)


def _concerned(transactions: list[uuid.UUID]) -> list[uuid.UUID]:
    """Those that failed, and those that ended and have an open exception. Asked for every batch that comes in, so
    written out: the same by the ORM costs a millisecond of building the query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM log_transaction AS t
            WHERE id = ANY(%s) AND (status = 'failed' OR status = ANY(%s) AND EXISTS (
                SELECT FROM triage_case AS c WHERE c.transaction_id = t.id AND c.state <> 'resolved'))
            """,
            [transactions, list(FINISHED)],
        )
        return [row[0] for row in cursor.fetchall()]


def _follow(moved: Transaction, case: Case | None, evidence: "_Evidence") -> bool:
    if moved.status in FINISHED and case is not None:
        jobs.already_done(transaction_id=moved.pk)
        resolution = "replayed" if case.state == lifecycle.REPLAYING else "later_success"
        ended = evidence.when.get(moved.head_event) or _received(moved.head_event)
        changes = {"state": RESOLVED, "resolution": resolution, "resolved_at": ended, "snoozed_until": None}
        return _record(case, "succeed", at=ended, changes=changes, id_=f"succeed/{case.number}/{moved.head_event}")
    if moved.status != "failed" or (case is not None and case.error_event == moved.head_event):
        return False
    if evidence.events[moved.head_event].source == SOURCE:  # type: ignore[index]
        return False  # a person reopened it: no system has said anything new
    facts = evidence.facts(moved)
    at = evidence.when[moved.head_event]
    if case is None:
        return _raise(moved, facts, at)
    kept = {name: facts[name] for name in AGAIN}
    changes = kept | {"state": lifecycle.OPEN, "snoozed_until": None, "patch": None}
    return _record(case, "fail_again", at=at, changes=changes, id_=f"again/{case.number}/{moved.head_event}")


# what a new failure of the same transaction changes; owner, team and due time stay with the people who have it
AGAIN = ("category", "rule", "retryable", "fingerprint", "title", "system", "error_event")


def _raise(moved: Transaction, facts: dict[str, Any], at: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('triage_case_number')")
        number = cursor.fetchone()[0]
    case = Case(number=number, transaction_id=moved.pk, flow=moved.flow, entity=moved.entity)
    return _record(case, "raise", at=at, changes=facts, id_=f"raise/{moved.pk}/{moved.head_event}", moved=moved)


def _received(event: uuid.UUID | None) -> datetime:
    return Event.objects.filter(id=event).values_list("received_at", flat=True).get()  # type: ignore[misc]


@dataclass
class _Evidence:
    """The failing events of a set of transactions with their answers and objects: three queries for all of them."""

    events: dict[uuid.UUID, Event]
    errors: dict[int, dict[str, Any] | None]
    names: dict[uuid.UUID | None, list[list[str]]]
    vendors: dict[str, System]

    @classmethod
    def of(cls, failed: list[Transaction]) -> "_Evidence":
        if not failed:
            return cls({}, {}, {}, {})
        events = {e.id: e for e in Event.objects.filter(id__in=[one.head_event for one in failed])}
        seqs = [e.seq for e in events.values()]
        months = [e.recorded_at for e in events.values()]
        errors = dict(Payload.objects.filter(recorded_at__in=months, seq__in=seqs).values_list("seq", "error"))
        names: dict[uuid.UUID | None, list[list[str]]] = {}
        trail = Event.objects.filter(transaction_id__in=[one.pk for one in failed]).order_by("occurred_at", "seq")
        for pk, objects in trail.values_list("transaction_id", "objects_named"):
            names.setdefault(pk, []).extend(objects)
        return cls(events, errors, names, {system.key: system for system in System.objects.all()})

    @property
    def when(self) -> dict[uuid.UUID | None, datetime]:
        return {id_: event.received_at for id_, event in self.events.items()}

    def facts(self, moved: Transaction) -> dict[str, Any]:
        """What the exception says: classified, in business words, with the money at stake and a due time."""
        event = self.events[moved.head_event]  # type: ignore[index]
        error = self.errors.get(event.seq) or {}
        system = str(error.get("system") or event.system)
        verdict = classify(
            vendor(system, self.vendors), str(error.get("message") or ""), error.get("code"), error.get("http_status")
        )
        object_, customer = _label(moved, self.names.get(moved.pk, [])), _customer(self.names.get(moved.pk, []))
        label = self.vendors[system].label if system in self.vendors else system
        base = to_base(moved.amount, moved.currency, event.occurred_at) or Decimal(0)
        severity = next((level for least, level in STEPS if abs(base) >= least), 4)
        return {
            "state": lifecycle.OPEN,
            "system": system,
            "team": verdict.team,
            "severity": severity,
            "category": verdict.category,
            "rule": verdict.rule,
            "retryable": verdict.retryable,
            "fingerprint": fingerprint(system, moved.flow, verdict),
            "title": playbook.title(
                verdict.category,
                verdict.rule,
                object=object_,
                customer=customer,
                system=label,
                subject=verdict.subject,
            ),
            "object_label": object_,
            "customer": customer,
            "amount": moved.amount,
            "currency": moved.currency,
            "amount_base": base,
            "error_event": event.id,
            "opened_at": event.received_at,
            "due_at": event.received_at + DUE[severity],
        }


def vendor(system: str, known: dict[str, System]) -> str:
    """Whose rules read this system's errors: what the catalogue says, else the name the event gave."""
    row = known.get(system)
    return row.vendor if row and row.vendor else system


def fingerprint(system: str, flow: str, verdict: Verdict) -> str:
    """Same cause, same text: the period, the dimension value, the customer is the cause, not the message about it."""
    return "|".join(["1", system, flow, verdict.category, verdict.rule, verdict.subject])


def _label(moved: Transaction, names: list[list[str]]) -> str:
    """What people call the subject: "Invoice for Atlas rollout, Oct 2026"; else type and number."""
    if not names:
        return moved.key
    _, type_, external_id, _, name = names[0]
    word = WORDS.get(type_, type_.replace("_", " ").capitalize())
    if name and type_ == "billing_request":
        return f"{word} for {name}"
    return f"{word} {name or external_id}"


WORDS = {"billing_request": "Invoice", "time_entry": "Time entry", "change_order": "Change order"}


def _customer(names: list[list[str]]) -> str:
    customers = [named for named in names if named[1] == "customer"]
    return next((named[4] for named in customers if named[4]), customers[0][2] if customers else "")


# ---- the one way a case changes


def _record(
    case: Case,
    action: str,
    *,
    at: datetime,
    changes: dict[str, Any],
    by: User | None = None,
    reason: str = "",
    id_: str = "",
    moved: Transaction | None = None,
    attempt: int | None = None,
    status: str | None = None,
    payload: dict[str, Any] | None = None,
) -> bool:
    """Append the action as an event and fold it into the row; False when the log knows it already.

    The caller holds the locks, in one atomic.
    """
    moved = moved or Transaction.objects.get(pk=case.transaction_id)
    subject = (Event.objects.values_list("objects_named", flat=True).get(id=moved.first_event) or [[]])[0]
    who = by.email if by else ""
    changes = changes | {"changed_at": at, "changed_by": who}
    facts = {
        "case": case.number,
        "action": action,
        "reason": reason,
        "by": who,
        "by_name": (by.get_full_name() or by.email) if by else "",
        "set": {name: _plain(value) for name, value in changes.items()},
    }
    objects = [Named(*subject)] if subject else []
    entry = Entry(
        source=SOURCE,
        id=id_ or str(uuid.uuid4()),
        type=f"opsboard.exception.{action}",
        kind=TABLE[action].kind,
        status=status,
        flow=moved.flow,
        key=moved.key,
        objects=(*objects, Named("opsboard", "exception", case.reference, "exception")),
        system="opsboard",
        entity=moved.entity,
        attempt=attempt or max(moved.attempt, 1),
        actor=who,
        occurred_at=at,
        received_at=at,
        payload=payload,
        facts=facts,
    )
    new = bool(append([entry]).accepted)
    if new:
        _fold(facts, moved.pk, moved.flow, moved.entity)
    return new


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    return str(value) if isinstance(value, Decimal | uuid.UUID) else value


def _fold(facts: dict[str, Any], transaction: uuid.UUID, flow: str, entity: str) -> None:
    """Apply an event's facts to its case: the same for an action now and for a rebuild years later."""
    columns = {column.attname: column for column in Case._meta.concrete_fields}
    values = {name: columns[name].to_python(value) for name, value in facts["set"].items()}
    if facts["action"] == "raise":
        Case.objects.create(number=facts["case"], transaction_id=transaction, flow=flow, entity=entity, **values)
    else:
        Case.objects.filter(number=facts["case"]).update(version=F("version") + 1, **values)


@atomic
def rebuild() -> int:
    """Drop all exceptions and fold them again from the log; returns the number of events folded."""
    Case.objects.all().delete()
    told = Event.objects.filter(facts__case__isnull=False).order_by("seq")
    count = 0
    for event in told.only("facts", "transaction_id", "flow", "entity").iterator():
        if event.facts is not None and event.transaction_id is not None:
            _fold(event.facts, event.transaction_id, event.flow, event.entity)
            count += 1
    return count


# ---- by people

Act = Callable[[Case, Transaction], None]


def _each(numbers: Iterable[int], action: str, by: User, version: int | None, reason: str, act: Act) -> Outcome:
    """Do one action on each exception the person may act on, each in its own savepoint; say what was refused, and why.

    What the person may not see is refused in the same words as what does not exist.
    """
    wanted = list(dict.fromkeys(numbers))
    if len(wanted) > BULK_LIMIT:
        raise Refused(f"At most {BULK_LIMIT} exceptions at a time; {len(wanted)} were asked for.")
    if TABLE[action].reason and not reason.strip():
        raise Refused("Please give a reason." if action != "comment" else "Please write a comment.")
    permission = TABLE[action].permission
    outcome = Outcome()
    visible = set(in_scope(Case.objects.filter(number__in=wanted), by).values_list("number", flat=True))
    for number in wanted:
        try:
            if number not in visible or not (permission and may(by, permission)):
                raise Refused(f"There is no exception EXC-{number} for you to work on.")
            with atomic():
                _one(number, action, version, act)
            outcome.done.append(number)
        except Refused as refused:
            if len(wanted) == 1:
                raise
            outcome.refused.append((number, refused.reason))
    return outcome


def _one(number: int, action: str, version: int | None, act: Act) -> None:
    pk = Case.objects.values_list("transaction_id", flat=True).get(number=number)
    _lock_item(action, pk)
    moved = Transaction.objects.select_for_update().get(pk=pk)
    case = Case.objects.select_for_update().get(number=number)
    if (version is not None and case.version != version) or case.state not in TABLE[action].source:
        raise Refused(_faster(case, action), stale=True)
    act(case, moved)


def _lock_item(action: str, pk: uuid.UUID) -> None:
    """Work item first, then transaction, then case: the order in which the pipeline locks them."""
    if action in {"replay", "fix", "resolve", "reopen"}:
        work.locked(pk)


def _faster(case: Case, action: str) -> str:
    """Who was faster, and what they did."""
    who = case.changed_by or "opsboard"
    return (
        f"{case.reference} has changed meanwhile: it is {case.state} (by {who}, {case.changed_at:%H:%M:%S} UTC). "
        f"Look at it again before you {TABLE[action].label.lower()}."
    )


def assign(
    *,
    numbers: Iterable[int],
    by: User,
    to: User | None = None,
    team: str | None = None,
    reason: str = "",
    version: int | None = None,
) -> Outcome:
    """Give to a person, to a team, or both; to=None with a team puts it into that team's queue."""
    if team is not None and team not in TEAMS:
        raise Refused(f"There is no team {team!r}.")
    if to is not None and not may(to, "exceptions.assign"):
        raise Refused(f"{to.get_full_name() or to.email} cannot work on exceptions.")

    def act(case: Case, moved: Transaction) -> None:
        if to is not None and not in_scope(Case.objects.filter(pk=case.pk), to).exists():
            raise Refused(f"{to.get_full_name() or to.email} may not see {case.reference}: another legal entity.")
        changes = {"assignee_id": to.pk if to else None, "team": team or (to.team if to and to.team else case.team)}
        _record(case, "assign", at=now(), by=by, reason=reason, changes=changes, moved=moved)

    return _each(numbers, "assign", by, version, reason, act)


def take(*, numbers: Iterable[int], by: User, version: int | None = None) -> Outcome:
    """Take it oneself."""

    def act(case: Case, moved: Transaction) -> None:
        _record(case, "take", at=now(), by=by, changes={"assignee_id": by.pk}, moved=moved)

    return _each(numbers, "take", by, version, "", act)


def comment(*, numbers: Iterable[int], by: User, text: str) -> Outcome:
    """Say something to those who work on it; stays with the exception for good."""

    def act(case: Case, moved: Transaction) -> None:
        _record(case, "comment", at=now(), by=by, reason=text.strip(), changes={}, moved=moved)

    return _each(numbers, "comment", by, None, text, act)


def snooze(
    *, numbers: Iterable[int], by: User, until: datetime, reason: str = "", version: int | None = None
) -> Outcome:
    """Hide until a moment, or until it fails again."""
    if until <= now():
        raise Refused("Choose a moment in the future.")

    def act(case: Case, moved: Transaction) -> None:
        changes = {"state": lifecycle.SNOOZED, "snoozed_until": until}
        _record(case, "snooze", at=now(), by=by, reason=reason, changes=changes, moved=moved)

    return _each(numbers, "snooze", by, version, reason, act)


def wake(*, numbers: Iterable[int], by: User, version: int | None = None) -> Outcome:
    """Bring back a snoozed one."""

    def act(case: Case, moved: Transaction) -> None:
        changes = {"state": lifecycle.OPEN, "snoozed_until": None}
        _record(case, "wake", at=now(), by=by, changes=changes, moved=moved)

    return _each(numbers, "wake", by, version, "", act)


def wake_due() -> int:
    """Bring back the snoozed ones whose time has come; returns how many. Run by the scheduler."""
    woken = 0
    for number in Case.objects.filter(state=lifecycle.SNOOZED, snoozed_until__lte=now()).values_list(
        "number", flat=True
    ):
        with atomic():
            case = Case.objects.select_for_update().get(number=number)
            if case.state == lifecycle.SNOOZED and case.snoozed_until and case.snoozed_until <= now():
                changes = {"state": lifecycle.OPEN, "snoozed_until": None}
                _record(case, "wake_up", at=now(), changes=changes)
                woken += 1
    return woken


def fix(*, number: int, document: dict[str, Any], by: User, reason: str, version: int | None = None) -> Outcome:
    """Correct the payload: validated against the canonical schema, kept as an RFC 6902 patch until it is replayed.

    Only fields that the category makes repairable may differ. Raises Refused naming each field and why.
    """

    def act(case: Case, moved: Transaction) -> None:
        patch = check_fix(case, document)
        if not patch:
            raise Refused("Nothing was changed.")
        _record(
            case,
            "fix",
            at=now(),
            by=by,
            reason=reason,
            moved=moved,
            changes={"state": lifecycle.OPEN, "snoozed_until": None, "patch": patch},
            payload={"patch": patch},
        )

    return _each([number], "fix", by, version, reason, act)


def check_fix(case: Case, document: dict[str, Any]) -> list[dict[str, Any]]:
    """The patch that leads from what failed to `document`. Raises Refused when it may not be or is not valid."""
    item = work.item(case.transaction_id)
    if item is None:
        raise Refused("This flow runs outside opsboard: correct it at the source.")
    document = canonical(case.flow, document)
    patch: list[dict[str, Any]] = jsonpatch.make_patch(item.payload, document).patch
    allowed = playbook.advice(case.category).repairable
    closed = sorted({step["path"].split("/")[1] for step in patch} - set(allowed))
    if closed and "*" not in allowed:
        raise Refused(f"Not repairable for this kind of exception: {', '.join(closed)}.")
    return patch


def canonical(flow: str, document: Any) -> dict[str, Any]:
    """The document as the flow's canonical schema reads it. Raises Refused naming every field and reason."""
    model = flows()[flow].message
    try:
        return model.model_validate(document).model_dump(mode="json")
    except ValidationError as error:
        raise Refused(
            "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors())
        ) from error


def discard_fix(*, number: int, by: User, version: int | None = None) -> Outcome:
    """Forget a correction that has not been replayed."""

    def act(case: Case, moved: Transaction) -> None:
        _record(case, "discard_fix", at=now(), by=by, changes={"patch": None}, moved=moved)

    return _each([number], "discard_fix", by, version, "", act)


def replay(*, numbers: Iterable[int], by: User, reason: str = "", version: int | None = None) -> Outcome:
    """Send again, corrected if a fix is there; what waits behind follows by itself. Once, however often clicked."""

    def act(case: Case, moved: Transaction) -> None:
        item = work.item(moved.pk)
        payload = jsonpatch.apply_patch(item.payload, case.patch) if item and case.patch else None
        item = jobs.release(transaction_id=moved.pk, payload=payload)
        changes = {"state": lifecycle.REPLAYING, "snoozed_until": None, "patch": None}
        _record(
            case,
            "replay",
            at=now(),
            by=by,
            reason=reason,
            changes=changes,
            moved=moved,
            attempt=item.attempt + 1,
            payload={"patch": case.patch, "version": item.version},
        )

    outcome = _each(numbers, "replay", by, version, reason, act)
    ring("process")
    return outcome


def resolve(*, numbers: Iterable[int], resolution: str, reason: str, by: User, version: int | None = None) -> Outcome:
    """Close without a replay (lifecycle.RESOLUTIONS); what waits behind may go on."""
    if resolution not in RESOLUTIONS:
        raise Refused("Choose how it was resolved.")

    def act(case: Case, moved: Transaction) -> None:
        item = work.item(moved.pk)
        if item is not None and not jobs.cancel(transaction_id=moved.pk):
            raise Refused(jobs.WHY_NOT.get(item.state, "It cannot be resolved now."), stale=True)
        at = now()
        changes = {"state": RESOLVED, "resolution": resolution, "resolved_at": at, "snoozed_until": None, "patch": None}
        _record(
            case,
            "resolve",
            at=at,
            by=by,
            reason=reason,
            changes=changes,
            moved=moved,
            status=RESOLUTIONS[resolution][1],
        )

    outcome = _each(numbers, "resolve", by, version, reason, act)
    ring("process")
    return outcome


def reopen(*, numbers: Iterable[int], reason: str, by: User, version: int | None = None) -> Outcome:
    """Open again what a person closed; what a success closed stays closed."""

    def act(case: Case, moved: Transaction) -> None:
        if case.resolution in lifecycle.CLOSED_BY_SUCCESS:
            raise Refused("It was posted: correct the document in the target instead.")
        if Case.objects.filter(transaction=moved).exclude(state=RESOLVED).exists():
            raise Refused("A newer exception of the same transaction is open.")
        jobs.reinstate(transaction_id=moved.pk)
        changes = {"state": lifecycle.OPEN, "resolution": "", "resolved_at": None}
        _record(case, "reopen", at=now(), by=by, reason=reason, changes=changes, moved=moved, status="failed")

    return _each(numbers, "reopen", by, version, reason, act)
