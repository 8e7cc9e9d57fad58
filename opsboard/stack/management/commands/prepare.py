"""`manage.py prepare`: brings database and files to this version; a step of `up` and of any release."""

import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from opsboard.stack.paths import Paths

FILLERS = ("demo_accounts", "demo_load")


class Command(BaseCommand):
    """Migrate, collect the static files, and on request fill a database that was empty."""

    help = "Migrate and collect static files. The options fill an empty database; others are left as they are."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """What an empty database is filled with."""
        for name in FILLERS:
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=f"run `{name}`, once")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is missing; what an interrupted run left undone is done now."""
        paths = Paths(Path(settings.DATA_DIR))
        paths.prepare()
        if "django_migrations" not in connection.introspection.table_names():
            paths.pending.write_text("\n".join(name for name in FILLERS if options[name]))
        call_command("migrate", verbosity=0, interactive=False)
        self._collect_static(paths)
        self._fill(paths)

    def _collect_static(self, paths: Paths) -> None:
        """Collect the static files when one has changed: hashing and compressing them takes seconds."""
        found = _fingerprint()
        if paths.static_fingerprint.is_file() and paths.static_fingerprint.read_text() == found:
            return
        call_command("collectstatic", verbosity=0, interactive=False)
        paths.static_fingerprint.write_text(found)

    def _fill(self, paths: Paths) -> None:
        options = {"demo_accounts": {"file": paths.accounts, "quiet": True}}
        owed = paths.pending.read_text().split() if paths.pending.is_file() else []
        while owed:
            self.stdout.write(f"first start: {owed[0]}")
            call_command(owed[0], **options.get(owed[0], {}))
            owed.pop(0)
            paths.pending.write_text("\n".join(owed))
        paths.pending.unlink(missing_ok=True)


def _fingerprint() -> str:
    """A digest of the place, size and time of every static file, and of where they are collected."""
    digest = hashlib.sha256(str(settings.STATIC_ROOT).encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            place = Path(storage.path(name))
            known = place.stat()
            digest.update(f"{place}\0{known.st_size}\0{known.st_mtime_ns}\n".encode())
    return digest.hexdigest()
