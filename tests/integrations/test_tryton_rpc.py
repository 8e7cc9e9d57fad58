"""The three shapes of Tryton's answers, recorded from 8.2.1 on PostgreSQL."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from integrations.connectors.tryton_rpc import TrytonRpc, from_wire, rpc_error, to_wire
from integrations.errors import Misconfigured, Permanent, Transient, Unknown

CLOSED = (
    'To continue, you must reopen the period "2026-03" of company "Opsboard Services LLC" for the date "03/15/2026".'
)


@pytest.mark.parametrize(
    ("error", "kind", "code", "message"),
    [
        (["UserError", [CLOSED, "", None]], Permanent, "UserError", CLOSED),
        (["UserError", ["The code on party must be unique.", "", None]], Permanent, "UserError", "The code on party"),
        (
            ["UserError", ['You are not allowed to access "Account Invoice".', "Within groups: ", None]],
            Misconfigured,
            "AccessError",
            "You are not allowed to access",
        ),
        (
            ["UserError", ['Calling button "invoice on "Project Work" is not allowed.', "", None]],
            Misconfigured,
            "AccessError",
            "Calling button",
        ),
        (
            ["UserError", ['You are not allowed to modify the field "State" of "Account Invoice".', "", None]],
            Permanent,
            "UserError",
            "modify the field",
        ),
        (
            ["UserWarning", ["e66b.invoice_date_future", 'The invoices "(9)" have an invoice date in the future.', ""]],
            Permanent,
            "UserWarning",
            "invoice date in the future",
        ),
        (
            ["ConcurrencyException", "Records were modified in the meanwhile"],
            Transient,
            "ConcurrencyException",
            "modified in the meanwhile",
        ),
        (
            ["LoginException", ["password", "Password for admin", "password"]],
            Misconfigured,
            "LoginException",
            "Password",
        ),
        (["'nonsense'", ""], Misconfigured, "ServerError", "'nonsense'"),
    ],
)
def test_each_shape_has_its_meaning(error: Any, kind: type, code: str, message: str) -> None:
    found = rpc_error("live-erp", error, json.dumps(error))
    assert type(found) is kind
    assert found.code == code
    assert message in found.message
    assert found.http_status == 200


@pytest.mark.parametrize(
    "value",
    [
        Decimal("12.50"),
        date(2026, 10, 31),
        datetime(2026, 11, 20, 11, 58, 8, 3553, tzinfo=UTC),
        timedelta(hours=7, minutes=30),
        b"\x00pdf",
        {"list": [Decimal("1"), {"deep": date(2026, 1, 1)}], "none": None, "float": "x"},
    ],
)
def test_types_survive_the_wire(value: Any) -> None:
    assert json.loads(json.dumps(value, default=to_wire), object_hook=from_wire) == value


class Server:
    """A trytond as far as sessions go: answers what it is told, in order."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self.logins = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = json.loads(request.content)
        if call["method"] == "common.db.login":
            self.logins += 1
            return result([7, f"token{self.logins}", None])
        if call["method"] == "model.res.user.get_preferences":
            return result({"company": 1, "language": "de"})
        self.calls.append(call)
        self.headers.append(request.headers)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def rpc(self) -> TrytonRpc:
        transport = httpx.MockTransport(self)
        return TrytonRpc("live-erp", "http://erp.test", "erp", "opsboard", "hunter22", transport=transport)


def result(value: Any) -> httpx.Response:
    return httpx.Response(200, json={"id": 1, "result": value})


def test_a_call_carries_session_and_context_and_exactly_three_keys() -> None:
    server = Server(result([1]))
    assert server.rpc().create("party.party", [{"name": "Aldermoor"}]) == [1]
    (call,) = server.calls
    assert set(call) == {"id", "method", "params"}
    assert call["params"][-1] == {"company": 1, "language": "en"}
    session = base64.b64decode(server.headers[0]["Authorization"].removeprefix("Session ")).decode()
    assert session == "opsboard:7:token1"
    assert "gzip" in server.headers[0]["Accept-Encoding"]


def test_an_ended_session_is_opened_again_once() -> None:
    server = Server(httpx.Response(401), result([2]))
    assert server.rpc().create("party.party", [{}]) == [2]
    assert server.logins == 2
    server = Server(httpx.Response(401), httpx.Response(401))
    with pytest.raises(Misconfigured) as error:
        server.rpc().create("party.party", [{}])
    assert (error.value.http_status, server.logins) == (401, 2)


def test_a_refused_login_is_tried_once_and_keeps_the_password_to_itself() -> None:
    seen = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(401, text=request.content.decode())

    rpc = TrytonRpc("e", "http://e.test", "e", "opsboard", "hunter22", transport=httpx.MockTransport(refuse))
    with pytest.raises(Misconfigured, match="login of opsboard was refused") as error:
        rpc.button("account.invoice", "post", [1])
    assert "hunter22" not in str(error.value.as_dict())
    assert len(seen) == 1


def test_a_dropped_answer_to_a_write_is_unknown() -> None:
    request = httpx.Request("POST", "http://erp.test")
    with pytest.raises(Unknown):
        Server(httpx.ReadError("reset", request=request)).rpc().button("account.invoice", "post", [1])


def test_a_page_instead_of_json_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="not JSON"):
        Server(httpx.Response(200, text="<html>proxy</html>")).rpc().delete("party.party", [1])
