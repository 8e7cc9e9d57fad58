"""The flow, and the only place with Celery tasks. Each is a few lines: the work is in the rooms below.

    collect → process → accept (log, exceptions) → correlate → refresh
                 ↑ reap            detect, wake          seal

A task is only the doorbell: what is to be done stands in PostgreSQL, and every task may run at any time, twice, in
parallel, or be killed in the middle.
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.db.transaction import atomic

from integrations import errors
from integrations.flows import Collected, Flow, Message, Problem, Ref, flows, idempotency_key
from opsboard.catalog import connections
from opsboard.core import ids
from opsboard.core.clock import now
from opsboard.core.doorbell import ring
from opsboard.jobs import commands as jobs
from opsboard.jobs import queries as work
from opsboard.jobs.models import WorkItem
from opsboard.kpis import commands as kpis
from opsboard.log import commands as log
from opsboard.log import sealing
from opsboard.log.commands import Appended
from opsboard.log.entry import Entry, Named
from opsboard.triage import commands as triage
from opsboard.triage import queries as desk

note = structlog.get_logger(__name__)
PER_RING = 200  # items one ring works off before it rings again, so that a worker can be stopped in between
READS_PER_RING = 20


# ---- the way in, for everybody


@atomic
def accept(entries: Sequence[Entry]) -> Appended:
    """Take events into the log and let the exceptions of their transactions follow: current when this returns.

    For the API, the jobs, files and the demo alike. Threads follow within a second (`correlate`).
    """
    appended = log.append(entries)
    triage.follow(appended.transactions)
    ring("correlate")
    return appended


# ---- collect: read what changed in the sources


@shared_task
def collect() -> int:
    """Read every flow's source in every landscape; returns how many new messages there are."""
    return sum(read(landscape, flow) for landscape in connections.landscapes() for flow in flows().values())


def read(landscape: str, flow: Flow) -> int:
    """Read one flow's source to its end (or for a while); a source that cannot be read is an exception, too."""
    new = 0
    try:
        systems = connections.systems(landscape, flow.roles)
        for _ in range(READS_PER_RING):
            cursor = work.cursor(landscape, flow.key)
            found = flow.collect(systems, cursor, lambda sources: work.taken(landscape, flow.key, sources))
            if not _take(landscape, flow, found, cursor):
                break  # another reader was faster
            new += len(found.messages)
            if not found.more:
                break
    except errors.IntegrationError as error:
        jobs.reading_failed(landscape=landscape, flow=flow.key, error=error.as_dict())
        note.warning("source not read", landscape=landscape, flow=flow.key, error=str(error))
    return new


@atomic
def _take(landscape: str, flow: Flow, found: Collected, started_from: str | None) -> bool:
    """Work items, their first events and the cursor, in one database transaction."""
    items = [
        jobs.NewItem(
            landscape=landscape,
            flow=flow.key,
            key=message.key,
            lane=message.lane,
            payload=message.payload.model_dump(mode="json"),
            refs=[_named(ref) for ref in message.refs],
            transaction_id=transaction_of(landscape, flow.key, message.key),
            entity=message.entity,
            amount=message.amount,
            currency=message.currency,
            sources=message.sources,
        )
        for message in found.messages
    ]
    unfit = [source for problem in found.problems for source in problem.sources]
    if not jobs.add(
        items,
        landscape=landscape,
        flow=flow.key,
        started_from=started_from,
        cursor=found.cursor,
        problems=unfit,
    ):
        return False
    received = [_received(landscape, flow, message) for message in found.messages]
    accept(received + [_unfit(landscape, flow, problem) for problem in found.problems])
    if items:
        ring("process")
    return True


def _key(landscape: str, key: str) -> str:
    """Two landscapes may carry the same business key: the log keeps them apart."""
    return f"{landscape}:{key}"


def _named(ref: Ref) -> list[str]:
    return [ref.system, ref.type, ref.id, ref.role, ref.name]


def _received(landscape: str, flow: Flow, message: Message) -> Entry:
    return Entry(
        source=_source(landscape, flow.key),
        id=f"{message.key}/received",
        type="opsboard.job.received",
        kind="received",
        flow=flow.key,
        key=_key(landscape, message.key),
        objects=tuple(Named(*_named(ref)) for ref in message.refs),
        system=message.refs[0].system,
        entity=message.entity,
        amount=message.amount,
        currency=message.currency,
        occurred_at=message.occurred_at,
        received_at=now(),
        payload=message.payload.model_dump(mode="json"),
    )


def _unfit(landscape: str, flow: Flow, problem: Problem) -> Entry:
    """A record that cannot be carried is an exception at once; a later version of it is tried again."""
    return Entry(
        source=_source(landscape, flow.key),
        id=f"unfit/{'|'.join(problem.sources)}",
        type="opsboard.job.unfit",
        kind="rejected",
        flow=flow.key,
        key=_key(landscape, f"{problem.ref.type}/{problem.ref.id}"),
        objects=(Named(*_named(problem.ref)),),
        system=problem.ref.system,
        entity=str(problem.raw.get("legal_entity", "")),
        occurred_at=now(),
        received_at=now(),
        payload=dict(problem.raw),
        error={"system": problem.ref.system, "code": "UNFIT_RECORD", "message": problem.reason, "http_status": None},
    )


def _source(landscape: str, flow: str) -> str:
    return f"urn:opsboard:{landscape}:{flow}"


# ---- process: carry work items to their targets


