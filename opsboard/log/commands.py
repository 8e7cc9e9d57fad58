"""What can be done to the log: append, correlate, rebuild, make room for next month. Nothing else writes to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from django.db import connection
from django.db.transaction import atomic
from psycopg import sql

from opsboard.core.clock import now
from opsboard.log.entry import KINDS, THREAD_RANK, Entry

SQL = Path(__file__).parent / "sql"
PROJECT = (SQL / "project.sql").read_text()
APPEND = (SQL / "append.sql").read_text().replace("/* PROJECT */", PROJECT)
REPROJECT = (SQL / "reproject.sql").read_text().replace("/* PROJECT */", PROJECT)
TABLES = {
    "ranks": msgspec.json.encode(THREAD_RANK).decode(),
    "kinds": msgspec.json.encode({name: kind.rank for name, kind in KINDS.items()}).decode(),
}
PROJECTIONS = ("log_object", "log_link", "log_membership", "log_transaction")
CORRELATING = 0x0B5B0A2D  # advisory lock: links are folded into threads by one writer at a time
CHUNK = 20_000  # links folded at a time
REPLAY_CHUNK = 5_000  # events projected at a time by rebuild


@dataclass(frozen=True)
class Appended:
    """What became of a batch: positions in it, and the transactions that moved."""

    accepted: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)
    transactions: set[UUID] = field(default_factory=set)


def append(entries: Sequence[Entry]) -> Appended:
    """Write a batch to the log; each event once, whoever sends it again, in whatever batch, in parallel.

    The same identity with the same content is a duplicate; with other content a conflict, and is not stored.
    One statement for the whole batch, in the caller's database transaction or its own.
    """
    if not entries:
        return Appended()
    rows = [entry.row() for entry in entries]
    first: dict[str, int] = {}
    for position, row in enumerate(rows):
        first.setdefault(row["id"], position)
    batch = msgspec.json.encode([rows[position] for position in first.values()]).decode()
    with atomic(savepoint=False), _prepared() as cursor:  # one statement: there is nothing to go back to within it
        cursor.execute(APPEND, {"batch": batch, **TABLES}, prepare=True)
        fresh = {id_.hex: transaction for id_, transaction in cursor.fetchall()}
        stored = _digests(cursor, [id_ for id_ in first if id_ not in fresh])
    result = Appended(transactions={transaction for transaction in fresh.values() if transaction})
    for position, row in enumerate(rows):
        id_, digest = row["id"], row["digest"]
        if id_ in fresh and first[id_] == position:
            result.accepted.append(position)
        elif digest == (stored.get(id_) or rows[first[id_]]["digest"]):
            result.duplicates.append(position)
        else:
            result.conflicts.append(position)
    return result


@contextmanager
def _prepared() -> Iterator[psycopg.Cursor]:
    """psycopg's own cursor on Django's connection: the batch travels as a parameter of a prepared statement.

    Django's cursor writes parameters into the text, which the server then parses: measured a fifth slower.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor


def _digests(cursor: Any, identities: list[str]) -> dict[str, str]:
    """Digests of events that were there before, or that another writer has just committed."""
    if not identities:
        return {}
    cursor.execute("SELECT id, encode(digest, 'hex') FROM log_event WHERE id = ANY(%s::uuid[])", [identities])
    return {id_.hex: digest for id_, digest in cursor.fetchall()}


def correlate() -> int:
    """Fold new links into threads until none is left; returns how many. Safe in parallel: one works, others wait."""
    folded = 0
    while count := _fold():
        folded += count
    return folded


@atomic
def _fold() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRELATING])
        cursor.execute(
            """
            UPDATE log_link SET pending = false WHERE (a, b) IN (
                SELECT a, b FROM log_link WHERE pending ORDER BY a, b LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING a, b, binds
            """,
            [CHUNK],
        )
        links = cursor.fetchall()
        if links:
            _join_threads(cursor, [(a, b) for a, b, binds in links if binds])
            _descend(cursor, [a for a, _, binds in links if not binds], [b for _, b, binds in links if not binds])
    return len(links)


def _join_threads(cursor: Any, bound: list[tuple[UUID, UUID]]) -> None:
    """Engagement objects that are bound get the smallest thread id among them, and so does all that hangs on them."""
    if not bound:
        return
    cursor.execute(
        """
        SELECT DISTINCT x.thread_id, y.thread_id
        FROM unnest(%s::uuid[], %s::uuid[]) AS pair (a, b)
        JOIN log_membership AS x ON x.object_id = a JOIN log_membership AS y ON y.object_id = b
        WHERE x.thread_id <> y.thread_id
        """,
        [[a for a, _ in bound], [b for _, b in bound]],
    )
    renamed = union(cursor.fetchall())
    if not renamed:
        return
    cursor.execute(
        """
        WITH renamed AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS r (old, new)),
        gone AS (DELETE FROM log_membership USING renamed WHERE thread_id = old RETURNING new, object_id)
        INSERT INTO log_membership (thread_id, object_id) SELECT DISTINCT new, object_id FROM gone
        ON CONFLICT DO NOTHING
        """,
        [list(renamed), list(renamed.values())],
    )


