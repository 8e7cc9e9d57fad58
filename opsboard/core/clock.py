"""Time in one place. Everything inside is UTC; a page shows the person's zone."""

from datetime import UTC, datetime

from django.utils.timezone import now

__all__ = ["UTC", "iso", "now"]


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, the form kept in events."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
