"""Trends: kept day by day, made again from the log, with gaps as gaps."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from opsboard.catalog.models import LegalEntity
from opsboard.kpis import commands, queries
from opsboard.kpis.models import FIRM, Snapshot
from opsboard.kpis.queries import Filters
from opsboard.kpis.registry import kpis
from tests.kpis.firm import BILLING, NOW, PROJECTS, ago, case, dollars_at, transaction

pytestmark = pytest.mark.django_db
TODAY = NOW.date()


@pytest.fixture(autouse=True)
def today():
    """The clock stands at NOW; two legal entities, the second of which does nothing."""
    LegalEntity.objects.create(code="DE01", name="Firm GmbH", currency="EUR")
    LegalEntity.objects.create(code="US01", name="Firm Inc.", currency="USD")
    with time_machine.travel(NOW, tick=False):
        dollars_at("0.90")
        yield


def kept(key: str, entity: str = FIRM, day: date = TODAY) -> Snapshot:
    return Snapshot.objects.get(kpi=key, entity=entity, day=day)


def test_a_snapshot_keeps_what_the_pages_show(executive):
    transaction(status="pending", amount="100.00")
    transaction(status="pending", amount="10.00", entity="")
    case(transaction(PROJECTS, status="failed"))
    commands.snapshot()
    for key in kpis():
        assert kept(key).value == queries.figure(executive, key).value, key
    assert kept("unbilled_approved_time", "DE01").value == Decimal("100.00")
    assert kept("unbilled_approved_time", "").value == Decimal("10.00")
    assert kept("unbilled_approved_time", "US01").value == Decimal(0)
    assert kept("days_approved_to_invoice").value is None


def test_a_snapshot_of_the_same_day_changes_the_row_and_adds_none():
    transaction(status="pending", amount="100.00")
    written = commands.snapshot()
    assert Snapshot.objects.count() == written
    transaction(status="pending", amount="20.00")
    assert commands.snapshot() == written
    assert Snapshot.objects.count() == written
    assert kept("unbilled_approved_time").value == Decimal("120.00")


@pytest.mark.parametrize("transactions", [1, 40])
def test_the_number_of_questions_does_not_depend_on_the_records(transactions):
    for _ in range(transactions):
        case(transaction(status="failed", began=ago(100)))
    for days in (1, 91):
        with CaptureQueriesContext(connection) as asked:
            commands.backfill(days)
        assert len(asked) <= len(kpis()) + 6  # first moment, entities, and the writing in batches of thousands


def test_an_empty_log_has_no_history():
    assert commands.snapshot() == 0
    assert commands.backfill(91) == 0


def test_the_past_is_made_again_from_the_log(executive):
    billed = transaction(status="succeeded", amount="300.00", began=ago(40), ended=ago(10))
    case(billed, opened_at=ago(35), resolved_at=ago(10), resolution="replayed", amount_base=Decimal("300.00"))
    transaction(status="pending", amount="50.00", began=ago(20))
    commands.backfill(91)

    def on(key: str, *days_ago: int) -> list[Decimal | None]:
        return [kept(key, day=TODAY - timedelta(days=back)).value for back in days_ago]

    assert on("unbilled_approved_time", 40, 21, 20, 11, 10, 1) == [300, 300, 350, 350, 50, 50]
    assert on("blocked_invoices", 40, 36, 35, 11, 10) == [0, 0, 300, 300, 0]
    assert on("days_approved_to_invoice", 11, 10, 1) == [None, 30, 30]
    assert on("oldest_unfinished", 11, 1) == [Decimal("29.5"), Decimal("19.5")]
    before_the_log = TODAY - timedelta(days=41)
    assert not Snapshot.objects.filter(day__lte=before_the_log).exists()
    assert not Snapshot.objects.filter(day=TODAY).exists()
    # The trend from the snapshots is the one the log gives when it is asked for each day.
    stored = queries.series(executive, "unbilled_approved_time")
    computed = queries.series(executive, "unbilled_approved_time", Filters(flow=BILLING))
    assert set(computed) < set(stored)  # of which it shows one day in seven
    assert [value for _, value in computed][-8:] == [None, None, 300, 300, 300, 350, 50, 50]


def test_a_day_that_was_kept_while_it_ran_is_made_complete_by_the_next_refresh():
    with time_machine.travel(NOW - timedelta(days=1), tick=False):
        transaction(status="pending", amount="100.00", began=ago(3))
        commands.snapshot()
    yesterday = TODAY - timedelta(days=1)
    transaction(status="pending", amount="11.00", began=NOW - timedelta(hours=14))  # yesterday evening
    assert kept("unbilled_approved_time", day=yesterday).value == Decimal("100.00")
    commands.snapshot()
    assert kept("unbilled_approved_time", day=yesterday).value == Decimal("111.00")


def test_a_trend_has_gaps_where_nothing_was_kept_and_ends_with_now(executive):
    transaction(status="pending", amount="100.00", began=ago(20))
    commands.backfill(91)
    Snapshot.objects.filter(day=TODAY - timedelta(days=7)).delete()
    shown = queries.figure(executive, "unbilled_approved_time")
    assert [value for _, value in shown.trend] == [None] * 71 + [100] * 13 + [None] + [100] * 7
    assert [day for day, _ in shown.trend][-2:] == [TODAY - timedelta(days=1), TODAY]
    assert shown.series == [None if value is None else 100.0 for _, value in shown.trend[1::3]]


def test_the_trend_of_a_filtered_figure_is_computed_from_the_log(executive):
    transaction(status="succeeded", began=ago(25), ended=ago(10))
    transaction(PROJECTS, status="pending", began=ago(80))
    shown = queries.series(executive, "backlog", Filters(flow=BILLING))
    assert shown[-5:] == [
        (date(2026, 10, 23), None),  # before anything is known of the flow
        (date(2026, 10, 30), 1),
        (date(2026, 11, 6), 1),
        (date(2026, 11, 13), 0),
        (TODAY, 0),
    ]
    assert Snapshot.objects.count() == 0
    assert [value for _, value in queries.series(executive, "backlog")] == [None] * 91 + [1]


def test_four_weeks_are_shown_by_day(executive):
    assert len(queries.series(executive, "backlog", Filters(weeks=4))) == 28 + 1
    assert len(queries.series(executive, "backlog", Filters(weeks=52))) == 52 + 1


def test_several_entities_together_are_not_the_average_of_their_figures(platform):
    LegalEntity.objects.create(code="CH01", name="Firm AG", currency="CHF")
    for _ in range(9):
        transaction(status="succeeded", began=ago(9), ended=ago(8), entity="DE01")
    transaction(status="succeeded", began=ago(18), ended=ago(8), entity="US01")
    case(transaction(status="failed", began=ago(9), entity="US01"))
    transaction(status="failed", began=ago(9), entity="CH01")
    commands.backfill(91)
    platform.entities = ["DE01", "US01"]
    trend = queries.figure(platform, "integration_failure_rate").series
    assert trend[-2] == pytest.approx(100 / 11)  # one of eleven; the average of 0 and 50 would be 25
    assert queries.figure(platform, "days_approved_to_invoice").series[-2] == 1.0  # the median of all ten


def test_the_chart_has_a_trend_a_target_a_table_and_a_conclusion(executive):
    transaction(status="pending", amount="100000.00", began=ago(80))
    transaction(status="pending", amount="80000.00", began=ago(20))
    commands.backfill(91)
    shown = queries.chart(executive, "unbilled_approved_time")
    actual, target = shown.figure["data"]
    assert (actual["meta"], target["meta"]) == ({"role": "actual"}, {"role": "target"})
    assert actual["x"][-1] == "2026-11-20"
    assert actual["y"] == [None if value is None else float(value) for _, value, _ in shown.rows]
    assert actual["y"][-23:] == [100000.0, 100000.0] + [180000.0] * 21
    assert shown.rows[-1] == (TODAY, Decimal("180000.00"), "€180,000.00")
    assert shown.sentence == (
        "Unbilled approved time rose from €100,000.00 on Sep 1, 2026 to €180,000.00;"
        " the target of €150,000.00 has been missed since Oct 31, 2026."
    )
    assert "color" not in str(shown.figure)
