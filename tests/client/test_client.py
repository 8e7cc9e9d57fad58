"""The client against a server by script: what it says, how it obeys, what it keeps."""

import json
import logging
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from itertools import chain
from typing import Any

import httpx
import pytest

from opsboard.api import contract
from opsboard.client import KINDS, Client, ClientError, Error, Said, SpoolFull
from opsboard.stack.paths import PROJECT

PROJECT_1 = ("psa", "project", "P-1")
INVOICE = ("erp", "invoice", "INV-1", "result", "Invoice 1")
PROBLEM = {"Content-Type": "application/problem+json"}


def said(client: Client) -> list[dict]:
    """The events in the spool."""
    return [json.loads(line) for line in client._spool.read(1000, 1 << 30).lines]


def kinds(client: Client) -> list[str]:
    return [event["data"]["kind"] for event in said(client)]


def ids(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


def tell(client: Client, *names: str) -> None:
    for name in names:
        client.say("noted", [PROJECT_1], event_id=name)


def raise_after(step: Callable[[], str], error: BaseException) -> None:
    step()
    raise error


# ---- light, and the same words as the contract ----


def test_importing_it_brings_neither_django_nor_celery_nor_the_rest_of_opsboard():
    script = "import sys, opsboard.client; print(*sorted(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert "opsboard.client" in loaded
    assert not loaded & {"django", "celery", "kombu", "redis", "psycopg", "structlog"}
    assert {name for name in loaded if name.startswith("opsboard.")} == {
        name for name in loaded if name.startswith("opsboard.client")
    }


def test_it_knows_the_words_of_the_contract():
    properties = contract.schema()["properties"]
    assert set(contract.SENDER_KINDS) == KINDS
    assert properties.keys() == {"kind", "objects"} | Said.__annotations__.keys()
    assert properties["error"]["properties"].keys() == Error.__annotations__.keys()


# ---- a transaction in words ----


def test_a_transaction_says_its_steps_in_the_words_of_the_contract(make):
    client = make()
    money = {"amount": Decimal("8400.5"), "currency": "EUR", "entity": "DE01"}
    with client.transaction("time-to-billing", "P-1/10", [PROJECT_1], correlation="C-7", **money) as tx:
        tx.step("validated", latency_ms=3)
        tx.posted({"lines": [1, 2]}, system="erp")
        tx.acknowledged(objects=[INVOICE, PROJECT_1])

    events = said(client)
    assert [event["type"] for event in events] == [
        *("time-to-billing.validated", "time-to-billing.posted", "time-to-billing.acknowledged")
    ]
    assert events[1]["data"] == {
        "kind": "posted",
        "flow": "time-to-billing",
        "key": "P-1/10",
        "payload": {"lines": [1, 2]},
        "amount": "8400.5",
        "currency": "EUR",
        "entity": "DE01",
        "system": "erp",
        "objects": [{"system": "psa", "type": "project", "id": "P-1"}],
    }
    assert [each["id"] for each in events[2]["data"]["objects"]] == ["P-1", "INV-1"]
    assert {event["correlationid"] for event in events} == {"C-7"}
    assert len({event["id"] for event in events}) == 3
    assert all(contract.faults(event["data"]) == [] for event in events)


def test_an_exception_becomes_rejected_in_the_targets_words_and_goes_on(make):
    client = make()
    request = httpx.Request("POST", "https://erp.example")
    answer = httpx.Response(422, text="The period is closed.\x00", request=request)
    with pytest.raises(httpx.HTTPStatusError), client.transaction("f", "k", [PROJECT_1]):
        answer.raise_for_status()
    with pytest.raises(KeyError), client.transaction("f", "k2", [PROJECT_1]):
        raise KeyError("rate\udcff")

    assert kinds(client) == ["rejected", "rejected"]
    events = said(client)
    error = events[0]["data"]["error"]
    assert (error["code"], error["http_status"], error["body"]) == (
        "HTTPStatusError",
        422,
        "The period is closed.\ufffd",
    )
    assert events[1]["data"]["error"] == {"message": "'rate\\udcff'", "code": "KeyError"}
    assert all(contract.faults(event["data"]) == [] for event in events)


def test_leaving_without_an_answer_says_nothing_false(make):
    client = make()
    with client.transaction("f", "nothing", [PROJECT_1]):
        pass
    with client.transaction("f", "on its way", [PROJECT_1]) as tx:
        tx.posted()
    with pytest.raises(KeyboardInterrupt), client.transaction("f", "stopped", [PROJECT_1]) as tx:
        raise_after(tx.posted, KeyboardInterrupt())
    with pytest.raises(ValueError, match="after"), client.transaction("f", "answered", [PROJECT_1]) as tx:
        raise_after(tx.acknowledged, ValueError("after the answer"))
    with client.transaction("f", "lost", [PROJECT_1]) as tx:
        tx.outcome_unknown()

    assert kinds(client) == ["noted", "posted", "posted", "acknowledged", "outcome_unknown"]


def test_what_cannot_be_said_is_an_error_of_the_program(make):
    client = make()
    wrongs: list[dict[str, Any]] = [
        {"kind": "assigned"},
        {"objects": []},
        {"objects": [("psa", "project")]},
        {"amount": "5"},
        {"amount": "five", "currency": "EUR"},
        {"at": datetime.now(UTC).replace(tzinfo=None)},
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"is not|at least one|an object is|needs its"):
            client.say(**({"kind": "noted", "objects": [PROJECT_1]} | wrong))
    with pytest.raises(TypeError, match="float"):
        client.say("noted", [PROJECT_1], amount=1.1, currency="EUR")
    with pytest.raises(ValueError, match="run needs at"):
        client.transaction("f", "k", [PROJECT_1], run="1")
    assert client.pending == 0


def test_a_row_told_again_has_the_same_ids_and_content(make):
    client = make()
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    for _ in range(2):
        with client.transaction("f", "k", [PROJECT_1], run="row-7", at=moment) as tx:
            tx.posted()
            tx.acknowledged()

    first, second = said(client)[:2], said(client)[2:]
    assert first == second
    assert [event["id"] for event in first] == ["row-7/1/1/posted", "row-7/1/2/acknowledged"]


def test_a_full_spool_stops_the_job_clearly_and_hides_no_error_of_its_own(make):
    client = make(max_bytes=1000)
    with pytest.raises(SpoolFull):
        tell(client, *ids(100))
    with pytest.raises(SpoolFull), client.transaction("f", "k", [PROJECT_1]) as tx:
        tx.posted()
    with pytest.raises(KeyError) as caught, client.transaction("f", "k", [PROJECT_1]):
        raise KeyError("the job's own")
    assert "opsboard was not told" in caught.value.__notes__[0]


# ---- sending ----


def test_batches_hold_at_most_500_and_a_few_go_after_a_moment(make, scripted):
    server = scripted()
    client = make(transport=server)
    tell(client, *ids(1200))
    deadline = time.monotonic() + 10
    while client.pending and time.monotonic() < deadline:
        time.sleep(0.01)

    assert max(map(len, server.heard)) <= 500
    assert list(chain(*server.heard)) == ids(1200)


def test_it_waits_as_long_as_the_server_asks(make, scripted):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server = scripted(
        httpx.Response(429, headers={"Retry-After": "1"}), httpx.Response(503, headers={"Retry-After": later})
    )
    client = make(transport=server)
    begun = time.monotonic()
    tell(client, "a")
    time.sleep(0.3)
    assert "wait" in client.trouble

    assert client.flush(10), "flush waits, too"
    assert 1.0 < time.monotonic() - begun < 4
    assert server.heard == [["a"]] * 3
    assert client.trouble == ""


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("away"),
        httpx.ReadTimeout("no answer"),
        500,
        502,
        404,
        httpx.Response(400, text="a proxy's word condemns no event"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"items": []}),
        httpx.Response(200, json={"items": [{"status": "withheld"}]}),
    ],
)
def test_whatever_is_not_the_doors_word_is_tried_again(make, scripted, answer):
    server = scripted(answer, answer)
    client = make(transport=server)
    tell(client, "a")

    assert any(client.flush(0.05) for _ in range(100))
    assert server.heard == [["a"]] * 3
    assert client.rejected == []


