"""The first administrator of an installation is made at the command line; roles change with the next click."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from opsboard.accounts.access import may
from opsboard.accounts.models import User

pytestmark = pytest.mark.django_db

ANA = "ana@firm.example"


def run(*words: str) -> str:
    """What `manage.py person …` prints."""
    out = StringIO()
    call_command("person", *words, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def sign_in(email: str, password: str) -> Client:
    """A browser in which somebody tried to sign in."""
    client = Client()
    client.post(reverse("account_login"), {"login": email, "password": password})
    return client


def test_the_first_administrator_signs_in_with_what_was_printed():
    password = run("create", ANA, "--first-name", "Ana", "--role", "administrator", "--entity", "*")
    assert sign_in(ANA, password).get("/profile/").status_code == 200
    ana = User.objects.get()
    assert (ana.entities, ana.team, ana.is_superuser) == (["*"], "", False)
    assert may(ana, "accounts.manage")


def test_without_an_entity_somebody_sees_no_row():
    run("create", ANA, "--first-name", "Ana", "--role", "finance")
    assert User.objects.get().entities == []


def test_a_new_role_counts_from_the_next_click_and_brings_its_team():
    password = run("create", ANA, "--first-name", "Ana", "--role", "finance", "--entity", "DE01")
    client = sign_in(ANA, password)
    run("change", ANA, "--role", "pmo", "--entity", "DE01", "--entity", "US01")
    ana = User.objects.get()
    assert (ana.role, ana.team, ana.entities) == ("pmo", "pmo", ["DE01", "US01"])
    run("change", ANA, "--deactivate")
    assert client.get("/profile/").status_code == 302
    assert "deactivated" in run("list")
    run("change", ANA, "--activate")
    assert sign_in(ANA, password).get("/profile/").status_code == 200


def test_a_new_password_ends_the_sessions_of_the_old_one():
    old = run("create", ANA, "--first-name", "Ana", "--role", "auditor")
    client = sign_in(ANA, old)
    new = run("password", ANA)
    assert client.get("/profile/").status_code == 302
    assert sign_in(ANA, old).get("/profile/").status_code == 302
    assert sign_in(ANA, new).get("/profile/").status_code == 200


def test_mistakes_are_told_in_words():
    run("create", ANA, "--first-name", "Ana", "--role", "auditor")
    with pytest.raises(CommandError, match="has an account already"):
        run("create", ANA.upper(), "--first-name", "Ana", "--role", "auditor")
    with pytest.raises(CommandError, match="no account bob@firm"):
        run("change", "bob@firm.example", "--role", "pmo")
