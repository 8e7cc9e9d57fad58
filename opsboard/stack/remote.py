"""Looking at, stopping and deleting a stack from outside: by its data directory alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import Any

import httpx

from opsboard.core import health
from opsboard.stack import postgres
from opsboard.stack.errors import StackError
from opsboard.stack.paths import PROJECT, Paths, remove_sockets, take_lock
from opsboard.stack.supervisor import read_state

STOP_SECONDS = 25


def is_running(paths: Paths) -> bool:
    """Whether a supervisor holds the data directory."""
    return paths.lock.exists() and not _free(paths)


def _free(paths: Paths) -> bool:
    """Whether neither a supervisor nor the keeper of a killed one is at work."""
    for path in (paths.lock, paths.keeper_lock):
        if path.exists():
            handle = take_lock(path)
            if handle is None:
                return False
            handle.close()
    return True


def stop(paths: Paths) -> bool:
    """Ask the supervisor to stop and wait until everything has; False when nothing ran."""
    if not is_running(paths):
        return False
    deadline = time.monotonic() + STOP_SECONDS
    asked = False
    while not _free(paths):
        pid = paths.lock.read_text().strip()
        if pid and not asked:
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                asked = True  # killed before; its keeper is still clearing up
            except PermissionError as error:
                raise StackError(f"Process {pid} belongs to another user; stop it as that user.") from error
            asked = True
        if time.monotonic() > deadline:
            raise StackError(f"Process {pid} did not stop within {STOP_SECONDS} s.")
        time.sleep(0.1)
    return True


def delete(paths: Paths) -> None:
    """Delete the data directory with everything in it; refuses a folder that no stack has used."""
    if not paths.lock.is_file() or paths.data in (PROJECT, *PROJECT.parents):
        raise StackError(f"{paths.data} does not look like a data directory of opsboard; delete it yourself.")
    postgres.remove(paths)
    remove_sockets(paths)
    shutil.rmtree(paths.data)


def report(paths: Paths) -> dict[str, Any]:
    """What runs: running, healthy, ready, pid, url, parts (pid, alive, restarts), heartbeats (seconds ago)."""
    state = read_state(paths) if is_running(paths) else {}
    parts = {name: {**part, "alive": _alive(part["pid"])} for name, part in state.get("parts", {}).items()}
    ready, beats = _ask(state["url"]) if state else (False, {})
    beating = bool(beats) and all(age is not None and age < health.STALE for age in beats.values())
    return {
        "running": bool(state),
        "healthy": bool(state) and ready and beating and all(part["alive"] for part in parts.values()),
        "ready": ready,
        "pid": state.get("pid"),
        "url": state.get("url"),
        "data_dir": str(paths.data),
        "parts": parts,
        "heartbeats": beats,
    }


def _ask(url: str) -> tuple[bool, dict[str, float | None]]:
    """Whether the web is ready, and the ages of the heartbeats it knows."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
        return answer.status_code == 200, answer.json().get("heartbeats", {})
    except (httpx.HTTPError, json.JSONDecodeError):
        return False, {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # there, as another user
    return True
