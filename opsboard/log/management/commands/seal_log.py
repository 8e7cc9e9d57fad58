"""`manage.py seal_log`: seal what is not sealed yet, now. The scheduler does the same every five seconds."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.log import sealing


class Command(BaseCommand):
    help = "Seal the events that no block holds yet and publish the blocks."

    def add_arguments(self, parser: CommandParser) -> None:
        """One switch."""
        parser.add_argument("--new-key", action="store_true", help="if the key is not here, go on with a new one")

    def handle(self, *args: Any, new_key: bool, **options: Any) -> None:
        """Seal and say how many."""
        try:
            sealed = sealing.seal(new_key=new_key)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"sealed {sealed} events; published in {sealing.anchors_file()}")
