"""`manage.py reset`: deletes a data directory, so that the next `up` is a first one."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.stack.errors import StackError
from opsboard.stack.paths import resolve
from opsboard.stack.remote import delete, stop


class Command(BaseCommand):
    """Stop the stack and delete its data."""

    help = "Stop everything and delete the data directory (asks first). External databases are not touched."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `reset`."""
        parser.add_argument("--data-dir", help="the data directory given to `up`")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, stop, delete."""
        paths = resolve(options["data_dir"])
        if not paths.data.exists():
            self.stdout.write(f"{paths.data} is not there; nothing to do")
            return
        if not options["yes"] and not self._agreed(str(paths.data)):
            raise CommandError("Nothing was deleted.")
        try:
            stop(paths)
            delete(paths)
        except StackError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{paths.data} is deleted")

    def _agreed(self, folder: str) -> bool:
        try:
            answer = input(f"Delete {folder} with its database, accounts and keys? Type yes: ")
        except EOFError:
            return False
        return answer.strip().lower() == "yes"
