"""What can go wrong with another system, told apart by what has to happen next."""

from __future__ import annotations

import re

BODY_LIMIT = 8_000  # characters of the answer that are kept
_SECRETS = re.compile(
    r"""(?ix)
    (?P<name> authorization | api[-_]?key | access[-_]?token | token | secret | passwd | password | session )
    (?P<sep> ["']? \s* [:=] \s* ["']? )
    (?P<value> (?: (?:bearer|basic|session) \s+ )? [^\s"',;&}<]+ )
    """
)


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` without the given secrets and without the values of fields that are named like one."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _SECRETS.sub(lambda m: f"{m['name']}{m['sep']}***", text)


class IntegrationError(Exception):
    """A system did not do what it was asked.

    system: key of the connection ("demo-erp"). message: the target's answer, word for word. code: the
    vendor's code or class of error. body: the answer as it came, without secrets, at most 8 kB.
    retry_after: seconds the target asked to wait.
    """

    kind = "error"

    def __init__(
        self,
        system: str,
        message: str,
        code: str | None = None,
        http_status: int | None = None,
        body: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.system = system
        self.message = redact(message)
        self.code = code
        self.http_status = http_status
        self.body = redact(body)[:BODY_LIMIT] if body is not None else None
        self.retry_after = retry_after
        super().__init__(self.message)

    def __str__(self) -> str:
        code = f" [{self.code}]" if self.code else ""
        status = f" (HTTP {self.http_status})" if self.http_status else ""
        return f"{self.system}: {self.message}{code}{status}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (
            self.system,
            self.message,
            self.code,
            self.http_status,
            self.body,
            self.retry_after,
        )

    def as_dict(self) -> dict[str, object]:
        """The error as plain values, for the log."""
        return {
            "kind": self.kind,
            "system": self.system,
            "message": self.message,
            "code": self.code,
            "http_status": self.http_status,
            "body": self.body,
            "retry_after": self.retry_after,
        }


class Transient(IntegrationError):
    """Nothing was written; the same request may succeed later (connection refused, busy, rate limit)."""

    kind = "transient"


class Permanent(IntegrationError):
    """The target refused the content; a person has to change something before it can succeed."""

    kind = "permanent"


class Misconfigured(IntegrationError):
    """Credentials, rights or the request itself are wrong: the platform team's, not the business's."""

    kind = "misconfigured"


class Unknown(IntegrationError):
    """The request was sent and no answer came: ask the target by idempotency key before sending anything."""

    kind = "unknown"
