"""Child processes: restarted or missed, stopped with grace, and cleared away by the keeper after a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest

from opsboard.stack import process
from opsboard.stack.errors import StackError
from opsboard.stack.paths import PROJECT, Paths
from opsboard.stack.process import Crew, Part

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
# A part whose child does not hear of its parent's death, like granian's workers and Celery's pool.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"


def python(name: str, code: str, **more) -> Part:
    return Part(name, [sys.executable, "-I", "-S", "-c", code], **more)


def eventually(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def said():
    """What the parts wrote, as (name, line)."""
    return []


@pytest.fixture
def crew(tmp_path, said):
    """A crew without parts; whatever a test leaves running is stopped."""
    paths = Paths(tmp_path / "data")
    paths.prepare()
    crew = Crew(paths, lambda name, line: said.append((name, line)))
    yield crew
    crew.stop_all()


def test_lines_carry_the_name_of_their_part_and_are_kept_in_its_log(crew, said):
    crew.run(python("greeter", "print('good morning')"))
    assert ("greeter", "good morning") in said
    assert "good morning" in (crew.paths.logs / "greeter.log").read_text()


def test_a_failed_step_says_what_failed_and_shows_its_lines(crew, said):
    with pytest.raises(StackError, match=r"step failed \(exit code 3\)[^$]*no such table"):
        crew.run(python("step", "print('no such table'); raise SystemExit(3)", quiet=True))
    assert said == [], "a quiet part is heard only through its error"


def test_a_missing_program_is_refused_in_words(crew):
    with pytest.raises(StackError, match="make install"):
        crew.start(Part("ghost", ["no-such-program-anywhere"]))


def test_a_part_that_may_restart_comes_back_with_growing_pauses(crew, said):
    running = crew.start(python("web", "print('up'); raise SystemExit(1)", restarts=True))
    assert eventually(lambda: crew.tend() is None and running.restarts >= 2 and running.restart_at is None)
    pauses = [line for name, line in said if name == "up"]
    assert pauses[0].endswith("again in 0.5 s")
    assert pauses[1].endswith("again in 1 s")
    assert said.count(("web", "up")) >= 2


def test_a_part_that_may_not_restart_is_missed_with_its_last_lines(crew):
    started = crew.start(python("postgres", "print('disk full'); raise SystemExit(1)"))
    started.popen.wait()
    assert crew.tend() is started
    assert list(started.tail) == ["disk full"]


def test_who_does_not_end_within_the_grace_is_killed(crew, said):
    running = crew.start(python("deaf", STUBBORN, grace=0.3))
    assert eventually(lambda: ("deaf", "deaf") in said)
    begun = time.monotonic()
    crew.stop_all()
    assert time.monotonic() - begun < 3
    assert running.popen.returncode == -signal.SIGKILL
    crew._keeper, crew._keeper_fd = crew._start_keeper()


def test_a_lost_keeper_is_replaced_and_knows_the_running_parts(crew, said, monkeypatch):
    monkeypatch.setattr(process, "KEEPER_GRACE", 0.2)
    running = crew.start(python("parent", PARENT))
    assert eventually(lambda: ("parent", "deaf") in said)
    crew._keeper.kill()
    crew._keeper.wait()
    assert crew.tend() is None
    os.close(crew._keeper_fd)  # what the kernel does when the supervisor is killed
    assert running.popen.wait(5) == -signal.SIGKILL
    assert eventually(lambda: not group_lives(running.popen.pid))
    crew._keeper, crew._keeper_fd = crew._start_keeper()


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_supervisor_takes_children_and_grandchildren_along(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from opsboard.stack import process
from opsboard.stack.paths import PROJECT, Paths
process.KEEPER_GRACE = 0.5
paths = Paths(Path({str(tmp_path)!r}) / "data")
paths.prepare()
crew = process.Crew(paths, lambda name, line: print(crew.running[name].popen.pid, flush=True))
crew.start(process.Part("parent", [sys.executable, "-c", {PARENT!r}]))
time.sleep(60)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout
    group = int(supervisor.stdout.readline())
    assert group_lives(group)
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    assert eventually(lambda: not group_lives(group), 5)
