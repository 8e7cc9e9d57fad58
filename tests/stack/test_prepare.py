"""`prepare`: fills an empty database once, goes on after an interruption, and leaves others alone."""

import json
import stat

import pytest
from django.core.management import call_command

from opsboard.accounts import queries
from opsboard.stack.management.commands import prepare
from opsboard.stack.paths import Paths

pytestmark = pytest.mark.django_db


@pytest.fixture
def paths(tmp_path, settings):
    """A data directory whose static files are collected already."""
    settings.DATA_DIR = tmp_path
    paths = Paths(tmp_path)
    paths.static_fingerprint.write_text(prepare._fingerprint())
    return paths


def test_an_interrupted_first_start_goes_on_where_it_stopped(paths):
    paths.pending.write_text("demo_accounts")
    call_command("prepare")
    kept = paths.accounts.read_text()
    assert {entry["email"] for entry in json.loads(kept).values()} == {user.email for user in queries.people(None)}
    assert stat.S_IMODE(paths.accounts.stat().st_mode) == 0o600
    assert not paths.pending.exists()
    call_command("prepare", "--demo-accounts")
    assert paths.accounts.read_text() == kept, "the database is not empty any more"


def test_a_database_in_use_is_never_filled(paths):
    call_command("prepare", "--demo-accounts", "--demo-load")
    assert not queries.people(None)
    assert not paths.accounts.exists()


def test_static_files_are_collected_anew_when_one_has_changed(paths, monkeypatch):
    called = []
    monkeypatch.setattr(prepare, "call_command", lambda name, **options: called.append(name))
    call_command("prepare")
    assert called == ["migrate"]
    paths.static_fingerprint.write_text("of other files")
    call_command("prepare")
    assert called == ["migrate", "migrate", "collectstatic"]
    call_command("prepare")
    assert called[3:] == ["migrate"]