def test_it_backs_off_further_each_time_and_not_in_step(make, scripted):
    client = make(transport=scripted(*[500] * 50))
    sender = client._sender
    pauses = []
    for _ in range(12):
        sender._pause("away")
        pauses.append(sender._rest_until - time.monotonic())

    assert 0.2 < pauses[0] <= 0.5
    assert 25 < pauses[-1] <= 60
    assert len(set(pauses[-4:])) == 4


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, headers=PROBLEM, json={"detail": "Send the token"}),
        httpx.Response(403, headers=PROBLEM, json={"detail": "lacks the scope"}),
        httpx.Response(
            200, json={"items": [{"id": "a", "status": "rejected", "problem": {"status": 403, "detail": "source"}}]}
        ),
    ],
)
def test_without_the_right_to_write_it_keeps_and_sends_no_more_until_told(make, scripted, answer, caplog):
    server = scripted(answer)
    client = make(transport=server)
    tell(client, "a")
    begun = time.monotonic()
    assert client.flush(5) is False
    assert time.monotonic() - begun < 2, "flush does not wait for what cannot come"
    tell(client, "b")
    time.sleep(0.2)

    assert len(server.heard) == 1
    assert client.pending == 2
    assert client.trouble.startswith(("401", "403"))
    assert [record.levelno for record in caplog.records if record.name == "opsboard.client"] == [logging.ERROR]

    client.resume(token="better")
    assert client.flush(5)
    assert server.heard[-1] == ["a", "b"]
    assert client._sender.http.headers["Authorization"] == "Bearer better"


