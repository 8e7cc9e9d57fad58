"""One attempt to carry one message, told step by step."""

from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import httpx

from opsboard.client.errors import ClientError
from opsboard.client.events import ANSWERS, Error, Said, Step, Touched, plain

if TYPE_CHECKING:
    from opsboard.client import Client

CODE_LONGEST = 255
MESSAGE_LONGEST = 20_000


class Transaction:
    """What `client.transaction(…)` gives. Leaving the block says:

    * after an exception: `rejected`, with the exception as error, unless an answer has been told already or the
      process is being ended (KeyboardInterrupt, SystemExit). The exception goes on.
    * without an answer: nothing more. The transaction stays pending; when no step was told at all, `noted`, so that it
      is seen.
    """

    def __init__(
        self,
        client: "Client",
        objects: Iterable[Touched],
        said: Said,
        *,
        run: str,
        at: datetime | None,
        correlation: str,
    ) -> None:
        self.client = client
        self.objects = list(objects)
        self.said = said
        self.run = run
        self.at = at
        self.correlation = correlation
        self.told: list[str] = []  # the kinds, in order
        self._latest = datetime.min.replace(tzinfo=UTC)

    def step(self, kind: str, *, objects: Iterable[Touched] = (), payload: Any = None, **said: Unpack[Step]) -> str:
        """Tell one step, of any kind; the event's id. `objects` stand behind the transaction's own.

        Raises SpoolFull, and what `opsboard.client.events.encode` raises.
        """
        attempt = said.get("attempt") or self.said.get("attempt") or 1
        event_id = f"{self.run}/{attempt}/{len(self.told) + 1}/{kind}" if self.run else ""
        self._latest = max(self._latest, self.at or datetime.now(UTC))  # a clock that is set back turns no steps round
        touched = [*self.objects, *objects]
        whole: Said = {**self.said, **said, "payload": payload}
        made = self.client.say(kind, touched, event_id=event_id, at=self._latest, correlation=self.correlation, **whole)
        self.told.append(kind)
        return made

    def posted(self, payload: Any = None, **said: Unpack[Step]) -> str:
        """It was sent to the target; `payload` is what was sent."""
        return self.step("posted", payload=payload, **said)

    def acknowledged(self, objects: Iterable[Touched] = (), **said: Unpack[Step]) -> str:
        """The target has taken it; `objects` are what it made of it, such as the invoice."""
        return self.step("acknowledged", objects=objects, **said)

    def rejected(self, message: str, *, code: str = "", http_status: int | None = None, body: Any = None) -> str:
        """The target has refused it, in its own words."""
        return self.step("rejected", error=_error(message, code, http_status, body))

    def outcome_unknown(self, message: str = "") -> str:
        """No answer came: nobody knows whether the target has taken it."""
        return self.step("outcome_unknown", error=_error(message or "No answer came.", "", None, None))

    @property
    def answered(self) -> bool:
        """Whether a final step was told."""
        return not ANSWERS.isdisjoint(self.told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.answered or isinstance(error, ClientError):
            return
        try:
            if isinstance(error, Exception):
                self.rejected(**_of(error))
            elif not self.told:
                self.step("noted")
        except ClientError as lost:
            if error is None:
                raise
            error.add_note(f"opsboard was not told: {lost}")


def _error(message: str, code: str, http_status: int | None, body: Any) -> Error:
    error: Error = {"message": plain(message, MESSAGE_LONGEST)}
    if code:
        error["code"] = plain(code, CODE_LONGEST)
    if http_status is not None:
        error["http_status"] = http_status
    if body is not None:
        error["body"] = body
    return error


def _of(error: Exception) -> dict[str, Any]:
    """What an exception says; of an HTTP error, also what the target answered."""
    said: dict[str, Any] = {"message": str(error) or type(error).__name__, "code": type(error).__name__}
    if isinstance(error, httpx.HTTPStatusError):
        answered = error.response
        body = plain(answered.text, MESSAGE_LONGEST) if answered.is_stream_consumed else None
        said |= {"http_status": answered.status_code, "body": body}
    return said
