"""`up --live`: three real Tryton systems (CRM, PSA, ERP) on the stack's PostgreSQL.

trytond is GPL: it runs in an environment of its own, as a separate process, and is never imported. What takes long
is done once per machine and kept in `.venv-live`: the environment, and a dump of the three filled databases,
made anew when the lock file, the firm or the month changes (accounting periods are relative to it).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from integrations.connectors import connect
from integrations.errors import IntegrationError
from opsboard.stack.errors import StackError
from opsboard.stack.live_firm import COMPANY, ENTITY
from opsboard.stack.paths import PROJECT
from opsboard.stack.postgres import wheel_install
from opsboard.stack.process import Spawn

LOCK = PROJECT / "requirements" / "live.lock"
MAKERS = (LOCK, Path(__file__).with_name("live_firm.py"), Path(__file__).with_name("live_build.py"))
ROLES = ("crm", "psa", "erp")
LABELS = {"crm": "Tryton CRM", "psa": "Tryton PSA", "erp": "Tryton ERP"}
START_SECONDS = 60
LOGGING = """\
[loggers]
keys = root,requests,refusals
[handlers]
keys = out
[formatters]
keys = line
[logger_root]
level = WARNING
handlers = out
[logger_requests]
level = ERROR
handlers =
qualname = werkzeug
[logger_refusals]
level = CRITICAL
handlers =
qualname = trytond.wsgi
[handler_out]
class = StreamHandler
args = (sys.stderr,)
formatter = line
[formatter_line]
format = %(levelname)s %(name)s %(message)s
"""


@dataclass(frozen=True)
class LivePlaces:
    """Where the live systems keep things on this machine: the environment and the dumps beside it."""

    home: Path

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.home / "bin" / "python"

    @property
    def trytond(self) -> Path:
        """The server."""
        return self.home / "bin" / "trytond"

    @property
    def installed(self) -> Path:
        """Holds the digest of the lock file that was installed."""
        return self.home / "installed.sha256"

    @property
    def firm(self) -> Path:
        """The folder with the dumps and sign-ins of today's firm."""
        content = b"".join(path.read_bytes() for path in MAKERS) + f"{datetime.now(UTC):%Y-%m}".encode()
        return self.home / f"firm-{hashlib.sha256(content).hexdigest()[:16]}"


def places() -> LivePlaces:
    """`.venv-live` in the project."""
    return LivePlaces(PROJECT / ".venv-live")


def start(data_dir: Path, spawn: Spawn, postgres_uri: str, *, prefix: str = "opsboard_live") -> None:
    """Have the three systems run and write their connections to `connections.json` in the data directory.

    postgres_uri names the server, as a user that may create databases. Databases that exist are kept.
    Raises StackError.
    """
    where = places()
    with _alone(where):
        _install(where, spawn)
        if not _is_made(where.firm):
            _build(where, spawn, postgres_uri)
    names = {role: f"{prefix}_{role}" for role in ROLES}
    kept = data_dir / f"{prefix}-sign-ins.json"  # of these databases, whatever is built later
    if not (kept.is_file() and all(exists(postgres_uri, name) for name in names.values())):
        for role, name in names.items():
            restore(postgres_uri, where.firm / f"{role}.dump", name)
        write_private(kept, (where.firm / "sign-ins.json").read_text())
    port = free_port()
    config = write_config(data_dir / f"{prefix}.conf", postgres_uri, port)
    spawn("trytond", trytond(where, config, list(names.values())), env=environment())
    sign_ins = json.loads(kept.read_text())
    entries = {
        f"live-{role}": {
            "system": f"live-{role}",
            "connector": "tryton",
            "role": role,
            "landscape": "live",
            "label": LABELS[role],
            "vendor": "tryton",
            "legal_entities": [{"code": ENTITY, "name": COMPANY, "currency": "USD"}],
            "url": f"http://127.0.0.1:{port}",
            "database": name,
            **sign_ins["opsboard"],
        }
        for role, name in names.items()
    }
    wait(entries)
    add_connections(data_dir / "connections.json", entries)


def administrator(data_dir: Path, entry: dict[str, Any], *, prefix: str = "opsboard_live") -> dict[str, Any]:
    """The connection as Tryton's administrator, who repairs master data by hand; for the demo and tests."""
    sign_ins = json.loads((data_dir / f"{prefix}-sign-ins.json").read_text())
    return entry | sign_ins["admin"]


