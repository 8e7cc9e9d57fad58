"""Sealing the log and checking the seal. Nothing here writes to events, and no append ever waits for it.

A block lists its members one by one (`Block.members`): numbers are drawn before commit, so a lower one may become
visible after a higher one. What is visible is sealed at once; what comes late goes into a later block. Beside that,
each block signs a mark, `upto`: no event with a number up to it can appear any more, so that one which does is known
as inserted. The mark is found without a column and without a lock: every INSERT holds ROW EXCLUSIVE on log_event from
before it draws a number until after its commit is visible. So (1) read the sequence, (2) list who holds that lock,
(3) wait until they are gone, two seconds at most. Should a long writer stay, only the mark stays where it was:
everybody else's events are sealed all the same.

What the seal cannot show: a change before the sealing (some five seconds), an insertion above the mark (that is an
append, whoever makes it), and a rewriting of everything by somebody who holds the database and the signing key.
Against the last stand the anchors: every block is published outside the database (`publish`), and `verify` compares.
They prove as much as their place is out of reach: copy the file to storage that can be written only once.
The event's own `digest` covers what the sender said before it became a row (zone of a time, unrounded amount), so it
cannot be computed again from the row; it is sealed with the row, and the payload as stored is sealed beside it.
"""

import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.transaction import atomic

from opsboard.core.clock import iso, now
from opsboard.log import seal as math
from opsboard.log.models import Block, Event

SEALING = 0x0B5B0A2E  # advisory lock: one sealer at a time
PER_BLOCK = 10_000
PATIENCE = 2.0  # seconds the sealer waits for the writers that were at work when it looked
AT_ONCE = 20_000  # events, and
BLOCKS_AT_ONCE = 1_000  # blocks, that are checked by one statement

# Every column of log_event; a test compares the two. The list is part of the seal: blocks that exist are verified with
# it. So a new column comes with a version at the block (headers say `v`: 1), and each version keeps its own list. The
# same holds for the form of a payload.
COLUMNS = (
    *("seq", "id", "source", "external_id", "type", "digest", "kind", "flow", "transaction_id", "key", "status"),
    *("system", "entity", "attempt", "amount", "currency", "latency_ms", "actor", "correlation", "objects_named"),
    *("refs", "facts", "occurred_at", "received_at", "recorded_at"),
)
ROW = f"json_build_array({', '.join(f'e.{name}' for name in COLUMNS)})::text"


def statement(name: str) -> str:
    """A file of sql/ with its parts filled in."""
    text = (Path(__file__).parent / "sql" / f"{name}.sql").read_text()
    for part in ("ENTRY", "PAYLOAD"):
        if f"/* {part} */" in text:
            text = text.replace(f"/* {part} */", statement(part.lower()).strip())
    return text.replace("/* ROW */", ROW)


UNSEALED, SEALED, INSERTED = map(statement, ("unsealed", "sealed", "inserted"))
Standing = tuple[list[int], bytes]  # numbers, and 64 bytes for each
WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = 'log_event'::regclass AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND pid IS DISTINCT FROM pg_backend_pid()
"""


def key_file() -> Path:
    """Where the signing key lies."""
    return settings.DATA_DIR / "seal.key"


def anchors_file() -> Path:
    """Where blocks are published."""
    return settings.DATA_DIR / "anchors.jsonl"


# ---- seal


def seal(*, patience: float = PATIENCE, new_key: bool = False) -> int:
    """Seal what is not sealed yet and publish the blocks; returns how many events. Safe to run twice, in parallel.

    Raises ImproperlyConfigured when the log was sealed before and its key is not here, unless `new_key` is wished: a
    worker on another machine must not go on with a key of its own that nobody knows.
    """
    sealed = 0
    while size := _seal_block(patience, new_key):
        sealed += size
        if size < PER_BLOCK:
            break
    publish()
    return sealed


@atomic
def _seal_block(patience: float, new_key: bool) -> int:
    """One block, if there is anything to seal; returns its number of events."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEALING])
        if not cursor.fetchone()[0]:
            return 0  # another sealer is at work
        plain_text(cursor)
        before = Block.objects.order_by("number").last()
        known = before.upto if before else 0
        mark = _mark(cursor, known, patience)
        cursor.execute(UNSEALED, {"mark": known, "limit": PER_BLOCK})
        rows = cursor.fetchall()
    if not rows:
        return 0
    seqs = [seq for seq, _ in rows]
    if len(rows) == PER_BLOCK:
        mark = max(known, min(mark, seqs[-1]))  # what lies beyond is for the next block
    _write(before, seqs, b"".join(entry for _, entry in rows), mark, _key(make=before is None or new_key))
    return len(rows)


