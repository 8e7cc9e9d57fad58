"""The spool: what was appended comes out once, in order, whatever happened to the process, and within its bounds."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from opsboard.client import ClientError, SpoolFull, SpoolInUse
from opsboard.client.spool import Spool
from opsboard.stack.paths import PROJECT

MIB = 1024 * 1024


def lines(count: int, start: int = 0) -> list[bytes]:
    return [json.dumps({"id": number, "text": "ä" * (number % 7)}).encode() for number in range(start, start + count)]


def opened(folder, **options) -> Spool:
    return Spool(folder, **({"max_bytes": MIB} | options))


def drained(spool: Spool, at_once: int = 7) -> list[bytes]:
    """Everything, batch by batch, each committed."""
    found: list[bytes] = []
    while (batch := spool.read(at_once, MIB)).lines:
        found += batch.lines
        spool.commit(batch.end, len(batch.lines))
    return found


@pytest.mark.parametrize("durable", [False, True])
def test_what_goes_in_comes_out_once_in_order_over_many_segments(tmp_path, durable):
    spool = opened(tmp_path, max_bytes=8000, durable=durable)
    for line in lines(100):
        spool.append(line)
    assert len(list(tmp_path.glob("*.log"))) > 2

    assert drained(spool) == lines(100)
    assert spool.pending == 0
    assert len(list(tmp_path.glob("*.log"))) == 1, "what is done is deleted"


def test_the_next_process_carries_on_where_the_last_one_stood(tmp_path):
    first = opened(tmp_path)
    for line in lines(20):
        first.append(line)
    batch = first.read(5, MIB)
    first.commit(batch.end, 5)
    first.close()

    second = opened(tmp_path)
    second.append(lines(1, start=20)[0])
    assert second.pending == 16
    assert drained(second) == lines(16, start=5)
    second.close()

    opened(tmp_path).close()  # deletes what is done: no segment is left to count on from
    assert not list(tmp_path.glob("*.log"))
    third = opened(tmp_path)
    third.append(b'"after all was done and deleted"')
    assert drained(third) == [b'"after all was done and deleted"']
    third.close()


def test_cut_at_any_byte_it_gives_every_whole_line_and_no_other(tmp_path):
    first = opened(tmp_path / "whole")
    for line in lines(4):
        first.append(line)
    first.close()
    (segment,) = (tmp_path / "whole").glob("*.log")
    for cut in range(segment.stat().st_size + 1):
        copy = tmp_path / "cut"
        shutil.copytree(tmp_path / "whole", copy)
        os.truncate(copy / segment.name, cut)
        spool = opened(copy)
        expected = lines(segment.read_bytes()[:cut].count(b"\n"))
        assert spool.pending == len(expected)
        assert spool.read(100, MIB).damaged == [], "a torn line was never promised"
        spool.append(b'"new"')
        assert drained(spool) == [*expected, b'"new"']
        spool.close()
        shutil.rmtree(copy)


@pytest.mark.parametrize("position", ["", "nonsense", "[]", '{"segment": 1, "offset": 99999}', '{"segment": 77}'])
def test_a_position_that_cannot_be_read_loses_nothing(tmp_path, position):
    first = opened(tmp_path)
    for line in lines(5):
        first.append(line)
    first.close()
    (tmp_path / "position.json").write_text(position)

    spool = opened(tmp_path)
    spool.append(b'"new"')

    found = drained(spool)
    assert found == ([*lines(5), b'"new"'] if "99999" not in position else [b'"new"'])
    spool.close()


def test_a_line_that_the_disk_has_changed_is_told_apart(tmp_path):
    first = opened(tmp_path)
    for line in lines(3):
        first.append(line)
    first.close()
    (segment,) = tmp_path.glob("*.log")
    segment.write_bytes(segment.read_bytes().replace(b'"id": 1', b'"id": 7'))

    batch = opened(tmp_path).read(10, MIB)

    assert batch.lines == [lines(3)[0], lines(3)[2]]
    assert len(batch.damaged) == 1


def test_when_it_is_full_it_says_so_and_keeps_what_it_has(tmp_path):
    spool = opened(tmp_path, max_bytes=2000)
    with pytest.raises(SpoolFull, match="unsent"):
        list(map(spool.append, lines(1000)))

    kept = spool.pending
    used = sum(path.stat().st_size for path in tmp_path.glob("*.log"))
    assert 1800 < used <= 2000
    assert drained(spool) == lines(kept)
    spool.append(b'"there is room again"')
    assert drained(spool) == [b'"there is room again"']


def test_refused_events_count_too_until_a_person_takes_them_away(tmp_path):
    spool = opened(tmp_path, max_bytes=2000)
    spool.reject([b"x" * 1950])
    with pytest.raises(SpoolFull, match="refused"):
        spool.append(lines(1)[0] * 3)

    spool.rejected_file.unlink()
    spool.append(lines(1)[0] * 3)


def test_a_disk_without_room_keeps_the_line_whole_or_not_at_all(tmp_path):
    """RLIMIT_FSIZE stands for the full disk: a write stops in the middle of a line."""
    script = f"""
import resource, signal
from pathlib import Path
from opsboard.client import SpoolFull
from opsboard.client.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path({str(tmp_path)!r}), max_bytes=1 << 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
kept = 0
try:
    while True:
        spool.append(b'"%04d"' % kept)
        kept += 1
except SpoolFull as full:
    print(kept, full)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    kept = int(ended.stdout.split()[0])
    assert "disk" in ended.stdout
    (segment,) = tmp_path.glob("*.log")
    assert segment.read_bytes().endswith(b"\n")
    assert drained(opened(tmp_path)) == [b'"%04d"' % number for number in range(kept)]


def test_one_process_has_it_at_a_time_and_the_next_may_adopt_it(tmp_path):
    script = f"""
import os, time
from pathlib import Path
from opsboard.client.spool import Spool
spool = Spool(Path({str(tmp_path)!r}), max_bytes=1 << 20)
spool.append(b'"of the dead"')
print("kept", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"kept\n"
        with pytest.raises(SpoolInUse):
            opened(tmp_path)
        other.kill()
    assert drained(opened(tmp_path)) == [b'"of the dead"']


def test_a_forked_child_can_neither_write_nor_hold_the_lock(tmp_path):
    script = f"""
import os, sys
from pathlib import Path
from opsboard.client import ClientError
from opsboard.client.spool import Spool
spool = Spool(Path({str(tmp_path)!r}), max_bytes=1 << 20)
if os.fork() == 0:
    try:
        spool.append(b'1')
    except ClientError as error:
        print(error, flush=True)
    sys.stdin.read()
    os._exit(0)
os._exit(0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        assert b"fork" in parent.stdout.readline()
        parent.wait()  # the child lives on until its standard input ends
        opened(tmp_path).close()


def test_many_threads_may_append(tmp_path):
    spool = opened(tmp_path, max_bytes=100 * MIB)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spool.append, lines(2000)))

    assert sorted(drained(spool, 500)) == sorted(lines(2000))


def test_a_closed_one_takes_nothing(tmp_path):
    spool = opened(tmp_path)
    spool.close()
    with pytest.raises(ClientError, match="closed"):
        spool.append(b"1")


def test_a_batch_is_bounded_in_bytes_but_never_empty(tmp_path):
    spool = opened(tmp_path)
    for line in lines(10):
        spool.append(line)

    assert len(spool.read(10, 50).lines) == 2
    assert len(spool.read(10, 1).lines) == 1
