"""`manage.py verify_log`: compute the whole seal again. Exit code 1 when anything is not as it was sealed."""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.log import seal, sealing
from opsboard.log.sealing import Report


class Command(BaseCommand):
    help = "Verify every sealed event, block and anchor; name the first of each kind of damage."

    def add_arguments(self, parser: CommandParser) -> None:
        """What to compare with."""
        parser.add_argument(
            "--anchors",
            type=Path,
            help="published blocks, best a copy from elsewhere; else those of the data directory",
        )
        parser.add_argument(
            "--public-key", action="append", default=[], help="hex; may be repeated; else the data directory's key"
        )

        parser.add_argument(
            "--jobs", type=int, default=os.cpu_count() or 1, help="connections that read at once; else one per core"
        )

    def handle(self, *args: Any, anchors: Path | None, public_key: list[str], jobs: int, **options: Any) -> None:
        """Verify and tell."""
        trusted, published = self._trusted(public_key), self._anchors(anchors)
        report = sealing.verify(trusted=trusted, anchors=published, jobs=max(1, jobs))
        for kind, finding in report.found.items():
            more = f" (and {finding.count - 1} more)" if finding.count > 1 else ""
            self.stderr.write(f"{kind.upper()}: {finding.first}{more}")
        self._tell(report)
        if report.found:
            raise SystemExit(1)

    def _trusted(self, given: list[str]) -> set[str]:
        """The keys that may have signed."""
        if given:
            return set(given)
        if not sealing.key_file().exists():
            raise CommandError(f"There is no {sealing.key_file()}. Name the key with --public-key.")
        return {seal.public(seal.load_key(sealing.key_file()))}

    def _anchors(self, given: Path | None) -> list[dict[str, Any]]:
        path = given or sealing.anchors_file()
        if given is None and not path.exists():
            self.stderr.write("no anchors: blocks cut off at the end would not be noticed")
            return []
        try:
            return sealing.read_anchors(path)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error

    def _tell(self, report: Report) -> None:
        self.stdout.write(
            f"verified {report.events} events in {report.blocks} blocks against {report.anchors} anchors; "
            f"{report.unsealed} events wait to be sealed"
        )
        if report.payloads_gone:
            self.stdout.write(
                f"{report.payloads_gone} payloads are gone, the first of event {report.first_gone}: "
                "retention or erasure has to account for them"
            )
        for key in sorted(report.keys):
            self.stdout.write(f"public key {key}")
        self.stdout.write("the log is NOT as it was sealed" if report.found else "the log is as it was sealed")
