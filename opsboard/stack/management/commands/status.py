"""`manage.py status`: what runs on a data directory, and how it is."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from opsboard.stack.paths import resolve
from opsboard.stack.remote import report


class Command(BaseCommand):
    """Say what runs. The exit code is 0 when everything does, 3 when something or all of it does not."""

    help = "Show what runs; exit code 0 when all is well, 3 otherwise."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `status`."""
        parser.add_argument("--data-dir", help="the data directory given to `up`")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the report."""
        found = report(resolve(options["data_dir"]))
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=1))
        else:
            self._words(found)
        if not found["healthy"]:
            sys.exit(3)

    def _words(self, found: dict[str, Any]) -> None:
        if not found["running"]:
            self.stdout.write(f"nothing runs on {found['data_dir']}")
            return
        self.stdout.write(f"{found['url']} · process {found['pid']} · {found['data_dir']}")
        for name, part in found["parts"].items():
            state = "runs" if part["alive"] else "does not run"
            again = f", started again {part['restarts']} times" if part["restarts"] else ""
            self.stdout.write(f"{name:<9} {state} (process {part['pid']}{again})")
        for name, age in found["heartbeats"].items():
            self.stdout.write(f"{name:<9} " + ("no heartbeat" if age is None else f"last heartbeat {age:.0f} s ago"))
        self.stdout.write("healthy" if found["healthy"] else "NOT healthy")
