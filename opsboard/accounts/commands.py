"""What can be done with people and service accounts."""

from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError
from django.db.models import Q
from django.db.transaction import atomic
from django.utils import timezone

from opsboard.accounts import queries, tokens
from opsboard.accounts.models import ServiceAccount, Token, User
from opsboard.accounts.queries import Principal
from opsboard.accounts.roles import ROLES, SCOPES, TEAMS
from opsboard.core.errors import Refused

log = structlog.get_logger("opsboard.security")

ACTIVE_TOKENS = 2  # the old and the new one, while a job is switched over
USE_NOTED_EVERY = timedelta(minutes=1)


def create_service_account(
    *, name: str, source: str, scopes: Iterable[str], expires_in_days: int = 365, by: str
) -> tuple[ServiceAccount, str]:
    """Make a service account bound to one CloudEvents `source`; returns it and its token, shown only now.

    Raises Refused for an empty name, a source that is no URI reference, an unknown scope, or a name or
    source that is taken.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise Refused(f"Scopes must be some of {', '.join(SCOPES)}; not {', '.join(unknown) or 'none'}.")
    if not name.strip():
        raise Refused("A service account needs a name.")
    if not _is_uri_reference(source):
        raise Refused(f"A source is a URI, such as urn:firm:psa; not “{source}”.")
    try:
        with atomic():
            account = ServiceAccount.objects.create(
                name=name.strip(), source=source, scopes=wanted, created_at=timezone.now(), created_by=by
            )
            return account, _issue(account, expires_in_days, by)
    except IntegrityError as error:
        taken = f"source {source}" if "source_once" in str(error) else f"name {name.strip()}"
        raise Refused(f"Another service account already has the {taken}.") from error


@atomic
def rotate_token(*, name: str, expires_in_days: int = 365, by: str) -> str:
    """A second token beside the old one, so that a job is switched over without a gap; shown only now.

    Raises Refused when the account is unknown or revoked, or when two tokens are active already: revoking
    one of them by itself might cut off a job that still uses it.
    """
    account = _locked(name)
    active = account.tokens.filter(revoked_at__isnull=True, expires_at__gt=timezone.now())
    if active.count() >= ACTIVE_TOKENS:
        ends = ", ".join(f"…{last4}" for last4 in active.values_list("last4", flat=True))
        raise Refused(f"{name} has {ACTIVE_TOKENS} active tokens ({ends}). Revoke the one no longer used first.")
    return _issue(account, expires_in_days, by)


@atomic
def revoke_token(*, name: str, last4: str, by: str) -> None:
    """End the account's active token with these last four characters. Raises Refused when there is none."""
    found = _locked(name).tokens.filter(last4=last4, revoked_at__isnull=True)
    if not found.update(revoked_at=timezone.now(), revoked_by=by):
        raise Refused(f"{name} has no active token that ends in {last4}.")
    queries.forget_tokens()
    log.info("token_revoked", account=name, last4=last4, by=by)


@atomic
def revoke_service_account(*, name: str, by: str) -> None:
    """End the account and its tokens, at once here and within seconds in other processes. The rows stay."""
    account = _locked(name)
    now = timezone.now()
    account.tokens.filter(revoked_at__isnull=True).update(revoked_at=now, revoked_by=by)
    ServiceAccount.objects.filter(pk=account.pk).update(revoked_at=now, revoked_by=by)
    queries.forget_tokens()
    log.info("service_account_revoked", account=name, by=by)


def token_used(*, by: Principal) -> None:
    """Note that the token was used, at most once a minute: it tells which tokens nobody needs any more."""
    now = timezone.now()
    if by.last_used_at is not None and now - by.last_used_at < USE_NOTED_EVERY:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
    Token.objects.filter(stale, pk=by.token_id).update(last_used_at=now)


