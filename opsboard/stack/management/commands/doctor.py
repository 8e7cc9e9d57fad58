"""`manage.py doctor`: what this machine lacks, and what to do about it."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from opsboard.stack.doctor import examine
from opsboard.stack.paths import resolve


class Command(BaseCommand):
    """Examine the machine. The exit code is 1 when something would keep `up` from working."""

    help = "Check Python, the embedded servers, port, disk, permissions; say what to do."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `doctor`."""
        parser.add_argument("--port", type=int, default=8000, help="the port `up` would use (8000)")
        parser.add_argument("--data-dir", help="the data directory `up` would use")
        parser.add_argument("--json", action="store_true", help="one JSON array")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write one line per finding."""
        findings = examine(resolve(options["data_dir"]), options["port"])
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=1))
        else:
            for finding in findings:
                self.stdout.write(f"{finding.verdict:<5} {finding.name:<12} {finding.text}")
                if finding.remedy:
                    self.stdout.write(f"{'':<18} → {finding.remedy}")
        if any(finding.verdict == "fail" for finding in findings):
            sys.exit(1)