def _mark(cursor: Any, known: int, patience: float) -> int:
    """The greatest number such that no event up to it can appear any more; see the head of this file."""
    cursor.execute("SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('log_event', 'seq')::regclass), 0)")
    drawn = int(cursor.fetchone()[0])
    waiting_for, until = _writers(cursor), time.monotonic() + patience
    while waiting_for:
        if time.monotonic() >= until:
            return known
        time.sleep(0.02)
        waiting_for &= _writers(cursor)
    return max(known, drawn)


def _writers(cursor: Any) -> set[str]:
    cursor.execute(WRITERS)
    return {row[0] for row in cursor.fetchall()}


def plain_text(cursor: Any) -> None:
    """Times as text are the same in every session, until the end of the database transaction."""
    cursor.execute("SET LOCAL TimeZone = 'UTC'")


def _key(*, make: bool) -> Ed25519PrivateKey:
    try:
        return math.load_key(key_file(), make=make)
    except FileNotFoundError as error:
        raise ImproperlyConfigured(
            f"The log is sealed, but its key is not here: bring {key_file()} from the machine that sealed it, or begin "
            "with a new key by `manage.py seal_log --new-key` (then verify_log needs the public keys of both)."
        ) from error


def _write(before: Block | None, seqs: Sequence[int], entries: bytes, mark: int, key: Ed25519PrivateKey) -> None:
    block = Block(
        number=before.number + 1 if before else 1,
        previous=sha256(header(before)).digest() if before else math.NOTHING,
        root=math.root(math.leaves(entries)),
        size=len(seqs),
        first=seqs[0],
        last=seqs[-1],
        upto=mark,
        members=math.ranges(seqs),
        entries=entries,
        sealed_at=iso(now()),
        key=math.public(key),
    )
    block.signature = key.sign(header(block))
    block.save(force_insert=True)


def header(block: Block) -> bytes:
    """The bytes of the block that are hashed and signed."""
    return math.header(
        number=block.number,
        previous=bytes(block.previous),
        merkle=bytes(block.root),
        size=block.size,
        first=block.first,
        last=block.last,
        upto=block.upto,
        sealed_at=block.sealed_at,
        key=block.key,
    )


