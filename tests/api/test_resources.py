"""Threads and exceptions over the API: the same rights, words and rows as on the pages."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from opsboard.api.views import take_events
from opsboard.log import commands as log
from opsboard.log.models import Event
from opsboard.triage.lifecycle import TABLE
from opsboard.triage.models import Case

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"


@pytest.fixture
def refuse(sender, event) -> Callable[..., Case]:
    """Makes an exception: the PSA job says that the ERP refused a time entry."""

    def make(id_: str, entity: str = "DE01", amount: str = "1200.00", **data: Any) -> Case:
        error = {"system": "erp", "code": "PERIOD_CLOSED", "message": "The period is closed.", "http_status": 422}
        said = {"kind": "rejected", "entity": entity, "amount": amount, "currency": "EUR", "error": error}
        assert sender.send(event(id_, **said | data)).status_code == 202
        log.correlate()
        return Case.objects.latest("number")

    return make


def post(browser: Client, address: str, body: dict[str, Any] | None = None):
    return browser.post(address, body or {}, content_type="application/json")


def get_as_token(token: str, address: str):
    return Client().get(address, headers={"Authorization": f"Bearer {token}"})


# ---- threads ----


def test_from_any_id_to_the_engagement_in_one_step(refuse, owner, signed_in):
    refuse("7")
    browser = signed_in(owner)

    for ref in ("TE-7", "te-7", "P-1", "Rollout", "time_entry/TE-7"):
        found = browser.get("/api/v1/threads", {"ref": ref}).json()["items"]
        assert [line["title"] for line in found] == ["Rollout"], ref
    thread = browser.get(f"/api/v1/threads/{found[0]['id']}").json()
    assert {named["id"] for named in thread["objects"]} == {"TE-7", "P-1"}
    assert [one["status"] for one in thread["transactions"]] == ["failed"]
    first = next(event for event in thread["events"] if event["kind"] == "rejected")
    assert (first["source"], first["id"], first["amount"]) == ("urn:firm:psa", "7", "1200.00")
    assert first["objects"][0] == {"system": "psa", "type": "time_entry", "id": "TE-7", "role": "", "name": ""}


def test_an_engagement_of_another_legal_entity_does_not_exist(refuse, owner, colleague, signed_in):
    refuse("7", entity="DE01")
    thread = signed_in(owner).get("/api/v1/threads?ref=TE-7").json()["items"][0]["id"]

    browser = signed_in(colleague)
    assert browser.get("/api/v1/threads?ref=TE-7").json() == {"items": []}
    for address in (f"/api/v1/threads/{thread}", "/api/v1/threads/00000000-0000-0000-0000-000000000000"):
        answer = browser.get(address)
        assert (answer.status_code, answer["Content-Type"]) == (404, PROBLEM)


@pytest.mark.parametrize("query", ["", "?ref=", "?ref=%20", "?ref=a%00b", "?ref=a%0Ab"])
def test_a_reference_is_needed(owner, signed_in, query):
    answer = signed_in(owner).get(f"/api/v1/threads{query}")

    assert (answer.status_code, answer["Content-Type"]) == (400, PROBLEM)
    assert answer.json()["errors"][0]["pointer"] == "/ref"


# ---- exceptions ----


def test_the_queue_is_listed_as_on_the_page(refuse, owner, signed_in):
    refuse("1", amount="500.00")
    refuse("2", amount="20000.00")
    refuse("3", entity="US01")

    found = signed_in(owner).get("/api/v1/exceptions").json()

    assert [item["amount"] for item in found["items"]] == ["20000.00", "500.00"], "most money first; own entity only"
    assert (found["total"], found["total_is_exact"], found["next"]) == (2, True, None)
    assert found["sums"] == [{"currency": "EUR", "amount": "20500.00"}]
    first = found["items"][0]
    assert (first["state"], first["team"], first["version"]) == ("open", "finance", 1)
    assert first["reference"] == f"EXC-{first['number']}"


def test_filters_and_pages_are_those_of_the_page(refuse, owner, signed_in):
    for number in range(52):
        refuse(str(number), amount=f"{1000 + number}.00")
    browser = signed_in(owner)

    first = browser.get("/api/v1/exceptions?tab=open")
    body = first.json()
    assert first["Link"] == f'<{body["next"]}>; rel="next"'
    second = browser.get(body["next"]).json()
    numbers = [item["number"] for item in body["items"] + second["items"]]
    assert (len(body["items"]), len(second["items"]), len(set(numbers))) == (50, 2, 52)
    assert second["next"] is None
    assert browser.get("/api/v1/exceptions?entity=US01").json()["total"] == 0
    assert browser.get("/api/v1/exceptions?q=TE-17").json()["total"] == 1


def test_the_number_of_queries_does_not_grow_with_the_rows(refuse, owner, signed_in, django_assert_num_queries):
    browser = signed_in(owner)
    browser.get("/api/v1/exceptions")
    for number in (1, 3):
        while Case.objects.count() < number:
            refuse(str(Case.objects.count()))
        with django_assert_num_queries(10):  # 7 of every request with a session; rows, count, sums
            assert len(browser.get("/api/v1/exceptions").json()["items"]) == number


def test_one_exception_tells_all_that_is_needed_to_act(refuse, owner, signed_in):
    case = refuse("1", payload={"hours": 7.5})
    browser = signed_in(owner)

    found = browser.get(f"/api/v1/exceptions/EXC-{case.number}").json()

    assert found == browser.get(f"/api/v1/exceptions/{case.number}").json()
    assert found["error"]["message"] == "The period is closed."
    assert "assign" in found["actions"]
    assert "replay" in found["why_not"], "this flow is not one opsboard runs"
    assert [event["kind"] for event in found["events"]] == ["rejected", "raised"]


def test_the_executive_reads_no_answers_and_does_nothing(refuse, executive, signed_in):
    case = refuse("1")
    browser = signed_in(executive)

    found = browser.get(f"/api/v1/exceptions/EXC-{case.number}").json()

    assert (found["error"], found["payload"], found["actions"]) == ({}, {}, [])
    assert post(browser, f"/api/v1/exceptions/EXC-{case.number}/take").status_code == 404


def test_an_exception_of_another_legal_entity_does_not_exist(refuse, colleague, signed_in):
    case = refuse("1", entity="DE01")
    browser = signed_in(colleague)

    for reference in (f"EXC-{case.number}", "EXC-99999999999999999"):
        answer = browser.get(f"/api/v1/exceptions/{reference}")
        assert (answer.status_code, answer["Content-Type"]) == (404, PROBLEM)
        assert post(browser, f"/api/v1/exceptions/{reference}/take").status_code == 404


# ---- actions ----


def test_an_exception_from_taken_to_resolved_and_reopened(refuse, owner, signed_in):
    case = refuse("1")
    browser, address = signed_in(owner), f"/api/v1/exceptions/EXC-{case.number}"

    taken = post(browser, f"{address}/take", {"version": 1}).json()
    assert (taken["done"], taken["exception"]["assignee"]["name"]) == ([case.number], "Miriam Halvorsen")
    assert post(browser, f"{address}/comment", {"text": "I call the controller."}).status_code == 200
    snoozed = post(browser, f"{address}/snooze", {"until": "2099-01-01T00:00:00Z", "reason": "Waits for October."})
    assert snoozed.json()["exception"]["state"] == "snoozed"
    assert post(browser, f"{address}/wake").json()["exception"]["state"] == "open"
    resolved = post(browser, f"{address}/resolve", {"resolution": "at_source", "reason": "Posted by hand."}).json()
    assert resolved["exception"]["state"] == "resolved"
    reopened = post(browser, f"{address}/reopen", {"reason": "It was another one."}).json()
    assert reopened["exception"]["state"] == "open"

    told = Event.objects.filter(actor=owner.email).order_by("seq").values_list("kind", flat=True)
    assert list(told) == ["taken", "commented", "snoozed", "woken", "resolved", "reopened"]


def test_who_comes_too_late_is_told_so(refuse, owner, finance_lead, signed_in):
    case = refuse("1")
    address = f"/api/v1/exceptions/EXC-{case.number}/take"
    post(signed_in(finance_lead), address, {"version": 1})

    answer = post(signed_in(owner), address, {"version": 1})

    assert (answer.status_code, answer["Content-Type"]) == (409, PROBLEM)
    assert finance_lead.email in answer.json()["detail"]


@pytest.mark.parametrize(
    ("action", "body", "status", "pointer"),
    [
        ("comment", {}, 400, "/text"),
        ("assign", {}, 400, ""),
        ("assign", {"to": 999_999}, 400, "/to"),
        ("assign", {"team": "board"}, 400, "/team"),
        ("snooze", {"until": "soon"}, 400, "/until"),
        ("snooze", {"until": "2020-01-01T00:00:00Z"}, 422, None),
        ("resolve", {"resolution": "forgotten", "reason": "x"}, 400, "/resolution"),
        ("resolve", {"resolution": "at_source"}, 400, "/reason"),
        ("reopen", {"reason": "x"}, 409, None),
        ("take", {"version": "one"}, 400, "/version"),
        ("replay", {}, 422, None),
        ("fix", {"document": {}, "reason": "x"}, 422, None),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(refuse, owner, signed_in, action, body, status, pointer):
    case = refuse("1")

    answer = post(signed_in(owner), f"/api/v1/exceptions/EXC-{case.number}/{action}", body)

    assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM), answer.content
    assert answer.json()["detail"]
    if pointer is not None:
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    case.refresh_from_db()
    assert (case.state, case.version) == ("open", 1)


def test_it_can_be_given_to_somebody_who_may_see_it(refuse, owner, finance_lead, colleague, signed_in):
    case = refuse("1", entity="DE01")
    browser, address = signed_in(owner), f"/api/v1/exceptions/EXC-{case.number}/assign"

    assert post(browser, address, {"to": colleague.pk}).status_code == 422
    given = post(browser, address, {"to": finance_lead.pk, "reason": "Please look."}).json()
    assert given["exception"]["assignee"]["id"] == finance_lead.pk


def test_every_action_of_a_person_has_its_address(refuse, owner, signed_in):
    case = refuse("1")
    for name, row in TABLE.items():
        if row.permission:
            address = f"/api/v1/exceptions/EXC-{case.number}/{name.replace('_', '-')}"
            assert signed_in(owner).get(address).status_code == 405, address


def test_a_form_of_another_site_cannot_act_for_a_person(refuse, owner):
    case = refuse("1")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)

    answer = post(browser, f"/api/v1/exceptions/EXC-{case.number}/take")

    assert (answer.status_code, answer["Content-Type"]) == (403, PROBLEM)


# ---- service accounts ----


def test_a_service_account_reads_within_its_scopes_and_never_acts(refuse, reading_token, token):
    case = refuse("1")

    assert get_as_token(reading_token, "/api/v1/exceptions").json()["total"] == 1
    assert get_as_token(reading_token, "/api/v1/threads?ref=TE-1").json()["items"]
    found = get_as_token(reading_token, f"/api/v1/exceptions/EXC-{case.number}").json()
    assert (found["error"], found["payload"], found["actions"]) == ({}, {}, [])
    acted = Client().post(
        f"/api/v1/exceptions/EXC-{case.number}/take", headers={"Authorization": f"Bearer {reading_token}"}
    )
    assert (acted.status_code, acted["Content-Type"]) == (403, PROBLEM)
    assert get_as_token(token, "/api/v1/exceptions").status_code == 403
    assert get_as_token(reading_token, "/api/v1/exceptions?tab=mine").status_code == 400


def test_visitors_and_bad_tokens_are_told_how_to_come_in(client):
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = client.get("/api/v1/exceptions", headers=headers)
        assert (answer.status_code, answer["Content-Type"]) == (401, PROBLEM)
        assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_stranger_finds_nothing(stranger, signed_in):
    browser = signed_in(stranger)
    for address in ("/api/v1/exceptions", "/api/v1/threads?ref=x", "/api/v1/quarantine"):
        assert browser.get(address).status_code == 404, address


def test_answers_in_other_formats_are_not_given(owner, signed_in):
    answer = signed_in(owner).get("/api/v1/exceptions", headers={"Accept": "text/html"})
    assert (answer.status_code, answer["Content-Type"]) == (406, PROBLEM)


def test_the_door_says_which_scope_opens_it():
    assert vars(take_events)["permission"] == "token:events:write"


@pytest.mark.parametrize("name", ["severity", "owner", "after", "q", "team"])
@pytest.mark.parametrize("value", ["²", "٣", "9" * 30, "-1", "%00", "a%00b", "'", "%F0%9F%98%80"])
def test_odd_values_in_an_address_break_neither_page_nor_api(owner, signed_in, name, value):
    browser = signed_in(owner)
    assert browser.get(f"/exceptions/?{name}={value}").status_code == 200
    assert browser.get(f"/api/v1/exceptions?{name}={value}").status_code in {200, 400}
    assert browser.get(f"/threads/?q={value}").status_code == 200
