"""The door of every page: may this person do this, and for which legal entities.

Whatever a signed-in person may not see answers 404, as if it did not exist (law 9). Only somebody who has not
signed in is told so.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url

from opsboard.accounts.models import ALL_ENTITIES, User
from opsboard.accounts.roles import PERMISSIONS, UNPLACED_ROLES, role

log = structlog.get_logger("opsboard.security")

# For pages that belong to whoever is signed in, such as the own profile; not in the table of roles.
SIGNED_IN = "signed_in"

M = TypeVar("M", bound=Model)
P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def may(user: User | AnonymousUser, permission: str) -> bool:
    """Whether the person may do it. Anonymous and deactivated people may do nothing, superusers no more.

    Raises KeyError for a permission that is not in the table: a misspelt name must not deny silently.
    """
    if permission != SIGNED_IN and permission not in PERMISSIONS:
        raise KeyError(f"no such permission: {permission}")
    if not isinstance(user, User) or not user.is_active:
        return False
    return permission == SIGNED_IN or permission in role(user.role).permissions


def required(permission: str) -> Callable[[View[P]], View[P]]:
    """Let a view run only for people with the permission, and write it on the view as `view.permission`.

    Not signed in: to the sign-in page (htmx: by HX-Redirect; under /api/: 401 problem details). Signed in
    without the permission: 404.
    """
    if permission != SIGNED_IN and permission not in PERMISSIONS:
        raise KeyError(f"no such permission: {permission}")

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if may(request.user, permission):
                return view(request, *args, **kwargs)
            if isinstance(request.user, User) and request.user.is_active:
                log.warning("denied", user_id=request.user.pk, permission=permission, path=request.path)
                raise Http404
            return _sign_in_first(request)

        guarded.permission = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def person(request: HttpRequest) -> User:
    """The signed-in person, for views behind `required`. Raises Http404 for anybody else."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user


def entities(user: User | AnonymousUser) -> list[str] | None:
    """Codes of the legal entities whose rows the person may see; None means all, an empty list none."""
    if not isinstance(user, User) or not user.is_active:
        return []
    return None if ALL_ENTITIES in user.entities else list(user.entities)


def sees_unplaced(user: User | AnonymousUser) -> bool:
    """Whether the person may see rows of which the legal entity is not known; see `in_scope`."""
    if not isinstance(user, User) or not user.is_active:
        return False
    return ALL_ENTITIES in user.entities or user.role in UNPLACED_ROLES


def in_scope(queryset: QuerySet[M], user: User | AnonymousUser, field: str = "entity") -> QuerySet[M]:
    """The rows that belong to the person's legal entities, by the text column `field`.

    A row with an empty entity may belong to any of them, so showing it to everybody would leak one entity's
    business to another's staff. It is shown to people with all entities, to platform engineers (who have to
    find out where it belongs, so that nothing fails silently) and to auditors (who read everything).
    """
    allowed = entities(user)
    if allowed is None:
        return queryset
    return queryset.filter(**{f"{field}__in": [*allowed, ""] if sees_unplaced(user) else allowed})


def _sign_in_first(request: HttpRequest) -> HttpResponse:
    """Answer for somebody who has not signed in, in the language of who asks: API, htmx or browser."""
    if request.path.startswith("/api/"):
        return unauthorized(request, "Sign in, or send the token of a service account.")
    if request.headers.get("HX-Request") == "true":
        # The fragment's own address is no page: come back to the page that asked for it.
        page = urlsplit(request.headers.get("HX-Current-URL", "/"))
        back = page.path + (f"?{page.query}" if page.query else "")
        target = redirect_to_login(back or "/", resolve_url(settings.LOGIN_URL))
        return HttpResponse(status=401, headers={"HX-Redirect": target["Location"]})
    return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))


def unauthorized(request: HttpRequest, detail: str) -> JsonResponse:
    """A 401 answer as RFC 9457 problem details, naming Bearer as the way in."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": detail,
        "instance": request.path,
    }
    return JsonResponse(
        body,
        status=401,
        content_type="application/problem+json",
        headers={"WWW-Authenticate": 'Bearer realm="opsboard"'},
    )
