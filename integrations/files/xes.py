"""XES (IEEE 1849): a log of traces, one per case, of events. Extensions, classifiers and globals are passed over.

Documents with a DOCTYPE are refused: entities are how XML files attack their readers, and XES has none.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from integrations.files.records import FileProblem, Happened, LogRecord, Ref

CHUNK = 65_536
CASE = "case"
VALUES = frozenset({"string", "date", "int", "float", "boolean", "id"})


def read(stream: BinaryIO) -> Iterator[LogRecord]:
    """The events, each about its case. XES gives events no id: it is made of the case's name, what the event says,
    and, for equal events of one case, a number; so it does not depend on where in the file a trace stands.

    Only the names of the cases are held. Raises FileProblem when the file is no sound XES.
    """
    log = _Log()
    parser = expat.ParserCreate()
    parser.StartElementHandler = log.start
    parser.EndElementHandler = log.end
    parser.StartDoctypeDeclHandler = _refuse
    parser.buffer_text = True
    try:
        while chunk := stream.read(CHUNK):
            parser.Parse(chunk, False)
            yield from log.ready
            log.ready.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise FileProblem(f"This is not sound XML: {expat.errors.messages[error.code]}", line=error.lineno) from error
    if not log.seen:
        raise FileProblem("This is no XES file: its outermost element is not log.")


def _refuse(*_: object) -> None:
    raise FileProblem("XML with a DOCTYPE is not read.")


class _Log:
    """What has been read of the document: the open elements, the trace and the event under way."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.seen = False
        self.names: Counter[str] = Counter()
        self.trace: dict[str, str] = {}
        self.case = ""
        self.event: dict[str, str] = {}
        self.equal: Counter[str] = Counter()
        self.ready: list[LogRecord] = []

    def start(self, tag: str, given: dict[str, str]) -> None:
        """An element opens."""
        name = tag.rpartition(":")[2]
        inside = self.path[-1] if self.path else ""
        self.path.append(name)
        if len(self.path) == 1:
            self.seen = name == "log"
        elif name == "trace" and inside == "log":
            self.trace, self.case, self.equal = {}, "", Counter()
        elif name == "event" and inside in {"trace", "log"}:
            self.event = {}
        elif name in VALUES and inside == "event":
            self.event[given.get("key", "")] = given.get("value", "")
        elif name in VALUES and inside == "trace":
            self.trace[given.get("key", "")] = given.get("value", "")

    def end(self, tag: str) -> None:
        """An element closes; an event is then complete."""
        name = self.path.pop()
        if name == "event" and self.seen and self.path[-1:] in (["trace"], ["log"]):
            self.ready.append(self._happened(alone=self.path[-1] == "log"))

    def _happened(self, *, alone: bool) -> Happened:
        attributes = dict(self.event)
        case = "" if alone else self.case or self._named()
        said = hashlib.sha256(json.dumps(attributes, sort_keys=True).encode()).hexdigest()[:32]
        self.equal[said] += 1
        id_ = f"{case}/{said}/{self.equal[said]}"
        time = attributes.pop("time:timestamp", None)
        activity = attributes.pop("concept:name", "")
        return Happened(id_, activity, time, () if alone else (Ref(CASE, case),), attributes)

    def _named(self) -> str:
        """The case's name: as the log says; a second case of that name is numbered."""
        name = self.trace.get("concept:name") or "unnamed"
        self.names[name] += 1
        number = self.names[name]
        self.case = name if number == 1 else f"{name}#{number}"
        return self.case
