"""A demo prints one sign-in per role; the passwords are made once and only their owner can read the file."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from opsboard.accounts.models import User
from opsboard.accounts.roles import ROLES

pytestmark = pytest.mark.django_db


def run(path: Path) -> str:
    """What `manage.py demo_accounts` prints."""
    out = StringIO()
    call_command("demo_accounts", file=path, stdout=out)
    return out.getvalue()


def test_every_role_can_sign_in_with_what_was_printed(tmp_path):
    path = tmp_path / "sign-ins.json"
    printed = run(path)
    assert path.stat().st_mode & 0o777 == 0o600
    kept = json.loads(path.read_text())
    assert {user.role for user in User.objects.all()} == set(ROLES)
    for address, entry in kept.items():
        assert User.objects.get(email=address).check_password(entry["password"])
        assert any(address in line and entry["password"] in line for line in printed.splitlines())
    assert len({entry["password"] for entry in kept.values()}) == len(kept)
    assert User.objects.get(email="finance@demo.example").entities == ["*"]
    assert User.objects.get(email="finance.one@demo.example").entities == ["NWC-DE"]


def test_later_runs_change_nothing_not_even_a_password_somebody_chose(tmp_path):
    path = tmp_path / "sign-ins.json"
    first = run(path)
    user = User.objects.get(email="pmo@demo.example")
    user.set_password("chosen by the person")
    user.save()
    assert run(path) == first
    assert User.objects.get(email="pmo@demo.example").check_password("chosen by the person")


def test_a_new_database_gets_the_passwords_of_the_file(tmp_path):
    path = tmp_path / "sign-ins.json"
    first = run(path)
    User.objects.all().delete()
    assert run(path) == first
    entry = json.loads(path.read_text())["auditor@demo.example"]
    assert User.objects.get(email="auditor@demo.example").check_password(entry["password"])


def test_a_lost_file_is_made_anew_with_passwords_that_work(tmp_path):
    path = tmp_path / "sign-ins.json"
    first = run(path)
    path.unlink()
    assert run(path) != first
    entry = json.loads(path.read_text())["platform@demo.example"]
    assert User.objects.get(email="platform@demo.example").check_password(entry["password"])
