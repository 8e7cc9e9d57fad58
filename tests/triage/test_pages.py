"""The desk as people use it in a browser without JavaScript, and the fragments htmx asks for."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from opsboard.core.clock import now
from opsboard.jobs.models import WorkItem
from opsboard.triage import commands as triage
from opsboard.triage.lifecycle import TABLE
from opsboard.triage.models import Case
from tests.personas import OTHER_ENTITY, OWN_ENTITY
from tests.triage.test_commands import actions, refused

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
BILL = {
    "project_code": "P-7",
    "project_name": "Atlas rollout",
    "customer_code": "K1",
    "customer_tax_id": "",
    "legal_entity": OWN_ENTITY,
    "cost_center": "CC-10",
    "period": "2026-09",
    "invoice_date": "2026-09-30",
    "currency": "EUR",
    "lines": [
        {
            "person_code": "C-1",
            "person_name": "Ada Quist",
            "hours": "8.00",
            "rate": "150.00",
            "amount": "1200.00",
            "entries": ["TE-1"],
        }
    ],
}


@pytest.fixture
def desk(owner, signed_in) -> Client:
    """The browser of somebody in finance."""
    return signed_in(owner)


def blocked(number: int = 5) -> Case:
    """An exception whose message is carried by opsboard's own job, so that it can be fixed and replayed."""
    case = refused(number)
    WorkItem.objects.create(
        landscape="demo",
        flow=case.flow,
        key=case.transaction.key,
        lane=f"P-{number}",
        payload=BILL,
        transaction_id=case.transaction_id,
        entity=OWN_ENTITY,
        amount=case.amount,
        currency="EUR",
        state="failed",
        attempt=1,
    )
    return case


def page_of(case: Case) -> str:
    return reverse("exception", args=[case.number])


def text(answer) -> str:
    return answer.content.decode()


class TestQueue:
    def test_the_address_is_the_filter_and_the_tabs_count_under_it(self, desk):
        refused(5)
        refused(84)
        shown = text(desk.get("/exceptions/?q=INV-84"))
        assert "INV-84" in shown
        assert "INV-5" not in shown
        assert 'Needs triage <span class="n">1</span>' in shown
        assert "€84,000.00" in shown

    def test_htmx_gets_the_card_alone_and_an_address_without_empty_fields(self, desk):
        refused(5)
        answer = desk.get("/exceptions/?q=INV&team=&category=", headers=HTMX | {"HX-Target": "queue"})
        assert "<html" not in text(answer)
        assert "INV-5" in text(answer)
        assert answer["HX-Push-Url"] == "/exceptions/?q=INV&tab=triage"
        assert "HX-Target" in answer["Vary"]

    def test_other_legal_entities_do_not_exist_in_lists_pages_or_actions(self, desk):
        theirs = refused(7, entity=OTHER_ENTITY)
        assert "INV-7" not in text(desk.get("/exceptions/?tab=open"))
        assert desk.get(page_of(theirs)).status_code == 404
        assert desk.post(reverse("exception-take", args=[theirs.number])).status_code == 404
        desk.post("/exceptions/take/", {"pick": theirs.number})
        assert actions(theirs) == ["raise"]

    @pytest.mark.parametrize("tab", ["triage", "mine", "due", "blocking", "open", "snoozed", "replaying", "resolved"])
    def test_an_empty_tab_says_so_in_words(self, desk, tab):
        assert 'class="empty' in text(desk.get(f"/exceptions/?tab={tab}"))

    def test_too_narrow_a_filter_offers_to_be_cleared(self, desk):
        refused(5)
        assert "Clear the filters" in text(desk.get("/exceptions/?q=nobody"))

    def test_new_ones_are_announced_not_pushed_into_the_list(self, desk):
        refused(5)
        assert "1 new" in text(desk.get("/exceptions/changed/?tab=triage&seen=0"))
        assert text(desk.get("/exceptions/changed/?tab=triage&seen=1")).strip() == ""

    def test_a_page_leads_on_by_the_row_not_by_the_number(self, desk):
        for number in range(1, 53):
            refused(number)
        first = desk.get("/exceptions/?tab=open")
        address = first.context["page"].next
        second = desk.get("/exceptions/" + address)
        assert [len(answer.context["page"].rows) for answer in (first, second)] == [50, 2]
        assert address.replace("&", "&amp;") in text(first)


