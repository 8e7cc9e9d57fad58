"""The log: every event once, and the same threads and transactions whatever the order of arrival."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from django.db import IntegrityError, InternalError, connection
from django.db.transaction import atomic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsboard.log import commands
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Event, Link, Membership, Object, Transaction

pytestmark = pytest.mark.django_db
START = datetime(2026, 10, 1, 8, 0, tzinfo=UTC)

OPPORTUNITY = Named("crm", "opportunity", "006A")
PROJECT = Named("psa", "project", "P-7")
DIMENSION = Named("erp", "project", "4711")
OTHER_PROJECT = Named("psa", "project", "P-8")
TIME = Named("psa", "time_entry", "T-1")
OTHER_TIME = Named("psa", "time_entry", "T-2")
INVOICE = Named("erp", "invoice", "INV-1")
PAYMENT = Named("bank", "payment", "PAY-1")
CUSTOMER = Named("crm", "customer", "ACME", "", "Acme GmbH")


def entry(id_: str, kind: str, *objects: Named, minute: int = 0, **said) -> Entry:
    moment = START + timedelta(minutes=minute)
    return Entry(
        source="urn:test",
        id=id_,
        type="test",
        kind=kind,
        objects=objects,
        occurred_at=moment,
        received_at=moment,
        **said,
    )


def engagement() -> list[Entry]:
    """Opportunity to payment, with a refusal, a second attempt, and an invoice over two projects."""
    billing = {"flow": "time-to-billing", "key": "P-7/2026-10", "currency": "EUR"}
    return [
        entry("1", "acknowledged", OPPORTUNITY, PROJECT, CUSTOMER, flow="opportunity-to-project", minute=1),
        entry("2", "linked", PROJECT, DIMENSION, minute=2),
        entry("3", "received", TIME, PROJECT, minute=3, amount=Decimal("1200.00"), **billing),
        entry("4", "rejected", TIME, PROJECT, minute=4, **billing),
        entry("5", "replayed", TIME, PROJECT, minute=9, attempt=2, **billing),
        entry("6", "acknowledged", TIME, INVOICE, minute=9, attempt=2, amount=Decimal("1250.00"), **billing),
        entry("7", "noted", OTHER_TIME, OTHER_PROJECT, minute=3),
        entry("8", "linked", INVOICE, PROJECT, OTHER_PROJECT, OTHER_TIME, minute=10),
        entry("9", "acknowledged", PAYMENT, INVOICE, flow="invoice-status", minute=30),
    ]


def picture() -> tuple:
    """All projections, as comparable values."""
    return tuple(
        tuple(model.objects.order_by("pk").values_list(*[f.name for f in model._meta.fields]))
        for model in (Object, Link, Membership, Transaction)
    )


def threads(named: Named) -> set[uuid.UUID]:
    from_id = Object.objects.get(system=named.system, type=named.type, external_id=named.id).pk
    return set(Membership.objects.filter(object_id=from_id).values_list("thread_id", flat=True))


def test_one_engagement_is_one_thread_and_the_second_project_keeps_its_own():
    commands.append(engagement())
    commands.correlate()
    (acme,) = threads(OPPORTUNITY)
    assert threads(PROJECT) == threads(DIMENSION) == threads(TIME) == {acme}
    (other,) = threads(OTHER_PROJECT)
    assert other != acme
    assert threads(INVOICE) == threads(PAYMENT) == {acme, other}, "an invoice over two projects belongs to both"
    assert threads(OTHER_TIME) == {other}, "billed on the same invoice, but not drawn into the other engagement"
    assert threads(CUSTOMER) == {acme}, "a customer belongs to its engagements"


def test_a_customer_of_two_engagements_joins_neither_and_leads_to_both():
    commands.append([entry("1", "noted", PROJECT, CUSTOMER), entry("2", "noted", OTHER_PROJECT, CUSTOMER)])
    commands.correlate()
    assert threads(PROJECT) != threads(OTHER_PROJECT)
    assert threads(CUSTOMER) == threads(PROJECT) | threads(OTHER_PROJECT)


def test_what_is_named_beside_one_project_only_belongs_to_it():
    request = Named("psa", "billing_request", "P-7/2026-10")
    commands.append([entry("1", "received", request, PROJECT, TIME, OTHER_TIME)])
    commands.correlate()
    assert threads(TIME) == threads(OTHER_TIME) == threads(request) == threads(PROJECT)


def test_the_latest_name_wins_in_any_order_and_the_same_name_again_writes_nothing():
    named = [
        entry("1", "noted", PROJECT._replace(name="Atlas"), minute=0),
        entry("2", "noted", PROJECT._replace(name="Atlas II"), minute=2 * 24 * 60),
        entry("3", "noted", PROJECT._replace(name="Atlas"), minute=24 * 60),
        entry("4", "noted", PROJECT, minute=3 * 24 * 60),
    ]
    for order in permutations(named):
        assert with_rollback(lambda order=order: [commands.append([one]) for one in order])[0][0][4] == "Atlas II"
    commands.append(named)
    version = row_version()
    commands.append([entry("5", "noted", PROJECT._replace(name="Atlas II"), minute=2 * 24 * 60 + 9)])
    assert row_version() == version


def row_version() -> tuple:
    """Where the project's row stands and who last wrote to it or locked it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid::text, xmin::text, xmax::text FROM log_object WHERE external_id = 'P-7'")
        return cursor.fetchone()


