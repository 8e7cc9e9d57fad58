"""The promise, against the real door and PostgreSQL: whatever dies or is away, exactly the same events, each once."""

import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import httpx

from opsboard.log.models import Event, Quarantine, Transaction
from opsboard.stack.paths import PROJECT
from tests.client.conftest import RATE
from tests.client.job import ROWS

KILLS = 5
SEED = 20261120
PROJECT_1 = ("psa", "project", "P-1")


class Recorded(httpx.HTTPTransport):
    """The network, with a note of when each request began and what was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, int, str | None]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        begun = time.monotonic()
        response = super().handle_request(request)
        self.seen.append((begun, response.status_code, response.headers.get("Retry-After")))
        return response


def stored() -> list[str]:
    """The ids in the log; each stands there as often as it was stored."""
    return sorted(Event.objects.values_list("external_id", flat=True))


def test_the_door_is_away_and_comes_back(door, token, make):
    door.stop()
    client = make(door.url, token)
    said = []
    for number in range(60):
        with client.transaction("time-to-billing", f"k{number}", [PROJECT_1], amount="10.00", currency="EUR") as tx:
            said += [tx.step("validated"), tx.posted({"number": number}), tx.acknowledged()]
    assert client.flush(0.3) is False
    assert "does not answer" in client.trouble

    door.start()

    assert client.flush(20)
    assert stored() == sorted(said)
    assert set(Transaction.objects.values_list("status", "amount")) == {("succeeded", Decimal(10))}

    door.stop()
    said.append(client.say("noted", [PROJECT_1]))
    time.sleep(0.2)
    door.start()
    assert client.flush(20)
    assert stored() == sorted(said)
    assert (client.rejected, client.pending) == ([], 0)


def test_the_job_is_killed_again_and_again(door, token, tmp_path):
    """SIGKILL after a random row, at a random moment in it; the last run goes to the end."""
    door.start()
    chance = random.Random(SEED)
    argv = [sys.executable, str(Path(__file__).with_name("job.py")), door.url, token]
    argv += [str(tmp_path / "spool"), str(tmp_path / "done")]
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    ends = [*sorted(chance.sample(range(5, ROWS - 5), KILLS)), ROWS]
    for end in ends:
        with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as job:
            assert job.stdout
            last = ""
            for line in job.stdout:
                last = line.strip()
                if last == str(end):
                    time.sleep(chance.random() * 0.005)
                    job.kill()
        assert job.returncode == (0 if end == ROWS else -signal.SIGKILL)
    assert last == "sent"

    expected = [name for row in range(ROWS) for name in (f"row-{row}/1/1/posted", f"row-{row}/1/2/acknowledged")]
    assert stored() == sorted(expected)
    assert set(Transaction.objects.values_list("status", "events")) == {("succeeded", 2)}
    assert not Quarantine.objects.exists()
    assert not (tmp_path / "spool" / "rejected.jsonl").exists()


def test_an_answer_that_is_lost_makes_no_second_event(door, token, make):
    """The door has stored the batch, the client never hears of it: the next process sends all of it again."""
    door.start()

    class Deaf(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            super().handle_request(request).read()
            raise httpx.ReadError("the answer was lost")

    first = make(door.url, token, transport=Deaf())
    said = [first.say("noted", [PROJECT_1]) for _ in range(50)]
    first.flush(0.5)
    assert len(stored()) == 50
    first.close(timeout=0)
    assert first.pending == 50

    assert make(door.url, token).flush(10)
    assert stored() == sorted(said)
    assert not Quarantine.objects.exists()


def test_a_door_that_asks_to_wait_is_obeyed(door, token, make):
    door.start()
    network = Recorded()
    client = make(door.url, token, transport=network)
    count = RATE * 10 + 300  # the whole bucket, and more than trickles in meanwhile
    said = [client.say("noted", [PROJECT_1]) for _ in range(count)]

    assert client.flush(30)

    refused = [(number, begun, wait) for number, (begun, status, wait) in enumerate(network.seen) if status == 429]
    assert refused, "the limit was never reached"
    for number, begun, wait in refused:
        assert wait
        assert network.seen[number + 1][0] - begun >= int(wait), "came back too early"
    assert stored() == sorted(said)


def test_poison_lands_beside_the_spool_and_the_rest_goes_on(door, token, make):
    door.start()
    client = make(door.url, token)
    good = [client.say("noted", [PROJECT_1])]
    bad = client.say("posted", [PROJECT_1])  # without the flow that this kind needs
    huge = client.say("noted", [PROJECT_1], payload="x" * 300_000)
    good.append(client.say("noted", [PROJECT_1]))
    client.say("noted", [PROJECT_1], event_id=good[0], payload="other content")

    assert client.flush(10)

    assert stored() == sorted(good)
    refused = {each.event["id"]: each.problem for each in client.rejected if each.event}
    assert {name: problem["status"] for name, problem in refused.items()} == {bad: 400, huge: 413, good[0]: 409}
    assert refused[bad]["errors"][0]["pointer"] == "/data/flow"

    client.close()
    assert len(make(door.url, token).rejected) == 3, "and it is still there for the next one"


def test_without_a_valid_token_everything_is_kept(door, token, make):
    door.start()
    client = make(door.url, "ob_svc_nonsense")
    said = client.say("noted", [PROJECT_1])
    assert client.flush(10) is False
    assert client.trouble.startswith("401")
    assert client.pending == 1

    client.resume(token)
    assert client.flush(10)
    assert stored() == [said]


def test_a_source_that_is_not_the_tokens_condemns_no_event(door, token, make):
    door.start()
    client = make(door.url, token, source="urn:firm:other")
    client.say("noted", [PROJECT_1])

    assert client.flush(10) is False
    assert "this token writes as" in client.trouble
    assert (client.pending, client.rejected) == (1, [])
