"""`manage.py bench [NAME] [--json]`: how fast it is on this machine, beside how fast it could be."""

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.stack import bench


class Command(BaseCommand):
    """Measures one figure, or all, on a stack of its own; one JSON object for each with --json."""

    help = "measure the speed of this machine's opsboard; every figure stands beside a limit of the same run"
    requires_system_checks: list[str] = []  # it starts its own servers

    def add_arguments(self, parser: CommandParser) -> None:
        """Which figure, and how to print it."""
        parser.add_argument("name", nargs="?", help=f"one of {', '.join(bench.names())}; all when left out")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure and print."""
        wanted = [options["name"]] if options["name"] else bench.names()
        for name in wanted:
            if name not in bench.names():
                raise CommandError(f"There is no figure {name}; there are {', '.join(bench.names())}.")
            found = bench.measure(name, self.stderr.write)
            if options["json"]:
                self.stdout.write(json.dumps(dataclasses.asdict(found)))
            else:
                self.stdout.write(
                    f"{found.name}: {found.value:,.0f} {found.unit}, {found.ratio:.2f} of {found.limit:,.0f} "
                    f"{found.limit_is} (median of {found.rounds} rounds)"
                )
