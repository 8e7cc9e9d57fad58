"""The seal: nothing escapes it, and whatever somebody with all the rights changes afterwards is named."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, InternalError, connection, connections
from django.db.transaction import atomic
from hypothesis import given
from hypothesis import strategies as st

from opsboard.log import commands, seal, sealing
from opsboard.log.models import Block, Event
from tests.log.test_append import OTHER_PROJECT, PROJECT, engagement, entry

EVENTS = 25


@pytest.fixture(autouse=True)
def own_place(tmp_path, settings):
    """Key and anchors of this test alone."""
    settings.DATA_DIR = tmp_path


def some(start: int, count: int) -> list:
    return [entry(f"e{n}", "noted", PROJECT, payload={"hours": n}) for n in range(start, start + count)]


@pytest.fixture
def sealed(db, monkeypatch) -> list[int]:
    """25 events in three blocks; their numbers."""
    monkeypatch.setattr(sealing, "PER_BLOCK", 10)
    commands.append(some(0, EVENTS))
    assert sealing.seal() == EVENTS
    return list(Event.objects.order_by("seq").values_list("seq", flat=True))


def superuser(statement: str, *values) -> None:
    """What somebody with all the rights does, with the triggers out of the way."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = 'replica'")
        cursor.execute(statement, values)
        cursor.execute("SET LOCAL session_replication_role = 'origin'")


def verified() -> tuple[str, str, int]:
    """What `verify_log` says: to the person, about damage, and its exit code."""
    said, damage = StringIO(), StringIO()
    try:
        call_command("verify_log", stdout=said, stderr=damage)
    except SystemExit as end:
        return said.getvalue(), damage.getvalue(), int(end.code or 0)
    return said.getvalue(), damage.getvalue(), 0


# ---- the mathematics


