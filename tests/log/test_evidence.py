"""An auditor takes an exception's evidence home and verifies it there, without opsboard and without the database."""

import io
import json
import subprocess
import sys
import zipfile
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from opsboard.core.errors import Refused
from opsboard.log import commands, evidence, sealing
from opsboard.log.models import Event
from opsboard.log.queries import trail
from opsboard.triage import commands as triage
from opsboard.triage.models import Case
from tests.log.test_append import PROJECT, entry
from tests.log.test_seal import superuser
from tests.triage.test_commands import refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_place(tmp_path, settings):
    """Key and anchors of this test alone."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()


@pytest.fixture
def case(owner) -> Case:
    """An exception among other events, taken by somebody, and sealed."""
    commands.append([entry(f"before-{n}", "noted", PROJECT) for n in range(5)])
    case = refused(7)
    triage.take(numbers=[case.number], by=owner)
    commands.append([entry(f"after-{n}", "noted", PROJECT) for n in range(5)])
    sealing.seal()
    return case


def unpacked(bundle: bytes, folder: Path) -> Path:
    """The auditor's desk."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as files:
        files.extractall(folder)
    return folder


def verdict(folder: Path, *options: str) -> tuple[int, str]:
    """What the program in the bundle says, run by a Python that finds neither opsboard nor its settings."""
    ran = subprocess.run(
        [sys.executable, "-I", folder / "verify.py", *options], capture_output=True, text=True, cwd=folder, env={}
    )
    return ran.returncode, ran.stdout + ran.stderr


def taken(case: Case, auditor, folder: Path) -> Path:
    return unpacked(
        evidence.hand_over(subject=case.reference, events=trail(case.transaction_id), by=auditor), folder / "desk"
    )


def changed(folder: Path, change) -> tuple[int, str]:
    """What is said after somebody has changed the evidence."""
    path = folder / "evidence.json"
    before = path.read_text()
    said = json.loads(before)
    change(said)
    path.write_text(json.dumps(said))
    result = verdict(folder)
    path.write_text(before)
    return result


def test_the_auditor_downloads_it_from_the_page_and_it_proves_itself(case, auditor, owner, signed_in, tmp_path):
    browser, address = signed_in(auditor), reverse("exception-evidence", args=[case.number])
    assert address in browser.get(reverse("exception", args=[case.number])).content.decode()
    answer = browser.get(address)
    assert answer["Content-Disposition"] == f'attachment; filename="{case.reference}-evidence.zip"'
    desk = unpacked(answer.content, tmp_path / "desk")
    key = (desk / "public_key.txt").read_text().strip()
    code, said = verdict(desk, "--public-key", key, "--anchors", str(sealing.anchors_file()))
    assert code == 0, said
    assert said.count(": proven\n") == len(trail(case.transaction_id)) >= 3
    assert f"by Miriam Halvorsen <{owner.email}>" in said
    assert said.endswith("proven\n")
    handed = Event.objects.get(kind="exported")
    assert (handed.actor, handed.objects_named[0][2]) == (auditor.email, case.reference)
    assert signed_in(owner).get(address).status_code == 404, "finance takes no evidence of itself"
    assert address not in signed_in(owner).get(reverse("exception", args=[case.number])).content.decode()


def test_whatever_is_changed_in_the_bundle_is_noticed(case, auditor, tmp_path):
    desk = taken(case, auditor, tmp_path)
    number = next(iter(json.loads((desk / "evidence.json").read_text())["blocks"]))

    def other_amount(said):
        said["events"][0]["row"] = said["events"][0]["row"].replace('"rejected"', '"acknowledged"')

    def other_payload(said):
        said["events"][0]["payload"] = "[null, null]"

    def other_digest(said):
        said["events"][0]["payload"] = None
        said["events"][0]["payload_digest"] = "00" * 32

    def other_time(said):
        said["blocks"][number]["sealed_at"] = "2020-01-01T00:00:00.000000Z"

    def no_events(said):
        said["events"] = []

    assert "content is not the one that was sealed" in changed(desk, other_amount)[1]
    assert "payload is not the one that was sealed" in changed(desk, other_payload)[1]
    assert "does not belong to block" in changed(desk, other_digest)[1]
    assert f"block {number}: NOT SOUND" in changed(desk, other_time)[1]
    for change in (other_amount, other_payload, other_digest, other_time, no_events):
        code, said = changed(desk, change)
        assert code == 1, change
        assert said.endswith("NOT PROVEN\n")
    assert verdict(desk)[0] == 0


