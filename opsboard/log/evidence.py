"""Evidence for an auditor: events with the proof that they are in the sealed log, verifiable without the database.

The zip holds evidence.json, the program that verifies it, the public key and a README. Events are given as the very
text that was hashed. A payload that is withheld (role), erased or past its retention is proven by its digest alone.
Nothing is compressed: bundles are small, and a text search over exported files finds what they hold.
"""

import io
import json
import uuid
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.transaction import atomic

from opsboard.accounts.access import may
from opsboard.accounts.models import User
from opsboard.core.clock import iso, now
from opsboard.core.errors import Refused
from opsboard.log import seal, sealing
from opsboard.log.commands import append
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Block, Event

SOURCE = "urn:opsboard:evidence"
EVENTS_LIMIT = 5_000
FACTS, ACTOR = sealing.COLUMNS.index("facts"), sealing.COLUMNS.index("actor")  # facts may hold a corrected payload
VERIFIER = (Path(__file__).parent / "evidence_verifier.py").read_text()
EVIDENCE = sealing.statement("evidence")
BLOCKS = """
SELECT wanted.seq, held.number FROM unnest(%s::bigint[]) AS wanted (seq) CROSS JOIN LATERAL (
    SELECT number FROM log_block
    WHERE last >= wanted.seq AND first <= wanted.seq AND members::int8multirange @> wanted.seq
    ORDER BY last LIMIT 1) AS held
"""
README = """Evidence of opsboard: {subject}
Made {made_at} by {made_by}.

    python verify.py --public-key HEX --anchors anchors.jsonl

says for each event whether it stands in the sealed log exactly as given here. It needs Python 3.10 or newer and the
package `cryptography` (pip install cryptography), no opsboard and no network. Without the two options it takes the
key of this bundle and no anchors; then compare the key and the blocks' hashes with those you received on another way,
because a bundle cannot vouch for itself.

evidence.json   events (`row`: the values of `columns`, the text that was hashed; `payload`: [data, error]), the proof
                of each (RFC 6962), the signed headers of their blocks, the names of the people
verify.py       the program, about a hundred lines, to be read before it is believed
public_key.txt  ed25519, hex

A payload of null with a digest other than zeros was withheld, erased or is past its retention; a row of null was
withheld: the digest is proven, the content is not here. What is proven is what was recorded, and when it was sealed;
not that a source told the truth, and not that no other event about the subject exists.
"""


@atomic
def hand_over(*, subject: str, events: Sequence[Event], by: User) -> bytes:
    """The zip for these events, with the payloads if the person may see them. That it was taken stands in the log.

    `subject`: what people call it, such as EXC-1001. Raises Refused when the person may not, or there is too much.
    """
    if not may(by, "audit.view"):
        raise Refused("Taking evidence is not among your permissions.")
    if len(events) > EVENTS_LIMIT:
        raise Refused(f"That are more than {EVENTS_LIMIT:,} events.")
    name = by.get_full_name() or by.email
    evidence = _collect(subject, [event.seq for event in events], made_by=name, payloads=may(by, "payloads.view"))
    moment = now()
    append(
        [
            Entry(
                source=SOURCE,
                id=str(uuid.uuid4()),
                type="opsboard.evidence.exported",
                kind="exported",
                objects=(Named("opsboard", "exception", subject, "exception"),),
                system="opsboard",
                actor=by.email,
                occurred_at=moment,
                received_at=moment,
                payload={"events": len(events), "by": name},
            )
        ]
    )
    return _zip(evidence)


def _collect(subject: str, seqs: list[int], *, made_by: str, payloads: bool) -> dict[str, Any]:
    with connection.cursor() as cursor:
        sealing.plain_text(cursor)
        cursor.execute(EVIDENCE, {"seqs": seqs})
        rows = cursor.fetchall()
        cursor.execute(BLOCKS, [seqs])
        held = dict(cursor.fetchall())
    proofs: dict[int, dict[str, Any]] = {}
    blocks = {}
    for block in Block.objects.filter(number__in=set(held.values())).order_by("number").iterator(chunk_size=20):
        blocks[str(block.number)] = seal.line(sealing.header(block), bytes(block.signature))
        proofs |= _proofs(block, [seq for seq, number in held.items() if number == block.number])
    people = {json.loads(row)[ACTOR] for _, row, _ in rows}
    return {
        "format": 1,
        "subject": subject,
        "made_at": iso(now()),
        "made_by": made_by,
        "columns": sealing.COLUMNS,
        "actors": {user.email: user.get_full_name() for user in User.objects.filter(email__in=people)},
        "blocks": blocks,
        "events": [
            {
                "row": row if payloads or json.loads(row)[FACTS] is None else None,
                "row_digest": sha256(row.encode()).hexdigest(),
                "payload": payload if payloads else None,
                "payload_digest": (sha256(payload.encode()).digest() if payload else seal.NOTHING).hex(),
                "block": None,
                "proof": [],
            }
            | proofs.get(seq, {})
            for seq, row, payload in rows
        ],
    }


def _proofs(block: Block, seqs: list[int]) -> dict[int, dict[str, Any]]:
    """By seq: the block, the payload's digest as sealed, and the way from the leaf to the root."""
    entries, place = bytes(block.entries), {seq: at for at, seq in enumerate(sealing.members(block))}
    leaves = seal.leaves(entries)
    return {
        seq: {
            "block": block.number,
            "payload_digest": entries[place[seq] * seal.ENTRY : (place[seq] + 1) * seal.ENTRY][32:].hex(),
            "proof": [(side, sibling.hex()) for side, sibling in seal.proof(leaves, place[seq])],
        }
        for seq in seqs
        if seq in place
    }


def _zip(evidence: dict[str, Any]) -> bytes:
    keys = sorted({block["key"] for block in evidence["blocks"].values()})
    files = {
        "README.txt": README.format(**evidence),
        "evidence.json": json.dumps(evidence, indent=1, ensure_ascii=False),
        "verify.py": VERIFIER,
        "public_key.txt": "\n".join(keys) + "\n",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return out.getvalue()
