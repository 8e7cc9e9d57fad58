"""`manage.py up` for real: from nothing to READY, killed without a trace, back again, and down."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

from opsboard.stack.paths import PROJECT, Paths
from opsboard.stack.remote import delete

BUSY = 3  # the promised seconds are for two idle cores; here other tests run beside
MACHINE = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")


def manage(*words: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = clean() | ({"OPSBOARD_DATA_DIR": str(data)} if data else {})
    return subprocess.run([sys.executable, "manage.py", *words], cwd=PROJECT, env=env, capture_output=True, text=True)


def clean() -> dict[str, str]:
    """The environment of somebody who has set nothing."""
    return {
        name: value for name, value in os.environ.items() if name not in MACHINE and not name.startswith("OPSBOARD_")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Up:
    """One `manage.py up` in the foreground of nobody."""

    def __init__(self, data: Path, port: int) -> None:
        self.lines: list[str] = []
        self.url = f"http://127.0.0.1:{port}"
        self.begun = time.monotonic()
        words = ["up", "--no-demo", "--data-dir", str(data), "--port", str(port)]
        self.popen = subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=PROJECT,
            env=clean(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.popen.stdout
        for line in self.popen.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("READY"):
                break
        assert self.lines[-1] == f"READY {self.url}", "\n".join(self.lines)
        self.seconds = time.monotonic() - self.begun

    def family(self) -> list[psutil.Process]:
        """Everybody it started, with their children."""
        return psutil.Process(self.popen.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> float:
        """Send a signal; the seconds until the command has ended."""
        begun = time.monotonic()
        self.popen.send_signal(number)
        self.popen.communicate(timeout=30)
        return time.monotonic() - begun


@pytest.fixture
def data():
    """A data directory that is gone afterwards, with everything outside it that belongs to it."""
    folder = Path(tempfile.mkdtemp(prefix="opsboard-up-"))
    folder.chmod(0o711)
    yield folder / "data"
    if (folder / "data").exists():
        delete(Paths(folder / "data"))
    shutil.rmtree(folder)


def test_from_nothing_to_ready_killed_without_a_trace_back_and_down(data):
    port = free_port()
    first = Up(data, port)
    try:
        assert httpx.get(f"{first.url}/livez").text == "ok"
        assert httpx.get(f"{first.url}/readyz").json()["ready"] is True

        told = manage("status", "--json", "--data-dir", str(data))
        found = json.loads(told.stdout)
        assert told.returncode == 0
        assert found["healthy"] is True
        assert set(found["parts"]) == {"postgres", "redis", "web", "worker", "beat"}
        assert all(psutil.Process(part["pid"]).ppid() == first.popen.pid for part in found["parts"].values()), (
            "every part is a direct child"
        )

        beside = manage("service_account", "list", data=data)
        assert beside.returncode == 0, "a command in another terminal finds the embedded database: " + beside.stderr

        second = manage("up", "--data-dir", str(data), "--port", str(free_port()))
        assert second.returncode == 1
        assert f"already runs at {first.url}" in second.stderr

        crowd = first.family()
        names = " ".join(" ".join(process.cmdline()) for process in crowd)
        assert "granian" in names
        assert "celery" in names
    finally:
        first.end(signal.SIGKILL)
    _, left = psutil.wait_procs(crowd, timeout=12)
    assert left == [], "orphans"

    again = Up(data, port)
    assert again.seconds < 10 * BUSY
    assert again.end(signal.SIGTERM) < 10 * BUSY
    assert again.popen.returncode == 0
    assert manage("status", "--data-dir", str(data)).returncode == 3
