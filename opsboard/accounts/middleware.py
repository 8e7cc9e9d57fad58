"""What a request owes to the person who makes it: time zone, language, a second factor where it is due."""

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import Resolver404, resolve, reverse
from django.utils import timezone, translation

from opsboard.accounts.access import unauthorized
from opsboard.accounts.models import User
from opsboard.accounts.roles import MFA_ROLES

GetResponse = Callable[[HttpRequest], HttpResponse]

# What somebody who still has to set up the second factor may open: the set-up itself, and the way out.
_WITHOUT_SECOND_FACTOR = frozenset(
    {
        "mfa_activate_totp",
        "account_reauthenticate",
        "account_logout",
        "account_change_password",
    }
)


class Preferences:
    """Activates the person's time zone and language for the request; visitors get the settings' own."""

    def __init__(self, get_response: GetResponse):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        zone, language = settings.TIME_ZONE, settings.LANGUAGE_CODE
        if isinstance(user, User):
            zone, language = user.timezone, user.locale
        with timezone.override(_zone(zone)), translation.override(language):
            return self.get_response(request)


def _zone(name: str) -> ZoneInfo:
    """The zone of that name; UTC when this machine does not know it, so that nobody is locked out."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


class SecondFactor:
    """With OPSBOARD_REQUIRE_MFA, sends people of MFA_ROLES to the set-up until they have a second factor."""

    def __init__(self, get_response: GetResponse):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not settings.OPSBOARD_REQUIRE_MFA or not self._due(request):
            return self.get_response(request)
        if request.path.startswith("/api/"):
            return unauthorized(request, "Your role needs a second factor: sign in with a browser and set it up.")
        target = reverse("mfa_activate_totp")
        if request.headers.get("HX-Request") == "true":
            return HttpResponse(status=401, headers={"HX-Redirect": target})
        return HttpResponseRedirect(target)

    def _due(self, request: HttpRequest) -> bool:
        user = request.user
        if not isinstance(user, User) or user.role not in MFA_ROLES:
            return False
        return _page(request) not in _WITHOUT_SECOND_FACTOR and not is_mfa_enabled(user)


def _page(request: HttpRequest) -> str | None:
    """The name of the page asked for, None when there is no such page."""
    try:
        return resolve(request.path_info).url_name
    except Resolver404:
        return None
