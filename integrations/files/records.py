"""What the readers of files give: rows of tables, and events, objects and relations of process logs."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class FileProblem(Exception):
    """The file as a whole cannot be read (further); `line` is where, 0 when that is not known."""

    def __init__(self, reason: str, *, line: int = 0):
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table by column name, and the line it begins in. `problem` says why it cannot be used."""

    line: int
    values: dict[str, Any]
    problem: str = ""


class Ref(NamedTuple):
    """An object of a process log: its type there, its id, and the qualifier of the relation it is named in."""

    type: str
    id: str
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a process log. `time` as written there, None when it has none."""

    id: str
    activity: str
    time: str | None
    objects: tuple[Ref, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exists:
    """An object of a process log with the values of its attributes, each {name, value, time}."""

    ref: Ref
    attributes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Related:
    """One object leads to another (O2O); the target's qualifier is that of the relation."""

    source: Ref
    target: Ref


@dataclass(frozen=True, slots=True)
class Unfit:
    """A part of a process log that does not follow its format, as it stands there."""

    place: str
    reason: str
    raw: Any


LogRecord = Happened | Exists | Related | Unfit
