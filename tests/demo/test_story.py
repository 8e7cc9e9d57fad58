"""The demo firm before it meets a database: the same every time, plausible, and in the order things happen."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from integrations.connectors import connect
from integrations.connectors.sandbox import World
from integrations.flows import flows
from opsboard.demo import firm, messages, story, trouble, world
from opsboard.demo.telling import Act, merged
from opsboard.demo.work import UTILISATION, closes_on

FRIDAY = datetime(2026, 11, 20, 11, tzinfo=UTC)
SMALL = 0.05
REFUSED_BY_RULE = {"USER_ERROR", "INVALID_KEY_OR_REF", "ALREADY_BILLED"}


@pytest.fixture(scope="module")
def full() -> story.Story:
    """The whole firm, as it is loaded by default."""
    return story.tell(firm.build(2026, FRIDAY))


@pytest.fixture(scope="module")
def sandbox(full, tmp_path_factory) -> World:
    """The sandbox systems behind it."""
    return world.build(full, tmp_path_factory.mktemp("demo") / "sandbox.sqlite3")


def entries(told: story.Story) -> list:
    return [one for one in merged(told.telling, told.firm.as_of) if not isinstance(one, Act)]


def small(seed: int = 1, as_of: datetime = FRIDAY) -> story.Story:
    return story.tell(firm.build(seed, as_of, SMALL))


def test_the_same_seed_and_hour_tell_the_same_story_and_another_seed_another():
    first, again, other = small(), small(), small(seed=2)
    assert [entry.digest() for entry in entries(first)] == [entry.digest() for entry in entries(again)]
    assert first.telling.acts == again.telling.acts
    assert {entry.digest() for entry in entries(first)} != {entry.digest() for entry in entries(other)}


def test_the_firm_has_the_size_that_was_asked_for(full):
    assert [entity.currency for entity in full.firm.entities] == ["EUR", "USD"]
    assert (len(full.firm.consultants), len(full.firm.customers), len(full.firm.projects)) == (40, 25, 60)
    assert 12_000 <= len(merged(full.telling, FRIDAY)) <= 20_000
    rates = {rate for project in full.firm.projects for _, rate in project.team}
    assert Decimal(95) <= min(rates) < max(rates) <= Decimal(260)
    for customer in full.firm.customers:
        assert len({customer.crm, customer.psa, customer.erp}) == 3, "each system has its own number"


def test_no_two_events_share_an_identity(full):
    counted = Counter((entry.source, entry.id) for entry in full.telling.entries)
    assert counted.most_common(1)[0][1] == 1


def test_every_invoice_is_worth_what_its_billing_request_asked_for(full):
    asked = {
        entry.key: entry.amount
        for entry in entries(full)
        if entry.flow == "time-to-billing" and entry.kind == "received"
    }
    assert len(full.invoices) > 700
    for invoice in full.invoices:
        hours = sum((card.amount for card in invoice.bill.cards), Decimal(0))
        key = f"demo:{invoice.reference.removeprefix('time-to-billing:').rpartition('#')[0]}"
        assert invoice.total == asked[key] == hours
        assert 0 <= invoice.open <= invoice.total
    numbers = [invoice.number for invoice in full.invoices]
    assert len(set(numbers)) == len(numbers)


def test_each_time_card_is_billed_at_most_once(full):
    billed = Counter(card.id for bill in full.bills for card in bill.cards)
    assert max(billed.values()) == 1


def test_no_event_stands_before_its_predecessor(full):
    last: dict[str, tuple[int, datetime]] = {}
    for entry in sorted(entries(full), key=lambda one: (one.key, one.attempt, one.occurred_at)):
        assert entry.occurred_at <= entry.received_at <= FRIDAY
        if not entry.flow:
            continue
        attempt, moment = last.get(entry.key, (0, entry.occurred_at))
        assert (entry.attempt, entry.occurred_at) >= (attempt, moment), entry.id
        last[entry.key] = (entry.attempt, entry.occurred_at)
    kinds = defaultdict(list)
    for entry in sorted(entries(full), key=lambda one: (one.occurred_at, one.received_at)):
        if entry.flow:
            kinds[entry.key].append(entry.kind)
    assert {trail[0] for trail in kinds.values()} == {"received"}
    assert all("acknowledged" not in trail[:-1] for trail in kinds.values()), "nothing follows the success"


def test_a_projects_bills_are_posted_in_the_order_of_their_approval(full):
    lanes = defaultdict(list)
    for invoice in sorted(full.invoices, key=lambda one: one.posted_at):
        lanes[invoice.bill.project.code].append(invoice.bill.approved_at)
    assert all(approvals == sorted(approvals) for approvals in lanes.values())


def test_nothing_is_posted_into_a_period_after_it_was_closed_without_a_refusal(full):
    refused = {entry.key for entry in entries(full) if entry.kind in ("rejected", "dead_lettered")}
    late = [one for one in full.invoices if one.posted_at.date() > closes_on(f"{one.invoice_date:%Y-%m}")]
    assert late, "some hours are always approved late"
    for invoice in late:
        assert f"demo:{invoice.reference.removeprefix('time-to-billing:').rpartition('#')[0]}" in refused


def test_shares_lie_where_the_published_ones_lie(full):
    people_weeks = {(card.person.code, card.worked_on) for card in full.cards}
    hours = sum((card.hours for card in full.cards), Decimal(0))
    assert abs(float(hours) / len(people_weeks) / 40 - UTILISATION) < 0.05
    paid = [one for one in full.invoices if one.paid_on]
    due = [one for one in full.invoices if one.due_on < FRIDAY.date() - timedelta(days=60)]
    late = sum(1 for one in due if one.paid_on is None or one.paid_on > one.due_on)
    assert abs(late / len(due) - trouble.PAID_LATE) < 0.06
    disputed = sum(1 for entry in entries(full) if entry.type == "demo.invoice.disputed")
    assert abs(disputed / len(full.invoices) - trouble.DISPUTED) < 0.06
    assert len(paid) > len(full.invoices) / 2
    billing = [entry for entry in entries(full) if entry.flow == "time-to-billing"]
    share = len({one.key for one in billing if one.kind == "rejected"}) / len({one.key for one in billing})
    assert trouble.REFUSED["time-to-billing"] < share < 0.18, "the ordinary share, two rough patches, and what is open"


def test_the_rough_week_shows_in_the_failures(full):
    rough = trouble.patches(full.firm)[0]
    refused = [entry for entry in entries(full) if entry.kind == "rejected"]
    failed = [entry for entry in refused if rough.start <= entry.occurred_at < rough.end]
    assert sum(1 for entry in failed if "custbody" in entry.error["message"]) >= 4


@pytest.mark.parametrize("day", ["2026-11-02T08", "2026-11-30T17", "2026-12-25T10", "2027-02-01T09", "2027-03-14T12"])
def test_on_any_day_there_is_something_open_and_nothing_of_the_future(day):
    moment = datetime.fromisoformat(f"{day}:00+00:00")
    told = small(5, moment)
    failed = [item for item in told.telling.items if item.state == "failed"]
    assert 12 <= len(failed) <= 35
    assert {entry.received_at <= moment for entry in told.telling.entries} == {True}


# ---- the sandbox behind it -----------------------------------------------------------------------------------------


def systems(sandbox: World) -> dict:
    roles = {role: key for key, (role, _, _) in world.CONNECTIONS.items()}
    return {
        role: connect({"connector": "sandbox", "role": role, "path": sandbox.path}, key) for role, key in roles.items()
    }


def test_the_sandbox_has_the_same_records_as_the_story(full, sandbox):
    psa = systems(sandbox)["psa"]
    page = psa.approved_time(None)
    records = {record.ref.id: record for record in page.records}
    for card in [card for card in full.cards if card.id in records][::50]:
        if card.project.code in full.plan.changes:
            continue
        told = messages.card_record(card, {})
        assert (told.source, dict(told.data), told.ref) == (
            records[card.id].source,
            dict(records[card.id].data),
            records[card.id].ref,
        )


def test_what_is_open_is_refused_by_the_sandbox_in_the_words_of_the_story(full, sandbox):
    erp = systems(sandbox)["erp"]
    seen: Counter[str] = Counter()
    for item in full.telling.items:
        if item.letter.flow != "time-to-billing" or item.state != "failed":
            continue
        said = erp.check(item.letter.payload)
        if item.error["code"] in ("USER_ERROR", "INVALID_KEY_OR_REF"):
            assert said[:1] == [item.error["message"]], item.letter.message.key
            seen[item.error["message"].split(" ")[0]] += 1
        else:
            assert said == [], "its cause is gone: a replay goes through (or is found to be billed already)"
    assert len(seen) >= 5


def test_an_account_of_the_demo_can_be_read_to_its_end_by_every_flow(full, sandbox):
    counts = {flow.key: len(world.read_to_end(flow, sandbox.path)[0]) for flow in flows().values()}
    approved = sum(1 for card in full.cards if card.approved_at <= FRIDAY)
    assert counts["time-to-billing"] == approved * 2, "each card in its version and for ever"
    assert counts["invoice-status"] == len(full.invoices) + 2, "and a hand-made one, and one whose answer was lost"


def test_only_one_of_the_lost_answers_had_arrived(full, sandbox):
    erp = systems(sandbox)["erp"]
    lost = [item for item in full.telling.items if item.state == "unknown"]
    found = [len(erp.find_invoices(item.letter.key)) for item in lost]
    assert found == [1, 0]
