"""Opening a file whatever it is packed in, and telling its format from its content, else its name."""

import gzip
import io
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from integrations.files.records import FileProblem

FORMATS = ("csv", "xlsx", "jsonl", "ocel-json", "ocel-sqlite", "xes")
BYTES_MAX = 4 * 2**30  # of a file after unpacking: a few kilobytes of gzip can become as much as one likes
HEAD = 4096


class _Limited(io.RawIOBase):
    """A stream that ends with a FileProblem when it gives more than `limit` bytes, or is no sound gzip."""

    def __init__(self, inner: BinaryIO, limit: int):
        self.inner, self.limit, self.left = inner, limit, limit

    def readable(self) -> bool:
        """For BufferedReader."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """The next bytes; 0 at the end."""
        try:
            data = self.inner.read(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FileProblem(f"The gzip file is damaged: {error}") from error
        self.left -= len(data)
        if self.left < 0:
            raise FileProblem(f"Unpacked, the file has more than {self.limit} bytes.")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened(path: Path, limit: int = BYTES_MAX) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked when it is gzip. Raises FileProblem while reading when it is damaged or too large."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        inner = gzip.GzipFile(fileobj=raw) if packed else raw
        yield io.BufferedReader(_Limited(inner, limit), 65_536)  # type: ignore[arg-type]


@contextmanager
def unpacked(path: Path, limit: int = BYTES_MAX) -> Iterator[Path]:
    """A path of the file as it is without gzip, for readers that jump about in it; a temporary copy if need be."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if not packed:
        yield path
        return
    with tempfile.NamedTemporaryFile() as copy:
        with opened(path, limit) as source:
            shutil.copyfileobj(source, copy)
        copy.flush()
        yield Path(copy.name)


def guess(path: Path) -> str:
    """Which of FORMATS the file is in."""
    with opened(path) as stream:
        head = stream.read(HEAD)
    if head.startswith(b"SQLite format 3\x00"):
        return "ocel-sqlite"
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return "xes"
    return _json_format(path, text) if text.startswith(b"{") else "csv"


def _json_format(path: Path, text: bytes) -> str:
    """JSON Lines when the first line is an object of its own, unless it speaks of OCEL's types."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if name.endswith(".jsonocel") or re.search(rb'"(eventTypes|objectTypes)"', text):
        return "ocel-json"
    try:
        msgspec.json.decode(text.partition(b"\n")[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "ocel-json"
    return "jsonl"
