"""`manage.py demo_load`: the demo firm with a year of history, its open exceptions, and sandbox systems behind it."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from opsboard.core.errors import Refused
from opsboard.demo import commands


class Command(BaseCommand):
    """Loads the demo; again, it changes nothing."""

    help = "load the demo firm (simulated systems, invented people); loading it twice changes nothing"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to make it from."""
        parser.add_argument("--seed", type=int, default=commands.SEED, help="another seed, another firm")
        parser.add_argument("--scale", type=float, default=1.0, help="1 is 40 consultants and 60 projects")
        parser.add_argument(
            "--as-of",
            type=_moment,
            default=None,
            help="ISO date and time (UTC) of the firm's present; default now",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load and say what was loaded, and how long it took."""
        started = perf_counter()
        try:
            report = commands.load(seed=options["seed"], as_of=options["as_of"], scale=options["scale"], by="demo data")
        except Refused as refused:
            raise CommandError(refused.reason) from refused
        for line in commands.summary(report):
            self.stdout.write(line)
        what = "was loaded before; nothing changed" if report.before else "loaded"
        self.stdout.write(
            f"Demo data ({settings.OPSBOARD_ENVIRONMENT}, simulated systems) {what} in {perf_counter() - started:.1f} s"
        )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
