"""`manage.py person create|change|password|list`: people, their roles and legal entities.

The way to the first administrator of a new installation: nobody may do anything until somebody is given a role.
"""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsboard.accounts import commands, queries
from opsboard.accounts.models import ALL_ENTITIES
from opsboard.accounts.roles import ROLES, TEAMS
from opsboard.core.errors import Refused


class Command(BaseCommand):
    """Makes and changes people. A password is generated and printed once; the person changes it in the profile."""

    help = "create a person, change role, legal entities or whether they may sign in, or list everybody"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command per act."""
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make an account and print its password once")
        create.add_argument("email")
        create.add_argument("--first-name", required=True)
        create.add_argument("--last-name", default="")
        create.add_argument("--role", required=True, choices=list(ROLES))
        change = acts.add_parser("change", help="change what is given, with effect from the next click")
        change.add_argument("email")
        change.add_argument("--role", choices=list(ROLES))
        switch = change.add_mutually_exclusive_group()
        switch.add_argument("--deactivate", dest="active", action="store_false", default=None)
        switch.add_argument("--activate", dest="active", action="store_true", default=None)
        for act in (create, change):
            act.add_argument("--team", choices=list(TEAMS), help="the role's own team unless given")
            act.add_argument("--entity", action="append", dest="entities", help=f"repeatable; {ALL_ENTITIES} is all")
        password = acts.add_parser("password", help="print a new password once; all sessions end")
        password.add_argument("email")
        acts.add_parser("list", help="everybody with role, team and legal entities")
        for act in (create, change, password):
            act.add_argument("--by", default="command line", help="who does it, for the record")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the act; a refusal is an error in words and exit code 1."""
        try:
            getattr(self, f"_{options['act']}")(options)
        except Refused as refusal:
            raise CommandError(refusal.reason) from refusal

    def _create(self, options: dict[str, Any]) -> None:
        password = secrets.token_urlsafe(12)
        wanted = {key: options[key] for key in ("email", "first_name", "last_name", "role", "team", "by")}
        commands.create_person(**wanted, entities=options["entities"] or [], password=password)
        self.stderr.write(f"{options['email']} may sign in with this password, shown only this once:")
        self.stdout.write(password)

    def _change(self, options: dict[str, Any]) -> None:
        wanted = {key: options[key] for key in ("email", "role", "team", "entities", "active", "by")}
        commands.change_person(**wanted)
        self.stdout.write(f"{options['email']} is changed.")

    def _password(self, options: dict[str, Any]) -> None:
        password = secrets.token_urlsafe(12)
        commands.set_password(email=options["email"], password=password, by=options["by"])
        self.stdout.write(password)

    def _list(self, options: dict[str, Any]) -> None:
        for user in queries.everybody():
            entities = ",".join(user.entities) or "no entity"
            state = "" if user.is_active else "  deactivated"
            self.stdout.write(f"{user.email}  {user}  {user.role or 'no role'}  {user.team}  {entities}{state}")