@pytest.mark.parametrize("status", [400, 413])
def test_a_request_refused_as_a_whole_is_halved_until_the_guilty_event_stands_alone(make, status):
    stored: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        names = [event["id"] for event in json.loads(request.content)]
        if "e13" in names:
            return httpx.Response(status, headers=PROBLEM, json={"detail": "too much"})
        stored.extend(names)
        return httpx.Response(200, json={"items": [{"status": "accepted"} for _ in names]})

    client = make(transport=httpx.MockTransport(answer))
    tell(client, *ids(40))

    assert client.flush(10)
    assert sorted(stored) == sorted(set(ids(40)) - {"e13"})
    (refused,) = client.rejected
    assert refused.event
    assert (refused.event["id"], refused.problem) == ("e13", {"detail": "too much"})


def test_what_is_closed_takes_nothing_more_and_another_client_carries_on(make, scripted):
    first = make()
    tell(first, "a")
    assert first.close(timeout=0) is False
    with pytest.raises(ClientError, match="closed"):
        tell(first, "b")

    server = scripted()
    with make(transport=server) as second:
        tell(second, "c")
    assert server.heard == [["a", "c"]]
    assert second.pending == 0


def test_a_job_that_simply_ends_sends_what_it_has(tmp_path, make, scripted):
    """Nobody called close: at exit it flushes for a while, and what it could not send is there for the next one."""
    script = f"""
from opsboard.client import Client
client = Client("http://127.0.0.1:9", "t", source="urn:x", spool={str(tmp_path / "spool")!r}, at_exit=0.2)
client.say("noted", [("a", "b", "c")], event_id="last words")
"""
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True, timeout=20)
    server = scripted()
    assert make(transport=server).flush(5)
    assert server.heard == [["last words"]]


def test_while_the_server_is_away_the_queue_is_the_disk_and_not_the_memory(make):
    client = make()
    payload = "x" * 1000
    tracemalloc.start()
    for number in range(20_000):
        client.say("noted", [PROJECT_1], event_id=f"m{number}", payload=payload)
    client.flush(0.1)
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert client.pending == 20_000
    assert client._spool.on_disk > 20_000_000
    assert "Connect" in client.trouble
    assert max(now, most) < 5_000_000, "a batch may be in hand, not the queue"
