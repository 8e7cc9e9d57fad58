"""People sign in with address, password and, where they set it up or must, a code of their authenticator app."""

import re
from html import unescape

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.test import Client
from django.urls import reverse

from opsboard.accounts import commands
from opsboard.accounts.models import User
from opsboard.core.errors import Refused

pytestmark = pytest.mark.django_db

PASSWORD = "correct-horse-battery"


@pytest.fixture
def miriam() -> User:
    """A finance person whose account an administrator made."""
    return commands.create_person(
        email="Miriam@Firm.Example",
        first_name="Miriam",
        last_name="Halvorsen",
        role="finance",
        entities=["DE01"],
        password=PASSWORD,
        by="Ana",
    )


def sign_in(client: Client, password: str = PASSWORD, email: str = "miriam@firm.example", **extra):
    """Fill in the sign-in form."""
    return client.post(reverse("account_login"), {"login": email, "password": password, **extra})


def found(pattern: str, text: str) -> str:
    """The group of the pattern in the text, which must be there."""
    match = re.search(pattern, text, re.S)
    assert match is not None, f"{pattern} is not in {text}"
    return match[1]


def is_signed_in(client: Client) -> bool:
    """Whether the browser holds a session of somebody."""
    return "_auth_user_id" in client.session


def code_for(secret: str) -> str:
    """What the authenticator app shows now."""
    now = list(yield_hotp_counters_from_time())
    return format_hotp_value(hotp_value(secret, now[len(now) // 2]))


def set_up_second_factor(client: Client) -> tuple[str, list[str]]:
    """Scan the code, enter the number; returns the secret and the recovery codes shown then."""
    assert client.get(reverse("mfa_activate_totp"))["Location"].startswith(reverse("account_reauthenticate"))
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    secret = found(r'id="totp_secret"[^>]*value="([A-Z2-7]+)"', page)
    answer = client.post(reverse("mfa_activate_totp"), {"code": code_for(secret)})
    assert answer["Location"] == reverse("mfa_view_recovery_codes")
    shown = client.get(answer["Location"]).content.decode()
    return secret, re.findall(r'<li class="mono">([^<]+)</li>', shown)


def test_an_account_made_by_an_administrator_signs_in_without_confirming_the_address(client, miriam):
    answer = sign_in(client, next="/profile/")
    assert (answer.status_code, answer["Location"]) == (302, "/profile/")
    assert is_signed_in(client)
    assert miriam.team == "finance"


def test_a_wrong_password_says_neither_which_part_was_wrong_nor_whether_the_account_exists(client, miriam):
    wrong = sign_in(client, password="guess")
    unknown = sign_in(client, email="nobody@firm.example")
    assert wrong.status_code == unknown.status_code == 200
    said = [found(r'role="alert">.*?<p>(.*?)</p>', page.content.decode()) for page in (wrong, unknown)]
    assert said[0] == said[1]
    assert not is_signed_in(client)


def test_guessing_is_stopped_even_when_the_right_password_comes_at_last(client, miriam):
    for _ in range(6):
        sign_in(client, password="guess")
    answer = sign_in(client)
    assert not is_signed_in(client)
    assert "too many" in unescape(answer.content.decode()).lower()


def test_a_deactivated_person_is_out_at_the_next_click_and_cannot_come_back(client, miriam):
    sign_in(client)
    User.objects.filter(pk=miriam.pk).update(is_active=False)
    assert client.get(reverse("profile")).status_code == 302
    again = Client()
    sign_in(again)
    assert not is_signed_in(again)


def test_signing_in_never_leads_to_another_site(client, miriam):
    assert sign_in(client, next="https://evil.example/")["Location"] == "/"


def test_there_is_no_sign_up(client):
    for path in ("/account/signup/", "/accounts/signup/", "/account/email/"):
        assert client.get(path).status_code == 404


def test_signing_out_needs_a_click_and_not_just_a_link(client, miriam):
    sign_in(client)
    client.get(reverse("account_logout"))
    assert is_signed_in(client)
    client.post(reverse("account_logout"))
    assert not is_signed_in(client)


def test_with_a_second_factor_the_password_alone_opens_nothing(client, miriam):
    sign_in(client)
    secret, codes = set_up_second_factor(client)
    assert len(codes) == 10
    stored = Authenticator.objects.get(user=miriam, type=Authenticator.Type.TOTP).data["secret"]
    assert secret not in stored  # encrypted at rest

    other = Client()
    answer = sign_in(other)
    assert answer["Location"] == reverse("mfa_authenticate")
    assert other.get("/profile/").status_code == 302
    other.post(reverse("mfa_authenticate"), {"code": "000000"})
    assert not is_signed_in(other)
    other.post(reverse("mfa_authenticate"), {"code": codes[0]})
    assert is_signed_in(other)

    third = Client()
    sign_in(third)
    third.post(reverse("mfa_authenticate"), {"code": codes[0]})
    assert not is_signed_in(third)  # a recovery code works once


def test_a_secret_encrypted_under_the_previous_key_still_works(client, miriam, settings):
    sign_in(client)
    secret, _ = set_up_second_factor(client)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next key, after rotation"
    stored = Authenticator.objects.get(user=miriam, type=Authenticator.Type.TOTP)
    assert stored.wrap().validate_code(code_for(secret))


def test_who_must_have_a_second_factor_gets_nowhere_before_it_is_set_up(client, miriam, settings):
    settings.OPSBOARD_REQUIRE_MFA = True
    sign_in(client)
    assert client.get("/profile/")["Location"] == reverse("mfa_activate_totp")
    assert client.get("/profile/", headers={"HX-Request": "true"})["HX-Redirect"] == reverse("mfa_activate_totp")
    assert client.get("/api/v1/threads").status_code == 401
    set_up_second_factor(client)
    assert client.get("/profile/").status_code == 200
    client.post(reverse("mfa_deactivate_totp"))
    assert Authenticator.objects.filter(user=miriam, type=Authenticator.Type.TOTP).exists()


def test_roles_that_only_read_are_not_forced(settings, executive, signed_in):
    settings.OPSBOARD_REQUIRE_MFA = True
    assert signed_in(executive).get("/profile/").status_code == 200


def test_sessions_are_listed_and_ended_from_afar(client, miriam):
    elsewhere = Client(headers={"User-Agent": "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/140.0"})
    sign_in(elsewhere)
    sign_in(client)
    page = client.get(reverse("usersessions_list")).content.decode()
    assert "Firefox on Windows" in page
    client.post(reverse("usersessions_list"))
    assert elsewhere.get("/profile/").status_code == 302
    assert client.get("/profile/").status_code == 200


def test_changing_the_password_needs_the_old_one_and_ends_other_sessions(client, miriam):
    elsewhere = Client()
    sign_in(elsewhere)
    sign_in(client)
    new = {"password1": "another-good-sentence", "password2": "another-good-sentence"}
    client.post(reverse("account_change_password"), {"oldpassword": "guess", **new})
    assert miriam.check_password(PASSWORD)
    answer = client.post(reverse("account_change_password"), {"oldpassword": PASSWORD, **new})
    assert answer["Location"] == reverse("profile")
    assert client.get("/profile/").status_code == 200
    assert elsewhere.get("/profile/").status_code == 302


def test_a_forgotten_password_is_set_again_by_a_link_that_works_once(client, miriam, mailoutbox):
    client.post(reverse("account_reset_password"), {"email": "miriam@firm.example"})
    link = found(r"https?://[^/]+(/account/password/reset/key/\S+)", mailoutbox[0].body)
    form = client.get(link)["Location"]
    new = {"password1": "another-good-sentence", "password2": "another-good-sentence"}
    client.post(form, new)
    assert sign_in(Client(), password=PASSWORD).status_code == 200
    assert sign_in(Client(), password="another-good-sentence").status_code == 302
    assert "no longer works" in Client().get(link, follow=True).content.decode()


def test_asking_for_a_new_password_does_not_tell_whether_an_account_exists(client, miriam):
    known = client.post(reverse("account_reset_password"), {"email": "miriam@firm.example"})
    unknown = client.post(reverse("account_reset_password"), {"email": "nobody@firm.example"})
    assert known["Location"] == unknown["Location"] == reverse("account_reset_password_done")


VISITOR_PAGES = ["account_login", "account_inactive", "account_reset_password", "account_reset_password_done"]
OWN_PAGES = [
    "profile",
    "account_logout",
    "account_reauthenticate",
    "account_change_password",
    "mfa_index",
    "mfa_activate_totp",
    "usersessions_list",
]
SECOND_FACTOR_PAGES = ["mfa_index", "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "mfa_deactivate_totp"]


def assert_strict(answer) -> None:
    """The page obeys the policy it announces: nothing inline, nothing from elsewhere."""
    assert answer.status_code == 200, answer
    page = answer.content.decode()
    policy = answer["Content-Security-Policy"]
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "inline script"
    assert not re.search(r"<style|\sstyle=", page), "inline style"
    assert not re.search(r"\son[a-z]+=", page), "inline handler"
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page), "something from elsewhere"


@pytest.mark.parametrize("name", VISITOR_PAGES)
def test_pages_for_visitors_hold_nothing_inline(client, name):
    assert_strict(client.get(reverse(name)))


@pytest.mark.parametrize("name", OWN_PAGES)
def test_own_pages_hold_nothing_inline(client, miriam, name):
    sign_in(client)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert_strict(client.get(reverse(name)))


def test_second_factor_pages_hold_nothing_inline(client, miriam):
    sign_in(client)
    set_up_second_factor(client)
    for name in SECOND_FACTOR_PAGES:
        assert_strict(client.get(reverse(name)))
    other = Client()
    sign_in(other)
    assert_strict(other.get(reverse("mfa_authenticate")))


def test_one_address_has_one_account(miriam):
    with pytest.raises(Refused, match="has an account already"):
        commands.create_person(
            email="MIRIAM@firm.example",
            first_name="M",
            last_name="H",
            role="pmo",
            entities=[],
            password=PASSWORD,
            by="Ana",
        )
