"""`manage.py seal_log`: seal what is not sealed yet, now. The scheduler does the same every five seconds."""

from typing import Any

from django.core.management.base import BaseCommand

from opsboard.log import sealing


class Command(BaseCommand):
    help = "Seal the events that no block holds yet and publish the blocks."

    def handle(self, *args: Any, **options: Any) -> None:
        """Seal and say how many."""
        self.stdout.write(f"sealed {sealing.seal()} events; published in {sealing.anchors_file()}")
