"""Who asks the API, and whether they may: people by their session, service accounts by bearer token."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, NotFound, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from opsboard.accounts import commands, queries
from opsboard.accounts.access import may
from opsboard.accounts.models import ALL_ENTITIES, User
from opsboard.accounts.queries import Principal


def bearer(request: HttpRequest) -> Principal | None:
    """The service account whose token the request carries; None when it carries none that is valid.

    A token in the address (?access_token=) is not looked at: addresses end up in logs.
    """
    scheme, _, raw = request.headers.get("Authorization", "").partition(" ")
    found = queries.token(raw.strip()) if scheme.lower() == "bearer" else None
    if found is not None:
        commands.token_used(by=found)
    return found


class ServiceToken(BaseAuthentication):
    """DRF authentication by bearer token: `request.auth` is the Principal, `request.user` nobody."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Principal] | None:
        """The service account; None when another way of signing in is used. 401 for a bad token."""
        if not request.headers.get("Authorization", ""):
            return None
        found = bearer(request._request)
        if found is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        return AnonymousUser(), found

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answer names as the way in."""
        return 'Bearer realm="opsboard"'


class Denied(BasePermission):
    """The default: an endpoint that does not say who may use it, may not be used."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Never."""
        return False


class Needs(BasePermission):
    """People need the view's `permission`; service accounts its `scope`. Where the scope is empty, only people act.

    Not signed in 401, a token without the scope 403, a person without the permission 404 (law 9).
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the one who asks may."""
        if isinstance(request.auth, Principal):
            if view.scope and view.scope in request.auth.scopes:
                return True
            need = f"The token lacks the scope {view.scope}." if view.scope else "Only people can do this."
            raise PermissionDenied(need)
        if may(request.user, view.permission):
            return True
        if isinstance(request.user, User) and request.user.is_active:
            raise NotFound
        raise NotAuthenticated("Sign in, or send the token of a service account.")


def reader(request: Request) -> User:
    """For whom a query is asked. A service account reads as an executive of all legal entities does: what its scopes
    opened, and no payloads.
    """
    if isinstance(request.auth, Principal):
        return User(username=f"service:{request.auth.name}", role="executive", entities=[ALL_ENTITIES])
    user: User = request.user
    return user
