"""What can be done with the demo: load it. Once: loading again changes nothing.

The whole load is one database transaction. Events go in by the way everybody's events go (opsboard.pipeline.accept),
in the order they became known; what people did is done by the commands people use, at the moment they did it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.transaction import atomic

from opsboard.accounts.models import User
from opsboard.catalog.commands import set_rates
from opsboard.catalog.models import Flow, LegalEntity, System
from opsboard.core import clock, ids
from opsboard.core.errors import Refused
from opsboard.demo import expenses, firm, rates, story, world
from opsboard.demo.telling import LANDSCAPE, Act, Item, Letter, merged
from opsboard.jobs.models import Cursor, WorkItem
from opsboard.kpis import commands as kpis
from opsboard.log import commands as log
from opsboard.log.entry import Entry
from opsboard.log.models import Event, Payload
from opsboard.pipeline import accept
from opsboard.triage import commands as triage
from opsboard.triage import lifecycle
from opsboard.triage.models import Case

SEED = 2026
BATCH = 500
TAKE = "INSERT INTO jobs_taken (landscape, flow, source) SELECT %s, %s, unnest(%s::text[]) ON CONFLICT DO NOTHING"
MARKER = ("urn:opsboard:demo:loader", "loaded")
# The demo accounts (accounts, demo_accounts) that do each team's work. Without them nobody has done anything.
PEOPLE = {
    "finance": "finance@demo.example",
    "pmo": "pmo@demo.example",
    "sales_ops": "sales@demo.example",
    "hr_ops": "hr@demo.example",
    "platform": "platform@demo.example",
}


@dataclass(frozen=True)
class Anchor:
    """What the demo was made from: the same three make the same demo."""

    seed: int
    as_of: datetime
    scale: float


@dataclass
class Report:
    """What a load did."""

    anchor: Anchor
    before: bool
    counts: Counter[str] = field(default_factory=Counter)


def sandbox() -> Path:
    """The file of the sandbox systems."""
    return Path(settings.DATA_DIR) / "sandbox.sqlite3"


def loaded() -> Anchor | None:
    """What the demo in this database was made from; None when there is none."""
    event = Event.objects.filter(id=ids.event_id(*MARKER)).first()
    if event is None:
        return None
    data: Any = Payload.objects.get(seq=event.seq, recorded_at=event.recorded_at).data
    return Anchor(data["seed"], datetime.fromisoformat(data["as_of"]), data["scale"])


@atomic
def load(
    *, seed: int = SEED, as_of: datetime | None = None, scale: float = 1.0, trend: int = firm.HISTORY.days, by: str
) -> Report:
    """Load the demo firm as of a full hour (this one when None) into the log, the work items and the sandbox.

    `trend`: days of figures that are computed back. A database that has the demo keeps it: the same events are sent
    again, found to be known, and nothing changes.
    Raises Refused when the database has another demo than the one asked for by seed or scale.
    """
    known = loaded()
    if known and (known.seed, known.scale) != (seed, scale):
        raise Refused(f"This database has the demo of seed {known.seed}, scale {known.scale} already.")
    hour = (as_of or clock.now()).astimezone(clock.UTC).replace(minute=0, second=0, microsecond=0)
    anchor = known or Anchor(seed, hour, scale)
    told = story.tell(firm.build(anchor.seed, anchor.as_of, anchor.scale))
    report = Report(anchor, before=known is not None)
    _catalogue(told, by)
    log.make_partitions()
    events = merged(told.telling, anchor.as_of)
    if known:
        _send(_Loader(report, {}), (one for one in events if isinstance(one, Entry)))
        return report
    loader = _Loader(
        report, {user.email: user for user in User.objects.filter(email__in=PEOPLE.values(), is_active=True)}
    )
    _send(loader, events)
    _work_items(told.telling.items, report)
    _act_today(loader, anchor)
    log.correlate()
    _sandbox(told, report)
    accept([_marker(anchor)])
    report.counts["exceptions open"] = Case.objects.exclude(state=lifecycle.RESOLVED).count()
    report.counts["exceptions resolved"] = Case.objects.filter(state=lifecycle.RESOLVED).count()
    report.counts["figures"] = kpis.backfill(trend) + kpis.snapshot()
    return report


def _marker(anchor: Anchor) -> Entry:
    data = {"seed": anchor.seed, "as_of": anchor.as_of.isoformat(), "scale": anchor.scale}
    return Entry(
        source=MARKER[0], id=MARKER[1], type="demo.loaded", kind="noted", occurred_at=anchor.as_of,
        received_at=anchor.as_of, payload=data, system="opsboard",
    )  # fmt: skip


# ---- events and acts ------------------------------------------------------------------------------------------------


@dataclass
class _Loader:
    """Sends entries in batches. A failure and what follows it never share one, so that each is seen when it happens."""

    report: Report
    people: dict[str, User]
    batch: list[Entry] = field(default_factory=list)
    failed: set[tuple[str, str]] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Put into the batch; send it first when it is full or has a failure of the same transaction."""
        key = (entry.flow, entry.business_key)
        if len(self.batch) >= BATCH or key in self.failed:
            self.flush()
        self.batch.append(entry)
        if entry.kind in ("rejected", "dead_lettered"):
            self.failed.add(key)

    def flush(self) -> None:
        """Send what is in the batch."""
        if not self.batch:
            return
        appended = accept(self.batch)
        if appended.conflicts:
            named = self.batch[appended.conflicts[0]].id
            raise Refused(f"The log has other events of the demo than these ({named}): load into an empty database.")
        self.report.counts["events"] += len(appended.accepted)
        self.report.counts["events known before"] += len(appended.duplicates)
        self.batch, self.failed = [], set()

    def act(self, act: Act) -> None:
        """Do what a person did, by the command; without the demo accounts only the replay is told."""
        if act.letter.log_key in self.failed:
            self.flush()
        case = _open_case(act.letter.transaction) if self.people else None
        if case is None:
            if act.verb == "replay":
                self.add(_replayed(act))
            return
        by = self.people[PEOPLE[case.team]]
        with clock.set_to(act.at):
            if act.verb == "take":
                triage.take(numbers=[case.number], by=by)
            elif act.verb == "comment":
                triage.comment(numbers=[case.number], by=by, text=act.text)
            else:
                self._replay(case, act, by)
        self.report.counts["acts of people"] += 1

    def _replay(self, case: Case, act: Act, by: User) -> None:
        """The work item was there then; it is done now, whatever the worker of today finds."""
        item = _work_item(Item(act.letter, "failed", act.attempt))
        item.save()
        triage.replay(numbers=[case.number], by=by, reason=act.text)
        WorkItem.objects.filter(pk=item.pk).update(
            state="done", attempt=act.attempt + 1, result={"reference": "history"}
        )


