"""`manage.py demo_accounts --file PATH`: one sign-in per role for a demo, with generated passwords."""

import json
import os
import secrets
import string
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand

from opsboard.accounts import commands, queries
from opsboard.accounts.models import ALL_ENTITIES

BY = "demo data"
_LETTERS = string.ascii_letters + string.digits


class Person(NamedTuple):
    """A demo account; it sees all legal entities, or with `one_entity` the one of the command line."""

    label: str
    email: str
    first_name: str
    last_name: str
    role: str
    one_entity: bool = False


PEOPLE = (
    Person("finance", "finance@demo.example", "Miriam", "Halvorsen", "finance"),
    Person("finance, one legal entity", "finance.one@demo.example", "Tom", "Aldridge", "finance", True),
    Person("PMO", "pmo@demo.example", "Ravi", "Menon", "pmo"),
    Person("sales operations", "sales@demo.example", "Clara", "Jansen", "sales_ops"),
    Person("HR operations", "hr@demo.example", "Olga", "Petrescu", "hr_ops"),
    Person("executive", "executive@demo.example", "Grace", "Okafor", "executive"),
    Person("platform", "platform@demo.example", "Yuki", "Tanaka", "platform"),
    Person("auditor", "auditor@demo.example", "Henrik", "Solberg", "auditor"),
    Person("administrator", "administrator@demo.example", "Ana", "Ferreira", "administrator"),
)


class Command(BaseCommand):
    """Makes the demo accounts that are missing and prints all sign-ins. Existing passwords stay."""

    help = "one demo account per role; passwords are generated once and kept in a file only you can read"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where the passwords are kept, and the legal entities of the demo firm."""
        parser.add_argument("--file", type=Path, required=True, help="JSON file of the sign-ins (mode 0600)")
        parser.add_argument("--entity", default="NWC-DE", help="the legal entity of the colleague who sees only one")
        parser.add_argument("--quiet", action="store_true", help="print nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing, keep the file, print the lines."""
        path: Path = options["file"]
        known: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.is_file() else {}
        existing = {user.email for user in queries.people(None)}
        sign_ins = {}
        for person in PEOPLE:
            kept = known.get(person.email, {}).get("password", "")
            password = kept or "".join(secrets.choice(_LETTERS) for _ in range(16))
            if person.email not in existing:
                _create(person, options["entity"], password)
            elif not kept:
                commands.set_password(email=person.email, password=password, by=BY)
            sign_ins[person.email] = {"role": person.label, "email": person.email, "password": password}
        if sign_ins != known:
            _write(path, sign_ins)
        if not options["quiet"]:
            for entry in sign_ins.values():
                self.stdout.write(f"{entry['role']:<26} {entry['email']:<28} {entry['password']}")


def _create(person: Person, entity: str, password: str) -> None:
    commands.create_person(
        email=person.email,
        first_name=person.first_name,
        last_name=person.last_name,
        role=person.role,
        entities=[entity] if person.one_entity else [ALL_ENTITIES],
        password=password,
        by=BY,
    )


def _write(path: Path, sign_ins: dict[str, dict[str, str]]) -> None:
    """Replace the file in one step; it is never readable by others, not even for a moment."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with open(descriptor, "w") as file:
        json.dump(sign_ins, file, indent=1)
    fresh.replace(path)
