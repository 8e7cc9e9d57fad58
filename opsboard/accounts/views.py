"""The person's own profile. Sign-in, second factor and sessions are allauth's views, wired in urls.py."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from opsboard.accounts import commands
from opsboard.accounts.access import SIGNED_IN, entities, person, required
from opsboard.accounts.forms import PreferencesForm
from opsboard.accounts.roles import PERMISSIONS, TEAMS, role


@required(SIGNED_IN)
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """The person's name and preferences to change, and role, team and legal entities to know."""
    user = person(request)
    form = PreferencesForm(
        request.POST or None, initial={name: getattr(user, name) for name in PreferencesForm.base_fields}
    )
    if request.method == "POST" and form.is_valid():
        commands.save_preferences(**form.cleaned_data, by=user)
        messages.success(request, _("Your preferences are saved."))
        return redirect("profile")
    mine = role(user.role)
    context = {
        "form": form,
        "role": mine,
        "team": TEAMS.get(user.team, ""),
        "entities": entities(user),
        "permissions": [text for code, text in PERMISSIONS.items() if code in mine.permissions],
    }
    return render(request, "accounts/profile.html", context, status=422 if form.errors else 200)
