"""One engagement from the won opportunity to the finance page: read this first.

A job reads the CRM, makes the project; approved time is billed; the ERP refuses (the period is closed); the refusal
stands as an exception in Finance's queue, in business words; Finance has the period opened and replays; the ERP posts
it exactly once, what waited follows in order, and the money is no longer unbilled.
"""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from integrations.connectors.sandbox import World
from opsboard import pipeline
from opsboard.catalog.models import System
from opsboard.core.errors import Refused
from opsboard.jobs.models import WorkItem
from opsboard.kpis import queries as kpis
from opsboard.log import queries as log
from opsboard.log.commands import differences
from opsboard.log.models import Event, Transaction
from opsboard.triage import commands as triage
from opsboard.triage import queries as desk
from opsboard.triage.models import Case
from tests.personas import OWN_ENTITY

pytestmark = pytest.mark.django_db
THIS_MONTH = datetime.now(UTC).date().replace(day=1)


@pytest.fixture
def world(tmp_path, settings) -> World:
    """A simulated firm: one won opportunity, a project with approved time, and an accounting period that is closed."""
    path = tmp_path / "sandbox.sqlite3"
    settings.OPSBOARD_CONNECTIONS = tmp_path / "connections.json"
    entry = {"connector": "sandbox", "landscape": "demo", "path": str(path)}
    labels = {"crm": "Salesforce", "psa": "Certinia", "erp": "NetSuite"}
    vendors = {"crm": "salesforce", "psa": "certinia", "erp": "netsuite"}
    settings.OPSBOARD_CONNECTIONS.write_text(
        json.dumps({f"demo-{role}": entry | {"role": role, "label": label} for role, label in labels.items()})
    )
    for role, label in labels.items():
        System.objects.create(key=f"demo-{role}", label=label, role=role, vendor=vendors[role], simulated=True)
    firm = World(path)
    firm.add_legal_entity(OWN_ENTITY, "Nordwind GmbH", "EUR")
    firm.close_period(OWN_ENTITY, f"{THIS_MONTH:%Y-%m}")
    firm.map_cost_center("CC-10", "Consulting")
    firm.load(
        crm_account=[
            {"code": "001ACME", "name": "Acme AG", "tax_id": "DE811", "currency": "EUR", "entity": OWN_ENTITY}
        ],
        opportunity=[
            {
                "number": "OPP-7",
                "name": "Atlas rollout",
                "account": "001ACME",
                "amount": Decimal(90_000),
                "currency": "EUR",
                "entity": OWN_ENTITY,
                "closed_on": THIS_MONTH,
                "service_line": "Advisory",
            }
        ],
    )
    return firm


def work_on(firm: World, entry: str, hours: str, person: str = "C-1") -> None:
    """A consultant's approved hours on the project."""
    with firm.read() as db:
        code = db.execute("SELECT code FROM project").fetchone()["code"]
    firm.load(
        time_entry=[
            {
                "id": entry,
                "project": code,
                "person_code": person,
                "person_name": "Ada Quist",
                "worked_on": THIS_MONTH,
                "hours": Decimal(hours),
                "rate": Decimal("150.00"),
            }
        ]
    )


def run() -> None:
    """One turn of the jobs: read the sources, carry what may run, fold links into threads."""
    pipeline.collect()
    pipeline.process()
    pipeline.correlate()


def invoices(firm: World) -> list[tuple[str, str]]:
    with firm.read() as db:
        return [(row["state"], row["total"]) for row in db.execute("SELECT state, total FROM invoice ORDER BY id")]


@pytest.fixture
def delivered(world) -> World:
    """The project exists and an hour entry is approved, a second one after the first was refused."""
    run()
    world.set_project(the_project(world), cost_center="CC-10")
    work_on(world, "TE-1", "8.00")
    run()
    work_on(world, "TE-2", "2.00")
    run()
    return world


def the_project(firm: World) -> str:
    with firm.read() as db:
        return db.execute("SELECT code FROM project").fetchone()["code"]


def test_a_won_opportunity_becomes_a_project_with_its_customer(world, owner):
    run()
    won = Transaction.objects.get(flow="opportunity-to-project")
    assert (won.status, won.amount, won.currency) == ("succeeded", Decimal("90000.00"), "EUR")
    (line,) = log.find(owner, "OPP-7")
    assert line.title == "Atlas rollout"
    assert log.find(owner, the_project(world)) == [line], "any id of any system leads to the same engagement"


def test_a_closed_period_stands_in_the_queue_of_finance_in_business_words(delivered, owner, colleague):
    (case,) = desk.queue(owner, desk.Filters())
    assert case.team == "finance"
    assert case.category == "closed_period"
    assert "Acme AG" in case.title
    assert "closed" in case.title
    assert "Atlas rollout" in case.object_label
    assert case.amount_base == Decimal("1200.00")
    assert list(desk.queue(colleague, desk.Filters())) == [], "another legal entity: it does not exist for them"
    shown = desk.detail(owner, case.number)
    assert shown.error["message"], "the verbatim answer is one click away"
    assert [item.state for item in shown.behind] == ["ready"], "later time of the project waits behind it"
    assert Case.objects.count() == 1, "what waits raises no exception of its own"