@atomic
def create_person(
    *,
    email: str,
    first_name: str,
    last_name: str,
    role: str,
    entities: list[str],
    password: str,
    by: str,
    team: str | None = None,
) -> User:
    """An account made by an administrator: its address counts as verified. `team` is the role's unless given.

    Raises Refused for an unknown role or team and for an address that is taken.
    """
    if role not in ROLES or (team and team not in TEAMS):
        raise Refused(f"There is no role “{role}” or no team “{team or ''}”.")
    address = email.strip().lower()
    if User.objects.filter(email__iexact=address).exists():
        raise Refused(f"{address} has an account already.")
    user = User.objects.create(
        username=address,
        email=address,
        first_name=first_name,
        last_name=last_name,
        role=role,
        team=ROLES[role].team if team is None else team,
        entities=entities,
        password=make_password(password),
    )
    EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
    log.info("person_created", user_id=user.pk, role=role, entities=entities, by=by)
    return user


def set_password(*, email: str, password: str, by: str) -> None:
    """Give the person a new password; every session of theirs ends with it. Raises Refused when unknown."""
    user = _known(email)
    User.objects.filter(pk=user.pk).update(password=make_password(password))
    log.info("password_set", user_id=user.pk, by=by)


@atomic
def change_person(
    *,
    email: str,
    by: str,
    role: str | None = None,
    team: str | None = None,
    entities: list[str] | None = None,
    active: bool | None = None,
) -> None:
    """Change what is given, with effect from the person's next click. A new role brings its team unless one is given.

    Raises Refused for an unknown person, role or team.
    """
    user = _known(email)
    if role is not None and role not in ROLES:
        raise Refused(f"There is no role “{role}”.")
    if team and team not in TEAMS:
        raise Refused(f"There is no team “{team}”.")
    if role is not None and team is None:
        team = ROLES[role].team
    wanted = {"role": role, "team": team, "entities": entities, "is_active": active}
    changes = {name: value for name, value in wanted.items() if value is not None}
    before = {name: getattr(user, name) for name in changes}
    User.objects.filter(pk=user.pk).update(**changes)
    log.info("person_changed", user_id=user.pk, before=before, after=changes, by=by)


def save_preferences(
    *, first_name: str, last_name: str, timezone: str, locale: str, theme: str, density: str, by: User
) -> None:
    """Store how the person wants to be addressed and shown things; the values were validated by the form."""
    User.objects.filter(pk=by.pk).update(
        first_name=first_name,
        last_name=last_name,
        timezone=timezone,
        locale=locale,
        theme=theme,
        density=density,
    )


def _known(email: str) -> User:
    """The person with that address, active or not. Raises Refused when there is none."""
    user = User.objects.filter(email__iexact=email.strip()).first()
    if user is None:
        raise Refused(f"There is no account {email}.")
    return user


def _issue(account: ServiceAccount, expires_in_days: int, by: str) -> str:
    """Store a new token of the account by its digest and return its text."""
    if not 1 <= expires_in_days <= 3650:
        raise Refused("A token lasts between one day and ten years.")
    raw, now = tokens.new(), timezone.now()
    Token.objects.create(
        account=account,
        hash=tokens.digest(raw),
        prefix=tokens.PREFIX,
        last4=raw[-4:],
        created_at=now,
        created_by=by,
        expires_at=now + timedelta(days=expires_in_days),
    )
    log.info("token_issued", account=account.name, last4=raw[-4:], days=expires_in_days, by=by)
    return raw


def _locked(name: str) -> ServiceAccount:
    """The active account of that name, locked until the transaction ends. Refused when there is none."""
    account = ServiceAccount.objects.select_for_update().filter(name=name, revoked_at__isnull=True).first()
    if account is None:
        raise Refused(f"There is no active service account {name}.")
    return account


def _is_uri_reference(source: str) -> bool:
    """A CloudEvents source is a non-empty URI reference: no blanks, controls or characters to be escaped."""
    if not source or any(not 0x21 <= ord(c) <= 0x7E or c in '<>"{}|\\^`' for c in source):
        return False
    try:
        urlsplit(source)
    except ValueError:
        return False
    return True