def _send(loader: _Loader, events: Iterable[Entry | Act]) -> None:
    for one in events:
        if isinstance(one, Entry):
            loader.add(one)
        else:
            loader.act(one)
    loader.flush()


def _open_case(transaction: UUID) -> Case | None:
    return Case.objects.filter(transaction_id=transaction).exclude(state=lifecycle.RESOLVED).first()


def _replayed(act: Act) -> Entry:
    """The replay as the flow's own event, when there was nobody to do it by command."""
    letter = act.letter
    return Entry(
        source=f"urn:opsboard:{LANDSCAPE}:{letter.flow}", id=f"{letter.message.key}/{act.attempt + 1}/replayed",
        type="opsboard.job.replayed", kind="replayed", flow=letter.flow, key=letter.log_key[1],
        entity=letter.message.entity, attempt=act.attempt + 1, occurred_at=act.at, received_at=act.at,
        system="opsboard",
    )  # fmt: skip


def _act_today(loader: _Loader, anchor: Anchor) -> None:
    """Some of what is open has been taken, talked about or put off."""
    if not loader.people:
        return
    cases = list(Case.objects.exclude(state=lifecycle.RESOLVED).order_by("opened_at", "transaction_id"))
    for position, case in enumerate(cases):
        by = loader.people[PEOPLE[case.team]]
        waited = (anchor.as_of - case.opened_at) * 0.5
        with clock.set_to(case.opened_at + waited):
            if position % 3 == 0:
                triage.take(numbers=[case.number], by=by)
            if position % 4 == 0:
                triage.comment(numbers=[case.number], by=by, text=COMMENTS[position // 4 % len(COMMENTS)])
        if position % 11 == 5:
            with clock.set_to(anchor.as_of - timedelta(minutes=30)):
                until = anchor.as_of + timedelta(days=2 + position % 3)
                triage.snooze(numbers=[case.number], by=by, until=until, reason="waiting for the customer")


COMMENTS = (
    "Asked the project manager; answer expected this afternoon.",
    "Same as last month. We should fix the source.",
    "Accounting is informed.",
    "Customer confirmed by phone, written confirmation to follow.",
    "Looked at it with the platform team: the data are right, the rule is not.",
)


# ---- what is behind the events --------------------------------------------------------------------------------------


def _catalogue(told: story.Story, by: str) -> None:
    for entity in told.firm.entities:
        LegalEntity.objects.update_or_create(
            code=entity.code, defaults={"name": entity.name, "currency": entity.currency}
        )
    for key, (role, label, vendor) in world.CONNECTIONS.items():
        System.objects.update_or_create(
            key=key, defaults={"label": label, "role": role, "vendor": vendor, "simulated": True}
        )
    for flow in world.all_flows():
        Flow.objects.update_or_create(
            key=flow.key,
            defaults={
                "label": flow.label, "owner": flow.owner, "criticality": flow.criticality, "pattern": flow.pattern,
                "latency_objective": flow.latency_objective, "builtin": True,
            },
        )  # fmt: skip
    Flow.objects.update_or_create(
        key=expenses.FLOW,
        defaults={
            "label": "Approved expense → ERP (middleware)", "owner": "hr_ops", "criticality": "normal",
            "pattern": "batch", "latency_objective": timedelta(hours=8), "builtin": False,
        },
    )  # fmt: skip
    set_rates(rates=rates.rows(), by=by)


def _work_items(items: Sequence[Item], report: Report) -> None:
    """In the order of their lanes: the id decides who goes first."""
    ordered = sorted(items, key=lambda item: (item.letter.message.occurred_at, item.letter.message.key))
    made = WorkItem.objects.bulk_create([_work_item(item) for item in ordered])
    report.counts["work items"] = len(made)


def _work_item(item: Item) -> WorkItem:
    letter: Letter = item.letter
    message = letter.message
    moment = clock.now()
    return WorkItem(
        landscape=LANDSCAPE,
        flow=letter.flow,
        key=message.key,
        lane=message.lane,
        payload=message.payload.model_dump(mode="json"),
        refs=[[ref.system, ref.type, ref.id, ref.role, ref.name] for ref in message.refs],
        transaction_id=letter.transaction,
        entity=message.entity,
        amount=message.amount,
        currency=message.currency,
        state=item.state,
        attempt=item.attempt,
        error=item.error,
        not_before=item.not_before or moment,
        created_at=letter.received_at,
        updated_at=moment,
    )


def _sandbox(told: story.Story, report: Report) -> None:
    """The systems themselves; the jobs know all they hold, so that only what comes later is new."""
    path = sandbox()
    world.build(told, path)
    world.write_connections(Path(settings.OPSBOARD_CONNECTIONS), path)
    for flow in world.all_flows():
        sources, cursor = world.read_to_end(flow, path)
        with connection.cursor() as db:  # one array instead of ten thousand rows of parameters
            db.execute(TAKE, [LANDSCAPE, flow.key, sorted(sources)])
        Cursor.objects.update_or_create(
            landscape=LANDSCAPE, flow=flow.key, defaults={"value": cursor, "read_at": told.firm.as_of}
        )
        report.counts["source records taken"] += len(sources)


def summary(report: Report) -> Iterator[str]:
    """The report in lines for the terminal."""
    anchor = report.anchor
    yield f"Nordwind Consulting as of {anchor.as_of:%Y-%m-%d %H:%M} UTC, seed {anchor.seed}, scale {anchor.scale:g}"
    yield json.dumps(dict(sorted(report.counts.items())))
