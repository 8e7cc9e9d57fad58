"""`manage.py openapi`: writes the OpenAPI document anew; `--check` only compares."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsboard.api import document


class Command(BaseCommand):
    """Makes opsboard/api/openapi.json from the code, to be committed with the change that made it necessary."""

    help = "write the OpenAPI document from the code, or compare it with --check"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Only --check."""
        parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the file is out of date")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write or compare."""
        wanted = document.text(document.build())
        if options["check"]:
            if not document.FILE.is_file() or document.FILE.read_text() != wanted:
                raise CommandError("opsboard/api/openapi.json is out of date: run manage.py openapi.")
            return
        document.FILE.write_text(wanted)
        self.stdout.write(f"{document.FILE.name}: {len(document.build()['paths'])} addresses")
