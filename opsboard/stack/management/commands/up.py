"""`manage.py up`: the whole stack with one command."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.stack.errors import StackError
from opsboard.stack.paths import resolve
from opsboard.stack.supervisor import Supervisor, Wishes


class Command(BaseCommand):
    """Start PostgreSQL, Redis, web, worker and beat, watch them, and stop them together."""

    help = (
        "Start everything and stay in the foreground; Ctrl-C stops everything. "
        "DATABASE_URL and REDIS_URL replace the embedded servers."
    )
    requires_system_checks: list[str] = []  # there may be no database yet

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `up`."""
        parser.add_argument("--port", type=int, default=8000, help="where to listen on 127.0.0.1 (8000)")
        parser.add_argument("--data-dir", help="where data are kept (OPSBOARD_DATA_DIR, else .opsboard)")
        parser.add_argument("--no-demo", action="store_true", help="leave an empty database without demo data")
        parser.add_argument("--live", action="store_true", help="also start three real Tryton systems")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        wishes = Wishes(port=options["port"], demo=not options["no_demo"], live=options["live"])
        try:
            code = Supervisor(resolve(options["data_dir"]), wishes).run()
        except StackError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)
