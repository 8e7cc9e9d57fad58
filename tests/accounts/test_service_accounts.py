"""A job gets a service account: its token is shown once, works at once, can be rotated and revoked."""

from datetime import timedelta
from hashlib import sha256
from io import StringIO
from time import monotonic

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from opsboard.accounts import commands, queries, tokens
from opsboard.accounts.models import ServiceAccount, Token
from opsboard.core.errors import Refused

pytestmark = pytest.mark.django_db

SOURCE = "urn:firm:psa"


@pytest.fixture(autouse=True)
def no_tokens_remembered():
    queries.forget_tokens()


def make(name: str = "psa-jobs", source: str = SOURCE, **changes) -> tuple[ServiceAccount, str]:
    wanted = {"scopes": ["events:write"], "by": "Ana", **changes}
    return commands.create_service_account(name=name, source=source, **wanted)


def run(*words: str) -> str:
    """What `manage.py service_account …` prints."""
    out = StringIO()
    call_command("service_account", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_token_opens_the_door_as_its_own_source_only():
    account, raw = make()
    principal = queries.token(raw)
    assert principal is not None
    assert (principal.account_id, principal.name, principal.source) == (account.pk, "psa-jobs", SOURCE)
    assert principal.scopes == {"events:write"}


def test_the_database_holds_only_the_digest_and_who_made_it_when():
    _, raw = make()
    token = Token.objects.get()
    assert bytes(token.hash) == sha256(raw.encode()).digest()
    assert (token.prefix, token.last4, token.created_by) == ("ob_svc_", raw[-4:], "Ana")
    assert token.expires_at - token.created_at == timedelta(days=365)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(t)::text FROM accounts_token t")
        assert raw[7:37] not in cursor.fetchone()[0]


def test_a_made_up_token_costs_no_query_and_a_known_one_costs_one_for_five_seconds(monkeypatch):
    _, raw = make()
    clock = [1000.0]
    monkeypatch.setattr(queries, "monotonic", lambda: clock[0])
    with CaptureQueriesContext(connection) as made:
        assert queries.token("ob_svc_" + "x" * 30 + "_AAAAAA") is None
        assert len(made) == 0
        assert queries.token(raw)
        assert queries.token(raw)
        assert len(made) == 1
        clock[0] += 5.1
        assert queries.token(raw)
        assert len(made) == 2
    assert queries.token(tokens.new()) is None  # well formed, never issued


def test_a_revoked_account_is_out_at_once_here_and_after_five_seconds_elsewhere(monkeypatch):
    _, raw = make()
    assert queries.token(raw)
    monkeypatch.setattr(queries, "forget_tokens", lambda: None)  # another process does not hear of it
    commands.revoke_service_account(name="psa-jobs", by="Ana")
    kept = queries.token(raw)
    assert kept is not None
    clock = monotonic() + queries.CACHE_SECONDS + 0.1
    monkeypatch.setattr(queries, "monotonic", lambda: clock)
    assert queries.token(raw) is None
    account = ServiceAccount.objects.get()
    assert account.revoked_by == "Ana"
    assert account.revoked_at is not None


def test_revoking_is_felt_at_once_in_the_same_process():
    _, raw = make()
    assert queries.token(raw)
    commands.revoke_token(name="psa-jobs", last4=raw[-4:], by="Ana")
    assert queries.token(raw) is None


def test_rotation_has_both_tokens_work_until_the_old_one_is_revoked():
    _, old = make()
    new = commands.rotate_token(name="psa-jobs", by="Ana")
    assert queries.token(old)
    assert queries.token(new)
    with pytest.raises(Refused, match=f"…{old[-4:]}"):
        commands.rotate_token(name="psa-jobs", by="Ana")
    commands.revoke_token(name="psa-jobs", last4=old[-4:], by="Ana")
    assert queries.token(old) is None
    assert queries.token(new)
    assert queries.token(commands.rotate_token(name="psa-jobs", by="Ana"))


def test_a_token_expires():
    _, raw = make(expires_in_days=30)
    with time_machine.travel(timezone.now() + timedelta(days=29, hours=23)):
        assert queries.token(raw)
    queries.forget_tokens()
    with time_machine.travel(timezone.now() + timedelta(days=30, seconds=1)):
        assert queries.token(raw) is None


def test_two_accounts_share_neither_name_nor_source_and_a_revoked_one_frees_its_source():
    make()
    with pytest.raises(Refused, match="name psa-jobs"):
        make(source="urn:firm:crm")
    with pytest.raises(Refused, match="source urn:firm:psa"):
        make(name="other")
    commands.revoke_service_account(name="psa-jobs", by="Ana")
    assert queries.token(make(name="other")[1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": ""}, "source is a URI"),
        ({"source": "two words"}, "source is a URI"),
        ({"source": "http://[bad"}, "source is a URI"),
        ({"scopes": []}, "Scopes"),
        ({"scopes": ["events:delete"]}, "events:delete"),
        ({"name": "  "}, "name"),
        ({"expires_in_days": 0}, "between one day"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words_and_leaves_nothing_behind(changes, reason):
    with pytest.raises(Refused, match=reason):
        make(**changes)
    assert not ServiceAccount.objects.exists()


def test_use_is_noted_once_a_minute():
    _, raw = make()
    first = queries.token(raw)
    assert first is not None
    commands.token_used(by=first)
    noted = Token.objects.get().last_used_at
    assert noted is not None
    commands.token_used(by=first)
    assert Token.objects.get().last_used_at == noted
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        commands.token_used(by=first)
    again = Token.objects.get().last_used_at
    assert again is not None
    assert again > noted


def test_standard_output_holds_the_token_and_no_word_more(capfd):
    call_command("service_account", "create", "erp-jobs", source="urn:firm:erp", scopes=["events:write"])
    assert tokens.well_formed(capfd.readouterr().out.removesuffix("\n"))


def test_the_command_line_prints_the_token_alone_so_that_a_shell_can_keep_it():
    raw = run("create", "erp-jobs", "--source", "urn:firm:erp", "--scope", "events:write", "--days", "90").strip()
    principal = queries.token(raw)
    assert principal is not None
    assert principal.source == "urn:firm:erp"
    second = run("rotate", "erp-jobs").strip()
    listed = run("list")
    assert "erp-jobs  urn:firm:erp  events:write  active" in listed
    assert raw[-4:] in listed
    assert raw not in listed
    assert second not in listed
    run("revoke", "erp-jobs", "--token", raw[-4:])
    assert queries.token(raw) is None
    assert queries.token(second)
    run("revoke", "erp-jobs", "--by", "Ana")
    assert queries.token(second) is None
    assert ServiceAccount.objects.get().revoked_by == "Ana"
    with pytest.raises(CommandError, match="no active service account erp-jobs"):
        run("rotate", "erp-jobs")
