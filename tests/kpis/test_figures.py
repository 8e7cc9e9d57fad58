"""Each KPI on a case small enough to work out by hand."""

from decimal import Decimal

import pytest
import time_machine
from django.http import QueryDict

from opsboard.kpis import commands, queries
from opsboard.kpis.queries import Filters, UnknownKpi
from tests.kpis.firm import (
    BILLING,
    NOW,
    PROJECTS,
    STATUS,
    Replay,
    ago,
    case,
    dollars_at,
    replays,
    transaction,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def today():
    """The clock stands at NOW; a dollar is worth ninety cents."""
    with time_machine.travel(NOW, tick=False):
        dollars_at("0.90")
        yield


def measures(figure) -> dict[str, Decimal | None]:
    return {one.key: one.value for one in figure.measures}


def test_unbilled_approved_time_is_what_was_approved_and_not_invoiced(executive):
    transaction(status="pending", amount="1000.00", began=ago(2))
    transaction(status="failed", amount="500.00", currency="USD", began=ago(40))
    transaction(status="unknown", amount="70.00", currency="CHF", began=ago(3))  # no rate
    transaction(status="succeeded", amount="9999.00", began=ago(50), ended=ago(1))
    transaction(status="closed", amount="9999.00", began=ago(50), ended=ago(1))
    transaction(PROJECTS, status="pending", amount="9999.00", began=ago(2))
    commands.backfill(60)
    found = queries.figure(executive, "unbilled_approved_time")
    assert found.value == Decimal("1450.00")  # 1000 + 500 dollars at 0.90
    assert (found.text, found.currency, found.unit) == ("€1,450.00", "EUR", "money")
    assert (found.count, found.excluded, found.excluded_reason) == (3, 1, "no exchange rate")
    # (2 days x 1000 + 40 days x 450) / 1450
    assert measures(found) == {"records": 3, "age": Decimal("13.793103"), "oldest": 40}
    slices = queries.breakdown(executive, "unbilled_approved_time")
    assert [(part.label, part.value, part.count) for part in slices] == [
        ("Up to 7 days", Decimal("1000.00"), 2),
        ("31 to 60 days", Decimal("450.00"), 1),
    ]
    # Thirty days ago the invoices of yesterday were unbilled too, and only the old half-thousand dollars besides.
    assert found.delta == Decimal("1450.00") - (Decimal("450.00") + 2 * Decimal("9999.00"))
    assert found.better is True


def test_the_records_say_what_they_are_and_why_one_does_not_count(executive):
    dear = transaction(status="failed", amount="500.00", currency="USD", began=ago(40), entity="US01")
    opened = case(dear, customer="Acme Inc.", object_label="Time Oct 2026")
    foreign = transaction(status="pending", amount="70.00", currency="CHF", began=ago(3))
    first, second = queries.rows(executive, "unbilled_approved_time").rows
    assert (first.transaction_id, first.reference, first.case) == (dear.id, dear.key, opened.reference)
    assert (first.customer, first.label, first.status) == ("Acme Inc.", "Time Oct 2026", "failed")
    assert (first.amount, first.currency, first.base) == (Decimal("500.00"), "USD", Decimal("450.00"))
    assert (first.part, first.part_text) == ("31 to 60 days", "31 to 60 days")
    assert (first.contribution, first.contribution_text, first.age_days) == (Decimal("450.00"), "€450.00", Decimal(40))
    assert (second.transaction_id, second.case, second.contribution, second.base) == (foreign.id, "", None, None)
    assert second.note == "no exchange rate"


def test_only_amounts_that_cannot_be_valued_is_no_figure_rather_than_zero(executive):
    transaction(status="pending", amount="70.00", currency="CHF")
    found = queries.figure(executive, "unbilled_approved_time")
    assert (found.value, found.count, found.excluded, found.status) == (None, 1, 1, "unknown")


def test_nothing_unbilled_where_time_was_billed_is_a_true_zero(executive):
    transaction(status="succeeded", ended=ago(0.5))
    found = queries.figure(executive, "unbilled_approved_time")
    assert (found.value, found.text, found.status) == (Decimal(0), "€0.00", "good")


def test_blocked_invoices_are_the_open_exceptions_of_billing_by_reason(executive):
    case(transaction(status="failed"), amount_base=Decimal("800.00"), category="closed_period")
    snoozed = {"state": "snoozed", "snoozed_until": NOW}
    case(transaction(status="failed"), amount_base=Decimal("300.00"), category="invalid_dimension", **snoozed)
    case(transaction(status="failed", currency="CHF"), amount_base=Decimal(0))  # no rate when it was opened
    case(transaction(status="succeeded"), amount_base=Decimal("50.00"), resolved_at=ago(0.5), resolution="replayed")
    case(transaction(PROJECTS, status="failed"), amount_base=Decimal("9000.00"))
    found = queries.figure(executive, "blocked_invoices")
    assert (found.value, found.count, found.excluded) == (Decimal("1100.00"), 3, 1)
    slices = queries.breakdown(executive, "blocked_invoices")
    assert [(part.label, part.value) for part in slices] == [
        ("Closed period", Decimal("800.00")),
        ("Invalid dimension", Decimal("300.00")),
    ]
    assert [part.share for part in slices] == [pytest.approx(8 / 11), pytest.approx(3 / 11)]


def test_days_to_invoice_is_the_median_with_the_mean_beside_it(executive):
    for days in (1, 2, 3, 30):
        transaction(status="succeeded", began=ago(days + 5), ended=ago(5))
    transaction(status="succeeded", began=ago(100), ended=ago(31))  # before the period
    transaction(status="pending", began=ago(20))
    commands.backfill(60)
    found = queries.figure(executive, "days_approved_to_invoice")
    assert (found.value, found.text, measures(found)["mean"]) == (Decimal(2), "2 days", Decimal(9))
    assert found.delta == Decimal(2) - Decimal(69)
    assert queries.figure(executive, "days_approved_to_invoice", Filters(days=90)).count == 5


def test_days_from_won_deal_to_project(executive):
    transaction(PROJECTS, status="succeeded", began=ago(4.5), ended=ago(1))
    transaction(BILLING, status="succeeded", began=ago(9), ended=ago(1))
    found = queries.figure(executive, "days_won_to_project")
    assert (found.value, found.text, found.status) == (Decimal("3.5"), "3.5 days", "bad")


def test_won_deals_without_a_project(executive):
    transaction(PROJECTS, status="failed", amount="40000.00", began=ago(10))
    transaction(PROJECTS, status="pending", amount="10000.00", began=ago(1), currency="USD")
    transaction(PROJECTS, status="pending", amount=None, began=ago(2))
    transaction(PROJECTS, status="succeeded", amount="1.00", ended=ago(0.5))
    found = queries.figure(executive, "won_not_converted")
    assert (found.value, found.excluded, found.status) == (Decimal(3), 0, "bad")
    assert measures(found)["value"] == Decimal("49000.00")
    assert measures(found)["oldest"] == Decimal(10)


def test_open_and_overdue_exceptions_by_team(executive):
    case(transaction(status="failed", began=ago(0.5)), team="finance")  # due tomorrow
    case(transaction(status="failed", began=ago(5)), team="finance")
    case(transaction(PROJECTS, status="failed", began=ago(6)), team="sales_ops")
    case(transaction(began=ago(9)), team="pmo", resolved_at=ago(1), resolution="not_needed")
    assert queries.figure(executive, "open_exceptions").value == 3
    found = queries.figure(executive, "overdue_exceptions")
    assert (found.value, found.status) == (Decimal(2), "bad")
    slices = queries.breakdown(executive, "open_exceptions")
    assert [(part.label, part.text) for part in slices] == [("Finance", "2"), ("Sales operations", "1")]


def test_value_released_is_that_of_messages_that_reached_their_target(executive):
    def resolved(base: str, resolution: str, days_ago: float) -> None:
        about = transaction(began=ago(days_ago + 2), ended=ago(days_ago), status="succeeded")
        case(about, amount_base=Decimal(base), resolved_at=ago(days_ago), resolution=resolution)

    resolved("700.00", "replayed", 3)
    resolved("40.00", "later_success", 3)
    resolved("5000.00", "at_source", 3)
    resolved("600.00", "replayed", 45)
    commands.backfill(60)
    found = queries.figure(executive, "cleared_value")
    assert (found.value, found.delta, found.better) == (Decimal("740.00"), Decimal("140.00"), True)
    assert (found.status, found.word) == ("no_target", "No target")


def test_the_failure_rate_counts_transactions_and_forgives_retries(executive):
    for _ in range(7):
        transaction(status="succeeded", began=ago(3), ended=ago(2))
    recovered = transaction(STATUS, status="succeeded", began=ago(3), ended=ago(2))
    recovered.failures = 4
    recovered.save()
    repaired = transaction(status="succeeded", began=ago(3), ended=ago(2))
    case(repaired, resolved_at=ago(2), resolution="replayed")
    transaction(PROJECTS, status="failed", began=ago(3), ended=ago(2))
    transaction(status="failed", began=ago(31), ended=ago(1))  # began before the period
    found = queries.figure(executive, "integration_failure_rate")
    assert (found.value, found.count, found.text) == (Decimal(20), 10, "20.0\xa0%")
    only = queries.figure(executive, "integration_failure_rate", Filters(flow=STATUS))
    assert (only.value, only.status) == (Decimal(0), "good")


def test_latency_is_the_time_ninety_five_of_a_hundred_stay_below(executive):
    for seconds in range(1, 101):
        transaction(status="succeeded", began=ago(1 + seconds / 86400), ended=ago(1))
    found = queries.figure(executive, "latency_p95")
    assert (found.value, found.text) == (Decimal(95), "1.6 minutes")
    assert queries.figure(executive, "latency_p95", Filters(days=1)).value is None


def test_the_backlog_and_its_oldest(executive):
    for flow, days in ((BILLING, 12.0), (PROJECTS, 0.25), (STATUS, 3)):
        transaction(flow, status="retrying", began=ago(days))
    transaction(status="superseded", began=ago(99), ended=ago(98))
    assert queries.figure(executive, "backlog").value == 3
    oldest = queries.figure(executive, "oldest_unfinished")
    assert (oldest.value, oldest.text, oldest.status) == (Decimal(12), "12 days", "good")
    assert queries.figure(executive, "oldest_unfinished", Filters(flow=PROJECTS)).text == "6 hours"


def test_replay_success_counts_each_replay_that_has_an_outcome(executive):
    stubborn = transaction(status="succeeded", began=ago(5), ended=ago(1))
    case(stubborn, resolved_at=ago(1), resolution="replayed")
    replays(stubborn, Replay(ago(4), "failed"), Replay(ago(3), "failed"), Replay(ago(1.1), "succeeded", ago(1)))
    running = transaction(began=ago(5))
    case(running, state="replaying", changed_at=ago(0.1))
    replays(running, Replay(ago(0.1)))
    found = queries.figure(executive, "replay_success")
    assert (found.value, found.count, found.excluded) == (Decimal("33.333333"), 4, 1)
    assert found.excluded_reason == "outcome still open"
    failed_first = [row.contribution for row in queries.rows(executive, "replay_success").rows]
    assert failed_first == [0, 0, 1, None]


def test_rows_of_no_known_entity_are_seen_by_those_who_place_them(platform, executive, owner):
    transaction(entity="", amount="10.00")
    transaction(entity="DE01", amount="5.00")
    assert queries.figure(owner, "unbilled_approved_time").value == Decimal("5.00")
    assert queries.figure(executive, "unbilled_approved_time").value == Decimal("15.00")
    platform.entities = ["DE01"]
    assert queries.figure(platform, "unbilled_approved_time").value == Decimal("15.00")
    unplaced = queries.figure(platform, "unbilled_approved_time", Filters(entity="-"))
    assert unplaced.value == Decimal("10.00")
    assert [part.label for part in queries.breakdown(platform, "backlog", Filters(by="entity"))] == ["DE01", "Unknown"]


def test_a_figure_reads_as_in_the_country_of_the_reader(executive):
    transaction(status="pending", amount="84200.50")
    transaction(status="succeeded", amount="1000.00", began=ago(31), ended=ago(3))
    commands.backfill(60)
    executive.locale = "de"
    found = queries.figure(executive, "unbilled_approved_time")
    assert (found.text, found.short) == ("84.200,50\xa0€", "84.200\xa0€")
    assert found.sentence == "83.200,50\xa0€ more than 30 days ago."


@pytest.mark.parametrize(
    ("value", "expected"),
    [("150000.00", "good"), ("150000.01", "warn"), ("165000.00", "warn"), ("165000.01", "bad")],
)
def test_within_a_tenth_of_the_target_is_at_risk(executive, value, expected):
    transaction(status="pending", amount=value)
    assert queries.figure(executive, "unbilled_approved_time").status == expected


@pytest.mark.parametrize(
    ("days", "text"), [(1, "1 day"), (1.5, "1.5 days"), (0.5, "12 hours"), (1 / 24, "1 hour"), (0, "0 seconds")]
)
def test_a_duration_reads_in_the_unit_it_is_best_read_in(executive, days, text):
    transaction(began=ago(days))
    assert queries.figure(executive, "oldest_unfinished").text == text


def test_filters_come_from_the_address_and_nonsense_is_left_out():
    read = Filters.from_query(QueryDict("flow=x&entity=DE01&days=90&by=flow&weeks=4&part=p"))
    assert read == Filters(flow="x", entity="DE01", days=90, by="flow", weeks=4, part="p")
    assert Filters.from_query(QueryDict("days=-1&by=password&weeks=9999")) == Filters()


def test_a_cursor_that_makes_no_sense_starts_from_the_top(executive):
    transaction()
    for cursor in ("x", "1~", "~1", "' OR 1=1~1", "NaN~1"):
        assert len(queries.rows(executive, "backlog", after=cursor).rows) == 1


def test_an_unknown_kpi_is_said_by_name(executive):
    for ask in (queries.figure, queries.rows, queries.breakdown, queries.chart, queries.series):
        with pytest.raises(UnknownKpi, match="profit"):
            ask(executive, "profit")
