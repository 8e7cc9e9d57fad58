"""`manage.py rebuild`: drop every projection and make it again from the log; `--check` only compares."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.transaction import atomic

from opsboard.log import commands as log
from opsboard.triage import commands as triage

TABLES = (*log.PROJECTIONS, "triage_case")


class Command(BaseCommand):
    help = "Drop all projections and rebuild them from the log; with --check, only say whether they would differ."

    def add_arguments(self, parser: CommandParser) -> None:
        """One switch."""
        parser.add_argument("--check", action="store_true", help="compare, change nothing, exit 1 on any difference")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild in one database transaction: readers see the old rows until the new ones are complete."""
        if options["check"]:
            self._check()
            return
        events, actions = rebuild()
        self.stdout.write(f"rebuilt from {events} events; {actions} actions on exceptions")

    def _check(self) -> None:
        differing = log.differences(TABLES, rebuild)
        for table, count in differing.items():
            self.stderr.write(f"{table}: {count} rows differ from what the log says")
        if differing:
            raise SystemExit(1)
        self.stdout.write("every projection equals the log")


@atomic
def rebuild() -> tuple[int, int]:
    """Rebuild all projections; returns the number of events and of actions on exceptions that were read."""
    return log.rebuild(), triage.rebuild()
