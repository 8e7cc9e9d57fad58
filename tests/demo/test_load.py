"""Loading the demo: through the door everybody uses, once, and with systems behind it that keep their word."""

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.transaction import atomic
from django.test import override_settings

from opsboard import pipeline
from opsboard.accounts.models import User
from opsboard.catalog.models import LegalEntity, System
from opsboard.core.errors import Refused
from opsboard.demo import commands, firm, story, trouble
from opsboard.demo.commands import Report
from opsboard.jobs.models import Cursor, Taken, WorkItem
from opsboard.kpis.models import Snapshot
from opsboard.log import commands as log
from opsboard.log.models import Event, Membership, Object, Transaction
from opsboard.log.queries import find
from opsboard.triage import commands as triage
from opsboard.triage import lifecycle
from opsboard.triage.models import Case

pytestmark = pytest.mark.django_db
SEED, SCALE = 3, 0.05


def directory(path: Path) -> override_settings:
    return override_settings(DATA_DIR=path, OPSBOARD_CONNECTIONS=path / "connections.json")


@pytest.fixture(scope="module")
def demo(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[tuple[Report, Path]]:
    """A small demo firm, loaded once for all stories; each works on a copy of its sandbox."""
    path = tmp_path_factory.mktemp("demo")
    (path / "connections.json").write_text(json.dumps({"live-erp": {"connector": "tryton", "landscape": "live"}}))
    with django_db_blocker.unblock(), atomic(), directory(path):
        call_command("demo_accounts", file=path / "accounts.json", quiet=True)
        yield commands.load(seed=SEED, scale=SCALE, trend=20, by="test"), path
        connection.set_rollback(True)


@pytest.fixture
def loaded(demo, db, tmp_path) -> Iterator[Report]:
    """The demo with a sandbox of this test's own."""
    report, path = demo
    shutil.copy(path / "sandbox.sqlite3", tmp_path)
    connections = json.loads((path / "connections.json").read_text())
    for entry in connections.values():
        if "path" in entry:
            entry["path"] = str(tmp_path / "sandbox.sqlite3")
    del connections["live-erp"]
    (tmp_path / "connections.json").write_text(json.dumps(connections))
    with directory(tmp_path):
        yield report


def told(report: Report) -> story.Story:
    return story.tell(firm.build(report.anchor.seed, report.anchor.as_of, report.anchor.scale))


def open_case(cause: str) -> Case:
    message = trouble.CAUSES[cause].message.partition("{")[0]
    item = next(
        item
        for item in WorkItem.objects.filter(state="failed").order_by("pk")
        if message in str((item.error or {}).get("message"))
    )
    return Case.objects.exclude(state=lifecycle.RESOLVED).get(transaction_id=item.transaction_id)


def replay(case: Case) -> Case:
    """Somebody of the platform team replays; the worker works."""
    by = User.objects.get(email="platform@demo.example")
    triage.replay(numbers=[case.number], by=by)
    pipeline.process()
    return Case.objects.get(number=case.number)


def test_what_was_planned_is_open_and_nothing_else(loaded):
    planned = [item for item in told(loaded).telling.items if item.state == "failed"]
    open_now = Case.objects.exclude(state=lifecycle.RESOLVED)
    with_items = set(open_now.exclude(flow="expense-to-erp").values_list("transaction_id", flat=True))
    assert with_items == {item.letter.transaction for item in planned}
    assert set(WorkItem.objects.filter(state="failed").values_list("transaction_id", flat=True)) == with_items
    assert {"finance", "pmo", "platform"} <= set(open_now.values_list("team", flat=True))
    assert Case.objects.filter(state=lifecycle.RESOLVED, resolution="replayed").exists(), "a past with people in it"
    assert Case.objects.filter(assignee__isnull=False).exclude(state=lifecycle.RESOLVED).exists()
    assert Transaction.objects.filter(status="unknown").count() == 1


def test_exceptions_are_as_old_as_their_failures(loaded):
    for case in Case.objects.all():
        failed = Event.objects.get(id=case.error_event)
        assert case.opened_at <= failed.received_at <= loaded.anchor.as_of
        assert case.resolved_at is None or case.opened_at < case.resolved_at <= loaded.anchor.as_of


def test_each_engagement_is_one_thread(loaded):
    engagements = {project.code for project in told(loaded).firm.projects}
    waiting = len(told(loaded).firm.waiting)
    assert Membership.objects.values("thread_id").distinct().count() == len(engagements) + waiting
    project = Object.objects.get(system="demo-psa", type="project", external_id=sorted(engagements)[5])
    (thread,) = Membership.objects.filter(object_id=project.pk).values_list("thread_id", flat=True)
    types = set(
        Object.objects.filter(pk__in=Membership.objects.filter(thread_id=thread).values("object_id")).values_list(
            "type", flat=True
        )
    )
    assert {"opportunity", "project", "billing_request", "invoice"} <= types


def test_any_number_of_any_system_leads_to_the_engagement(loaded):
    person = User.objects.get(email="auditor@demo.example")
    invoice = told(loaded).invoices[7]
    project, (card, *_) = invoice.bill.project, invoice.bill.cards
    for number in (invoice.number, card.id, project.code, project.opportunity.number):
        assert project.name in {line.title for line in find(person, number)}, number
    customer = project.customer
    engagements = {one.name for one in told(loaded).firm.projects if one.customer == customer}
    for number in (customer.crm, customer.psa, customer.erp):
        assert engagements & {line.title for line in find(person, number)}, number


def test_the_log_and_its_projections_agree(loaded):
    assert log.differences() == {}
    before = list(Case.objects.order_by("number").values())
    triage.rebuild()
    assert list(Case.objects.order_by("number").values()) == before


def test_loading_again_changes_nothing(loaded):
    before = {model: model.objects.count() for model in (Event, Transaction, Case, WorkItem, Taken, Cursor, Snapshot)}
    again = commands.load(seed=SEED, scale=SCALE, by="test")
    assert again.before
    assert again.counts["events"] == 0
    assert again.counts["events known before"] > 4_000
    assert {model: model.objects.count() for model in before} == before
    with pytest.raises(Refused, match="seed 3"):
        commands.load(seed=4, scale=SCALE, by="test")


def test_the_jobs_take_nothing_that_the_demo_has_told(loaded):
    events = Event.objects.count()
    assert pipeline.collect() == 0
    assert Event.objects.count() == events


def test_catalogue_connections_and_trends_are_there(demo, loaded):
    assert set(LegalEntity.objects.values_list("code", flat=True)) == {"NWC-DE", "NWC-US"}
    assert System.objects.get(key="demo-erp").label == "NetSuite (simulated)"
    assert System.objects.filter(simulated=True).count() == 3
    path = demo[1] / "connections.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"live-erp", "demo-crm", "demo-psa", "demo-erp"}, "others stay"
    assert Snapshot.objects.values("day").distinct().count() == 21


def test_a_closed_period_stays_closed_until_it_is_opened_and_what_waited_follows(loaded, capsys):
    case = open_case("closed_period")
    item = WorkItem.objects.get(transaction_id=case.transaction_id)
    refused = replay(case)
    assert (refused.state, refused.category) == (lifecycle.OPEN, "closed_period")
    period = item.payload["invoice_date"][:7]
    call_command("demo_world", "open_period", period, "--entity", item.entity)
    assert f"{period} is open in {item.entity}" in capsys.readouterr().out
    posted = replay(refused)
    assert (posted.state, posted.resolution) == (lifecycle.RESOLVED, "replayed")
    item.refresh_from_db()
    assert item.state == "done"
    assert item.result
    assert item.result["reference"].startswith(f"INV-{item.entity}-")
    assert not WorkItem.objects.filter(lane=item.lane, state="ready", not_before__lte=item.updated_at).exists()


@pytest.mark.parametrize(
    ("cause", "action", "named"),
    [
        ("credit_hold", "release_customer", "customer_erp"),
        ("pending", "approve_project", "project_code"),
        ("cost_center", "map_cost_center", "cost_center"),
        ("customer", "create_customer", "customer_code"),
    ],
)
def test_a_replay_is_refused_until_the_cause_is_removed_in_the_system(loaded, cause, action, named):
    case = open_case(cause)
    payload = WorkItem.objects.get(transaction_id=case.transaction_id).payload
    refused = replay(case)
    assert refused.state == lifecycle.OPEN
    customers = {one.psa: one.erp for one in told(loaded).firm.customers}
    value = payload.get(named) or customers[payload["customer_code"]]
    call_command("demo_world", action, value)
    assert replay(refused).state == lifecycle.RESOLVED


def test_a_wrong_cost_centre_can_be_corrected_in_the_payload_instead(loaded):
    case = open_case("cost_center")
    item = WorkItem.objects.get(transaction_id=case.transaction_id)
    by = User.objects.get(email="finance@demo.example")
    triage.fix(number=case.number, document=item.payload | {"cost_center": "DE-410"}, by=by, reason="typing error")
    assert replay(Case.objects.get(number=case.number)).state == lifecycle.RESOLVED


def test_what_was_billed_by_hand_is_refused_for_good(loaded):
    case = open_case("billed")
    first = Event.objects.get(id=case.error_event)
    again = replay(case)
    assert again.state == lifecycle.OPEN
    assert again.error_event != first.id


def test_newly_approved_time_is_carried_for_real(loaded, capsys):
    call_command("demo_world", "approve_time", "--count", "3")
    assert "3 time entries approved" in capsys.readouterr().out
    assert pipeline.collect() >= 1
    pipeline.process()
    assert Event.objects.filter(
        source="urn:opsboard:demo:time-to-billing", received_at__gt=loaded.anchor.as_of
    ).exists()


def test_the_sandbox_is_administrated_by_words_one_understands(loaded, capsys):
    call_command("demo_world", "status")
    assert "customers on hold: CUST-" in capsys.readouterr().out
    call_command("demo_world", "win_deal", "Migration", "50000", "--customer", "Hansewerk")
    assert pipeline.collect() == 1
    call_command("demo_world", "add_rate", "CHF", "--entity", "NWC-US")
    call_command("demo_world", "fail_next", "erp", "busy")
    with pytest.raises(CommandError, match="ACC-1"):
        call_command("demo_world", "create_customer", "ACC-1")
    with pytest.raises(CommandError, match="no invoice"):
        call_command("demo_world", "pay_invoice", "INV-0")


def test_without_a_sandbox_there_is_nothing_to_administrate(tmp_path):
    with directory(tmp_path), pytest.raises(CommandError, match="demo_load"):
        call_command("demo_world", "status")
