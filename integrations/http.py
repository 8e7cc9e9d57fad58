"""The one HTTP client: time-outs, retries of reads, and what each kind of silence means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any, TypeVar

import httpx
import stamina

from integrations.errors import IntegrationError, Misconfigured, Permanent, Transient, Unknown, redact

CONNECT_SECONDS = 5.0
READ_SECONDS = 65.0  # longer than what targets allow themselves, so that they answer before we give up
READ_ATTEMPTS = 3
BUSY = frozenset({408, 425, 429, 502, 503})  # nothing was written; 502 counts as unknown for a write
LONGEST_WAIT = 3600.0

Result = TypeVar("Result")
_patient = stamina.RetryingCaller(attempts=READ_ATTEMPTS, timeout=30, wait_initial=0.2)


class HttpClient:
    """HTTP to one system. `secrets` never appear in an error, `transport` replaces the network in tests."""

    def __init__(
        self,
        system: str,
        base_url: str,
        *,
        secrets: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        read_seconds: float = READ_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.system = system
        self.secrets = secrets
        self._client = httpx.Client(
            base_url=base_url,
            headers={"Accept-Encoding": "gzip", "User-Agent": "opsboard", **(headers or {})},
            timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(self, method: str, url: str, **options: Any) -> httpx.Response:
        """A request that writes nothing: tried again after transient failures. Raises integrations.errors."""
        return again(lambda: self._send(method, url, writes=False, **options))

    def write(self, method: str, url: str, **options: Any) -> httpx.Response:
        """A request that writes: sent once; a lost answer is Unknown. Raises integrations.errors."""
        return self._send(method, url, writes=True, **options)

    def _send(self, method: str, url: str, *, writes: bool, **options: Any) -> httpx.Response:
        try:
            response = self._client.request(method, url, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Transient(self.system, self._words(error, "cannot be reached"), "CONNECT") from error
        except httpx.TransportError as error:
            kind = Unknown if writes else Transient
            raise kind(self.system, self._words(error, "gave no answer"), "NO_ANSWER") from error
        if response.status_code >= 400:
            raise self.failure(response, writes=writes)
        return response

    def failure(self, response: httpx.Response, *, writes: bool) -> IntegrationError:
        """The error that an HTTP status stands for."""
        status = response.status_code
        body = redact(response.text, self.secrets)
        wait = retry_after(response.headers.get("Retry-After"))
        message = _message(body) or f"HTTP {status} {response.reason_phrase}".strip()
        kind: type[IntegrationError]
        if status == 504 or (status in (500, 502) and writes):
            kind = Unknown if writes else Transient
        elif status in BUSY or status >= 500:
            kind = Transient
        elif status in (409, 412, 422):
            kind = Permanent
        else:
            kind = Misconfigured
        return kind(self.system, message, f"HTTP_{status}", status, body, wait)

    def _words(self, error: Exception, what: str) -> str:
        return redact(f"{self.system} {what}: {error or type(error).__name__}", self.secrets)


def again(call: Callable[[], Result]) -> Result:
    """The result of a call that writes nothing, tried up to three times while the failure is Transient."""
    return _patient(_worth_it, call)


def _worth_it(error: Exception) -> bool | float:
    """Whether, or after how many seconds, a read is tried again; long waits are the caller's queue's."""
    if not isinstance(error, Transient):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= 5 else False


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (number or date), at most an hour; None without one."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _message(body: str) -> str:
    """The readable part of an error page: its last paragraph without markup, or a short text as it is."""
    text = body.strip()
    if text.startswith("<") and "<p>" in text:
        text = text.rpartition("<p>")[2].partition("</p>")[0]
    elif text.startswith("<"):
        return ""
    return " ".join(unescape(text).split())[:500]