def add_connections(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Add or replace entries of `connections.json`, mode 0600, whole or not at all."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_private(path, json.dumps(known | entries, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    half.replace(path)


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(path: Path, postgres_uri: str, port: int) -> Path:
    """trytond's configuration: PostgreSQL, an address of this machine only, sessions of an hour."""
    uri = urlsplit(postgres_uri)
    database = urlunsplit((uri.scheme, uri.netloc, "/", uri.query, ""))
    text = f"[database]\nuri = {database}\n[web]\nlisten = 127.0.0.1:{port}\n[session]\ntimeout = 3600\n"
    write_private(path, text)
    return path


def write_logging(path: Path) -> Path:
    """trytond's logging: not every request, and no stack for every refusal, which its caller is told anyway."""
    path.write_text(LOGGING)
    return path


def trytond(where: LivePlaces, config: Path, databases: list[str]) -> list[str]:
    """The command line of the server. A database that is not named is never loaded."""
    logging = write_logging(config.with_suffix(".log.conf"))
    return [str(where.trytond), "-c", str(config), "--logconf", str(logging), "-d", *databases]


def environment() -> dict[str, str]:
    """What trytond gets to see of our environment: nothing that configures it or us."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def wait(entries: dict[str, dict[str, Any]]) -> None:
    """Return when the integration user of every system can log in; StackError after a minute."""
    deadline = time.monotonic() + START_SECONDS
    for key, entry in entries.items():
        while (reason := _why_not(key, entry)) is not None:
            if time.monotonic() > deadline:
                raise StackError(f"Tryton did not start: {reason}")
            time.sleep(0.2)


def listens(url: str) -> bool:
    """Whether somebody accepts connections at the address of this machine."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=1):
            return True
    except OSError:
        return False


def _why_not(key: str, entry: dict[str, Any]) -> str | None:
    """Why the system cannot be used yet, or None."""
    if not listens(entry["url"]):
        return f"nobody listens at {entry['url']}"
    connector = connect(entry, key)
    try:
        connector.ping()
    except IntegrationError as error:
        return str(error)
    finally:
        connector.close()
    return None


def exists(postgres_uri: str, name: str) -> bool:
    """Whether the database is there."""
    with psycopg.connect(database_uri(postgres_uri, "postgres"), autocommit=True) as connection:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        return connection.execute(query, [name]).fetchone() is not None


def restore(postgres_uri: str, dump: Path, name: str) -> None:
    """Make the database from the dump, in place of one that is there."""
    half = f"{name}_half"
    with psycopg.connect(database_uri(postgres_uri, "postgres"), autocommit=True) as connection:
        for old in (half, name):
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(old)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(half)))
        run_tool("pg_restore", "--no-owner", "-d", database_uri(postgres_uri, half), str(dump))
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(half), sql.Identifier(name)))


def database_uri(postgres_uri: str, name: str) -> str:
    """The server's URI with a database."""
    parts = urlsplit(postgres_uri)
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, ""))


def run_tool(name: str, *words: str) -> None:
    """Run one of the wheel's PostgreSQL programs; StackError with its words when it fails."""
    done = subprocess.run([str(wheel_install() / "bin" / name), *words], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise StackError(f"{name} failed: {done.stderr.strip()[-2000:]}")


@contextmanager
def _alone(where: LivePlaces) -> Iterator[None]:
    """Only one process at a time installs or builds."""
    try:
        where.home.mkdir(parents=True, exist_ok=True)
        handle = (where.home / "build.lock").open("a")
    except OSError as error:
        raise StackError(f"{where.home} cannot be written: {error.strerror}.") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _install(where: LivePlaces, spawn: Spawn) -> None:
    """Make the environment and install the lock file, unless that was done."""
    digest = hashlib.sha256(LOCK.read_bytes() + os.fsencode(where.home)).hexdigest()  # programs name their place
    if where.installed.is_file() and where.installed.read_text().strip() == digest:
        return
    spawn("live-venv", [sys.executable, "-m", "venv", "--clear", str(where.home)], wait=True)
    pip = [str(where.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    spawn("live-install", [*pip, "--require-hashes", "-r", str(LOCK)], wait=True)
    where.installed.write_text(f"{digest}\n")


def _is_made(firm: Path) -> bool:
    return all((firm / name).is_file() for name in ("sign-ins.json", *(f"{role}.dump" for role in ROLES)))


def _build(where: LivePlaces, spawn: Spawn, postgres_uri: str) -> None:
    """Fill three databases once and keep their dumps; older ones are removed."""
    for old in where.home.glob("firm-*"):
        shutil.rmtree(old)
    build = [sys.executable, "-m", "opsboard.stack.live_build", postgres_uri, str(where.firm)]
    spawn("live-build", build, wait=True)
