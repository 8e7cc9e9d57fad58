"""Keeping what the figures were, for their trends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db.models import Min
from django.db.transaction import atomic
from psycopg.sql import SQL

from opsboard.catalog.models import LegalEntity
from opsboard.core.clock import UTC, now
from opsboard.kpis.models import FIRM, Snapshot
from opsboard.kpis.queries import EXACT, Filters, Sum, end_of, period, sums, value_of
from opsboard.kpis.registry import Kpi, kpis
from opsboard.log.models import Transaction


def snapshot(day: date | None = None) -> int:
    """Write what every KPI is today and was yesterday (or on `day`), per legal entity and for the firm.

    Again on the same day changes the day's rows. Yesterday is written again because its last minutes, and what came in
    late, were not in its last row. Returns the number of rows; a query per KPI and three more, whatever the number of
    records.
    """
    today = now().astimezone(UTC).date()
    return _write([day] if day else [today - timedelta(days=1), today])


def backfill(days: int) -> int:
    """Write the `days` days before today again, as far as the log reaches back; returns the number of rows.

    A past day is what the log of today says about it: when things began, finished and were resolved. A transaction
    that finished twice counts as finished from the last time on.
    """
    today = now().astimezone(UTC).date()
    return _write([today - timedelta(days=back) for back in range(days, 0, -1)])


@atomic
def _write(days: Sequence[date]) -> int:
    begin: datetime | None = Transaction.objects.aggregate(at=Min("first_at"))["at"]
    moment = now()
    if begin is None:
        return 0
    moments = [(day, min(end_of(day), moment)) for day in days if begin < min(end_of(day), moment)]
    if not moments:
        return 0
    places = [FIRM, *LegalEntity.objects.order_by("code").values_list("code", flat=True)]
    rows = [row for kpi in kpis().values() for row in _rows(kpi, moments, places)]
    Snapshot.objects.bulk_create(
        sorted(rows, key=lambda row: (row.kpi, row.entity, row.day)),  # two writers lock in the same order
        batch_size=5_000,
        update_conflicts=True,
        unique_fields=["kpi", "entity", "day"],
        update_fields=["numerator", "denominator", "value", "at"],
    )
    return len(rows)


def _rows(kpi: Kpi, moments: Sequence[tuple[date, datetime]], places: Sequence[str]) -> list[Snapshot]:
    """The KPI on these days: for the entities that have records, and for the known ones that have none."""
    points = [period(kpi, at) for _, at in moments]
    found = {
        (one.point, FIRM if one.key is None else one.key): one
        for one in sums(replace(kpi, also=()), points, None, Filters(), by=SQL("r.entity"), whole=True)
    }
    wanted = found.keys() | {(no, place) for no in range(len(moments)) for place in places}
    return [_row(kpi, moments[no], place, found.get((no, place))) for no, place in wanted]


def _row(kpi: Kpi, moment: tuple[date, datetime], place: str, one: Sum | None) -> Snapshot:
    numerator, counted, measure = (one.numerator, one.counted, one.measure) if one else (Decimal(0), 0, None)
    value = value_of(kpi.aggregate, numerator, counted, measure)
    if one and one.count and not one.counted:
        value = None
    return Snapshot(
        kpi=kpi.key,
        day=moment[0],
        entity=place,
        numerator=numerator.quantize(EXACT),
        denominator=counted,
        value=value,
        at=moment[1],
    )
