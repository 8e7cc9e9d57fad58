"""The spool: a queue of lines that lives on disk, so that neither a crash nor a long absence of the server loses any.

A directory holds segments (`00000001.log`, append-only), `position.json` (up to where they are done), `rejected.jsonl`
(what the server refused, with its reasons) and `lock`. One process has it at a time; when it dies, the kernel frees the
lock and the next one carries on.

* A line is its CRC-32, a blank, and JSON. `append` returns when the operating system has the line: from then on the
  death of the process, at any point, cannot lose it. A line whose append never returned may be torn; it is left out.
* `sync` makes the disk have it, too, against the death of the machine. The sender calls it every second and before
  every request; with `durable` each append does it before it returns.
* A new process begins a new segment, so nothing is ever written behind a torn line. Numbers are not used twice.
* The position is replaced atomically (rename) and before a segment is deleted. An old position only means that lines
  are sent again, which the server recognises.
"""

import errno
import fcntl
import json
import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from opsboard.client.errors import ClientError, SpoolFull, SpoolInUse

SEGMENT_BYTES = 4 * 1024 * 1024
BLOCK = 1024 * 1024
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Position(NamedTuple):
    """A place in the spool: the number of a segment and an offset in it in bytes."""

    segment: int
    offset: int


@dataclass
class Batch:
    """The lines from the position on. `end` is the position behind them; `damaged` could not be read any more."""

    lines: list[bytes]
    damaged: list[bytes]
    end: Position


_open_spools: "weakref.WeakSet[Spool]" = weakref.WeakSet()


def _let_go_after_fork() -> None:
    """A forked child must not keep the lock of its parent alive."""
    for spool in list(_open_spools):
        spool.abandon()


os.register_at_fork(after_in_child=_let_go_after_fork)


