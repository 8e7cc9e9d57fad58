"""`manage.py service_account create|rotate|revoke|list`: the writers of the event door and their tokens."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsboard.accounts import commands, queries
from opsboard.accounts.roles import SCOPES
from opsboard.core.errors import Refused


class Command(BaseCommand):
    """Makes, rotates, revokes and lists service accounts. A token is printed once, never again."""

    help = "create, rotate, revoke or list the service accounts that may call the API"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command per act."""
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make an account and print its token once")
        create.add_argument("name")
        create.add_argument("--source", required=True, help="the CloudEvents source it may write as, a URI")
        create.add_argument("--scope", action="append", required=True, choices=list(SCOPES), dest="scopes")
        rotate = acts.add_parser("rotate", help="print a second token; the old one works until it is revoked")
        rotate.add_argument("name")
        for issuing in (create, rotate):
            issuing.add_argument("--days", type=int, default=365, help="days until the token expires (365)")
        revoke = acts.add_parser("revoke", help="end the account, or one of its tokens")
        revoke.add_argument("name")
        revoke.add_argument("--token", metavar="LAST4", help="only the token that ends in these four characters")
        acts.add_parser("list", help="all accounts with their tokens that are not revoked")
        for act in (create, rotate, revoke):
            act.add_argument("--by", default="command line", help="who does it, for the record")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the act; a refusal is an error in words and exit code 1."""
        try:
            getattr(self, f"_{options['act']}")(options)
        except Refused as refusal:
            raise CommandError(refusal.reason) from refusal

    def _create(self, options: dict[str, Any]) -> None:
        account, raw = commands.create_service_account(
            name=options["name"],
            source=options["source"],
            scopes=options["scopes"],
            expires_in_days=options["days"],
            by=options["by"],
        )
        self.stderr.write(f"{account.name} may write as {account.source}. Its token, shown only this once:")
        self.stdout.write(raw)

    def _rotate(self, options: dict[str, Any]) -> None:
        raw = commands.rotate_token(name=options["name"], expires_in_days=options["days"], by=options["by"])
        self.stderr.write("The new token, shown only this once. The old one works until you revoke it:")
        self.stdout.write(raw)

    def _revoke(self, options: dict[str, Any]) -> None:
        name, last4 = options["name"], options["token"]
        if last4:
            commands.revoke_token(name=name, last4=last4, by=options["by"])
            self.stdout.write(f"The token …{last4} of {name} is revoked.")
        else:
            commands.revoke_service_account(name=name, by=options["by"])
            self.stdout.write(f"{name} and all its tokens are revoked.")

    def _list(self, options: dict[str, Any]) -> None:
        for account in queries.service_accounts():
            state = "revoked" if account.revoked_at else "active"
            self.stdout.write(f"{account.name}  {account.source}  {','.join(account.scopes)}  {state}")
            for token in account.tokens.all():
                used = f"{token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never"
                self.stdout.write(f"    {token}  expires {token.expires_at:%Y-%m-%d}  last used {used}")