def publish() -> int:
    """Write the blocks that are not yet published behind the others, on disk before this returns; returns how many.

    The one place through which blocks leave the database: another place (mail, webhook) is sent the same lines.
    """
    descriptor = os.open(anchors_file(), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        last = _last_published(handle)
        blocks = Block.objects.filter(number__gt=last).order_by("number").defer("entries", "members")
        lines = [math.line(header(block), bytes(block.signature)) for block in blocks]
        handle.write(b"".join(json.dumps(line, sort_keys=True).encode() + b"\n" for line in lines))
        handle.flush()
        os.fsync(handle.fileno())
    return len(lines)


def _last_published(handle: Any) -> int:
    """The number in the last whole line; a line that a crash cut off is taken away, and so written again."""
    size = handle.seek(0, os.SEEK_END)
    at = handle.seek(max(0, size - 65_536))
    tail = handle.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    if len(whole) < len(tail):
        handle.truncate(at + len(whole))
    lines = whole.splitlines()
    return int(json.loads(lines[-1])["number"]) if lines else 0


# ---- verify


@dataclass
class Finding:
    """One kind of damage: the first place, in words, and how often."""

    first: str
    count: int = 1


@dataclass
class Report:
    """What `verify` read and found. `found` is empty when all is as it was sealed."""

    events: int = 0
    blocks: int = 0
    upto: int = 0
    anchors: int = 0
    unsealed: int = 0
    payloads_gone: int = 0
    first_gone: int = 0
    listed: bool = True  # every block's list of members is readable
    keys: set[str] = field(default_factory=set)
    found: dict[str, Finding] = field(default_factory=dict)

    def tell(self, kind: str, first: str) -> None:
        """Note damage; of each kind the first is described, the others are counted."""
        if kind in self.found:
            self.found[kind].count += 1
        else:
            self.found[kind] = Finding(first)


@dataclass(frozen=True)
class Anchors:
    """What was published: lines by block number, the (hash, signature) of those that are sound, the last number."""

    lines: dict[int, dict[str, Any]]
    sound: set[tuple[str, str]]
    last: int


def verify(*, trusted: set[str], anchors: Sequence[dict[str, Any]] = (), jobs: int = 1) -> Report:
    """Compute everything again and compare, in a stream: of the log, only the anchors are held in memory.

    `trusted`: public keys (hex) that may have signed. `jobs`: connections that read at once; inside a database
    transaction only its own, for no other sees what it has written.
    """
    report = Report(anchors=len(anchors))
    published = _check_anchors(report, anchors, trusted)
    before, at = math.NOTHING, 0
    for blocks, standing in _read_ahead(_groups(), 1 if connection.in_atomic_block else jobs):
        for block in blocks:
            if block.number != at + 1:
                report.tell("block removed", f"block {at + 1} is not there; the next one is block {block.number}")
            elif bytes(block.previous) != before:
                report.tell("block altered", f"block {block.number} does not follow from block {at}")
            _check_block(report, block, trusted, published)
            before, at = sha256(header(block)).digest(), block.number
        _check_events(report, blocks, standing)
    for number in sorted(number for number in published.lines if number > at):
        report.tell("tail cut off", f"the log ends at block {at}, but block {number} was published")
    _check_unsealed(report)
    return report


def _groups() -> Iterator[list[Block]]:
    """All blocks in order, in portions that fit into memory."""
    at = 0
    while True:
        sizes = Block.objects.filter(number__gt=at).order_by("number").values_list("number", "size")[:BLOCKS_AT_ONCE]
        total, last = 0, at
        for number, size in sizes:
            if total and total + size > AT_ONCE:
                break
            total, last = total + size, number
        if last == at:
            return
        yield list(Block.objects.filter(number__gt=at, number__lte=last).order_by("number"))
        at = last


def _check_block(report: Report, block: Block, trusted: set[str], published: Anchors) -> None:
    """The block by itself: root, signature, its own numbers, and what was published of it."""
    signed, name = header(block), f"block {block.number}"
    hashed, signature = sha256(signed).hexdigest(), bytes(block.signature)
    report.blocks, report.upto = report.blocks + 1, max(report.upto, block.upto)
    report.keys.add(block.key)
    known = (hashed, signature.hex()) in published.sound  # a signature is verified once: it is what takes time here
    if block.key not in trusted or not (known or math.signed_by(block.key, signature, signed)):
        report.tell("block altered", f"{name} is not signed as it stands")
    elif math.root(math.leaves(bytes(block.entries))) != bytes(block.root):
        report.tell("block altered", f"{name}: its entries do not lead to its root")
    if not _is_whole(block):
        report.tell("block altered", f"{name}: its list of members does not fit what was sealed")
        report.listed = False
    line = published.lines.get(block.number)
    if line and line["hash"] != hashed:
        report.tell("block differs from its anchor", f"{name} was published with the hash {line['hash'][:16]}…")
    elif not line and block.number < published.last:
        report.tell("anchor removed", f"{name} is missing in the anchors")


def members(block: Block) -> list[int]:
    """The numbers of the block's events, ascending; none when the list is no list of that length: it was altered."""
    try:
        found = math.numbers(block.members, block.size)
    except ValueError:
        return []
    return found if math.ranges(found) == block.members else []


def _is_whole(block: Block) -> bool:
    seqs = members(block)
    return bool(seqs) and (len(seqs), seqs[0], seqs[-1]) == (
        len(block.entries) // math.ENTRY,
        block.first,
        block.last,
    )


def _read_ahead(groups: Iterator[list[Block]], jobs: int) -> Iterator[tuple[list[Block], Standing]]:
    """Each group with its events as they stand now. PostgreSQL does the hashing, so several backends halve the time."""
    if jobs == 1:
        for group in groups:
            yield group, _standing(group)
        return
    with ThreadPoolExecutor(jobs) as pool:
        coming: deque[tuple[list[Block], Future[Standing]]] = deque()
        for group in groups:
            coming.append((group, pool.submit(_standing_apart, group)))
            if len(coming) > jobs:
                first, answer = coming.popleft()
                yield first, answer.result()
        for group, answer in coming:
            yield group, answer.result()


def _standing(blocks: list[Block]) -> Standing:
    """Numbers and entries of the events in the range of these blocks, as they stand now."""
    whole = [block for block in blocks if _is_whole(block)]
    if not whole:
        return [], b""
    with atomic(), connection.cursor() as cursor:
        plain_text(cursor)
        ends = {"first": min(block.first for block in whole), "last": max(block.last for block in whole)}
        cursor.execute(SEALED, ends)
        there, standing = cursor.fetchone()
    return there, bytes(standing)


def _standing_apart(blocks: list[Block]) -> Standing:
    """The same in a thread, whose connection ends with it."""
    try:
        return _standing(blocks)
    finally:
        connection.close()


def _check_events(report: Report, blocks: list[Block], now_standing: Standing) -> None:
    """The events of these blocks as they stand now, against what was sealed of them."""
    whole = [block for block in blocks if _is_whole(block)]  # of others it is told; their events cannot be placed
    if not whole:
        return
    seqs = [seq for block in whole for seq in members(block)]
    sealed = b"".join(bytes(block.entries) for block in whole)
    there, standing = now_standing
    report.events += len(seqs)
    if there == seqs and standing == sealed:
        return
    place = {seq: at * math.ENTRY for at, seq in enumerate(there)}
    for at, seq in sorted(enumerate(seqs), key=lambda pair: pair[1]):
        was = sealed[at * math.ENTRY : (at + 1) * math.ENTRY]
        found = standing[place[seq] : place[seq] + math.ENTRY] if seq in place else None
        if found != was:
            _tell_event(report, seq, was, found)


def _tell_event(report: Report, seq: int, was: bytes, found: bytes | None) -> None:
    """What is different about one event."""
    if found is None:
        report.tell("event removed", f"event {seq} is not there")
        return
    if found[:32] != was[:32]:
        report.tell("event altered", _named(seq))
    if found[32:] == was[32:]:
        return
    if found[32:] == math.NOTHING:
        report.first_gone = report.first_gone or seq
        report.payloads_gone += 1
    else:
        report.tell("payload altered" if was[32:] != math.NOTHING else "payload inserted", _named(seq))


def _named(seq: int) -> str:
    """An event as a person finds it."""
    event = Event.objects.only("source", "external_id").get(pk=seq)
    return f"event {seq} ({event.source} {event.external_id})"


def _check_unsealed(report: Report) -> None:
    """Events outside every block: below the mark they were inserted, above it they are waiting."""
    if not report.listed or "block removed" in report.found:
        return  # which events the blocks held is not known any more
    with connection.cursor() as cursor:
        cursor.execute(INSERTED, {"mark": report.upto})
        inserted, first, report.unsealed = cursor.fetchone()
    if inserted:
        report.found["event inserted"] = Finding(_named(first), inserted)


def _check_anchors(report: Report, anchors: Sequence[dict[str, Any]], trusted: set[str]) -> Anchors:
    """The published lines by themselves: signed, hashed, and each following from the one before."""
    before: dict[str, Any] | None = None
    sound = set()
    for line in anchors:
        signed = math.unsigned(line)
        true = line["key"] in trusted and math.signed_by(line["key"], bytes.fromhex(line["signature"]), signed)
        if not true or sha256(signed).hexdigest() != line["hash"]:
            report.tell("anchor altered", f"the anchor of block {line['number']} is not signed as it stands")
        elif before and line["number"] == before["number"] + 1 and line["previous"] != before["hash"]:
            report.tell("anchor altered", f"the anchor of block {line['number']} does not follow from the one before")
        else:
            sound.add((line["hash"], line["signature"]))
        before = line
    lines = {line["number"]: line for line in anchors}
    return Anchors(lines, sound, max(lines, default=0))


def read_anchors(path: Path) -> list[dict[str, Any]]:
    """Published blocks from a file. Raises ValueError for a line that is none."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            said = json.loads(line)
            for name in ("hash", "previous", "signature", "key"):
                bytes.fromhex(said[name])
            found.append(said | {"number": int(said["number"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}, line {number} is not a published block") from error
    return found