class TestBulk:
    def test_a_selection_is_taken_and_told(self, desk, owner):
        first, second = refused(5), refused(6)
        desk.post("/exceptions/take/", {"pick": [first.number, second.number]})
        assert set(Case.objects.values_list("assignee", flat=True)) == {owner.pk}

    def test_all_that_match_means_more_than_the_page(self, desk, owner):
        for number in range(1, 53):
            refused(number)
        asked = text(desk.get("/exceptions/take/?whole=52&tab=triage"))
        assert '<input type="hidden" name="whole" value="52">' in asked
        desk.post("/exceptions/take/", {"whole": "52", "tab": "triage"})
        assert Case.objects.filter(assignee=owner).count() == 52

    def test_a_list_that_changed_since_it_was_shown_is_not_acted_on(self, desk):
        refused(5)
        answer = desk.post("/exceptions/take/", {"whole": "4", "tab": "triage"})
        assert answer.status_code == 409
        assert "1 match now, 4 were shown" in text(answer)
        assert not Case.objects.filter(assignee__isnull=False).exists()

    def test_what_it_does_not_apply_to_is_said_before(self, desk, owner):
        first, second = refused(5), refused(6)
        triage.snooze(numbers=[second.number], by=owner, until=now() + timedelta(hours=1))
        shown = text(desk.get(f"/exceptions/snooze/?pick={first.number}&pick={second.number}"))
        assert "1 of 2" in shown


class TestActions:
    def test_every_action_of_the_table_has_a_page_of_its_own(self, desk):
        case = blocked()
        for name, row in TABLE.items():
            if row.permission:
                answer = desk.get(reverse(f"exception-{name.replace('_', '-')}", args=[case.number]))
                assert answer.status_code == 200, name
                assert "<h1>" in text(answer), name

    def test_a_reason_is_asked_for_where_the_table_says_so(self, desk):
        case = refused(5)
        answer = desk.post(reverse("exception-resolve", args=[case.number]), {"resolution": "not_needed"})
        assert answer.status_code == 422
        assert "This field is required" in text(answer)
        assert Case.objects.get().state == "open"

    def test_in_a_dialog_the_form_alone_and_after_it_the_page_again(self, desk):
        case = refused(5)
        address = reverse("exception-comment", args=[case.number])
        headers = HTMX | {"HX-Target": "dialog-body"}
        assert "<html" not in text(desk.get(address, headers=headers))
        done = desk.post(address, {"text": "Asked the controller."}, headers=headers)
        assert (done.status_code, done["HX-Redirect"]) == (204, page_of(case))
        assert "Asked the controller." in text(desk.get(page_of(case)))

    def test_who_was_slower_is_told_who_was_faster(self, desk, finance_lead):
        case = refused(5)
        triage.take(numbers=[case.number], by=finance_lead)
        answer = desk.post(reverse("exception-take", args=[case.number]), {"version": case.version})
        assert answer.status_code == 409
        assert finance_lead.email in text(answer)

    def test_afterwards_only_to_our_own_pages(self, desk):
        case = refused(5)
        away = {"version": case.version, "next": "https://elsewhere.example/"}
        assert desk.post(reverse("exception-take", args=[case.number]), away)["Location"] == page_of(case)

    def test_snoozing_to_a_preset_moment(self, desk):
        case = refused(5)
        address = reverse("exception-snooze", args=[case.number])
        preset = desk.get(address).context["form"].fields["preset"].choices[0][0]
        desk.post(address, {"preset": preset})
        assert Case.objects.get().state == "snoozed"
        assert desk.post(address, {"preset": "tomorrow"}).status_code == 422

    def test_the_executive_reads_and_finds_no_buttons(self, executive, signed_in):
        case = blocked()
        browser = signed_in(executive)
        shown = text(browser.get(page_of(case)))
        assert "€5,000.00" in shown
        for address in ("exception-replay", "exception-fix", "exception-assign"):
            assert reverse(address, args=[case.number]) not in shown
        assert "not open" not in shown, "the verbatim answer is payload"
        assert "2026-09-30" not in text(browser.get(page_of(case) + "?tab=message"))


