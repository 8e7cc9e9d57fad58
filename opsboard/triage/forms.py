"""What the actions ask for, and the payload as a person corrects it."""

import json
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.utils.timezone import get_current_timezone, localtime
from django.utils.translation import gettext_lazy as _

from opsboard.accounts.models import User
from opsboard.accounts.queries import people
from opsboard.accounts.roles import TEAMS
from opsboard.core.errors import Refused
from opsboard.triage.lifecycle import RESOLUTIONS
from opsboard.triage.queries import Detail

WORKDAY_STARTS = time(8)
FRIDAY = 4


class Plain(forms.Form):
    """An action that asks for nothing."""


class Reason(forms.Form):
    """An action with a reason that may be left out."""

    reason = forms.CharField(label=_("Reason"), required=False, widget=forms.Textarea(attrs={"rows": 2}))


class ReasonNeeded(forms.Form):
    """An action that is not done without a reason."""

    reason = forms.CharField(label=_("Reason"), widget=forms.Textarea(attrs={"rows": 3}))


class Comment(forms.Form):
    """Something to say to those who work on it."""

    text = forms.CharField(label=_("Comment"), widget=forms.Textarea(attrs={"rows": 3}))


class Assign(Reason):
    """To whom: a person, a team, or both."""

    field_order = ("to", "team", "reason")
    to = forms.ModelChoiceField(
        label=_("Person"), queryset=User.objects.none(), required=False, empty_label="Nobody yet"
    )
    team = forms.ChoiceField(label=_("Team"), required=False, choices=[("", "Team of the person"), *TEAMS.items()])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        able = [user.pk for user in people(None)]
        self.fields["to"].queryset = User.objects.filter(pk__in=able).order_by("first_name")  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """One of the two is needed."""
        said = super().clean() or {}
        if not said.get("to") and not said.get("team"):
            raise forms.ValidationError(_("Choose a person, a team, or both."))
        return said | {"team": said.get("team") or None}


class Snooze(Reason):
    """Until when, in words a person thinks in."""

    field_order = ("preset", "until", "reason")
    preset = forms.ChoiceField(label=_("Until"), choices=(), required=False)
    until = forms.DateTimeField(
        label=_("or exactly"), required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["preset"].choices = [(at.isoformat(), f"{word} · {at:%a %d %b, %H:%M}") for word, at in presets()]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """The exact moment counts when it is given."""
        said = super().clean() or {}
        preset = said.pop("preset", "")
        until = said.get("until") or (datetime.fromisoformat(preset) if preset else None)
        if until is None and not self.errors:
            raise forms.ValidationError(_("Choose a moment."))
        return said | {"until": until}


def presets() -> list[tuple[str, datetime]]:
    """Moments one may want, in the person's zone: in three hours, next working morning, next Monday."""
    here = localtime()

    def morning(days: int) -> datetime:
        return datetime.combine(here.date() + timedelta(days=days), WORKDAY_STARTS, get_current_timezone())

    tomorrow = 1 if here.weekday() < FRIDAY else 7 - here.weekday()
    return [
        ("In three hours", here.replace(second=0, microsecond=0) + timedelta(hours=3)),
        ("Next working day", morning(tomorrow)),
        ("Next Monday", morning(7 - here.weekday())),
        ("In two weeks", morning(14)),
    ]


class Resolve(forms.Form):
    """How it was closed without a replay, and why."""

    resolution = forms.ChoiceField(
        label=_("How it was resolved"),
        choices=[(code, words) for code, (words, _status) in RESOLUTIONS.items()],
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(label=_("Reason"), widget=forms.Textarea(attrs={"rows": 3}))


FORMS: dict[str, type[forms.Form]] = {
    "assign": Assign,
    "take": Plain,
    "comment": Comment,
    "snooze": Snooze,
    "wake": Plain,
    "discard_fix": Plain,
    "replay": Reason,
    "resolve": Resolve,
    "reopen": ReasonNeeded,
}


def document(shown: Detail, posted: Any) -> dict[str, Any]:
    """The payload as the person wants it: the JSON text when it was sent, else the form's fields over the current one.

    Raises Refused with line and column when the text is not JSON.
    """
    if "json" in posted:
        try:
            found = json.loads(posted["json"])
        except json.JSONDecodeError as error:
            raise Refused(f"This is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
        if not isinstance(found, dict):
            raise Refused("The payload is one object: { … }.")
        return found
    changed = {
        field.path: posted[f"field-{field.path}"]
        for field in shown.fields
        if field.repairable and f"field-{field.path}" in posted
    }
    return shown.payload | changed
