"""From a refused event to one that was corrected and taken, on the page and over the API."""

import json

import pytest

from opsboard.accounts.commands import revoke_service_account
from opsboard.log.models import Event, Quarantine

pytestmark = pytest.mark.django_db


@pytest.fixture
def refused(sender, event) -> Quarantine:
    """An event with a wrong amount, as the PSA job sent it."""
    sender.send(event("1", amount="12,50", currency="EUR"))
    return Quarantine.objects.get()


def test_a_platform_engineer_corrects_it_on_the_page_and_it_is_taken(refused, platform, signed_in):
    browser = signed_in(platform)
    listed = browser.get("/quarantine/").content.decode()
    assert "/data/amount" in listed
    assert '<span class="mono">1</span>' in listed, "which event it was, as far as that could be read"
    page = browser.get(f"/quarantine/{refused.pk}/").content.decode()
    assert "12,50" in page

    body = json.dumps(json.loads(refused.body), indent=2).replace("12,50", "12.50")
    answer = browser.post(f"/quarantine/{refused.pk}/resubmit/", {"body": body, "reason": "Decimal comma."})

    assert (answer.status_code, answer["Location"]) == (302, "/quarantine/")
    taken = Event.objects.get(external_id="1")
    assert (str(taken.amount), taken.source) == ("12.50", "urn:firm:psa")
    refused.refresh_from_db()
    assert (refused.state, refused.decided_by, refused.reason) == ("resubmitted", platform.email, "Decimal comma.")
    assert "12,50" in refused.body, "it stays as it came"
    assert Event.objects.get(kind="noted").actor == platform.email


def test_still_wrong_it_stays_open_and_what_was_typed_stays_on_the_page(refused, platform, signed_in):
    body = refused.body.replace("12,50", "twelve")

    answer = signed_in(platform).post(f"/quarantine/{refused.pk}/resubmit/", {"body": body})

    assert answer.status_code == 422
    assert "twelve" in answer.content.decode()
    refused.refresh_from_db()
    assert refused.state == "open"
    assert not Event.objects.exists()


def test_it_can_be_discarded_with_a_reason_only(refused, platform, signed_in):
    browser = signed_in(platform)

    assert browser.post(f"/quarantine/{refused.pk}/discard/", {"reason": ""}).status_code == 422
    assert browser.post(f"/quarantine/{refused.pk}/discard/", {"reason": "Test data."}).status_code == 302
    assert browser.post(f"/quarantine/{refused.pk}/discard/", {"reason": "Again."}).status_code == 409
    assert b"Test data." in browser.get("/quarantine/?state=discarded").content


def test_a_correction_cannot_speak_for_another_source(refused, platform, signed_in):
    body = refused.body.replace("12,50", "12.50").replace("urn:firm:psa", "urn:firm:crm")

    answer = signed_in(platform).post(f"/quarantine/{refused.pk}/resubmit/", {"body": body})

    assert answer.status_code == 422
    assert "/source" in answer.content.decode()


def test_nobody_writes_for_an_account_that_has_ended(refused, platform, signed_in):
    revoke_service_account(name="psa job", by="test")

    answer = signed_in(platform).post(
        f"/quarantine/{refused.pk}/resubmit/", {"body": refused.body.replace("12,50", "12.50")}
    )

    assert answer.status_code == 422
    assert "has ended" in answer.content.decode()


def test_a_binary_event_is_corrected_in_its_headers(sender, event, platform, signed_in):
    headers = {"ce-specversion": "1.0", "ce-id": "9", "ce-source": "urn:firm:psa", "ce-type": "t", "ce-time": "noon"}
    sender.send(event("9")["data"], "application/json", **headers)
    kept = Quarantine.objects.get()
    head = "\n".join(f"{name}: {value}" for name, value in headers.items()).replace("noon", "2026-11-20T12:00:00Z")

    answer = signed_in(platform).post(f"/quarantine/{kept.pk}/resubmit/", {"body": kept.body, "head": head})

    assert answer.status_code == 302
    assert Event.objects.get(external_id="9").occurred_at.hour == 12


