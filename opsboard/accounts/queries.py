"""What is known about people and service accounts."""

from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from opsboard.accounts.models import ServiceAccount, Token, User
from opsboard.accounts.tokens import digest, well_formed

CACHE_SECONDS = 5.0  # a revoked token is dead in every process after this long, in the revoking one at once
_CACHE_SIZE = 1024


@dataclass(frozen=True)
class Principal:
    """A service account that showed a valid token: it may write only as `source` and within `scopes`."""

    account_id: int
    name: str
    source: str
    scopes: frozenset[str]
    token_id: int = 0
    last_used_at: datetime | None = None

    def __str__(self) -> str:
        return self.name


_cache: dict[bytes, tuple[float, Principal]] = {}


def token(raw: str) -> Principal | None:
    """Who shows this bearer token; None when it is malformed, unknown, expired or revoked.

    A good answer is kept for CACHE_SECONDS in this process. A bad one is not kept: a new token works at
    once, and made-up tokens cannot fill the memory.
    """
    if not well_formed(raw):
        return None
    key, now = digest(raw), monotonic()
    kept = _cache.get(key)
    if kept is not None and kept[0] > now:
        return kept[1]
    _cache.pop(key, None)
    found = _look_up(key)
    if found is not None:
        if len(_cache) >= _CACHE_SIZE:
            _cache.clear()
        _cache[key] = (now + CACHE_SECONDS, found)
    return found


def sender(name: str) -> Principal | None:
    """The active service account of that name, as if it showed its token; None when there is none.

    For what it sent and somebody corrected: it goes in under the sender's source and limits.
    """
    account = ServiceAccount.objects.filter(name=name, revoked_at__isnull=True).first()
    if account is None:
        return None
    return Principal(account.pk, account.name, account.source, frozenset(account.scopes))


def forget_tokens() -> None:
    """Empty this process's cache of tokens, so that a revocation counts here at once."""
    _cache.clear()


def _look_up(key: bytes) -> Principal | None:
    """The principal behind a token's digest, from the database."""
    row = (
        Token.objects.filter(
            hash=key,
            revoked_at__isnull=True,
            expires_at__gt=timezone.now(),
            account__revoked_at__isnull=True,
        )
        .select_related("account")
        .first()
    )
    if row is None:
        return None
    account = row.account
    return Principal(account.pk, account.name, account.source, frozenset(account.scopes), row.pk, row.last_used_at)


def people(team: str | None) -> list[User]:
    """Active people of the team, or of all teams when None, by name: to whom an exception can be given."""
    found = User.objects.filter(is_active=True)
    if team is not None:
        found = found.filter(team=team)
    return list(found.order_by("first_name", "last_name", "email"))


def everybody() -> QuerySet[User]:
    """All people by address, deactivated ones too: for whoever manages accounts."""
    return User.objects.order_by("email")


def service_accounts() -> QuerySet[ServiceAccount]:
    """All service accounts by name, with the tokens that are not revoked, oldest first."""
    tokens = Token.objects.filter(revoked_at__isnull=True).order_by("created_at")
    return ServiceAccount.objects.prefetch_related(Prefetch("tokens", queryset=tokens)).order_by("name")
