"""The story on a real ERP: jobs read three Tryton systems, postings are refused for real reasons, people repair and
replay, and every hour is billed once, to the cent, on both sides. Then the same while workers are killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.db import connection

from opsboard import pipeline
from opsboard.catalog.models import System
from opsboard.jobs.models import WorkItem
from opsboard.log.commands import differences
from opsboard.log.models import Event, Transaction
from opsboard.stack.live_firm import ENTITY
from opsboard.triage import commands as triage
from opsboard.triage.models import Case
from tests.integrations.firms import TrytonFirm
from tests.live import Entries
from tests.personas import make_person

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live"), pytest.mark.django_db(transaction=True)]
REFUSALS = {  # what stands against it in the live firm → category of the exception
    "closed_period": "closed_period",
    "missing_rate": "amount_mismatch",
    "unknown_customer": "missing_reference",
    "incomplete_customer": "invalid_dimension",
}
KILLS = 4
WORKER = """
import time
import django
django.setup()
from opsboard import pipeline
while True:
    pipeline.process() or time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def firm(live_systems: Entries) -> TrytonFirm:
    """Three systems of this module's own; both stories go through them, one after the other."""
    return TrytonFirm(live_systems)


@pytest.fixture(autouse=True)
def connected(firm: TrytonFirm, settings, tmp_path) -> Iterator[None]:
    """opsboard connected to the three systems."""
    settings.OPSBOARD_CONNECTIONS = tmp_path / "connections.json"
    settings.OPSBOARD_CONNECTIONS.write_text(json.dumps(firm.entries))
    for key, entry in firm.entries.items():
        System.objects.create(key=key, label=entry["label"], role=entry["role"], vendor="tryton")
    yield
    with connection.cursor() as cursor:  # what was committed is cleared after the test; the log would refuse
        cursor.execute("SET opsboard.maintenance = 'on'")


def turn_until_quiet(turns: int = 12) -> None:
    """Read and carry until nothing is left that may run."""
    for _ in range(turns):
        pipeline.collect()
        WorkItem.objects.filter(state__in=["ready", "unknown"]).update(not_before=datetime.now(UTC))
        if pipeline.process() == 0:
            break
    pipeline.correlate()


def invoices(firm: TrytonFirm) -> dict[str, tuple[str, Decimal]]:
    """What the ERP has: reference → (state, total)."""
    rows = firm.admin["erp"].search_read(
        "account.invoice", [["type", "=", "out"]], ["reference", "state", "untaxed_amount"]
    )
    assert len({row["reference"] for row in rows}) == len(rows), "an invoice was posted twice"
    return {row["reference"]: (row["state"], row["untaxed_amount"]) for row in rows}


def assert_both_sides_agree(firm: TrytonFirm) -> None:
    """Every billing message that opsboard calls done is one posted invoice of that amount, and there is no other."""
    billed = Transaction.objects.filter(flow="time-to-billing", status="succeeded")
    posted = invoices(firm)
    assert {state for state, _ in posted.values()} <= {"posted", "paid"}
    assert len(posted) == billed.count()
    assert sorted(total for _, total in posted.values()) == sorted(one.amount or 0 for one in billed)


def entries_carried() -> list[str]:
    """The time entries of all billing messages."""
    payloads = WorkItem.objects.filter(flow="time-to-billing").values_list("payload", flat=True)
    return [entry for payload in payloads for line in payload["lines"] for entry in line["entries"]]


def test_real_refusals_are_repaired_and_replayed_and_posted_once(firm):
    finance = make_person("finance", "Miriam Halvorsen", [ENTITY])
    turn_until_quiet()
    refused = list(Case.objects.filter(flow="time-to-billing").exclude(state="resolved"))
    assert {case.category for case in refused} == set(REFUSALS.values())
    assert len(refused) == len(REFUSALS), "one exception for each cause; what waits behind raises none"
    assert not Case.objects.filter(category="unknown").exists()
    before = invoices(firm)
    assert all(state in ("posted", "paid") for state, _ in before.values())

    # replayed before anything is repaired: refused again, nothing posted
    triage.replay(numbers=[case.number for case in refused], by=finance)
    turn_until_quiet()
    assert Case.objects.filter(flow="time-to-billing", state="open").count() == len(REFUSALS)
    assert invoices(firm) == before

    for case in REFUSALS:
        firm.repair(case)
    triage.replay(numbers=[case.number for case in refused], by=finance, reason="Repaired in the ERP")
    turn_until_quiet()
    told = Case.objects.filter(number__in=[case.number for case in refused])
    assert {case.resolution for case in told} == {"replayed"}, [case.title for case in told]
    assert not WorkItem.objects.filter(flow="time-to-billing").exclude(state="done").exists()
    assert_both_sides_agree(firm)
    assert len(entries_carried()) == len(set(entries_carried()))
    assert Transaction.objects.filter(flow="opportunity-to-project", status="succeeded").count() == 3
    assert Transaction.objects.filter(flow="invoice-status", status="succeeded").count() >= len(invoices(firm))
    assert differences() == {}


def test_nothing_is_lost_or_billed_twice_while_workers_are_killed(firm, tmp_path):
    """200 time entries on 20 projects; of two workers one is killed (SIGKILL) now and then, whatever it is doing.

    opsboard's database is empty here, as after a disaster: what the first story billed is read again, and found.
    """
    already = invoices(firm)
    projects = [firm.project_with_time("good", [2 + at % 6 for at in range(10)]) for _ in range(20)]
    pipeline.collect()
    carried = len(entries_carried())
    dice, killed = random.Random(7), 0
    workers: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + 300
    environment = os.environ | {"DATABASE_URL": database_url(), "OPSBOARD_DATA_DIR": str(tmp_path)}
    while unfinished() and time.monotonic() < deadline:
        while len(workers) < 2:
            workers.append(subprocess.Popen([sys.executable, "-c", WORKER], env=environment))
        time.sleep(dice.uniform(1.5, 4.0))
        if killed < KILLS:
            victim = workers.pop(dice.randrange(2))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            killed += 1
        # the lease of what a dead worker held would run out in minutes; here at once
        alive = [str(worker.pid) for worker in workers]
        held = WorkItem.objects.filter(state="running")
        for item in held:
            if item.claimed_by.rpartition(":")[2] not in alive:
                WorkItem.objects.filter(pk=item.pk, state="running").update(
                    lease_until=datetime.now(UTC) - timedelta(1)
                )
        pipeline.reap()
    for worker in workers:
        worker.kill()
        worker.wait()
    assert killed == KILLS
    assert unfinished() == 0, list(WorkItem.objects.exclude(state="done").values_list("key", "state", "error"))
    assert Event.objects.filter(kind="outcome_unknown").exists(), "no worker was killed in the middle"
    assert len(entries_carried()) == len(set(entries_carried())) == carried
    posted = invoices(firm)
    assert {reference: posted[reference] for reference in already} == already
    mine = {reference: row for reference, row in posted.items() if reference not in already}
    items = WorkItem.objects.filter(flow="time-to-billing", payload__project_code__in=projects)
    assert len(mine) == items.count() >= len(projects)
    assert sum(total for _, total in mine.values()) == sum(item.amount or 0 for item in items)
    assert {state for state, _ in mine.values()} == {"posted"}
    assert differences() == {}


def database_url() -> str:
    """This test's database, for another process."""
    here = connection.settings_dict
    return f"postgresql://{here['USER']}@/{here['NAME']}?host={quote(here['HOST'], safe='')}"


def unfinished() -> int:
    """Billing messages that have not reached the ERP."""
    return WorkItem.objects.filter(flow="time-to-billing").exclude(state="done").count()
