"""`manage.py import_events FILE --source URI`: tables and process logs into the log."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.files.source import FORMATS
from opsboard.api import files, mapping
from opsboard.api.files import Report, Wanted
from opsboard.core.errors import Refused


class Command(BaseCommand):
    """Imports a file; again, it changes nothing."""

    help = "import CSV, XLSX, JSON Lines, OCEL 2.0 or XES (also .gz); again, or after an interruption, it goes on"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What, as what, and by which mapping."""
        parser.add_argument("file", type=Path, help="the file")
        parser.add_argument("--source", required=True, help="URI in whose name the events stand, such as urn:firm:psa")
        parser.add_argument("--format", choices=FORMATS, default="", help="guessed from content and name if left out")
        parser.add_argument("--mapping", type=Path, help="JSON file: columns, constants, values, decimal_comma, …")
        parser.add_argument("--flow", default="", help="process logs: the flow; default the file's name")
        parser.add_argument(
            "--system", default="", help="process logs: whose objects they are; default the file's name"
        )
        parser.add_argument("--client", default="", help="service account that may resubmit what is refused")
        parser.add_argument("--dry-run", action="store_true", help="store nothing; show the first events, all problems")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and report."""
        try:
            given = mapping.rules(options["mapping"].read_bytes()) if options["mapping"] else mapping.Rules()
            wanted = Wanted(
                path=options["file"],
                source=options["source"],
                format=options["format"],
                flow=options["flow"],
                system=options["system"],
                client=options["client"],
                rules=given,
            )
            report = files.bring_in(wanted, dry_run=options["dry_run"])
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from error
        except Refused as refused:
            raise CommandError(refused.reason) from refused
        self._tell(report, dry_run=options["dry_run"])

    def _tell(self, report: Report, *, dry_run: bool) -> None:
        for event in report.preview:
            self.stdout.write(json.dumps(event, indent=2, ensure_ascii=False))
        for problem in report.problems:
            self.stdout.write(f"refused: {problem}")
        if dry_run:
            self.stdout.write(
                f"{report.format}: {report.taken} readable, {report.refused} to be refused; nothing stored"
            )
        else:
            self.stdout.write(
                f"{report.format}: {report.taken} taken, {report.known} known already, {report.refused} refused"
            )
            if report.refused:
                self.stdout.write("What is refused waits in the quarantine; or correct the file and import it again.")
        if report.stopped:
            raise CommandError(f"The rest was not read: {report.stopped} Correct it and run this again.")
