"""`manage.py prepare`: brings database and files to this version; a step of `up` and of any release."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from opsboard.stack.paths import Paths

FIRST_RUN = ("demo_accounts", "demo_load")


class Command(BaseCommand):
    """Migrate, collect the static files, and fill a database that was empty."""

    help = "Migrate, collect static files; an empty database gets accounts and, unless --no-demo, demo data."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `prepare`."""
        parser.add_argument("--no-demo", action="store_true", help="leave an empty database without demo data")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is missing; what an interrupted run left undone is done now."""
        paths = Paths(Path(settings.DATA_DIR))
        pending = paths.pending
        if "django_migrations" not in connection.introspection.table_names():
            owed = [name for name in FIRST_RUN if name == "demo_accounts" or not options["no_demo"]]
            pending.write_text("\n".join(owed))
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        self._settle(pending, {"demo_accounts": {"file": paths.accounts, "quiet": True}})

    def _settle(self, pending: Path, options: dict[str, dict[str, Any]]) -> None:
        owed = pending.read_text().split() if pending.is_file() else []
        while owed:
            name = owed.pop(0)
            if name in get_commands():
                self.stdout.write(f"first start: {name}")
                call_command(name, **options.get(name, {}))
            pending.write_text("\n".join(owed))
        pending.unlink(missing_ok=True)
