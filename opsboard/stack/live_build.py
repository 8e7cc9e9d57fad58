"""Fills the three Tryton databases and dumps them: `python -m opsboard.stack.live_build SERVER_URI FOLDER`.

Takes about a minute and a half on two cores, most of it Tryton's schema. Run by `opsboard.stack.live` when there
is no dump for the present lock file, firm and month.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from integrations.connectors.tryton_rpc import TrytonRpc
from integrations.errors import IntegrationError
from opsboard.stack import live, live_firm
from opsboard.stack.errors import StackError

MODULES = [
    "party",
    "company",
    "currency",
    "product",
    "account",
    "account_product",
    "account_invoice",
    "analytic_account",
    "analytic_invoice",
    "sale",
    "sale_opportunity",
    "project",
    "project_invoice",
    "project_revenue",
    "timesheet",
]


def build(postgres_uri: str, folder: Path) -> None:
    """Make `folder` with one dump per role and `sign-ins.json`, whole or not at all."""
    passwords = {login: secrets.token_urlsafe(18) for login in ("admin", "opsboard")}
    base = f"opsboard_live_build_{os.getpid()}"
    names = {role: f"{base}_{role}" for role in live.ROLES}
    half = folder.with_name(f"half-{os.getpid()}")
    half.mkdir(mode=0o700)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            port = live.free_port()
            config = live.write_config(Path(scratch) / "trytond.conf", postgres_uri, port)
            _schema(postgres_uri, base, config, passwords["admin"])
            _copy(postgres_uri, base, list(names.values()))
            _fill(config, port, names, passwords)
        for role, name in names.items():
            uri = live.database_uri(postgres_uri, name)
            live.run_tool("pg_dump", "-Fc", "--no-owner", "-f", str(half / f"{role}.dump"), uri)
        sign_ins = {login: {"login": login, "password": password} for login, password in passwords.items()}
        live.write_private(half / "sign-ins.json", json.dumps(sign_ins))
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
        _drop(postgres_uri, [base, *names.values()])


def _schema(postgres_uri: str, base: str, config: Path, password: str) -> None:
    """Create the database with Tryton's tables."""
    _each(postgres_uri, [base], "CREATE DATABASE {}")
    secret = config.with_name("password")
    live.write_private(secret, password)
    admin = [str(live.places().home / "bin" / "trytond-admin"), "-c", str(config), "-d", base]
    admin += ["--email", "admin@localhost", "-u", "ir", "res", *MODULES, "--activate-dependencies", "-l", "en"]
    env = live.environment() | {"TRYTONPASSFILE": str(secret)}
    done = subprocess.run(admin, env=env, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise StackError(f"trytond-admin failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _copy(postgres_uri: str, base: str, names: list[str]) -> None:
    template = sql.Identifier(base).as_string(None)
    _each(postgres_uri, names, "CREATE DATABASE {} TEMPLATE " + template)


def _drop(postgres_uri: str, names: list[str]) -> None:
    _each(postgres_uri, names, "DROP DATABASE IF EXISTS {} WITH (FORCE)")


def _each(postgres_uri: str, names: list[str], statement: str) -> None:
    with psycopg.connect(live.database_uri(postgres_uri, "postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _fill(config: Path, port: int, names: dict[str, str], passwords: dict[str, str]) -> None:
    """Set up the firm in all three databases through a server that runs for that long."""
    argv = live.trytond(live.places(), config, list(names.values()))
    log = config.with_name("trytond.log")
    with log.open("w") as output:
        server = subprocess.Popen(argv, env=live.environment(), stdout=output, stderr=subprocess.STDOUT)
    try:
        with ThreadPoolExecutor(len(names)) as pool:
            url = f"http://127.0.0.1:{port}"
            work = [pool.submit(_set_up, role, url, name, passwords) for role, name in names.items()]
            for job in work:
                job.result()
    except IntegrationError as error:
        raise StackError(f"Tryton refused the set-up: {error}\n{log.read_text()[-4000:]}") from error
    finally:
        server.terminate()
        server.wait(30)


def _set_up(role: str, url: str, database: str, passwords: dict[str, str]) -> None:
    rpc = TrytonRpc(f"live-{role}", url, database, "admin", passwords["admin"])
    deadline = time.monotonic() + live.START_SECONDS
    while not live.listens(url) and time.monotonic() < deadline:
        time.sleep(0.2)
    while True:
        try:
            rpc.context()  # answers once the database is loaded
            break
        except IntegrationError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.3)
    live_firm.set_up(role, rpc, passwords["opsboard"], datetime.now(UTC).date())
    rpc.close()


if __name__ == "__main__":
    try:
        build(sys.argv[1], Path(sys.argv[2]))
    except StackError as error:
        sys.exit(str(error))