def test_a_replay_is_refused_again_until_the_period_is_open_then_posts_once_and_in_order(delivered, owner):
    (case,) = desk.queue(owner, desk.Filters())
    triage.replay(numbers=[case.number], by=owner)
    with pytest.raises(Refused):
        triage.replay(numbers=[case.number], by=owner)  # the second click
    run()
    case.refresh_from_db()
    assert case.state == "open", "the period is still closed: back in the queue"
    assert [state for state, _ in invoices(delivered)] == []

    delivered.open_period(OWN_ENTITY, f"{THIS_MONTH:%Y-%m}")
    triage.replay(numbers=[case.number], by=owner, reason="Finance opened the period")
    run()
    run()
    case.refresh_from_db()
    assert (case.state, case.resolution) == ("resolved", "replayed")
    assert invoices(delivered) == [("posted", "1200.00"), ("posted", "300.00")], "once each, in order"
    assert not WorkItem.objects.exclude(state="done").exists()
    assert not Transaction.objects.exclude(status="succeeded").exists()
    assert differences() == {}


def test_the_finance_page_shows_the_money_held_and_then_released(delivered, owner):
    def shown(key: str) -> Decimal | None:
        return kpis.figure(owner, key).value

    assert shown("unbilled_approved_time") == Decimal("1500.00"), "what was refused and what waits behind it"
    assert shown("blocked_invoices") == Decimal("1200.00"), "what the exception holds"
    (case,) = desk.queue(owner, desk.Filters())
    delivered.open_period(OWN_ENTITY, f"{THIS_MONTH:%Y-%m}")
    triage.replay(numbers=[case.number], by=owner)
    run()
    assert shown("unbilled_approved_time") == 0
    assert shown("blocked_invoices") == 0
    assert shown("cleared_value") == Decimal("1200.00")


def test_a_fix_moves_the_invoice_into_an_open_period(delivered, owner):
    (case,) = desk.queue(owner, desk.Filters())
    shown = desk.detail(owner, case.number)
    following = date(THIS_MONTH.year + THIS_MONTH.month // 12, THIS_MONTH.month % 12 + 1, 1)
    delivered.open_period(OWN_ENTITY, f"{following:%Y-%m}")
    with pytest.raises(Refused, match="invoice_date"):
        triage.fix(number=case.number, document=shown.payload | {"invoice_date": "soon"}, by=owner, reason="moved")
    with pytest.raises(Refused, match="repairable"):
        triage.fix(number=case.number, document=shown.payload | {"currency": "USD"}, by=owner, reason="why not")
    document = shown.payload | {"invoice_date": following.isoformat()}
    triage.fix(
        number=case.number, document=document, by=owner, reason="Goes into the next period", version=case.version
    )
    assert desk.detail(owner, case.number).changes == [
        {
            "path": "/invoice_date",
            "op": "replace",
            "sent": shown.payload["invoice_date"],
            "yours": following.isoformat(),
        }
    ]
    triage.replay(numbers=[case.number], by=owner)
    run()
    case.refresh_from_db()
    assert case.state == "resolved"
    told = list(Event.objects.filter(facts__case=case.number).order_by("seq").values_list("facts", flat=True))
    assert [one["action"] for one in told] == ["raise", "fix", "replay", "succeed"]
    assert told[1]["by"] == owner.email
    assert told[1]["reason"] == "Goes into the next period"


def test_an_answer_that_is_lost_is_looked_up_and_nothing_is_posted_twice(delivered, owner):
    (case,) = desk.queue(owner, desk.Filters())
    delivered.open_period(OWN_ENTITY, f"{THIS_MONTH:%Y-%m}")
    delivered.fail_next("erp", "drop", times=2)  # the draft is written, the answer is not heard
    triage.replay(numbers=[case.number], by=owner)
    for _ in range(4):
        run()
        WorkItem.objects.filter(state__in=["unknown", "ready"]).update(not_before=datetime.now(UTC))
    assert invoices(delivered) == [("posted", "1200.00"), ("posted", "300.00")]
    assert Event.objects.filter(kind="outcome_unknown").exists()


def test_rebuilding_the_exceptions_from_the_log_gives_equal_rows(delivered, owner):
    (case,) = desk.queue(owner, desk.Filters())
    triage.take(numbers=[case.number], by=owner)
    triage.comment(numbers=[case.number], by=owner, text="Asked the controller")
    before = list(Case.objects.order_by("number").values())
    triage.rebuild()
    assert list(Case.objects.order_by("number").values()) == before
