"""Pages that bring figures, threads and exceptions together. Thin: one query or one command each."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from opsboard.accounts import commands as accounts
from opsboard.accounts.access import SIGNED_IN, person, required
from opsboard.accounts.models import THEMES


@required(SIGNED_IN)
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Switch between system, light and dark from the menu; the rest of the preferences stays."""
    user = person(request)
    wanted = request.POST.get("theme", "")
    if wanted in THEMES:
        kept = {name: getattr(user, name) for name in ("first_name", "last_name", "timezone", "locale", "density")}
        accounts.save_preferences(**kept, theme=wanted, by=user)
    back = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(back if safe else "/")
