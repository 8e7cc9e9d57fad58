"""Verifies the evidence beside it, without opsboard and without its database.

    python verify.py [--public-key HEX] [--anchors FILE]

Python 3.10 or newer and the package `cryptography` (for ed25519; the hashes need the standard library only).
Exit code 0: every event is proven. 1: something is not as it was sealed. 2: nothing false, but not all is sealed yet.
"""

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def proven_root(event: dict[str, Any]) -> str:
    """The root to which an event leads by its proof (RFC 6962)."""
    node = sha256(b"\0" + bytes.fromhex(event["row_digest"]) + bytes.fromhex(event["payload_digest"])).digest()
    for side, sibling in event["proof"]:
        pair = bytes.fromhex(sibling) + node if side == "left" else node + bytes.fromhex(sibling)
        node = sha256(b"\1" + pair).digest()
    return node.hex()


def signed(block: dict[str, Any]) -> bytes:
    """The bytes of a block's header that were hashed and signed."""
    said = {name: value for name, value in block.items() if name not in ("hash", "signature")}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def block_problem(block: dict[str, Any], keys: list[str], anchors: dict[int, str] | None) -> str:
    """What is wrong with a block, or nothing."""
    if sha256(signed(block)).hexdigest() != block["hash"]:
        return "its hash is not that of its header"
    if block["key"] not in keys:
        return "it is signed with another key"
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(block["key"]))
        key.verify(bytes.fromhex(block["signature"]), signed(block))
    except (InvalidSignature, ValueError):
        return "it is not signed as it stands"
    if anchors is not None and anchors.get(block["number"]) != block["hash"]:
        return "the anchors do not have it like this"
    return ""


def event_problem(event: dict[str, Any], blocks: dict[str, Any], bad: dict[str, str]) -> str:
    """What is wrong with an event, or nothing."""
    for part, name in (("row", "content"), ("payload", "payload")):
        if event[part] is not None and sha256(event[part].encode()).hexdigest() != event[part + "_digest"]:
            return f"its {name} is not the one that was sealed"
    block = blocks.get(str(event["block"]))
    if block is None:
        return "its block is not here"
    if str(event["block"]) in bad:
        return f"its block {event['block']} is not sound"
    if proven_root(event) != block["root"]:
        return f"it does not belong to block {event['block']}"
    return ""


def told(bundle: dict[str, Any], event: dict[str, Any]) -> str:
    """An event in one line."""
    if event["row"] is None:
        return "event, content withheld"
    said = dict(zip(bundle["columns"], json.loads(event["row"]), strict=True))
    who = said["actor"] and f" by {bundle['actors'].get(said['actor'], '')} <{said['actor']}>"
    return f"event {said['seq']} {said['occurred_at']} {said['type']} {said['system']}{who}"


def main() -> None:
    """Read, check, tell."""
    parser = argparse.ArgumentParser(description="Verify an evidence bundle of opsboard.")
    parser.add_argument("--public-key", action="append", help="hex, as received on another way; may be repeated")
    parser.add_argument("--anchors", type=Path, help="anchors.jsonl, as received on another way")
    asked, here = parser.parse_args(), Path(__file__).parent
    bundle = json.loads((here / "evidence.json").read_text(encoding="utf-8"))
    keys = asked.public_key or (here / "public_key.txt").read_text().split()
    lines = asked.anchors.read_text().splitlines() if asked.anchors else None
    anchors = None if lines is None else {said["number"]: said["hash"] for said in map(json.loads, lines)}
    bad = {number: block_problem(block, keys, anchors) for number, block in bundle["blocks"].items()}
    bad = {number: problem for number, problem in bad.items() if problem}
    for number, problem in bad.items():
        print(f"block {number}: NOT SOUND, {problem}")
    failed = bool(bad) or not bundle["events"]
    waiting = 0
    for event in bundle["events"]:
        if event["block"] is None:
            waiting, verdict = waiting + 1, "not sealed yet"
        else:
            problem = event_problem(event, bundle["blocks"], bad)
            failed, verdict = failed or bool(problem), f"NOT PROVEN, {problem}" if problem else "proven"
        print(f"{told(bundle, event)}: {verdict}")
    counted = f"{len(bundle['events'])} events, {len(bundle['blocks'])} blocks"
    print(f"{bundle['subject']}: {counted}, public key {' '.join(keys)}")
    if not asked.public_key or anchors is None:
        print("Compare key and anchors with those you received on another way: a bundle cannot vouch for itself.")
    print("NOT PROVEN" if failed else "proven but for what is not sealed yet" if waiting else "proven")
    sys.exit(1 if failed else 2 if waiting else 0)


if __name__ == "__main__":
    main()
