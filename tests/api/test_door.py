"""The event door over HTTP: who may send, what is answered, what is stored and what is kept in quarantine."""

import json
from typing import Any
from unittest.mock import patch

import pytest
import redis
from django.db import OperationalError
from django.test import Client

from opsboard.api import events, limits
from opsboard.log.models import Event, Quarantine, Transaction

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"


def problem(response: Any, status: int) -> dict[str, Any]:
    """The problem in the answer, after checking that it is one."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert (body["status"], body["type"]) == (status, "about:blank")
    assert body["title"]
    return body


def pointers(body: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in body["errors"]]


# ---- single events ----


def test_an_event_is_accepted_and_stands_in_the_log(sender, event):
    response = sender.send(event("1", amount="100.00", currency="EUR"))

    assert (response.status_code, response.json()) == (202, {"id": "1", "source": "urn:firm:psa", "status": "accepted"})
    assert response["RateLimit-Policy"]
    assert Event.objects.get().external_id == "1"
    assert Transaction.objects.get().status == "pending"


def test_the_same_event_again_is_a_duplicate_and_no_error_however_it_is_written(sender, event):
    sender.send(event("1"))
    turned = {key: event("1")[key] for key in reversed(event("1"))}

    response = sender.send(json.dumps(turned, indent=2).encode())

    assert (response.status_code, response.json()["status"]) == (200, "duplicate")
    assert Event.objects.count() == 1
    assert not Quarantine.objects.exists()


def test_the_same_identity_with_other_content_is_a_conflict_that_a_person_sees(sender, event):
    sender.send(event("1"))

    body = problem(sender.send(event("1", kind="acknowledged")), 409)

    assert "correction" in body["detail"]
    assert Event.objects.get().kind == "posted"
    kept = Quarantine.objects.get()
    assert (kept.client, kept.source, kept.state, kept.problem["status"]) == ("psa job", "urn:firm:psa", "open", 409)


def test_while_the_database_is_away_the_sender_is_asked_to_come_again_and_nothing_is_refused(sender, event):
    with patch("opsboard.pipeline.log.append", side_effect=OperationalError("server closed the connection")):
        response = sender.send(event("1"))

    problem(response, 503)
    assert response["Retry-After"] == "2"
    assert not Quarantine.objects.exists()
    assert sender.send(event("1")).status_code == 202


def test_binary_mode_says_the_same_as_structured_mode(sender, event):
    said = event("1")
    headers = {f"ce-{name}": said[name] for name in ("specversion", "id", "source", "type", "time")}

    assert sender.send(said["data"], "application/json; charset=utf-8", **headers).status_code == 202
    assert sender.send(said).json()["status"] == "duplicate"


def test_headers_beside_a_structured_event_do_not_count(sender, event):
    assert sender.send(event("1"), **{"ce-id": "other", "ce-type": "x"}).json()["id"] == "1"


def test_what_is_wrong_is_named_with_pointers_and_kept_as_it_came(sender, event):
    said = event("1", amount="1.234", objects=[{"system": "psa", "type": "time_entry", "id": ""}], currency="EUR")

    body = problem(sender.send(said), 400)

    assert pointers(body) == ["/data/amount", "/data/objects/0/id"]
    kept = Quarantine.objects.get()
    assert json.loads(kept.body) == said
    assert (kept.content_type, kept.problem["errors"]) == ("application/cloudevents+json", body["errors"])


def test_an_unreadable_body_is_kept_escaped(sender):
    problem(sender.send(b'{"id": "\xff\x00'), 400)

    assert Quarantine.objects.get().body == '{"id": "\\xff\\x00'


def test_a_binary_event_is_kept_with_its_headers(sender):
    headers = {"ce-specversion": "1.0", "ce-id": "7", "ce-type": "x", "ce-source": "urn:firm:psa"}

    problem(sender.send({"kind": "nonsense"}, "application/json", **headers), 400)

    kept = Quarantine.objects.get()
    assert kept.headers == {"specversion": "1.0", "id": "7", "type": "x", "source": "urn:firm:psa"}
    assert kept.source == "urn:firm:psa"


def test_a_sender_that_repeats_what_was_refused_fills_nothing(sender):
    for _ in range(3):
        sender.send(b"nonsense")

    assert Quarantine.objects.count() == 1


# ---- who may send ----


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer nonsense", f"Bearer ob_svc_{'a' * 30}_000000", "Basic eDp5", "Token x"]
)
def test_without_a_valid_token_nothing_is_read(event, header):
    response = Client(headers={"Authorization": header}).post(
        "/api/v1/events", json.dumps(event("1")), content_type="application/cloudevents+json"
    )

    problem(response, 401)
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert not Event.objects.exists()
    assert not Quarantine.objects.exists()


def test_a_token_in_the_address_is_not_looked_at(event, token):
    response = Client().post(
        f"/api/v1/events?access_token={token}", json.dumps(event("1")), content_type="application/cloudevents+json"
    )
    problem(response, 401)


def test_being_signed_in_as_a_person_is_no_token(event, platform, signed_in):
    response = signed_in(platform).post(
        "/api/v1/events", json.dumps(event("1")), content_type="application/cloudevents+json"
    )
    problem(response, 401)


def test_a_token_without_the_scope_is_refused(event, reading_token):
    response = Client(headers={"Authorization": f"Bearer {reading_token}"}).post(
        "/api/v1/events", json.dumps(event("1")), content_type="application/cloudevents+json"
    )
    problem(response, 403)


@pytest.mark.parametrize(
    ("source", "status"),
    [
        *(("urn:firm:psa", 202), ("urn:firm:psa:emea", 202), ("urn:firm:psa/2", 202), ("urn:firm:psa#x", 202)),
        *(("urn:firm:psa2", 403), ("urn:firm:crm", 403), ("urn:firm", 403), ("URN:FIRM:PSA", 403)),
    ],
)
def test_a_sender_writes_only_as_its_source_and_what_stands_below(sender, event, source, status):
    response = sender.send(event("1", source=source))

    assert response.status_code == status
    if status == 403:
        assert pointers(problem(response, 403)) == ["/source"]
        assert Quarantine.objects.get().source == source


# ---- formats and sizes ----


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/cloudevents+avro", 415),
        ("application/cloudevents+json; charset=utf-16", 415),
        ("text/xml", 400),  # binary mode: the attributes are missing first of all
    ],
)
def test_formats_that_are_not_understood(sender, event, content_type, status):
    problem(sender.send(event("1"), content_type), status)


def test_packed_bodies_are_not_understood(sender, event):
    problem(sender.send(event("1"), **{"Content-Encoding": "gzip"}), 415)


def test_too_much_is_413_and_not_kept(sender, event):
    problem(sender.send(event("1", payload="x" * events.EVENT_BYTES_MAX)), 413)
    problem(sender.batch([event(str(n)) for n in range(events.BATCH_MAX + 1)]), 413)
    problem(sender.send(b" " * (events.BODY_BYTES_MAX + 1)), 413)
    assert not Quarantine.objects.exists()


def test_other_methods_and_addresses_are_problems_too(sender):
    response = sender.get("/api/v1/events")
    problem(response, 405)
    assert response["Allow"] == "POST, OPTIONS"
    problem(sender.get("/api/v1/nonsense"), 404)
    problem(sender.post("/api/v1/openapi.json"), 405)


def test_the_webhook_handshake_is_answered(sender):
    asked = {"WebHook-Request-Origin": "events.firm.example", "WebHook-Request-Rate": "120"}
    response = Client().options("/api/v1/events", headers=asked)

    assert response.status_code == 200
    assert response["WebHook-Allowed-Origin"] == "events.firm.example"
    assert int(response["WebHook-Allowed-Rate"]) > 0
    assert "POST" in response["Allow"]


# ---- batches ----


def test_a_batch_answers_for_each_event_in_order(sender, event):
    sender.send(event("old"))
    sender.send(event("changed"))
    batch = [
        event("new"),
        event("old"),
        event("changed", kind="acknowledged"),
        event("bad", kind="nonsense"),
        event("foreign", source="urn:firm:crm"),
        7,
        event("new"),
    ]

    response = sender.batch(batch)
    body = response.json()

    assert response.status_code == 200
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (1, 2, 4)
    assert [item["status"] for item in body["items"]] == [
        *("accepted", "duplicate", "rejected", "rejected", "rejected", "rejected", "duplicate"),
    ]
    assert [item["problem"]["status"] for item in body["items"] if "problem" in item] == [409, 400, 403, 400]
    assert body["items"][3]["id"] == "bad"
    assert pointers(body["items"][3]["problem"]) == ["/data/kind"]
    assert sorted(Event.objects.values_list("external_id", flat=True)) == ["changed", "new", "old"]
    kept = Quarantine.objects.order_by("id")
    assert [item.problem["status"] for item in kept] == [409, 400, 403, 400]
    assert json.loads(kept[1].body) == batch[3]
    assert kept[3].body == "7"


def test_an_empty_batch_is_fine(sender):
    assert sender.batch([]).json() == {"accepted": 0, "duplicates": 0, "rejected": 0, "items": []}


def test_one_event_twice_in_a_batch_with_other_content_is_a_conflict(sender, event):
    body = sender.batch([event("1"), event("1", kind="acknowledged")]).json()

    assert [item["status"] for item in body["items"]] == ["accepted", "rejected"]


def test_a_batch_that_is_no_array_is_refused_and_kept(sender):
    problem(sender.send(b'{"not": "an array"}', "application/cloudevents-batch+json"), 400)

    assert Quarantine.objects.get().content_type == "application/cloudevents-batch+json"


def test_an_atomic_batch_is_stored_whole_or_not_at_all(sender, event):
    sender.send(event("old"))

    body = problem(sender.batch([event("1"), event("2", kind="nonsense")], "?atomic=true"), 400)
    assert pointers(body) == ["/1/data/kind"]
    problem(sender.batch([event("1"), event("old", kind="acknowledged")], "?atomic=true"), 409)
    assert Event.objects.count() == 1

    answer = sender.batch([event("1"), event("old")], "?atomic=true").json()
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    problem(sender.batch([], "?atomic=perhaps"), 400)


# ---- throttling ----


def test_a_sender_that_runs_wild_is_told_when_to_come_back(sender, event, settings):
    settings.OPSBOARD_EVENTS_PER_SECOND = 1  # ten at once

    first = sender.batch([event(str(n)) for n in range(9)])
    assert (first.status_code, first["RateLimit"]) == (200, '"events";r=1;t=9')
    assert sender.send(event("9")).status_code == 202

    response = sender.batch([event(str(n)) for n in range(20, 25)])

    problem(response, 429)
    assert 4 <= int(response["Retry-After"]) <= 5
    assert not Event.objects.filter(external_id="20").exists()


def test_a_batch_larger_than_the_bucket_passes_when_the_bucket_is_full(sender, event, settings):
    settings.OPSBOARD_EVENTS_PER_SECOND = 1

    assert sender.batch([event(str(n)) for n in range(30)]).status_code == 200
    assert sender.send(event("x")).status_code == 429


def test_without_redis_events_are_taken_all_the_same(sender, event):
    away = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.1)
    with patch.object(redis.Redis, "from_url", return_value=away):
        limits.bucket.cache_clear()
        response = sender.send(event("1"))

    assert response.status_code == 202
    assert "RateLimit" not in response


# ---- documents ----


def test_the_contract_is_published(client):
    response = client.get("/api/v1/schemas/event.json")

    assert response["Content-Type"] == "application/schema+json"
    assert response.json()["required"] == ["kind", "objects"]
