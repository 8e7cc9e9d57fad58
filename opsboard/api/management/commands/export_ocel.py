"""`manage.py export_ocel --out FILE`: the log as OCEL 2.0, for process mining."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from opsboard.api import ocel
from opsboard.core.errors import Refused


class Command(BaseCommand):
    """Writes the log, or a part of it."""

    help = "write the log as OCEL 2.0 in JSON or SQLite; without payloads and without the people who acted"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to, and which part."""
        parser.add_argument("--out", type=Path, required=True, help="file that ends in .json or .sqlite")
        parser.add_argument("--thread", type=UUID, help="only this engagement")
        parser.add_argument("--since", type=_moment, help="ISO date and time; without zone it is UTC")
        parser.add_argument("--until", type=_moment, help="the first moment that is not exported any more")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write and count."""
        part = ocel.Part(thread=options["thread"], since=options["since"], until=options["until"])
        try:
            done = ocel.export(options["out"], part)
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from error
        except Refused as refused:
            raise CommandError(refused.reason) from refused
        self.stdout.write(
            f"{options['out'].name}: {done.events} events, {done.objects} objects, {done.event_objects} relations of "
            f"events to objects, {done.object_objects} of objects to objects"
        )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
