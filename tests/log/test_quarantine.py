"""The quarantine: kept as it came, shown to those who may see it, closed once, and said so in the log."""

import pytest
from django.http import Http404

from opsboard.core.errors import Refused
from opsboard.log import quarantine
from opsboard.log.models import Event, Payload, Quarantine
from opsboard.log.quarantine import Refusal

pytestmark = pytest.mark.django_db
PROBLEM = {"title": "The event is not valid", "status": 400, "detail": "See errors.", "errors": []}


def refusal(body: bytes = b"{}", client: str = "psa job") -> Refusal:
    return Refusal(client=client, content_type="application/cloudevents+json", body=body, problem=PROBLEM)


def test_what_cannot_be_text_is_escaped():
    assert quarantine.keep([refusal(b"a\xff\x00\xc3\xbc")]) == 1
    assert Quarantine.objects.get().body == "a\\xff\\x00ü"


def test_the_same_again_is_kept_once_while_it_is_open():
    assert quarantine.keep([refusal(), refusal(), refusal(b"[]"), refusal(client="crm job")]) == 3
    assert quarantine.keep([refusal(), refusal(b"[]")]) == 0


def test_a_wild_sender_cannot_fill_the_disk(monkeypatch):
    monkeypatch.setattr(quarantine, "KEPT_PER_CLIENT", 2)

    quarantine.keep([refusal(b"1"), refusal(b"2")])

    assert quarantine.keep([refusal(b"3"), refusal(b"3", client="crm job")]) == 1


def test_after_it_was_discarded_the_same_counts_as_new(platform):
    quarantine.keep([refusal()])
    quarantine.discard(number=Quarantine.objects.get().pk, reason="A test of the sender.", by=platform)

    assert quarantine.keep([refusal()]) == 1


def test_only_those_who_may_see_it_see_it(platform, auditor, owner, stranger, executive, administrator):
    quarantine.keep([refusal()])
    number = Quarantine.objects.get().pk

    for person in (platform, auditor):
        assert quarantine.listing(person).count() == 1
        assert quarantine.one(person, number).client == "psa job"
    for person in (owner, stranger, executive, administrator):
        assert not quarantine.listing(person).exists()
        with pytest.raises(Http404):
            quarantine.one(person, number)


def test_discarding_has_who_when_and_why_and_is_in_the_log(platform):
    quarantine.keep([refusal()])
    number = Quarantine.objects.get().pk

    with pytest.raises(Refused):
        quarantine.discard(number=number, reason="  ", by=platform)
    quarantine.discard(number=number, reason="A test of the sender.", by=platform)

    kept = Quarantine.objects.get()
    assert (kept.state, kept.decided_by, kept.reason) == ("discarded", platform.email, "A test of the sender.")
    assert kept.decided_at is not None
    event = Event.objects.get()
    assert (event.kind, event.actor, event.type) == ("noted", platform.email, "opsboard.quarantine.discarded")
    assert event.objects_named[0][:3] == ["opsboard", "quarantine", str(number)]
    assert Payload.objects.get(seq=event.seq).data == {"reason": "A test of the sender."}
    assert not quarantine.listing(platform).exists()
    assert quarantine.listing(platform, state="discarded").count() == 1


def test_two_people_cannot_both_deal_with_it_and_a_reader_cannot_at_all(platform, auditor):
    quarantine.keep([refusal()])
    number = Quarantine.objects.get().pk

    with pytest.raises(Refused):
        quarantine.discard(number=number, reason="I am the auditor.", by=auditor)
    quarantine.discard(number=number, reason="First.", by=platform)
    with pytest.raises(Refused) as caught:
        quarantine.discard(number=number, reason="Second.", by=platform)

    assert caught.value.stale
    assert Event.objects.count() == 1
