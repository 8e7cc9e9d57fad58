"""The text of a service account's bearer token: `ob_svc_<30 base62>_<6 base62 CRC32>`.

The prefix lets secret scanners find a leaked token, the checksum lets a mistyped or made-up one be refused
without asking the database, and 30 base62 characters are 178 random bits, so SHA-256 without salt is enough
at rest.
"""

import re
import secrets
import string
from hashlib import sha256
from zlib import crc32

PREFIX = "ob_svc_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHAPE = re.compile(r"(ob_svc_[0-9A-Za-z]{30})_([0-9A-Za-z]{6})", re.ASCII)


def new() -> str:
    """A fresh token. It is shown once and never stored."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(30))
    return f"{body}_{_checksum(body)}"


def well_formed(raw: str) -> bool:
    """Whether the text has the shape and the checksum of a token; it need not have been issued."""
    match = _SHAPE.fullmatch(raw)
    return match is not None and _checksum(match[1]) == match[2]


def digest(raw: str) -> bytes:
    """What is stored and looked up: SHA-256 of the whole text, 32 bytes."""
    return sha256(raw.encode()).digest()


def _checksum(body: str) -> str:
    """CRC32 of the text before the last underscore, as six base62 digits."""
    number, text = crc32(body.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        text = _ALPHABET[rest] + text
    return text