def test_a_transaction_stands_where_its_last_attempt_left_it():
    commands.append(engagement())
    billing = Transaction.objects.get(flow="time-to-billing")
    assert (billing.status, billing.attempt, billing.amount) == ("succeeded", 2, Decimal("1250.00"))
    assert (billing.events, billing.failures) == (4, 1)


def test_the_same_event_again_changes_nothing_and_other_content_is_a_conflict():
    first = engagement()
    assert commands.append(first).accepted == list(range(len(first)))
    before = picture()
    again = commands.append([*first, entry("1", "rejected", OPPORTUNITY, flow="opportunity-to-project")])
    assert again.accepted == []
    assert again.duplicates == list(range(len(first)))
    assert again.conflicts == [len(first)]
    assert picture() == before
    assert Event.objects.count() == len(first)


def test_a_batch_that_says_one_thing_twice_counts_it_once():
    one = engagement()[2]
    result = commands.append([one, one, entry("3", "received", TIME, minute=4)])
    assert (result.accepted, result.duplicates, result.conflicts) == ([0], [1], [2])


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_any_batches_any_duplicates_give_the_same_picture(data):
    events = engagement()
    sent = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=4)))
    correlate_after = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
    expected = with_rollback(lambda: (commands.append(events), commands.correlate()))

    def arrive() -> None:
        for turn, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(sent)], strict=True)):
            commands.append(sent[start:end])
            if correlate_after[turn]:
                commands.correlate()
        commands.correlate()

    assert with_rollback(arrive) == expected


def with_rollback(arrive) -> tuple:
    """The picture after `arrive`, undone again: one database serves many examples."""
    with atomic():
        arrive()
        seen = picture()
        connection.set_rollback(True)
    return seen


def test_rebuild_gives_equal_rows_and_check_finds_what_was_altered():
    commands.append(engagement())
    commands.correlate()
    before = picture()
    assert commands.differences() == {}
    assert commands.rebuild() == len(engagement())
    assert picture() == before
    Transaction.objects.filter(flow="time-to-billing").update(status="failed")
    assert commands.differences() == {"log_transaction": 2}
    assert Transaction.objects.get(flow="time-to-billing").status == "failed", "checking repairs nothing"


@pytest.mark.parametrize("statement", ["UPDATE log_event SET kind = 'noted'", "DELETE FROM log_event"])
def test_the_log_refuses_to_be_changed(statement):
    commands.append(engagement()[:1])
    with pytest.raises((IntegrityError, InternalError), match="append-only"), connection.cursor() as cursor:
        cursor.execute(statement)


def test_payloads_fall_into_the_partition_of_their_month():
    commands.make_partitions()
    commands.append([entry("1", "received", TIME, payload={"hours": "7.50"})])
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, data ->> 'hours' FROM log_payload")
        assert cursor.fetchall() == [(f"log_payload_{datetime.now(UTC):%Y_%m}", "7.50")]