class TestFix:
    def test_the_form_shows_what_may_be_changed_and_locks_the_rest(self, desk):
        case = blocked()
        shown = text(desk.get(reverse("exception-fix", args=[case.number])))
        assert 'name="field-invoice_date"' in shown
        assert 'name="field-project_code"' not in shown, "the period is closed: the project is not the cause"

    def test_a_correction_is_kept_with_its_reason_and_shown_as_a_difference(self, desk):
        case = blocked()
        desk.post(
            reverse("exception-fix", args=[case.number]),
            {"field-invoice_date": "2026-10-01", "reason": "Agreed with the controller.", "version": case.version},
        )
        case.refresh_from_db()
        assert case.patch == [{"op": "replace", "path": "/invoice_date", "value": "2026-10-01"}]
        shown = text(desk.get(page_of(case)))
        assert "<del>2026-09-30</del>" in shown
        assert "<ins>2026-10-01</ins>" in shown
        assert "Agreed with the controller." in shown
        confirmation = text(desk.get(reverse("exception-replay", args=[case.number])))
        assert "<ins>2026-10-01</ins>" in confirmation
        assert "Idempotency key" in confirmation

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ({"field-invoice_date": "tomorrow"}, "invoice_date"),
            ({"json": "{oops"}, "line 1, column 2"),
            ({"json": "[]"}, "one object"),
            ({"json": json.dumps(BILL | {"project_code": "P-8"})}, "Not repairable"),
            ({"json": json.dumps(BILL | {"surprise": 1})}, "surprise"),
        ],
    )
    def test_what_is_wrong_is_named_and_nothing_is_kept(self, desk, said, words):
        case = blocked()
        answer = desk.post(reverse("exception-fix", args=[case.number]), said | {"reason": "because"})
        assert answer.status_code == 422
        assert words in text(answer)
        assert words in text(desk.post(reverse("exception-check", args=[case.number]), said))
        assert Case.objects.get().patch is None

    def test_checking_while_typing_keeps_nothing(self, desk):
        case = blocked()
        verdict = text(desk.post(reverse("exception-check", args=[case.number]), {"field-invoice_date": "2026-10-01"}))
        assert "Valid" in verdict
        assert Case.objects.get().patch is None

    def test_a_message_that_outside_middleware_carries_is_corrected_there(self, desk):
        shown = text(desk.get(reverse("exception-fix", args=[refused(5).number])))
        assert "runs outside opsboard" in shown


class TestReplay:
    def test_it_is_awaited_and_the_page_is_loaded_anew_with_the_outcome(self, desk):
        case = blocked()
        desk.post(reverse("exception-replay", args=[case.number]), {"version": case.version})
        progress = reverse("exception-progress", args=[case.number])
        waiting = desk.get(progress, headers=HTMX)
        assert progress in text(desk.get(page_of(case)))
        assert "every 2s" in text(waiting)
        assert "HX-Refresh" not in waiting
        Case.objects.filter(pk=case.pk).update(state="open")
        assert desk.get(progress, headers=HTMX)["HX-Refresh"] == "true"

    def test_a_second_click_does_nothing_more(self, desk):
        case = blocked()
        address = reverse("exception-replay", args=[case.number])
        assert desk.post(address).status_code == 302
        assert desk.post(address).status_code == 409
        assert actions(case).count("replay") == 1
