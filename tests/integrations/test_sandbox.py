"""The simulated firm: several processes at once, bulk loading, and rules that hold."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from integrations.connectors import connect
from integrations.connectors.sandbox import World
from integrations.errors import Permanent
from integrations.flows import flows
from opsboard.stack.paths import PROJECT
from tests.integrations.contract import Book, key_of
from tests.integrations.firms import TODAY, SandboxFirm

BILLER = """
import sys
from integrations.connectors import connect
from integrations.errors import Transient
from integrations.flows import flows, idempotency_key

config = {"connector": "sandbox", "path": sys.argv[1]}
systems = {role: connect(config | {"role": role}, role) for role in ("crm", "psa", "erp")}
flow = flows()["time-to-billing"]
for message in flow.collect(systems, None, lambda ids: set()).messages:
    key = idempotency_key(flow.key, message.key, message.payload)
    for attempt in range(5):
        try:
            print(flow.post(systems, message.payload, key, lambda *args, **more: None).reference)
            break
        except Transient as error:
            assert error.code == "GAVE_WAY", error
"""


@pytest.fixture
def firm(tmp_path: Path) -> SandboxFirm:
    return SandboxFirm(tmp_path / "sandbox.sqlite")


def test_several_processes_bill_everything_exactly_once(firm: SandboxFirm) -> None:
    projects = [firm.project_with_time("good", [2, 3]) for _number in range(12)]
    argv = [sys.executable, "-c", BILLER, str(firm.world.path)]
    workers = [subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _one in range(3)]
    printed = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert all(sorted(numbers) == sorted(printed[0]) for numbers in printed)  # all know the same invoices
    with firm.world.read() as db:
        rows = db.execute("SELECT project, number, total FROM invoice WHERE state = 'posted'").fetchall()
    assert sorted(row["project"] for row in rows) == sorted(projects)
    assert sorted(int(row["number"][-5:]) for row in rows) == list(range(1, 13))  # no gap, no number twice
    assert {Decimal(row["total"]) for row in rows} == {Decimal(750)}


def test_ten_thousand_rows_load_within_two_seconds(tmp_path: Path) -> None:
    world = World(tmp_path / "bulk.sqlite")
    rows = [
        {
            "id": f"T-{number}",
            "project": f"P-{number % 60}",
            "person_code": "E-1",
            "person_name": "Ada",
            "worked_on": TODAY,
            "hours": Decimal("7.5"),
            "rate": Decimal("150"),
        }
        for number in range(10_000)
    ]
    started = time.perf_counter()
    assert world.load(time_entry=rows) == {"time_entry": 10_000}
    assert time.perf_counter() - started < 2
    psa: Any = connect({"connector": "sandbox", "role": "psa", "path": str(world.path)}, "demo-psa")
    seen, cursor, more = 0, None, True
    while more:
        page = psa.approved_time(cursor)
        seen, cursor, more = seen + len(page.records), page.cursor, page.more
    assert seen == 10_000


def test_a_load_adds_all_or_nothing(firm: SandboxFirm) -> None:
    row = {"code": "C-good", "name": "again", "currency": "USD", "entity": "US01"}
    with pytest.raises(Exception, match="UNIQUE"):
        firm.world.load(crm_account=[row | {"code": "A-new"}], erp_customer=[row])
    with firm.world.read() as db:
        assert db.execute("SELECT count(*) FROM crm_account").fetchone()[0] == 0


def test_only_known_tables_and_columns_are_written(firm: SandboxFirm) -> None:
    with pytest.raises(ValueError, match="no table"):
        firm.world.load(sqlite_master=[{}])
    with pytest.raises(ValueError, match="no nonsense"):
        firm.world.set_time_entry("T-1", nonsense=1)
    with pytest.raises(LookupError):
        firm.world.set_time_entry("T-404", note="x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "closed"}, "is inactive"),
        ({"status": "pending"}, "pending approval"),
        ({"ceiling": "599.99"}, "exceeds the billing ceiling"),
        ({"cost_center": "CC-410"}, "Invalid Field Value CC-410 for the following field: department"),
    ],
)
def test_rules_of_the_project_hold_until_they_are_met(firm: SandboxFirm, change: dict[str, str], words: str) -> None:
    project = firm.project_with_time("good", [4])
    firm.world.set_project(project, **change)
    flow, book = flows()["time-to-billing"], Book()
    (message,) = book.collect(flow, firm, f"project/{project}")
    key = key_of(flow, message)
    with pytest.raises(Permanent) as refused:
        flow.post(firm.systems, message.payload, key, book.step)
    assert words in refused.value.message
    assert refused.value.http_status == 400
    assert flow.check(firm.systems, message.payload) == [refused.value.message]
    firm.world.set_project(project, status="active", ceiling="600")
    firm.world.map_cost_center("CC-410", "Delivery")
    assert flow.post(firm.systems, message.payload, key, book.step).reference


def test_a_connection_says_that_it_is_simulated(firm: SandboxFirm) -> None:
    for system in firm.systems.values():
        assert system.simulated
        assert "simulated" in system.ping()
    vendors = [system.vendor for system in firm.systems.values()]
    assert vendors == ["salesforce", "certinia", "netsuite"]


def test_changes_during_a_reading_come_with_the_next(firm: SandboxFirm) -> None:
    psa = firm.systems["psa"]
    firm.project_with_time("good", [1, 2])
    first = psa.approved_time(None)
    firm.project_with_time("good", [3])
    second = psa.approved_time(first.cursor)
    new = {record.source for record in second.records} - {record.source for record in first.records}
    assert len(new) == 1
    assert all(record.changed_at <= datetime.now(UTC) for record in second.records)