def union(pairs: Iterable[tuple[UUID, UUID]]) -> dict[UUID, UUID]:
    """Union-find over thread ids: every id that is not the smallest of its component → the smallest."""
    parent: dict[UUID, UUID] = {}

    def root(node: UUID) -> UUID:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = node = parent[above]
        return node

    for pair in pairs:
        low, high = sorted(map(root, pair))
        parent[high] = low
    return {node: root(node) for node in list(parent) if root(node) != node}


def _descend(cursor: Any, upper: list[UUID], lower: list[UUID]) -> None:
    """Documents join the threads of what stands before them, and hand them on to what stands behind."""
    while upper:
        cursor.execute(
            """
            INSERT INTO log_membership (thread_id, object_id)
            SELECT DISTINCT m.thread_id, link.b
            FROM unnest(%s::uuid[], %s::uuid[]) AS link (a, b) JOIN log_membership AS m ON m.object_id = link.a
            ON CONFLICT DO NOTHING RETURNING object_id
            """,
            [upper, lower],
        )
        changed = list({row[0] for row in cursor.fetchall()})
        cursor.execute("SELECT a, b FROM log_link WHERE a = ANY(%s) AND NOT binds", [changed])
        links = cursor.fetchall()
        upper, lower = [a for a, _ in links], [b for _, b in links]


@atomic
def rebuild() -> int:
    """Drop the log's projections and make them again from the events; returns the number of events read.

    Readers see the old rows until the end. Writers wait: nothing may be projected twice.
    """
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE log_event IN SHARE ROW EXCLUSIVE MODE")
        for table in PROJECTIONS:
            cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        total = 0
        for after, upto in _ranges(cursor):
            cursor.execute(REPROJECT, {"after": after, "upto": upto, **TABLES})
            total += cursor.fetchone()[0]
    correlate()
    return total


def _ranges(cursor: Any) -> Iterator[tuple[int, int]]:
    cursor.execute("SELECT coalesce(max(seq), 0) FROM log_event")
    last = cursor.fetchone()[0]
    for after in range(0, last, REPLAY_CHUNK):
        yield after, after + REPLAY_CHUNK


KEEP = sql.SQL("CREATE TEMP TABLE {was} ON COMMIT DROP AS TABLE {now}")
COMPARE = sql.SQL(
    "SELECT count(*) FROM ((TABLE {now} EXCEPT TABLE {was}) UNION ALL (TABLE {was} EXCEPT TABLE {now})) AS difference"
)


def _names(table: str) -> dict[str, sql.Identifier]:
    return {"now": sql.Identifier(table), "was": sql.Identifier(f"was_{table}")}


def differences(tables: Sequence[str] = PROJECTIONS, again: Callable[[], object] = rebuild) -> dict[str, int]:
    """Rebuild by `again` inside a database transaction that is rolled back; count per table the rows that differ.

    Returns {} when every projection equals what the log says.
    """
    found: dict[str, int] = {}
    with atomic(), connection.cursor() as cursor:
        correlate()
        for table in tables:
            cursor.execute(KEEP.format(**_names(table)))
        again()
        for table in tables:
            cursor.execute(COMPARE.format(**_names(table)))
            if count := cursor.fetchone()[0]:
                found[table] = count
            cursor.execute(sql.SQL("DROP TABLE {was}").format(**_names(table)))
        connection.set_rollback(True)
    return found


def make_partitions(today: date | None = None, ahead: int = 3) -> list[str]:
    """Payload partitions for this month and `ahead` more; returns the names made. Existing ones are left alone."""
    month, made = (today or now().date()).replace(day=1), []
    with connection.cursor() as cursor:
        for _ in range(ahead + 1):
            following = (month + timedelta(days=32)).replace(day=1)
            name = f"log_payload_{month:%Y_%m}"
            cursor.execute("SELECT to_regclass(%s)", [name])
            if cursor.fetchone()[0] is None:
                cursor.execute(
                    f"CREATE TABLE {name} PARTITION OF log_payload FOR VALUES FROM ('{month}') TO ('{following}')"
                )
                made.append(name)
            month = following
    return made
