"""The profile form. Sign-in forms come from allauth."""

from zoneinfo import available_timezones

from django import forms
from django.utils.translation import gettext_lazy as _

from opsboard.accounts.models import DENSITIES, LOCALES, THEMES


def _zones() -> list[tuple[str, str]]:
    """Time zones a person can live in; the database also holds aliases such as Etc/GMT+5 and localtime."""
    areas = ("Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
    names = sorted(name for name in available_timezones() if name.startswith(areas))
    return [(name, name.replace("_", " ")) for name in ["UTC", *names]]


class PreferencesForm(forms.Form):
    """How the person is called and wants to be shown things."""

    first_name = forms.CharField(label=_("First name"), max_length=150)
    last_name = forms.CharField(label=_("Last name"), max_length=150, required=False)
    timezone = forms.ChoiceField(label=_("Time zone"), choices=_zones)
    locale = forms.ChoiceField(label=_("Number and date format"), choices=list(LOCALES.items()))
    theme = forms.ChoiceField(label=_("Theme"), choices=list(THEMES.items()))
    density = forms.ChoiceField(label=_("Row height of tables"), choices=list(DENSITIES.items()))
