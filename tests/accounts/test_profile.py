"""People set how they are called and shown things, and every page follows."""

from datetime import UTC, datetime

import pytest
from django.http import HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone, translation

from opsboard.accounts.middleware import Preferences
from opsboard.accounts.models import User
from tests.personas import OWN_ENTITY

pytestmark = pytest.mark.django_db

CHOICES = {
    "first_name": "Mira",
    "last_name": "Halvorsen",
    "timezone": "America/New_York",
    "locale": "de",
    "theme": "dark",
    "density": "compact",
}


def test_preferences_are_saved_and_the_next_page_follows_them(owner, signed_in):
    client = signed_in(owner)
    assert client.post("/profile/", CHOICES)["Location"] == "/profile/"
    page = client.get("/profile/").content.decode()
    owner.refresh_from_db()
    assert {name: getattr(owner, name) for name in CHOICES} == CHOICES
    assert 'data-theme="dark"' in page
    assert 'data-density="compact"' in page


@pytest.mark.parametrize(
    ("field", "value"),
    [("timezone", "Mars/Olympus"), ("locale", "tlh"), ("theme", "pink"), ("density", "x"), ("first_name", "")],
)
def test_what_cannot_be_is_refused_beside_its_field(owner, signed_in, field, value):
    answer = signed_in(owner).post("/profile/", CHOICES | {field: value})
    assert answer.status_code == 422
    assert f'id="id_{field}_error"' in answer.content.decode()
    assert User.objects.get(pk=owner.pk).theme == "system"


def test_nobody_raises_their_own_rights_with_the_form(owner, signed_in):
    signed_in(owner).post("/profile/", CHOICES | {"role": "administrator", "entities": "*", "is_superuser": "1"})
    owner.refresh_from_db()
    assert (owner.role, owner.entities, owner.is_superuser) == ("finance", [OWN_ENTITY], False)


def test_the_profile_says_what_one_may_do_and_for_whom(owner, auditor, signed_in):
    page = signed_in(owner).get("/profile/").content.decode()
    assert "send a fixed message to its target again" in page
    assert f"<strong>{OWN_ENTITY}</strong>" in page
    assert "send a fixed message to its target again" not in signed_in(auditor).get("/profile/").content.decode()


def shown_to(user: User) -> tuple[str, str]:
    """Noon UTC as a page shows it to the person, and the language it is in."""
    seen: list[str] = []

    def page(request):
        noon = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        seen.append(Template("{{ noon|time:'H:i' }}").render(Context({"noon": noon})))
        seen.append(translation.get_language())
        return HttpResponse()

    request = RequestFactory().get("/")
    request.user = user
    Preferences(page)(request)
    return seen[0], seen[1]


def test_times_and_language_are_the_persons_own_and_do_not_leak_into_the_next_request(owner, colleague):
    owner.timezone, owner.locale = "Asia/Kolkata", "de"
    assert shown_to(owner) == ("17:30", "de")
    assert shown_to(colleague) == ("13:00", "en")
    assert timezone.get_current_timezone_name() == "UTC"


@pytest.mark.parametrize("zone", ["Nowhere/Land", "", "../../etc/passwd"])
def test_a_zone_this_machine_does_not_know_locks_nobody_out(owner, zone):
    owner.timezone = zone
    assert shown_to(owner) == ("12:00", "en")
