"""Files into the log: read, mapped to CloudEvents, and through the same door as what programs send.

Every event has an identity that does not depend on when or how often a file is read: importing it again changes
nothing, and an import that was interrupted is finished by running it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import Any

import msgspec

from integrations.files import csv_rows, jsonl_rows, ocel, source, xes, xlsx_rows
from integrations.files.records import FileProblem, LogRecord, Row, Unfit
from opsboard.accounts import queries as accounts
from opsboard.accounts.queries import Principal
from opsboard.api import door, events, mapping, problems
from opsboard.api.mapping import LogRule, Rules
from opsboard.core.clock import now
from opsboard.core.errors import Refused
from opsboard.log import quarantine
from opsboard.log.quarantine import Refusal

CLIENT = "file import"
BATCH = 500
TOLD = 100  # problems that a report lists; all of them are in quarantine
PREVIEW = 5


@dataclass(frozen=True)
class Wanted:
    """What to import, and as what. `flow` and `system` are for process logs; empty: made from the file's name."""

    path: Path
    source: str
    format: str = ""
    flow: str = ""
    system: str = ""
    client: str = ""
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Problem:
    """Why something was not taken: its place in the file, the column or JSON pointer, the reason."""

    place: str
    field: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.place, self.field, self.reason)))


@dataclass
class Report:
    """What became of a file. `stopped` says why its rest was not read."""

    format: str
    taken: int = 0
    known: int = 0
    refused: int = 0
    problems: list[Problem] = field(default_factory=list)
    preview: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""

    def refuse(self, found: list[Problem]) -> None:
        """One more that was refused, with everything that is wrong with it."""
        self.refused += 1
        self.problems += found[: TOLD - len(self.problems)]


@dataclass(frozen=True)
class Draft:
    """A part of the file as an event, or as it stands with the reason why it can be none."""

    place: str
    body: bytes
    columns: dict[str, str]
    problem: str = ""


def bring_in(wanted: Wanted, *, dry_run: bool = False) -> Report:
    """Import a file; returns what was taken, known already and refused. What is refused waits in quarantine.

    A dry run stores nothing: `taken` is then what the door would read. Raises Refused when the file is not there, or
    the source or the client cannot be used.
    """
    if not wanted.path.is_file():
        raise Refused(f"There is no file {wanted.path}.")
    by = _sender(wanted)
    report = Report(wanted.format or "?")
    try:
        report.format = wanted.format or source.guess(wanted.path)
        for batch in _batches(_drafts(wanted, report.format)):
            if dry_run:
                _try(batch, by, report)
            else:
                _take(batch, by, report)
    except FileProblem as problem:
        report.stopped = str(problem)
    return report


def _sender(wanted: Wanted) -> Principal:
    """In whose name. With a service account's, what is refused can be corrected and resubmitted from the quarantine."""
    by = Principal(0, CLIENT, wanted.source, frozenset())
    if wanted.client:
        account = accounts.sender(wanted.client)
        if account is None:
            raise Refused(f"There is no active service account {wanted.client}.")
        by = account
    data = {"kind": "noted", "objects": [{"system": "x", "type": "x", "id": "x"}]}
    probe = {"specversion": "1.0", "source": wanted.source, "id": "x", "type": "x", "data": data}
    found = door.read(door.Message(events.STRUCTURED, msgspec.json.encode(probe)), by=by, received_at=now())
    if found.problem:
        raise Refused(f"The source {wanted.source} cannot be used: {_why(found.problem)}.")
    return by


def _why(problem: dict[str, Any]) -> str:
    return "; ".join(fault["detail"] for fault in problem.get("errors", [])) or problem["detail"]


def _batches(drafts: Iterator[Draft]) -> Iterator[list[Draft]]:
    """Up to BATCH at a time; what stands before the place where a file breaks off is given before the FileProblem."""
    batch: list[Draft] = []
    try:
        for draft in drafts:
            batch.append(draft)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except FileProblem:
        yield batch
        raise
    yield batch


# ---- from records to events


