"""What silence and refusals on the wire mean, for reads and for writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import stamina

from integrations.errors import IntegrationError, Misconfigured, Permanent, Transient, Unknown
from integrations.http import HttpClient, retry_after


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Retries follow at once."""
    stamina.set_testing(True, attempts=3)
    yield
    stamina.set_testing(False)


def client(handler: Callable[[httpx.Request], httpx.Response]) -> HttpClient:
    return HttpClient("erp", "http://erp.test", secrets=("hunter22",), transport=httpx.MockTransport(handler))


def answering(status: int, text: str = "", headers: dict[str, str] | None = None) -> HttpClient:
    return client(lambda request: httpx.Response(status, text=text, headers=headers or {}))


def failing(error: type[httpx.TransportError]) -> HttpClient:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("connection lost, password hunter22", request=request)

    return client(handler)


@pytest.mark.parametrize(
    ("status", "read", "write"),
    [
        (400, Misconfigured, Misconfigured),
        (401, Misconfigured, Misconfigured),
        (403, Misconfigured, Misconfigured),
        (404, Misconfigured, Misconfigured),
        (409, Permanent, Permanent),
        (422, Permanent, Permanent),
        (429, Transient, Transient),
        (500, Transient, Unknown),
        (502, Transient, Unknown),
        (503, Transient, Transient),
        (504, Transient, Unknown),
    ],
)
def test_a_status_means_something_else_once_something_may_have_been_written(
    status: int, read: type[IntegrationError], write: type[IntegrationError]
) -> None:
    http = answering(status, "words")
    with pytest.raises(IntegrationError) as reading:
        http.read("GET", "/x")
    with pytest.raises(IntegrationError) as writing:
        http.write("POST", "/x")
    assert (type(reading.value), type(writing.value)) == (read, write)
    assert (writing.value.http_status, writing.value.message) == (status, "words")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError, Transient),
        (httpx.ConnectTimeout, Transient),
        (httpx.ReadTimeout, Unknown),
        (httpx.ReadError, Unknown),
        (httpx.WriteError, Unknown),
        (httpx.RemoteProtocolError, Unknown),
    ],
)
def test_what_was_not_sent_was_not_written_the_rest_is_unknown(
    error: type[httpx.TransportError], kind: type[IntegrationError]
) -> None:
    with pytest.raises(kind) as writing:
        failing(error).write("POST", "/x")
    assert "hunter22" not in str(writing.value)
    with pytest.raises(Transient):
        failing(error).read("GET", "/x")


def test_a_read_is_tried_three_times_a_write_once() -> None:
    calls = {"GET": 0, "POST": 0}

    def busy(request: httpx.Request) -> httpx.Response:
        calls[request.method] += 1
        return httpx.Response(503 if calls[request.method] < 3 else 200)

    http = client(busy)
    assert http.read("GET", "/x").status_code == 200
    with pytest.raises(Transient):
        http.write("POST", "/x")
    assert calls == {"GET": 3, "POST": 1}


def test_a_long_wait_is_left_to_the_queue() -> None:
    calls = []

    def limited(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(429, headers={"Retry-After": "120"})

    with pytest.raises(Transient) as error:
        client(limited).read("GET", "/x")
    assert error.value.retry_after == 120
    assert len(calls) == 1


def test_retry_after_is_a_number_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30))
    assert retry_after("7") == 7
    assert 25 < (retry_after(later) or 0) <= 30
    assert retry_after("999999") == 3600
    assert retry_after("-5") == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_the_readable_part_of_an_error_page_is_the_message() -> None:
    page = (
        "<!doctype html>\n<html lang=en>\n<title>503 Service Unavailable</title>\n<h1>Service Unavailable</h1>\n"
        "<p>could not obtain lock on row in relation &#34;ir_sequence_strict&#34;\n</p>\n"
    )
    with pytest.raises(Transient) as error:
        answering(503, page).write("POST", "/x")
    assert error.value.message == 'could not obtain lock on row in relation "ir_sequence_strict"'
    assert error.value.body == page
