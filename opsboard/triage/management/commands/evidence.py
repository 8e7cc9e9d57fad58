"""`manage.py evidence EXC-1001 --out FILE --by EMAIL`: an exception's evidence as a zip that verifies by itself."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.accounts.models import User
from opsboard.core.errors import Refused
from opsboard.log.evidence import hand_over
from opsboard.log.queries import trail
from opsboard.triage.queries import visible


class Command(BaseCommand):
    help = "Write the evidence of one exception for an auditor: its events with proofs, and the program to verify them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which exception, for whom, where to."""
        parser.add_argument("exception", help="as it is called: EXC-1001")
        parser.add_argument("--out", type=Path, required=True, help="the zip file; must not exist")
        parser.add_argument("--by", required=True, metavar="EMAIL", help="the auditor: what they may see goes in")

    def handle(self, *args: Any, exception: str, out: Path, by: str, **options: Any) -> None:
        """Collect and write; the taking stands in the log."""
        auditor = User.objects.filter(email__iexact=by, is_active=True).first()
        if auditor is None:
            raise CommandError(f"Nobody active has the address {by}.")
        number = exception.upper().removeprefix("EXC-")
        known = number.isascii() and number.isdecimal() and len(number) < 18
        case = visible(auditor).filter(pk=int(number)).first() if known else None
        if case is None:
            raise CommandError(f"There is no exception {exception} that {by} may see.")
        try:
            bundle = hand_over(subject=case.reference, events=trail(case.transaction_id), by=auditor)
            with out.open("xb") as file:
                file.write(bundle)
        except (OSError, Refused) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{out}: unpack it and run `python verify.py`")
