"""The thread that empties the spool into the event door, batch by batch, and obeys what the server says."""

import json
import logging
import random
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any

import httpx
import msgspec

from opsboard.client.spool import Batch, Spool

BATCH_BYTES = 900_000  # many proxies take no more than 1 MiB
BATCHED = "application/cloudevents-batch+json"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between tries while the server does not answer
LONGEST_ORDER = 3600.0  # seconds; a Retry-After beyond it is cut

log = logging.getLogger("opsboard.client")


class _Item(msgspec.Struct):
    status: str
    problem: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    items: list[_Item]


_ANSWER = msgspec.json.Decoder(_Answer)
_CHANCE = random.SystemRandom()
_KNOWN = frozenset({"accepted", "duplicate", "rejected"})


class Sender(threading.Thread):
    """Sends what the spool holds: whenever a batch is full, otherwise every `every` seconds.

    `trouble` says why nothing is sent at the moment; `barred` that it stays so until `resume` (a token that is not
    valid, not allowed to write, or not for this source). At its end it closes the spool and the connection.
    """

    def __init__(self, spool: Spool, http: httpx.Client, door: httpx.URL, *, batch: int, every: float) -> None:
        super().__init__(name="opsboard.client", daemon=True)
        self.spool = spool
        self.http = http
        self.door = door
        self.batch = batch
        self.every = every
        self.trouble = ""
        self.barred = False
        self._size = batch  # of the next batch: smaller after one that was too large
        self._failures = 0
        self._rest_until = 0.0
        self._ordered = False  # the rest is the server's order, not our own guess
        self._ending = False
        self._synced = monotonic()
        self._wake = threading.Event()
        self._progress = threading.Condition()

    # ---- for the threads of the job ----

    def kept(self) -> None:
        """A line was appended. Wakes the sender when a batch is full."""
        if self.spool.pending >= self.batch and not self._must_wait():
            self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Send now; whether everything appended before this call is done within so many seconds.

        Tries at once while the server was away, but waits when it asked to. False at once when barred.
        """
        target, deadline = self.spool.kept, monotonic() + seconds
        with self._progress:
            if not self._ordered:
                self._rest_until = 0.0
            self._wake.set()
            while self.spool.done < target and not self.barred and self.is_alive():
                left = deadline - monotonic()
                if left <= 0:
                    break
                self._progress.wait(min(left, 1.0))
        return self.spool.done >= target

    def resume(self, token: str = "") -> None:
        """Send again after having been barred, with a new token if one is given."""
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"
        self.barred = False
        self._wake.set()

    def end(self) -> None:
        """Finish the request that is on its way, if any, and end."""
        self._ending = True
        self._wake.set()

    # ---- the thread ----

    def run(self) -> None:
        """Send until told to end."""
        try:
            while not self._ending:
                self._wake.wait(self._patience())
                self._wake.clear()
                self._sync()
                target = self.spool.kept  # what comes meanwhile may gather: small batches cost both sides
                while self.spool.done < target and not self._must_wait() and not self._ending:
                    self._send_safely()
                    self._tell()
        finally:
            self.spool.close()
            self.http.close()
            self._tell()

    def _sync(self) -> None:
        """At most every second."""
        if monotonic() - self._synced >= 1.0:
            self._synced = monotonic()
            try:
                self.spool.sync()
            except OSError as error:
                self._pause(f"The spool cannot be written: {error}")

    def _patience(self) -> float:
        left = self._rest_until - monotonic()
        return min(self.every, left) if left > 0 else self.every

    def _must_wait(self) -> bool:
        return self.barred or monotonic() < self._rest_until

    def _tell(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _send_safely(self) -> None:
        """Send; a disk that fails or is full ends nothing, it only makes wait."""
        try:
            self.spool.sync()
            self._send()
        except OSError as error:
            self._pause(f"The spool cannot be read or written: {error}")

    def _send(self) -> None:
        """Send one batch and do what its answer says."""
        batch = self.spool.read(self._size, BATCH_BYTES)
        if not batch.lines:
            if batch.damaged:
                self._done(batch, [])
            else:
                self._pause("The spool does not hold what was counted")
            return
        try:
            response = self.http.post(
                self.door, content=b"[" + b",".join(batch.lines) + b"]", headers={"Content-Type": BATCHED}
            )
        except httpx.RequestError as error:
            self._pause(f"The server does not answer: {type(error).__name__} {error}")
            return
        self._obey(response, batch)

    def _obey(self, response: httpx.Response, batch: Batch) -> None:
        status = response.status_code
        if status == 200:
            self._take(response, batch)
        elif status in {401, 403}:
            self._bar(f"{status}: {_detail(response)}")
        elif status in {429, 503}:
            self._pause(f"The server asks to wait: {status}", seconds=_seconds(response.headers.get("Retry-After")))
        elif status == 413 or (status in {400, 422} and _is_problem(response)):
            self._halve(response, batch)
        else:  # also a 400 that is not opsboard's: a proxy's word condemns no event
            self._pause(f"The server answered {status}")

    def _take(self, response: httpx.Response, batch: Batch) -> None:
        """One result per event, in order."""
        try:
            items = _ANSWER.decode(response.content).items
        except msgspec.MsgspecError:
            items = []
        if len(items) != len(batch.lines) or not all(item.status in _KNOWN for item in items):
            self._pause("The answer is not that of an event door")
            return
        foreign = next((item.problem for item in items if item.problem and item.problem.get("status") == 403), None)
        if foreign is not None:
            self._bar(f"403: {foreign.get('detail', '')} {foreign.get('errors', '')}")
            return
        pairs = zip(batch.lines, items, strict=True)
        self._done(batch, [(line, item.problem or {}) for line, item in pairs if item.status == "rejected"])

    def _done(self, batch: Batch, refused: list[tuple[bytes, dict[str, Any]]]) -> None:
        """Keep what was refused, then move on: in this order, so that a crash between loses nothing."""
        records = [_refusal(line, problem) for line, problem in refused]
        records += [_damage(record) for record in batch.damaged]
        self.spool.reject(records)
        self.spool.commit(batch.end, len(batch.lines) + len(batch.damaged))
        if records:
            log.warning("%d events were refused; see %s", len(records), self.spool.rejected_file)
        self._size = min(self.batch, self._size * 2)
        self.trouble, self._failures, self._rest_until = "", 0, 0.0

    def _halve(self, response: httpx.Response, batch: Batch) -> None:
        """The whole request was refused: send less at once, until the one event that it cannot take stands alone."""
        if len(batch.lines) == 1:
            self._done(batch, [(batch.lines[0], _problem(response))])
        else:
            self._size = len(batch.lines) // 2

    def _bar(self, why: str) -> None:
        log.error("events are kept and not sent any more: %s", why)
        self.trouble, self.barred = why, True

    def _pause(self, why: str, *, seconds: float | None = None) -> None:
        """Rest: as long as the server said, else longer with every failure, and never in step with other clients."""
        if not self.trouble:
            log.warning("events are kept and sent later: %s", why)
        guess = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10)) * _CHANCE.uniform(0.5, 1.0)
        self.trouble, self._ordered = why, seconds is not None
        self._failures += 1
        self._rest_until = monotonic() + (guess if seconds is None else seconds)


def _seconds(said: str | None) -> float | None:
    """Retry-After: seconds or a date; None when it says neither."""
    if said is None:
        return None
    if said.strip().isdecimal():
        return min(float(said), LONGEST_ORDER)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    left = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(left, 0.0), LONGEST_ORDER)


def _is_problem(response: httpx.Response) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/problem+json")


def _problem(response: httpx.Response) -> dict[str, Any]:
    """Why a request was refused, in opsboard's words when they are its."""
    try:
        said = response.json() if _is_problem(response) else None
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {"status": response.status_code, "detail": response.reason_phrase}


def _detail(response: httpx.Response) -> str:
    return str(_problem(response).get("detail", ""))


def _refusal(line: bytes, problem: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"at": datetime.now(UTC), "problem": problem, "event": msgspec.Raw(line)})


def _damage(record: bytes) -> bytes:
    """A line that the disk has not kept as it was written: for a person to look at."""
    said = {"at": datetime.now(UTC).isoformat(), "problem": {"detail": "Damaged on disk."}}
    return json.dumps(said | {"event": None, "text": record.decode("utf-8", "replace")}).encode()