def test_a_batch_that_could_not_be_read_can_only_be_discarded(sender, platform, signed_in):
    sender.send(b"[{", "application/cloudevents-batch+json")
    kept = Quarantine.objects.get()
    browser = signed_in(platform)

    assert b"Send it through the door" not in browser.get(f"/quarantine/{kept.pk}/").content
    assert browser.post(f"/quarantine/{kept.pk}/resubmit/", {"body": "[]"}).status_code == 422


def test_the_auditor_reads_and_cannot_act_others_see_nothing(refused, auditor, owner, stranger, signed_in):
    browser = signed_in(auditor)
    page = browser.get(f"/quarantine/{refused.pk}/")
    assert page.status_code == 200
    assert b'<form class="card"' not in page.content
    assert browser.post(f"/quarantine/{refused.pk}/resubmit/", {"body": "{}"}).status_code == 404
    for person in (owner, stranger):
        browser = signed_in(person)
        assert browser.get("/quarantine/").status_code == 404
        assert browser.get(f"/quarantine/{refused.pk}/").status_code == 404
        assert browser.get("/api/v1/quarantine").status_code == 404


def test_the_list_has_pages_and_the_number_of_queries_does_not_grow(
    sender, event, platform, signed_in, django_assert_num_queries
):
    browser = signed_in(platform)
    browser.get("/quarantine/")
    for wanted in (1, 3):
        while Quarantine.objects.count() < wanted:
            sender.send(event(str(Quarantine.objects.count()), kind="nonsense"))
        with django_assert_num_queries(9):  # 8 of every page: session, person, last seen, own work; 1 for the rows
            assert browser.get("/quarantine/").status_code == 200
    for number in range(52):
        sender.send(event(f"more-{number}", kind="nonsense"))
    first = browser.get("/quarantine/")
    following = first.context["next"]
    assert len(first.context["rows"]) == 50
    assert len(browser.get(f"/quarantine/?after={following}").context["rows"]) == 5


# ---- over the API ----


def test_the_same_over_the_api(refused, platform, signed_in):
    browser = signed_in(platform)
    listed = browser.get("/api/v1/quarantine").json()
    assert [item["number"] for item in listed["items"]] == [refused.pk]
    assert browser.get(f"/api/v1/quarantine/{refused.pk}").json()["body"] == refused.body

    again = browser.post(f"/api/v1/quarantine/{refused.pk}/resubmit", {}, content_type="application/json")
    assert (again.status_code, again["Content-Type"]) == (400, "application/problem+json")

    body = {"body": refused.body.replace("12,50", "12.50"), "reason": "Decimal comma."}
    taken = browser.post(f"/api/v1/quarantine/{refused.pk}/resubmit", body, content_type="application/json")
    assert taken.json() == {"id": "1", "source": "urn:firm:psa", "status": "accepted"}
    twice = browser.post(f"/api/v1/quarantine/{refused.pk}/resubmit", body, content_type="application/json")
    assert (twice.status_code, twice["Content-Type"]) == (409, "application/problem+json")
    assert browser.get("/api/v1/quarantine?state=all").json()["items"][0]["state"] == "resubmitted"


def test_discarding_over_the_api_needs_a_reason(refused, platform, signed_in):
    browser = signed_in(platform)
    address = f"/api/v1/quarantine/{refused.pk}/discard"

    assert browser.post(address, {}, content_type="application/json").json()["errors"][0]["pointer"] == "/reason"
    answer = browser.post(address, {"reason": "Test."}, content_type="application/json")
    assert (answer.json()["state"], answer.json()["decided_by"]) == ("discarded", platform.email)


def test_a_token_opens_no_quarantine(refused, reading_token, client):
    answer = client.get("/api/v1/quarantine", headers={"Authorization": f"Bearer {reading_token}"})
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
