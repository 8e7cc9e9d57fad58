"""`manage.py register_connections`: the catalogue learns what `connections.json` connects."""

from typing import Any

from django.core.management.base import BaseCommand

from opsboard.catalog import commands


class Command(BaseCommand):
    help = "Enter the systems, legal entities and built-in flows of connections.json into the catalogue."

    def handle(self, *args: Any, **options: Any) -> None:
        """Register and say how many systems there are."""
        count = commands.register_connections(by="register_connections")
        self.stdout.write(f"{count} systems registered")
