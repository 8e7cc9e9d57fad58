"""Tryton's JSON-RPC: sessions, types on the wire, and the three shapes of its answers.

A refusal for business reasons is HTTP 200 with `["UserError", [message, description, domain]]`; a mistake in
the request is HTTP 200 with two strings; everything about access, load and outages is an HTTP status with a page.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from integrations.errors import IntegrationError, Misconfigured, Permanent, Transient
from integrations.http import HttpClient

PAGE = 500
FORBIDDEN = ("You are not allowed to access", "Calling button", "You are not allowed to")


class TrytonRpc:
    """One user's session on one database of a trytond. Safe to share between threads."""

    def __init__(
        self,
        system: str,
        url: str,
        database: str,
        login: str,
        password: str,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.system = system
        self.login_name = login
        self._password = password
        self._path = f"/{database}/rpc/"
        self._http = HttpClient(system, url, secrets=(password,), transport=transport)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._session = ""
        self._context: dict[str, Any] = {}

    def close(self) -> None:
        """Close the connections; the session ends by itself."""
        self._http.close()

    def version(self) -> str:
        """Version of the server; needs no session."""
        answer = self._send("common.server.version", [], path="/rpc/", writes=False)
        return str(answer)

    def context(self) -> dict[str, Any]:
        """The user's preferences (company, language ...), which every call carries."""
        self._enter()
        return dict(self._context)

    def refresh(self) -> None:
        """Read the preferences again, after the user's company was set."""
        self._context = self._send("model.res.user.get_preferences", [True, {}], writes=False)
        self._context["language"] = "en"  # texts are classified in English

    def call(self, method: str, *params: Any, writes: bool = True, context: Mapping[str, Any] | None = None) -> Any:
        """Call `model.<name>.<method>`; a session that has ended is opened again, once."""
        self._enter()
        for again in (True, False):
            complete = [*params, {**self._context, **(context or {})}]
            try:
                return self._send(method, complete, writes=writes)
            except Misconfigured as error:
                if error.http_status != 401 or not again:
                    raise
                self._session = ""
                self._enter()
        raise AssertionError("unreachable")

    def search_read(
        self,
        model: str,
        domain: Sequence[Any],
        fields: Sequence[str],
        *,
        order: Sequence[Sequence[str]] | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Rows with `fields`; dotted fields come back under "<field>."."""
        name = f"model.{model}.search_read"
        rows: list[dict[str, Any]] = self.call(name, list(domain), 0, limit, order, list(fields), writes=False)
        return rows

    def create(self, model: str, values: Sequence[Mapping[str, Any]]) -> list[int]:
        """Create rows in one transaction; their ids."""
        ids: list[int] = self.call(f"model.{model}.create", list(values))
        return ids

    def write(self, model: str, ids: Sequence[int], values: Mapping[str, Any]) -> None:
        """Change rows."""
        self.call(f"model.{model}.write", list(ids), dict(values))

    def delete(self, model: str, ids: Sequence[int]) -> None:
        """Delete rows."""
        self.call(f"model.{model}.delete", list(ids))

    def button(self, model: str, name: str, ids: Sequence[int]) -> Any:
        """Press a button on rows."""
        return self.call(f"model.{model}.{name}", list(ids))

    def _enter(self) -> None:
        """Open a session when there is none."""
        with self._lock:
            if self._session:
                return
            try:
                user, token, *_ = self._send(
                    "common.db.login", [self.login_name, {"password": self._password}, "en"], writes=False
                )
            except IntegrationError as error:
                if error.http_status in (401, 429):
                    message = f"The login of {self.login_name} was refused."
                    raise Misconfigured(self.system, message, "LOGIN", error.http_status) from error
                raise
            session = f"{self.login_name}:{user}:{token}".encode()
            self._session = "Session " + base64.b64encode(session).decode()
            self.refresh()

    def _send(self, method: str, params: Sequence[Any], *, writes: bool, path: str = "") -> Any:
        content = json.dumps({"id": next(self._ids), "method": method, "params": params}, default=to_wire)
        headers = {"Content-Type": "application/json"}
        if self._session:
            headers["Authorization"] = self._session
        send = self._http.write if writes else self._http.read
        response = send("POST", path or self._path, content=content, headers=headers)
        return self._result(response)

    def _result(self, response: httpx.Response) -> Any:
        """The result in an answer with HTTP 200, or the error it stands for."""
        try:
            answer = json.loads(response.text, object_hook=from_wire, parse_float=Decimal)
        except ValueError as error:
            raise Misconfigured(self.system, "The answer is not JSON.", "ANSWER", 200, response.text) from error
        if isinstance(answer, Mapping) and "error" in answer:
            raise rpc_error(self.system, answer["error"], response.text)
        if isinstance(answer, Mapping) and "result" in answer:
            return answer["result"]
        return answer


def rpc_error(system: str, error: Any, body: str = "") -> IntegrationError:
    """The error that the `error` element of an answer stands for.

    code is Tryton's class of error (UserError, UserWarning, ConcurrencyException ...), AccessError for a lack
    of rights, ServerError for a mistake in the request.
    """
    name, details = [*error, "", ""][:2] if isinstance(error, list | tuple) else (str(error), "")
    if name == "UserError":
        message = _words(details, 0)
        if message.startswith(FORBIDDEN) and "modify the field" not in message:
            return Misconfigured(system, message, "AccessError", 200, body)
        return Permanent(system, message, name, 200, body)
    if name == "UserWarning":
        return Permanent(system, _words(details, 1), name, 200, body)
    if name == "ConcurrencyException":
        message = details if isinstance(details, str) else _words(details, 0)
        return Transient(system, message, name, 200, body)
    if name == "LoginException":
        return Misconfigured(system, _words(details, 1), name, 200, body)
    return Misconfigured(system, str(name), "ServerError", 200, body)


def _words(details: Any, at: int) -> str:
    """The message among the details, and its description when there is one."""
    parts = list(details) if isinstance(details, list | tuple) else [str(details)]
    texts = [str(part) for part in parts[at : at + 2] if isinstance(part, str) and part]
    return "\n".join(texts)


def to_wire(value: Any) -> Any:
    """A Python value as Tryton writes it in JSON."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return {"__class__": "datetime"} | {name: getattr(moment, name) for name in names}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    if isinstance(value, timedelta):
        return {"__class__": "timedelta", "seconds": value.total_seconds()}
    if isinstance(value, bytes):
        return {"__class__": "bytes", "base64": base64.b64encode(value).decode()}
    raise TypeError(f"Tryton has no type for {type(value).__name__}")


def from_wire(value: dict[str, Any]) -> Any:
    """The Python value of a JSON object; times are UTC."""
    kind = value.get("__class__")
    if kind == "Decimal":
        return Decimal(value["decimal"])
    if kind == "datetime":
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        year, month, day, hour, minute, second, micro = (int(value.get(name, 0)) for name in names)
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
    if kind == "date":
        return date(int(value["year"]), int(value["month"]), int(value["day"]))
    if kind == "timedelta":
        return timedelta(seconds=float(value["seconds"]))
    if kind == "bytes":
        return base64.b64decode(value["base64"])
    return value


def chunks(items: Sequence[int], size: int = PAGE) -> Iterator[Sequence[int]]:
    """`items` in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
