"""Working on exceptions: assigned, snoozed, resolved, reopened; by the right people, once, and all of it in the log.

The transactions here come from outside middleware by events: there is no work item behind them, so the story of fix and
replay is told in tests/test_flow.py.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from opsboard.core.clock import now
from opsboard.core.errors import Refused
from opsboard.log.commands import differences
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Event, Transaction
from opsboard.pipeline import accept
from opsboard.stack.management.commands.rebuild import TABLES, rebuild
from opsboard.triage import commands as triage
from opsboard.triage import queries as desk
from opsboard.triage.lifecycle import RESOLUTIONS, TABLE
from opsboard.triage.models import Case
from tests.personas import OTHER_ENTITY, OWN_ENTITY

pytestmark = pytest.mark.django_db
CLOSED = "The posting period 003 2026 is not open"


def happens(number: int, kind: str, *, entity: str = OWN_ENTITY, attempt: int = 1, minutes: int = 0, **said) -> None:
    """An event of the middleware about invoice `number`."""
    moment = now() + timedelta(minutes=minutes)
    accept(
        [
            Entry(
                source="urn:middleware",
                id=f"{number}/{kind}/{attempt}/{minutes}",
                type="middleware.step",
                kind=kind,
                flow="time-to-billing",
                objects=(Named("sap", "invoice", f"INV-{number}"), Named("sap", "customer", "K1", "", "Acme AG")),
                entity=entity,
                attempt=attempt,
                amount=Decimal(1000 * number),
                currency="EUR",
                occurred_at=moment,
                received_at=moment,
                **said,
            )
        ]
    )


def refused(number: int, message: str = CLOSED, code: str = "F5 201", **said) -> Case:
    """Invoice `number` is refused; its exception."""
    error = {"system": "sap_s4hana", "code": code, "message": message, "http_status": 400}
    happens(number, "rejected", error=error, **said)
    return Case.objects.latest("number")


def actions(case: Case) -> list[str]:
    return [event.facts["action"] for event in Event.objects.filter(facts__case=case.number).order_by("seq")]


def test_a_refusal_becomes_an_exception_with_money_team_and_due_time(owner):
    case = refused(84)
    assert (case.category, case.team, case.state) == ("closed_period", "finance", "open")
    assert case.severity == 1, "84,000 at stake"
    assert case.due_at - case.opened_at == timedelta(hours=4)
    assert "INV-84" in case.title
    assert "Acme AG" in case.title
    assert "F5 201" not in case.title, "codes are for the verbatim answer"


def test_the_same_cause_has_the_same_fingerprint():
    first, second = refused(1), refused(2)
    other = refused(3, "The posting period 004 2026 is not open")
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_it_resolves_itself_when_the_transaction_later_succeeds(owner):
    case = refused(5)
    happens(5, "acknowledged", minutes=9)
    case.refresh_from_db()
    assert (case.state, case.resolution) == ("resolved", "later_success")
    assert case.resolved_at is not None


def test_a_success_that_arrives_late_but_happened_before_the_refusal_resolves_nothing():
    case = refused(5)
    happens(5, "acknowledged", minutes=-30)
    case.refresh_from_db()
    assert case.state == "open"


def test_a_recovered_retry_never_becomes_an_exception():
    happens(6, "retried")
    happens(6, "acknowledged", attempt=2, minutes=1)
    assert not Case.objects.exists()


def test_a_new_failure_of_the_same_transaction_updates_its_exception_and_keeps_its_owner(owner):
    case = refused(5)
    triage.take(numbers=[case.number], by=owner)
    refused(5, "Customer K1 has not been created in company code 1000", "F2 163", attempt=2, minutes=3)
    case.refresh_from_db()
    assert Case.objects.count() == 1
    assert case.category == "missing_reference"
    assert case.assignee == owner


def test_who_when_and_why_are_in_the_log_and_a_rebuild_makes_equal_rows(owner, finance_lead):
    case = refused(5)
    triage.assign(numbers=[case.number], to=finance_lead, by=owner, reason="She knows the period")
    triage.comment(numbers=[case.number], by=finance_lead, text="Waiting for the controller")
    triage.snooze(numbers=[case.number], by=finance_lead, until=now() + timedelta(days=1), reason="Opens tomorrow")
    triage.wake(numbers=[case.number], by=finance_lead)
    triage.resolve(numbers=[case.number], resolution="at_source", reason="Posted by hand as 4711", by=finance_lead)
    triage.reopen(numbers=[case.number], reason="It was another invoice", by=owner)
    assert actions(case) == ["raise", "assign", "comment", "snooze", "wake", "resolve", "reopen"]
    told = Event.objects.filter(facts__case=case.number, kind="resolved").get()
    assert (told.actor, told.facts["reason"]) == (finance_lead.email, "Posted by hand as 4711")
    case.refresh_from_db()
    assert case.state == "open"
    assert Transaction.objects.get().status == "failed"
    assert differences(TABLES, rebuild) == {}


def test_checking_finds_an_exception_that_was_altered_behind_the_log(owner):
    case = refused(5)
    Case.objects.filter(pk=case.pk).update(team="pmo")
    assert differences(TABLES, rebuild) == {"triage_case": 2}


def test_a_stranger_and_a_colleague_of_another_entity_can_do_nothing(owner, colleague, stranger, executive):
    case = refused(5)
    for person in (colleague, stranger, executive):
        with pytest.raises(Refused, match="no exception"):
            triage.take(numbers=[case.number], by=person)
    with pytest.raises(Refused, match="another legal entity"):
        triage.assign(numbers=[case.number], to=colleague, by=owner)
    with pytest.raises(Refused, match="cannot work"):
        triage.assign(numbers=[case.number], to=executive, by=owner)
    assert actions(case) == ["raise"]


def test_a_page_that_is_out_of_date_is_told_who_was_faster(owner, finance_lead):
    case = refused(5)
    triage.resolve(
        numbers=[case.number], resolution="not_needed", reason="Cancelled", by=finance_lead, version=case.version
    )
    with pytest.raises(Refused, match=finance_lead.email) as told:
        triage.take(numbers=[case.number], by=owner, version=case.version)
    assert told.value.stale


@pytest.mark.parametrize("name", [name for name, action in TABLE.items() if action.reason])
def test_what_needs_a_reason_is_refused_without_one(name, owner):
    case = refused(5)
    calls = {
        "fix": lambda: triage.fix(number=case.number, document={}, by=owner, reason=" "),
        "comment": lambda: triage.comment(numbers=[case.number], by=owner, text=" "),
        "resolve": lambda: triage.resolve(numbers=[case.number], resolution="at_source", by=owner, reason=""),
        "reopen": lambda: triage.reopen(numbers=[case.number], by=owner, reason=""),
    }
    with pytest.raises(Refused, match=r"reason|comment"):
        calls[name]()


def test_a_flow_that_runs_elsewhere_is_neither_fixed_nor_replayed_here(owner):
    case = refused(5)
    with pytest.raises(Refused, match="outside opsboard"):
        triage.replay(numbers=[case.number], by=owner)
    shown = desk.detail(owner, case.number)
    assert "replay" not in shown.actions
    assert "outside opsboard" in shown.why_not["replay"]


def test_bulk_does_what_it_may_and_says_what_it_could_not(owner):
    mine = [refused(number) for number in (1, 2, 3)]
    foreign = refused(4, entity=OTHER_ENTITY)
    triage.resolve(numbers=[mine[2].number], resolution="duplicate", reason="Twice", by=owner)
    outcome = triage.snooze(
        numbers=[*(case.number for case in mine), foreign.number], by=owner, until=now() + timedelta(hours=1)
    )
    assert outcome.done == [mine[0].number, mine[1].number]
    assert [number for number, _ in outcome.refused] == [mine[2].number, foreign.number]


def test_a_snoozed_exception_comes_back_by_itself_or_when_it_fails_again(owner, time_machine):
    first, second = refused(1), refused(2)
    until = now() + timedelta(hours=1)
    triage.snooze(numbers=[first.number, second.number], by=owner, until=until)
    refused(2, attempt=2, minutes=5)
    second.refresh_from_db()
    assert second.state == "open", "it fails again: nobody sleeps through that"
    assert triage.wake_due() == 0
    time_machine.move_to(until + timedelta(minutes=1))
    assert triage.wake_due() == 1
    first.refresh_from_db()
    assert first.state == "open"


def test_the_sweep_opens_what_was_missed_and_a_second_sweep_finds_nothing():
    case = refused(5)
    Case.objects.all().delete()
    assert triage.follow(desk.unfollowed()) == 0, "the log remembers: it was raised, and a rebuild brings it back"
    triage.rebuild()
    assert Case.objects.get() == case
    assert desk.unfollowed() == []


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_resolution_ends_the_transaction(resolution, owner):
    case = refused(5)
    triage.resolve(numbers=[case.number], resolution=resolution, reason="because", by=owner)
    assert Transaction.objects.get().status == RESOLUTIONS[resolution][1]


def test_tabs_agree_with_their_lists(owner, finance_lead):
    for number in (1, 12, 60):
        refused(number)
    refused(7, entity=OTHER_ENTITY)
    triage.take(numbers=[Case.objects.latest("number").number - 1], by=owner)
    for person in (owner, finance_lead):
        counted = desk.counts(person, desk.Filters())
        for tab in desk.TABS:
            filters = desk.Filters(tab=tab)
            page = desk.page(person, filters)
            assert counted[tab] == page.total == len(page.rows), tab


def test_paging_by_keyset_shows_each_once(owner):
    for number in range(1, 8):
        refused(number % 3 + 1 if number > 3 else number, attempt=number)
    for number in range(20, 27):
        refused(number)
    seen: list[int] = []
    filters = desk.Filters(tab="open", per=3)
    while True:
        page = desk.page(owner, filters)
        seen += [case.number for case in page.rows]
        if not page.next:
            break
        filters = desk.Filters(tab="open", per=3, after=str(page.rows[-1].number))
    assert seen == list(desk.queue(owner, desk.Filters(tab="open")).values_list("number", flat=True))
    assert len(seen) == len(set(seen)) == Case.objects.count()
    assert desk.page(owner, desk.Filters(tab="open", per=3)).total == Case.objects.count()


@pytest.mark.parametrize("rows", [1, 3])
def test_the_queue_costs_the_same_number_of_queries_whatever_it_holds(rows, owner, django_assert_num_queries):
    for number in range(1, rows + 1):
        refused(number)
    with django_assert_num_queries(10):
        desk.page(owner, desk.Filters())
        desk.counts(owner, desk.Filters())
        desk.facets(owner, desk.Filters())
