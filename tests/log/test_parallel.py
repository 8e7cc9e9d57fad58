"""Eight writers at once on the same hot keys: no deadlock, nothing lost, nothing twice, the same picture."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from opsboard.log import commands
from opsboard.log.entry import Named
from opsboard.log.models import Event, Membership, Transaction
from tests.log.test_append import engagement, entry, picture

WRITERS = 8
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def clearing_is_allowed():
    """The database is truncated after a test that really commits; the log would refuse."""
    with connection.cursor() as cursor:
        cursor.execute("SET opsboard.maintenance = 'on'")


def hot_events() -> list:
    """The engagement of the story, and 200 events on five transactions that share projects and invoices."""
    events = engagement()
    for number in range(200):
        objects = (
            Named("psa", "time_entry", f"T-{number % 20}"),
            Named("psa", "project", f"P-{number % 3}"),
            Named("erp", "invoice", f"INV-{number % 7}", "", f"Invoice {number}"),
        )
        kind = ("received", "rejected", "acknowledged")[number % 3]
        said = {"flow": "time-to-billing", "key": f"hot-{number % 5}", "attempt": 1 + number % 4}
        events.append(entry(f"hot-{number}", kind, *objects, minute=number % 50, **said))
    return events


def test_eight_parallel_writers_end_where_one_would_have():
    events = hot_events()
    commands.append(events)
    commands.correlate()
    expected = picture()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE log_event, log_object, log_link, log_membership, log_transaction")
    accepted: list[int] = []

    def write(seed: int) -> None:
        mine = random.Random(seed).sample(events, len(events))
        try:
            for start in range(0, len(mine), 20):
                accepted.append(len(commands.append(mine[start : start + 20]).accepted))
                if start % 60 == 0:
                    commands.correlate()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))  # raises what a writer raised: a deadlock, a lost connection
    commands.correlate()
    assert sum(accepted) == Event.objects.count() == len(events), "every writer sent everything, each counts once"
    assert picture() == expected
    assert commands.differences() == {}
    assert Transaction.objects.exists()
    assert Membership.objects.exists()
