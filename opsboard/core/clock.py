"""Time in one place. Everything inside is UTC; a page shows the person's zone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from django.utils import timezone

__all__ = ["UTC", "iso", "now", "set_to"]

_told: ContextVar[datetime | None] = ContextVar("told_time", default=None)


def now() -> datetime:
    """The present moment, or the one told by `set_to`."""
    return _told.get() or timezone.now()


@contextmanager
def set_to(moment: datetime) -> Iterator[None]:
    """Let this thread's commands act at a moment of the past: for loading a history (the demo), never for live work."""
    token = _told.set(moment)
    try:
        yield
    finally:
        _told.reset(token)


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, the form kept in events."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
