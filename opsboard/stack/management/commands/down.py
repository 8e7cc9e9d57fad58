"""`manage.py down`: stops the stack of a data directory."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.stack.errors import StackError
from opsboard.stack.paths import resolve
from opsboard.stack.remote import stop


class Command(BaseCommand):
    """Ask the running supervisor to stop everything, and wait until it has."""

    help = "Stop what `manage.py up` started on this data directory."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `down`."""
        parser.add_argument("--data-dir", help="the data directory given to `up`")

    def handle(self, *args: Any, **options: Any) -> None:
        """Stop, in words."""
        paths = resolve(options["data_dir"])
        try:
            stopped = stop(paths)
        except StackError as error:
            raise CommandError(str(error)) from error
        self.stdout.write("stopped" if stopped else f"nothing runs on {paths.data}")
