"""A small firm's log, row by row: transactions, exceptions and replays as the projections hold them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

from integrations.flows import invoice_status, opportunity_to_project, time_to_billing
from opsboard.catalog.commands import set_rates
from opsboard.core import ids
from opsboard.log.models import Event, Transaction
from opsboard.triage.models import Case

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BILLING = time_to_billing.FLOW.key
PROJECTS = opportunity_to_project.FLOW.key
STATUS = invoice_status.FLOW.key
UNFINISHED = ("pending", "retrying", "unknown", "failed")

_numbers = count(1)


def ago(days: float) -> datetime:
    """That many days before NOW."""
    return NOW - timedelta(days=days)


def dollars_at(per_euro: str) -> None:
    """One rate for all months: so many euros for a dollar."""
    set_rates(rates=[("EUR", datetime(2020, 1, 1, tzinfo=UTC).date(), Decimal(per_euro))], by="test")


def transaction(
    flow: str = BILLING,
    *,
    entity: str = "DE01",
    status: str = "pending",
    amount: str | Decimal | None = "100.00",
    currency: str = "EUR",
    began: datetime | None = None,
    ended: datetime | None = None,
) -> Transaction:
    """A transaction; `ended` is the moment of its last decisive event."""
    key = f"key/{next(_numbers)}"
    first = began or ago(1)
    return Transaction.objects.create(
        id=ids.transaction_id(flow, key),
        flow=flow,
        key=key,
        entity=entity,
        status=status,
        amount=None if amount is None else Decimal(amount),
        currency=currency,
        first_at=first,
        first_event=ids.event_id("test", key),
        head_at=ended or first,
        last_at=ended or first,
    )


def case(about: Transaction, **fields: Any) -> Case:
    """An exception about the transaction; opened when it began and due a day later unless said otherwise."""
    opened = fields.pop("opened_at", about.first_at)
    resolved = fields.get("resolved_at")
    return Case.objects.create(
        **{
            "number": next(_numbers),
            "transaction": about,
            "flow": about.flow,
            "entity": about.entity,
            "team": "finance",
            "state": "resolved" if resolved else "open",
            "severity": 2,
            "category": "closed_period",
            "fingerprint": "one",
            "title": "Invoice was refused",
            "amount": about.amount,
            "currency": about.currency,
            "amount_base": about.amount or 0,
            "error_event": ids.event_id("test", f"error {about.key}"),
            "opened_at": opened,
            "due_at": opened + timedelta(days=1),
            "changed_at": resolved or opened,
            **fields,
        }
    )


@dataclass(frozen=True)
class Replay:
    """A replay and, when it has one, its outcome."""

    began: datetime
    outcome: str | None = None
    ended: datetime | None = None


def replays(about: Transaction, *attempts: Replay) -> None:
    """Replays of the transaction, each a further attempt, as events of the log."""
    for attempt, one in enumerate(attempts, start=2):
        _event(about, "replayed", "pending", one.began, attempt)
        if one.outcome:
            kind = "acknowledged" if one.outcome == "succeeded" else "rejected"
            _event(about, kind, one.outcome, one.ended or one.began + timedelta(minutes=1), attempt)


def _event(about: Transaction, kind: str, status: str, at: datetime, attempt: int) -> None:
    name = f"{about.key}/{attempt}/{kind}"
    identity: UUID = ids.event_id("test", name)
    Event.objects.create(
        id=identity,
        source="test",
        external_id=name,
        type="test",
        digest=b"",
        kind=kind,
        flow=about.flow,
        key=about.key,
        transaction_id=about.id,
        status=status,
        entity=about.entity,
        attempt=attempt,
        occurred_at=at,
        received_at=at,
    )