@shared_task
def process() -> int:
    """Carry what may run; returns how many were tried. Rings again when there may be more."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    landscapes = connections.landscapes()
    for tried in range(PER_RING):
        if (claim := jobs.claim(worker=worker, landscapes=landscapes)) is None:
            return tried
        carry(claim)
    ring("process")
    return PER_RING


def carry(claim: jobs.Claim) -> None:
    """One attempt at one work item: ask first if an outcome is unknown, else send; then record what came of it.

    Nothing of the database is held while the target is asked.
    """
    item, flow = claim.item, flows()[claim.item.flow]
    payload = flow.message.model_validate(item.payload)
    key = idempotency_key(flow.key, item.key, payload)
    posted = None
    try:
        systems = connections.systems(item.landscape, flow.roles)
        if claim.ask_first:
            posted = flow.look_up(systems, payload, key)
    except errors.IntegrationError as error:
        _went_wrong(item, error, outcome_known=not claim.ask_first)
        return
    found = posted is not None
    try:
        posted = posted or flow.post(systems, payload, key, _steps(item, key))
    except errors.IntegrationError as error:
        _went_wrong(item, error, outcome_known=not isinstance(error, errors.Unknown))
        return
    with atomic():
        result = {"reference": posted.reference, "answer": posted.answer, "idempotency_key": key}
        if jobs.finish(item=item, result=result):
            objects = tuple(Named(*_named(ref)) for ref in posted.refs)
            accept([_event(item, "acknowledged", objects=objects, payload=result | {"found_by_look_up": found})])
    ring("process")  # what waited behind it may go on


def _went_wrong(item: WorkItem, error: errors.IntegrationError, *, outcome_known: bool) -> None:
    """Decide by the class of the failure what happens next, and say so in the log."""
    told, tired = error.as_dict(), item.retries >= jobs.RETRIES
    with atomic():
        if not outcome_known and not tired:
            kept, kind = jobs.lose(item=item, error=told), "outcome_unknown"
        elif isinstance(error, errors.Transient) and not tired:
            kept, kind = jobs.retry(item=item, error=told, wait=error.retry_after), "retried"
        else:
            given_up = not outcome_known or isinstance(error, errors.Transient)
            kept, kind = jobs.fail(item=item, error=told), "dead_lettered" if given_up else "rejected"
        if kept:
            accept([_event(item, kind, system=error.system, error=told)])


def _steps(item: WorkItem, key: str) -> Callable[..., None]:
    """What a flow calls after each step it has done: the step is in the log before the next one begins."""
    done: list[str] = []

    def step(
        kind: str,
        *,
        system: str,
        refs: Sequence[Ref] = (),
        sent: Mapping[str, Any] | None = None,
        answer: Mapping[str, Any] | None = None,
        latency_ms: int | None = None,
    ) -> None:
        done.append(kind)
        jobs.renew(item=item)
        accept(
            [
                _event(
                    item,
                    "posted" if sent else "noted",
                    step=f"{len(done)}.{kind}",
                    system=system,
                    objects=tuple(Named(*_named(ref)) for ref in refs),
                    latency_ms=latency_ms,
                    payload={"idempotency_key": key, "sent": sent, "answer": answer},
                )
            ]
        )

    return step


def _event(item: WorkItem, kind: str, *, step: str = "", objects: tuple[Named, ...] = (), **said: Any) -> Entry:
    """An event of an attempt. Its identity names the attempt, so that a repeated record is a duplicate."""
    moment = now()
    return Entry(
        source=_source(item.landscape, item.flow),
        id=f"{item.key}/{item.attempt}/{step or kind}",
        type=f"opsboard.job.{step.partition('.')[2] or kind}",
        kind=kind,
        flow=item.flow,
        key=_key(item.landscape, item.key),
        objects=(*(Named(*ref) for ref in item.refs), *objects),
        system=said.pop("system", ""),
        entity=item.entity,
        attempt=item.attempt,
        occurred_at=moment,
        received_at=moment,
        **said,
    )


# ---- what keeps the promises


@shared_task
def reap() -> int:
    """Free what dead workers held: the outcome is unknown and the target will be asked, or, after several workers
    died of the same item, a person."""
    told = {"system": "opsboard", "code": "WORKER_LOST", "message": "The worker that was sending it was lost."}
    with atomic():
        freed = jobs.reap(error=told)
        kinds = {"unknown": "outcome_unknown", "failed": "dead_lettered"}
        accept([_event(item, kinds[item.state], step=f"lost.{item.retries}", error=told) for item in freed])
    if freed:
        ring("process")
    return len(freed)


@shared_task
def correlate() -> int:
    """Fold new links into threads."""
    return log.correlate()


@shared_task
def detect() -> int:
    """Make sure that every failed transaction stands in the queue, and none that succeeded (law 6)."""
    return triage.follow(desk.unfollowed())


@shared_task
def wake() -> int:
    """Bring back snoozed exceptions whose time has come."""
    return triage.wake_due()


@shared_task
def refresh() -> int:
    """Keep today's figures, so that there is a history of them."""
    return kpis.snapshot()


@shared_task
def partitions() -> list[str]:
    """Room for the payloads of the months to come."""
    return log.make_partitions()


@shared_task
def seal() -> int:
    """Seal what has been recorded since, and publish the blocks."""
    return sealing.seal()


def transaction_of(landscape: str, flow: str, key: str) -> UUID:
    """The id of the transaction that carries a flow's message in a landscape."""
    return ids.transaction_id(flow, _key(landscape, key))