def _drafts(wanted: Wanted, form: str) -> Iterator[Draft]:
    if form in {"csv", "xlsx", "jsonl"}:
        with _rows(wanted, form) as rows:
            for row in rows:
                yield _from_row(row, wanted)
        return
    stem = wanted.path.name.partition(".")[0]
    rule = LogRule(source=wanted.source, flow=wanted.flow or stem, system=wanted.system or stem, given=wanted.rules)
    with _records(wanted, form) as records:
        for record in records:
            if isinstance(record, Unfit):
                yield Draft(record.place, dumps(record.raw, default=str).encode(), {}, record.reason)
            else:
                place, event = rule.event(record)
                yield Draft(place, _encoded(event), {})


@contextmanager
def _rows(wanted: Wanted, form: str) -> Iterator[Iterator[Row]]:
    rules = wanted.rules
    if form == "xlsx":
        with source.unpacked(wanted.path) as path:
            yield xlsx_rows.rows(path, sheet=rules.sheet)
        return
    with source.opened(wanted.path) as stream:
        if form == "csv":
            yield csv_rows.rows(stream, delimiter=rules.delimiter, encoding=rules.encoding)
        else:
            yield jsonl_rows.rows(stream)


@contextmanager
def _records(wanted: Wanted, form: str) -> Iterator[Iterator[LogRecord]]:
    if form == "ocel-sqlite":
        with source.unpacked(wanted.path) as path:
            yield ocel.read_sqlite(path)
    elif form == "ocel-json":
        yield ocel.read_json(lambda: source.opened(wanted.path))
    elif form == "xes":
        with source.opened(wanted.path) as stream:
            yield xes.read(stream)
    else:
        raise Refused(f"The format {form} is none of {', '.join(source.FORMATS)}.")


def _from_row(row: Row, wanted: Wanted) -> Draft:
    place = f"line {row.line}"
    said = None if row.problem else mapping.of_row(row, wanted.rules, wanted.source)
    if said is None or said.problem:
        problem = said.problem if said else row.problem
        return Draft(place, dumps(row.values, default=str).encode(), {}, problem)
    return Draft(place, _encoded(said.event), said.columns)


def _encoded(event: dict[str, Any]) -> bytes:
    """As JSON; text that is no Unicode stays escaped, and is refused by the door with everything else it refuses."""
    try:
        return msgspec.json.encode(event)
    except (UnicodeEncodeError, OverflowError):
        return dumps(event, default=str).encode()


# ---- through the door


def _take(batch: list[Draft], by: Principal, report: Report) -> None:
    ready = [draft for draft in batch if not draft.problem]
    items = door.receive_batch([draft.body for draft in ready], atomically=False, by=by)
    for draft, item in zip(ready, items, strict=True):
        report.taken += item.status == "accepted"
        report.known += item.status == "duplicate"
        if item.problem:
            report.refuse(_problems(draft, item.problem))
    unread = [draft for draft in batch if draft.problem]
    for draft in unread:
        report.refuse([Problem(draft.place, "", draft.problem)])
    if unread:
        quarantine.keep([_unreadable(draft, by) for draft in unread])


def _try(batch: list[Draft], by: Principal, report: Report) -> None:
    """As _take, but nothing is stored."""
    moment = now()
    for draft in batch:
        if draft.problem:
            report.refuse([Problem(draft.place, "", draft.problem)])
            continue
        item = door.read(door.Message(events.STRUCTURED, draft.body), by=by, received_at=moment)
        if item.problem:
            report.refuse(_problems(draft, item.problem))
            continue
        report.taken += 1
        if len(report.preview) < PREVIEW:
            report.preview.append(msgspec.json.decode(draft.body))


def _problems(draft: Draft, problem: dict[str, Any]) -> list[Problem]:
    """The door's problem in words of the file: the column where there is one, else the pointer."""
    found = [
        Problem(draft.place, draft.columns.get(fault["pointer"], fault["pointer"]), fault["detail"])
        for fault in problem.get("errors", [])
    ]
    return found or [Problem(draft.place, "", problem["detail"])]


def _unreadable(draft: Draft, by: Principal) -> Refusal:
    said = problems.details(400, f"{draft.place}: {draft.problem}", title="The row cannot be read")
    return Refusal(client=by.name, content_type="", body=draft.body, problem=said)