def test_roots_are_those_of_rfc_6962():
    """The reference tree of Certificate Transparency: eight inputs, their roots for every size."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    hashes = [sha256(b"\0" + bytes.fromhex(said)).digest() for said in inputs]
    assert [seal.root(hashes[:size]).hex() for size in range(1, 9)] == roots
    assert seal.root([]).hex() == sha256(b"").hexdigest()


@given(st.integers(1, 70), st.data())
def test_every_leaf_proves_its_place_and_no_other_leaf_fits_it(size, data):
    hashes = [sha256(bytes([n])).digest() for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = seal.proof(hashes, index)
    assert seal.led_to(hashes[index], path) == seal.root(hashes)
    assert seal.led_to(sha256(b"forged").digest(), path) != seal.root(hashes)


@given(st.sets(st.integers(1, 200), min_size=1))
def test_a_list_of_members_reads_as_it_was_written(seqs):
    text = seal.ranges(sorted(seqs))
    assert seal.numbers(text, len(seqs)) == sorted(seqs)
    with pytest.raises(ValueError, match="more numbers"):
        seal.numbers(text, len(seqs) - 1)


def test_the_key_is_made_once_even_by_many_at_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "seal.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: seal.public(seal.load_key(path, make=True)), range(32)))
    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["seal.key"]


def test_every_column_of_an_event_is_sealed():
    assert set(sealing.COLUMNS) == {field.column for field in Event._meta.local_fields}


# ---- sealing


def test_all_is_sealed_published_and_found_as_it_was(sealed, tmp_path):
    assert list(Block.objects.order_by("number").values_list("size", flat=True)) == [10, 10, 5]
    lines = [json.loads(line) for line in (tmp_path / "anchors.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert [line["previous"] for line in lines] == ["0" * 64, lines[0]["hash"], lines[1]["hash"]]
    assert all(seal.signed_by(line["key"], bytes.fromhex(line["signature"]), seal.unsigned(line)) for line in lines)
    said, damage, code = verified()
    assert (damage, code) == ("", 0)
    assert "verified 25 events in 3 blocks against 3 anchors; 0 events wait" in said
    assert f"public key {lines[0]['key']}" in said


def test_sealing_again_adds_nothing_and_new_events_go_into_a_new_block(sealed):
    assert sealing.seal() == 0
    commands.append(some(EVENTS, 3))
    assert "3 events wait to be sealed" in verified()[0]
    assert sealing.seal() == 3
    assert Block.objects.count() == 4
    assert verified()[1:] == ("", 0)


def test_what_was_not_published_because_of_a_crash_is_published_next_time(sealed, tmp_path):
    anchors = tmp_path / "anchors.jsonl"
    whole = anchors.read_bytes()
    anchors.write_bytes(whole[:-40])  # the last line was cut off
    assert sealing.publish() == 1
    assert anchors.read_bytes() == whole
    anchors.unlink()
    assert sealing.publish() == 3
    assert anchors.read_bytes() == whole


def test_another_machine_does_not_go_on_with_a_key_that_nobody_knows(sealed, tmp_path):
    path = tmp_path / "seal.key"
    old = seal.public(seal.load_key(path))
    path.unlink()
    commands.append(some(EVENTS, 1))
    with pytest.raises(CommandError, match=r"its key is not here: bring .*seal\.key"):
        call_command("seal_log")
    assert not path.exists()
    assert Block.objects.count() == 3
    call_command("seal_log", new_key=True, stdout=StringIO())
    new = seal.public(seal.load_key(path))
    assert "BLOCK ALTERED: block 1 is not signed" in verified()[1], "one key is not enough"
    call_command("verify_log", public_key=[old, new], stdout=StringIO())


def test_blocks_are_append_only(sealed):
    for statement in ("UPDATE log_block SET size = 1", "DELETE FROM log_block", "TRUNCATE log_block"):
        with pytest.raises((IntegrityError, InternalError), match="on log_block refused"), atomic():
            connection.cursor().execute(statement)


@pytest.mark.django_db(transaction=True)
def test_an_event_that_becomes_visible_late_is_sealed_late_and_none_is_counted_as_inserted():
    """Number 1 is drawn first and committed last. The sealer neither waits for it nor forgets it."""
    allow_clearing()
    drawn, go_on = threading.Event(), threading.Event()

    def slow_writer() -> None:
        try:
            with atomic():
                commands.append([entry("e0", "noted", OTHER_PROJECT)])  # another object: its row is locked meanwhile
                drawn.set()
                go_on.wait(20)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(slow_writer)
        assert drawn.wait(20)
        commands.append(some(1, 2))
        assert sealing.seal(patience=0.05) == 2, "the others are sealed at once"
        first = Block.objects.get(number=1)
        assert first.upto == 0, "but an event up to there may still come"
        assert verified()[1:] == ("", 0)
        go_on.set()
        late.result()
    slow = Event.objects.get(external_id="e0")
    assert slow.seq < first.first
    assert "1 events wait to be sealed" in verified()[0], "late, not inserted"
    assert verified()[2] == 0
    assert sealing.seal(patience=0.05) == 1
    second = Block.objects.get(number=2)
    assert (second.first, second.upto) == (slow.seq, first.last)
    assert verified()[1:] == ("", 0)


@pytest.mark.django_db(transaction=True)
def test_under_parallel_writers_and_sealers_each_event_is_in_exactly_one_block():
    allow_clearing()
    writing = threading.Event()
    writing.set()

    def write(seed: int) -> None:
        try:
            mine = random.Random(seed).sample(some(0, 120), 120)
            for start in range(0, 120, 8):
                with atomic():
                    commands.append(mine[start : start + 8])
        finally:
            connections.close_all()

    def keep_sealing() -> None:
        try:
            while writing.is_set():
                sealing.seal(patience=0.2)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        sealers = [pool.submit(keep_sealing) for _ in range(2)]
        for writer in [pool.submit(write, seed) for seed in range(4)]:
            writer.result()
        writing.clear()
        for sealer in sealers:
            sealer.result()
    sealing.seal()
    held = [seq for block in Block.objects.all() for seq in seal.numbers(block.members, block.size)]
    assert len(held) == len(set(held)) == 120
    assert set(held) == set(Event.objects.values_list("seq", flat=True))
    assert verified()[1:] == ("", 0)


def allow_clearing() -> None:
    """The database is truncated after a test that really commits; the log would refuse."""
    connection.cursor().execute("SET opsboard.maintenance = 'on'")


# ---- tampering by somebody with all the rights: statement, the position of the event, what is said

TAMPERED = {
    "amount of an event": ("UPDATE log_event SET amount = 1 WHERE seq = %s", 4, "EVENT ALTERED: event {}"),
    "author of an event": (
        "UPDATE log_event SET actor = 'another' WHERE seq = %s",
        14,
        "EVENT ALTERED: event {}",
    ),
    "time, newest block": (
        "UPDATE log_event SET recorded_at = recorded_at + interval '1 second' WHERE seq = %s",
        24,
        "EVENT ALTERED: event {}",
    ),
    "removed": ("DELETE FROM log_event WHERE seq = %s", 11, "EVENT REMOVED: event {}"),
    "removed, first": ("DELETE FROM log_event WHERE seq = %s", 0, "EVENT REMOVED: event {}"),
    "removed, newest": ("DELETE FROM log_event WHERE seq = %s", 24, "EVENT REMOVED: event {}"),
    "number changed": ("UPDATE log_event SET seq = seq + 5000 WHERE seq = %s", 3, "EVENT REMOVED: event {}"),
    "payload": ("""UPDATE log_payload SET data = '{"hours": 99}' WHERE seq = %s""", 7, "PAYLOAD ALTERED: event {}"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_the_first_event_that_was_tampered_with_is_named(sealed, name):
    statement, position, said = TAMPERED[name]
    superuser(statement, sealed[position])
    _, damage, code = verified()
    assert code == 1
    assert said.format(sealed[position]) in damage
    assert damage.count("\n") == 1, "and nothing else is"


def test_of_many_altered_events_the_first_is_named_and_the_others_counted(sealed):
    superuser("UPDATE log_event SET entity = 'XX' WHERE seq >= %s", sealed[6])
    damage = verified()[1]
    assert f"EVENT ALTERED: event {sealed[6]} (urn:test e" in damage
    assert "(and 18 more)" in damage


@pytest.mark.parametrize("below", [1, 0], ids=["before all", "into the newest block"])
def test_an_inserted_event_is_named(sealed, below):
    """Copied from a genuine one, with a number that nobody can draw any more."""
    if below:
        number = sealed[0] - 1
    else:
        number = sealed[-1] + 1
        with connection.cursor() as cursor:  # a number that was drawn and rolled back leaves a gap below the mark
            cursor.execute("SELECT nextval(pg_get_serial_sequence('log_event', 'seq'))")
        commands.append(some(EVENTS, 1))
        sealing.seal()
    columns = [column for column in sealing.COLUMNS if column not in ("seq", "id")]
    names = ", ".join(columns)
    superuser(
        f"INSERT INTO log_event (seq, id, {names}) SELECT %s, gen_random_uuid(), {names} FROM log_event WHERE seq = %s",
        number,
        sealed[5],
    )
    _, damage, code = verified()
    assert code == 1
    assert damage.startswith(f"EVENT INSERTED: event {number} (urn:test e")
    assert damage.count("\n") == 1


def test_an_added_payload_is_named_and_a_payload_taken_by_retention_is_counted(sealed):
    bare = commands.append([entry("bare", "noted", PROJECT)])
    assert bare.accepted == [0]
    sealing.seal()
    superuser("DELETE FROM log_payload WHERE seq = %s", sealed[2])
    said, damage, code = verified()
    assert (damage, code) == ("", 0)
    assert f"1 payloads are gone, the first of event {sealed[2]}" in said
    superuser(
        "INSERT INTO log_payload (seq, recorded_at, data) "
        "SELECT seq, recorded_at, '{}' FROM log_event WHERE external_id = 'bare'"
    )
    assert "PAYLOAD INSERTED: event" in verified()[1]


BLOCKS = {
    "a mark": ("UPDATE log_block SET upto = 1 WHERE number = 2", "BLOCK ALTERED: block 2 is not signed"),
    "a root": ("UPDATE log_block SET root = previous WHERE number = 2", "BLOCK ALTERED: block 2 is not signed"),
    "a signature": ("UPDATE log_block SET signature = root WHERE number = 3", "BLOCK ALTERED: block 3 is not signed"),
    "the entries": (
        "UPDATE log_block SET entries = set_byte(entries, 7, get_byte(entries, 7) # 1) WHERE number = 1",
        "BLOCK ALTERED: block 1: its entries do not lead to its root",
    ),
    "the members": ("UPDATE log_block SET members = '{[1,3)}' WHERE number = 2", "BLOCK ALTERED: block 2: its list"),
    "no list at all": ("UPDATE log_block SET members = 'all' WHERE number = 2", "BLOCK ALTERED: block 2: its list"),
    "a huge list": ("UPDATE log_block SET members = '{[1,99999999999)}'", "BLOCK ALTERED: block 1: its list"),
    "removed": ("DELETE FROM log_block WHERE number = 2", "BLOCK REMOVED: block 2 is not there"),
    "first removed": ("DELETE FROM log_block WHERE number = 1", "BLOCK REMOVED: block 1 is not there"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_first_block_that_was_tampered_with_is_named(sealed, name):
    statement, said = BLOCKS[name]
    superuser(statement)
    _, damage, code = verified()
    assert code == 1
    assert said in damage


def test_blocks_and_events_cut_off_at_the_end_are_missed_in_the_anchors(sealed):
    superuser("DELETE FROM log_event WHERE seq >= %s", sealed[20])
    superuser("DELETE FROM log_block WHERE number = 3")
    _, damage, code = verified()
    assert (damage, code) == ("TAIL CUT OFF: the log ends at block 2, but block 3 was published\n", 1)


def test_a_history_written_anew_with_the_stolen_key_differs_from_the_anchors_kept_elsewhere(sealed, tmp_path):
    elsewhere = tmp_path / "auditor.jsonl"
    elsewhere.write_bytes((tmp_path / "anchors.jsonl").read_bytes())
    superuser("UPDATE log_event SET amount = 1 WHERE seq = %s", sealed[12])
    superuser("DELETE FROM log_block")
    (tmp_path / "anchors.jsonl").unlink()
    sealing.seal()
    assert verified()[1:] == ("", 0), "whoever has the key and every copy could do it"
    damage = StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_log", anchors=elsewhere, stdout=StringIO(), stderr=damage)
    assert "BLOCK DIFFERS FROM ITS ANCHOR: block 1 was published with the hash" in damage.getvalue()


def test_without_the_key_a_history_cannot_be_written_anew(sealed, tmp_path):
    genuine = seal.public(seal.load_key(tmp_path / "seal.key"))
    superuser("DELETE FROM log_block")
    for name in ("seal.key", "anchors.jsonl"):
        (tmp_path / name).unlink()
    sealing.seal()
    damage = StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_log", public_key=[genuine], stdout=StringIO(), stderr=damage)
    assert "BLOCK ALTERED: block 1 is not signed as it stands (and 2 more)" in damage.getvalue()


def test_forged_anchors_are_noticed(sealed, tmp_path):
    path = tmp_path / "anchors.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first.replace('"size": 10', '"size": 11'), *others]))
    assert "ANCHOR ALTERED: the anchor of block 1" in verified()[1]
    path.write_text("\n".join([first, others[1]]))
    assert "ANCHOR REMOVED: block 2 is missing" in verified()[1]
    for nonsense in ("nonsense", "[]", "{}", first.replace('"signature": "', '"signature": "x')):
        path.write_text(nonsense)
        with pytest.raises(CommandError, match="line 1 is not a published block"):
            call_command("verify_log")


def test_engagements_with_all_their_columns_are_sealed(db):
    commands.append(engagement())
    out = StringIO()
    call_command("seal_log", stdout=out)
    assert "sealed 9 events" in out.getvalue()
    superuser("UPDATE log_event SET objects_named = '[]' WHERE external_id = '6'")
    assert "EVENT ALTERED" in verified()[1]