def test_a_key_or_anchors_received_on_another_way_decide(case, auditor, tmp_path):
    desk = taken(case, auditor, tmp_path)
    code, said = verdict(desk, "--public-key", "11" * 32)
    assert (code, "signed with another key" in said) == (1, True)
    other = tmp_path / "other.jsonl"
    other.write_text(sealing.anchors_file().read_text().replace('"hash": "', '"hash": "0'))
    code, said = verdict(desk, "--anchors", str(other))
    assert (code, "the anchors do not have it like this" in said) == (1, True)


def test_an_event_altered_in_the_database_is_not_proven_by_a_new_bundle(case, auditor, tmp_path):
    first = trail(case.transaction_id)[0]
    superuser("UPDATE log_event SET amount = 1 WHERE seq = %s", first.seq)
    code, said = verdict(taken(case, auditor, tmp_path))
    assert code == 1
    assert "does not belong to block" in said
    assert said.count(": proven\n") == len(trail(case.transaction_id)) - 1


def test_what_happened_just_now_is_said_to_wait_for_its_seal(case, auditor, owner, tmp_path):
    triage.comment(numbers=[case.number], text="Asked the controller.", by=owner)
    code, said = verdict(taken(case, auditor, tmp_path))
    assert code == 2, said
    assert said.count(": not sealed yet\n") == 1


def test_an_erased_payload_leaves_its_event_proven(case, auditor, tmp_path):
    superuser("DELETE FROM log_payload WHERE seq = %s", trail(case.transaction_id)[0].seq)
    assert verdict(taken(case, auditor, tmp_path))[0] == 0


def test_an_administrator_gets_proofs_but_nothing_of_what_was_sent(case, administrator, tmp_path):
    desk = taken(case, administrator, tmp_path)
    code, said = verdict(desk)
    assert code == 0, said
    assert "event, content withheld: proven" in said
    events = json.loads((desk / "evidence.json").read_text())["events"]
    assert [event["payload"] for event in events] == [None] * len(events)
    assert any(event["payload_digest"] != "00" * 32 for event in events)


def test_who_may_not_see_it_gets_nothing(case, owner, monkeypatch, auditor):
    with pytest.raises(Refused, match="not among your permissions"):
        evidence.hand_over(subject=case.reference, events=[], by=owner)
    monkeypatch.setattr(evidence, "EVENTS_LIMIT", 1)
    with pytest.raises(Refused, match="more than 1 events"):
        evidence.hand_over(subject=case.reference, events=trail(case.transaction_id), by=auditor)
    assert not Event.objects.filter(kind="exported").exists()


def test_the_command_writes_what_that_person_may_see(case, auditor, owner, tmp_path):
    out = tmp_path / "evidence.zip"
    call_command("evidence", case.reference, out=out, by=auditor.email, stdout=StringIO())
    assert verdict(unpacked(out.read_bytes(), tmp_path / "desk"))[0] == 0
    for name, by, reason in (
        (case.reference, auditor.email, "exists"),
        ("EXC-99999", auditor.email, "There is no exception"),
        ("EXC-²", auditor.email, "There is no exception"),
        (case.reference, "nobody@firm.example", "Nobody active"),
        (case.reference, owner.email, "not among your permissions"),
    ):
        with pytest.raises(CommandError, match=reason):
            call_command("evidence", name, out=out, by=by, stdout=StringIO())