class Spool:
    """The queue in `folder`. Several threads may append; one may read and commit.

    `max_bytes` bounds the segments and the refused events together; deleting what was sent may lag one segment behind.
    Raises SpoolInUse when another process has it.
    """

    def __init__(self, folder: Path, *, max_bytes: int, durable: bool = False) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.durable = durable
        self._segment_bytes = min(SEGMENT_BYTES, max(max_bytes // 8, 1))
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._writing: int | None = None  # the open segment's descriptor
        self._unsynced = False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._take_lock()
        self._sizes = {int(path.stem): path.stat().st_size for path in folder.glob("[0-9]*.log")}
        kept = self._kept_position()
        self._last = max([kept.segment, *self._sizes])
        self.position = self._repaired(kept)
        self._drop_done()
        self.kept, self.done = self._count(), 0  # lines, counted from when this process took the spool
        self._rejected_bytes = self._rejected_size()
        _open_spools.add(self)

    @property
    def rejected_file(self) -> Path:
        """What was refused, one JSON object per line."""
        return self.folder / "rejected.jsonl"

    @property
    def mine(self) -> bool:
        """Whether this process made it: a forked child has its parent's, and must leave it alone."""
        return os.getpid() == self._process

    @property
    def pending(self) -> int:
        """Lines that are not done."""
        return self.kept - self.done

    @property
    def on_disk(self) -> int:
        """Bytes of all segments and of what was refused."""
        return sum(self._sizes.values()) + self._rejected_bytes

    def append(self, line: bytes) -> None:
        """Keep a line, which holds no line feed. Raises SpoolFull; then nothing of it is kept."""
        if not self.mine:
            raise ClientError("This client was made before a fork. Make one in the child, with a spool of its own.")
        record = b"%08x %s\n" % (zlib.crc32(line), line)
        with self._mutex:
            if self._lock is None:
                raise ClientError("The client is closed.")
            self._require_room(len(record))
            try:
                self._write(record)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                raise SpoolFull(f"The disk of the spool {self.folder} is full.") from error
            self.kept += 1

    def read(self, lines: int, size: int) -> Batch:
        """Up to so many unsent lines, and of so many bytes unless the first alone has more. Empty when all is done."""
        with self._mutex:
            sizes, position = dict(self._sizes), self.position
        batch = Batch([], [], position)
        for number in sorted(sizes):
            if number < position.segment:
                continue
            start = position.offset if number == position.segment else 0
            if not self._read_segment(batch, Position(number, start), sizes[number], lines, size):
                break
        return batch

    def commit(self, end: Position, lines: int) -> None:
        """Everything before `end`, so many lines, is done and need not be sent again."""
        with self._mutex:
            self.position = end
            self.done += lines
            self._keep_position()
            self._drop_done()

    def reject(self, records: list[bytes]) -> None:
        """Keep what was refused: JSON, one object each; on disk before this returns."""
        if not records:
            return
        said = b"".join(record + b"\n" for record in records)
        with self.rejected_file.open("ab+") as file:
            if file.tell() and self._ends_torn(file.fileno(), file.tell()):
                file.write(b"\n")
            file.write(said)
            file.flush()
            os.fsync(file.fileno())
        if not self._rejected_bytes:
            self._sync_folder()
        with self._mutex:
            self._rejected_bytes = self._rejected_size()

    def rejected(self) -> Iterator[bytes]:
        """The lines of what was refused, oldest first."""
        if self.rejected_file.exists():
            with self.rejected_file.open("rb") as file:
                yield from file

    def sync(self) -> None:
        """Make the disk have what was appended."""
        with self._mutex:
            if not self._unsynced or self._writing is None:
                return
            descriptor, self._unsynced = os.dup(self._writing), False
        try:
            os.fdatasync(descriptor)  # outside the mutex: nobody who appends waits for the disk
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Sync and let the next process have it. What is unsent stays."""
        try:
            self.sync()
        finally:
            with self._mutex:
                self._close_files()

    def abandon(self) -> None:
        """In a forked child: close without touching anything."""
        self._mutex = threading.Lock()  # it may have been held at the moment of the fork
        self._close_files()

    def _close_files(self) -> None:
        for descriptor in (self._writing, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._writing = self._lock = None

    def _take_lock(self) -> int | None:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SpoolInUse(f"Another client has the spool {self.folder}. Give each process one of its own.") from None
        return descriptor

    def _require_room(self, more: int) -> None:
        if self.on_disk + more <= self.max_bytes:
            return
        self._rejected_bytes = self._rejected_size()  # a person may have taken the file away
        if self.on_disk + more > self.max_bytes:
            raise SpoolFull(
                f"The spool {self.folder} holds {self.pending} unsent events and {self._rejected_bytes} bytes of "
                f"refused ones; the next would exceed its {self.max_bytes} bytes."
            )

    def _rejected_size(self) -> int:
        return self.rejected_file.stat().st_size if self.rejected_file.exists() else 0

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}.log"

    def _kept_position(self) -> Position:
        """The position as kept; the beginning when there is none that can be read."""
        try:
            kept = json.loads((self.folder / "position.json").read_bytes())
            return Position(int(kept["segment"]), int(kept["offset"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Position(0, 0)

    def _keep_position(self) -> None:
        half = self.folder / "position.json.half"
        try:
            half.write_text(json.dumps(self.position._asdict()))
            half.replace(self.folder / "position.json")
        except OSError as error:  # a full disk must not keep what is done from being deleted; an older position serves
            if error.errno not in NO_ROOM:
                raise

    def _repaired(self, kept: Position) -> Position:
        """The position among the segments that are there."""
        if kept.segment in self._sizes:
            return Position(kept.segment, min(kept.offset, self._sizes[kept.segment]))
        later = [number for number in self._sizes if number > kept.segment]
        return Position(min(later), 0) if later else kept

    def _count(self) -> int:
        """Unsent lines, read block by block."""
        found = 0
        for number in self._sizes:
            with self._path(number).open("rb") as file:
                file.seek(self.position.offset if number == self.position.segment else 0)
                while block := file.read(BLOCK):
                    found += block.count(b"\n")
        return found

    def _write(self, record: bytes) -> None:
        """Append to the open segment, whole or not at all."""
        descriptor = self._writing
        if descriptor is None or self._sizes[self._last] + len(record) > self._segment_bytes:
            descriptor = self._begin_segment()
        size = self._sizes[self._last]
        try:
            left = memoryview(record)
            while left:
                left = left[os.write(descriptor, left) :]
            if self.durable:
                os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        self._sizes[self._last] = size + len(record)
        self._unsynced = not self.durable

    def _begin_segment(self) -> int:
        """Close the open segment, safe on disk, and begin the next one; its descriptor."""
        if self._writing is not None:
            os.fdatasync(self._writing)
            os.close(self._writing)
            self._writing = None
        number = self._last + 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._writing = descriptor = os.open(self._path(number), flags, 0o600)
        self._last, self._sizes[number] = number, 0
        self._sync_folder()
        return descriptor

    def _sync_folder(self) -> None:
        """Make the disk have the names of new files."""
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _drop_done(self) -> None:
        """Delete the segments before the position, and the position's own when it is read and not written any more."""
        for number, size in list(self._sizes.items()):
            writing = self._writing is not None and number == self._last
            read = number == self.position.segment and self.position.offset >= size
            if number < self.position.segment or (read and not writing):
                self._path(number).unlink(missing_ok=True)
                del self._sizes[number]

    def _read_segment(self, batch: Batch, at: Position, size: int, lines: int, most: int) -> bool:
        """Add the segment's lines to the batch; whether there is room for more after its end."""
        offset, held = at.offset, sum(map(len, batch.lines))
        with self._path(at.segment).open("rb") as file:
            file.seek(offset)
            while offset < size:
                record = file.readline()
                if not record.endswith(b"\n"):
                    offset = size  # torn: its append never returned
                    break
                line = _checked(record)
                taken = len(batch.lines) + len(batch.damaged)
                if taken >= lines or (batch.lines and line is not None and held + len(line) > most):
                    break
                if line is None:
                    batch.damaged.append(record)
                else:
                    batch.lines.append(line)
                    held += len(line)
                offset += len(record)
        batch.end = Position(at.segment, offset)
        return offset >= size

    @staticmethod
    def _ends_torn(descriptor: int, size: int) -> bool:
        return os.pread(descriptor, 1, size - 1) != b"\n"


def _checked(record: bytes) -> bytes | None:
    """The line of a record; None when the disk has not kept it as it was."""
    said, _, line = record[:-1].partition(b" ")
    return line if said == b"%08x" % zlib.crc32(line) else None
