"""The mathematics of the seal: RFC 6962 hashing and proofs, block headers, the signature. No database.

A fifth file in this room, because an auditor has to be able to read it by itself (evidence_verifier.py says the same
again, in the smallest number of lines, for people who have no opsboard).

    row      the event's columns as one JSON array, made by PostgreSQL (sealing.ROW)
    payload  SHA-256 of what was sent and answered; 32 zero bytes when there was nothing
    entry    SHA-256(row) ‖ payload: 64 bytes; holds without the payload, which retention and erasure may take away
    leaf     SHA-256(0x00 ‖ entry); node SHA-256(0x01 ‖ left ‖ right); an odd node is promoted, not doubled
    header   what is signed: number, size, root, the previous header's hash, how far the log is sealed, when, the key
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ENTRY = 64  # bytes per event that a block keeps
NOTHING = bytes(32)  # in place of the digest of a payload that never was; also the hash before the first block


def leaves(entries: bytes) -> list[bytes]:
    """The leaf hashes of a block's entries (64 bytes each)."""
    return [sha256(b"\0" + entries[at : at + ENTRY]).digest() for at in range(0, len(entries), ENTRY)]


def _above(level: Sequence[bytes]) -> list[bytes]:
    paired = [sha256(b"\1" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
    return [*paired, level[-1]] if len(level) % 2 else paired


def root(hashes: Sequence[bytes]) -> bytes:
    """The Merkle root over leaf hashes; of none, SHA-256 of nothing."""
    if not hashes:
        return sha256(b"").digest()
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def proof(hashes: Sequence[bytes], index: int) -> list[tuple[str, bytes]]:
    """How leaf `index` leads to the root: (side of the sibling, its hash), from the bottom up."""
    if not 0 <= index < len(hashes):
        raise IndexError(f"there is no leaf {index} among {len(hashes)}")
    path, level = [], list(hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(("left" if sibling < index else "right", level[sibling]))
        level, index = _above(level), index // 2
    return path


def led_to(leaf: bytes, path: Iterable[tuple[str, bytes]]) -> bytes:
    """The root a leaf leads to by that proof."""
    for side, sibling in path:
        leaf = sha256(b"\1" + (sibling + leaf if side == "left" else leaf + sibling)).digest()
    return leaf


def header(
    *,
    number: int,
    previous: bytes,
    merkle: bytes,
    size: int,
    first: int,
    last: int,
    upto: int,
    sealed_at: str,
    key: str,
) -> bytes:
    """The bytes that are hashed and signed: JSON with sorted keys and no spaces. `sealed_at` is RFC 3339 in UTC."""
    said = {
        "v": 1,
        "number": number,
        "previous": previous.hex(),
        "root": merkle.hex(),
        "size": size,
        "first": first,
        "last": last,
        "upto": upto,
        "sealed_at": sealed_at,
        "key": key,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def load_key(path: Path, *, make: bool = False) -> Ed25519PrivateKey:
    """The signing key in that file. `make`: if there is none, a new one, readable by its owner only.

    Two processes that make it at once end with one key: the file appears complete or not at all.
    Raises FileNotFoundError.
    """
    if make and not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as handle:
                handle.write(Ed25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
                handle.flush()
                os.fsync(handle.fileno())
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another process was faster: its key it is
        finally:
            fresh.unlink()
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))


def public(key: Ed25519PrivateKey) -> str:
    """The public half, in hex: what an auditor keeps."""
    return key.public_key().public_bytes_raw().hex()


def signed_by(public_key: str, signature: bytes, signed: bytes) -> bool:
    """Whether the holder of the key signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def ranges(seqs: Sequence[int]) -> str:
    """Ascending numbers as PostgreSQL writes an int8multirange: `{[1,4),[6,7)}`."""
    found: list[list[int]] = []
    for seq in seqs:
        if found and found[-1][1] == seq:
            found[-1][1] = seq + 1
        else:
            found.append([seq, seq + 1])
    return "{" + ",".join(f"[{low},{high})" for low, high in found) + "}"


def numbers(multirange: str, limit: int) -> list[int]:
    """The inverse of `ranges`. Raises ValueError for anything else, and for more numbers than `limit`."""
    found: list[int] = []
    for part in multirange.strip("{}").replace("),", ") ").split():
        low, high = (int(end) for end in part.strip("[)").split(","))
        if len(found) + high - low > limit:
            raise ValueError("more numbers than there can be")
        found.extend(range(low, high))
    return found


def line(signed: bytes, signature: bytes) -> dict[str, Any]:
    """A sealed block as it is published: the header, its hash, the signature."""
    told: dict[str, Any] = json.loads(signed)
    return told | {"hash": sha256(signed).hexdigest(), "signature": signature.hex()}


def unsigned(published: dict[str, Any]) -> bytes:
    """The signed bytes of a published block."""
    said = {name: value for name, value in published.items() if name not in ("hash", "signature")}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
