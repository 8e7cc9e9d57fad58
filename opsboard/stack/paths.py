"""Where the stack keeps its things: one data directory, and a short place for sockets."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path

from opsboard.stack.account import Account, can_enter
from opsboard.stack.errors import StackError

PROJECT = Path(__file__).resolve().parents[2]
# sun_path holds 108 bytes with the closing zero; PostgreSQL appends `.s.PGSQL.5432.lock`.
LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432.lock")


@dataclass(frozen=True)
class Paths:
    """The files of one data directory (absolute)."""

    data: Path

    @property
    def lock(self) -> Path:
        """Held by the running supervisor."""
        return self.data / "up.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the keeper, a few seconds longer than `lock` when the supervisor was killed."""
        return self.data / "keeper.lock"

    @property
    def state(self) -> Path:
        """What runs now: JSON written by the supervisor, read by `status` and `down`."""
        return self.data / "state.json"

    @property
    def servers(self) -> Path:
        """Where the embedded PostgreSQL and Redis answer, mode 0600: for commands in another terminal."""
        return self.data / "servers.json"

    def write_servers(self, database_url: str, redis_url: str) -> None:
        """Tell other commands (settings.py reads it) where the servers of this run answer."""
        descriptor = os.open(self.servers, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"database_url": database_url, "redis_url": redis_url}, file)

    @property
    def secret_key(self) -> Path:
        """Django's secret key, mode 0600."""
        return self.data / "secret.key"

    @property
    def accounts(self) -> Path:
        """One sign-in per role, mode 0600, written by `demo_accounts`."""
        return self.data / "accounts.json"

    @property
    def pending(self) -> Path:
        """The commands still owed to a database that was empty, one a line; survives an interrupted start."""
        return self.data / "first-run.pending"

    @property
    def logs(self) -> Path:
        """One file per part."""
        return self.data / "logs"

    @property
    def redis(self) -> Path:
        """Redis' append-only files."""
        return self.data / "redis"

    @property
    def static_fingerprint(self) -> Path:
        """What the collected static files were made from."""
        return self.data / "static.fingerprint"

    @property
    def beat_schedule(self) -> Path:
        """Celery beat's record of what ran last."""
        return self.data / "beat-schedule"

    @property
    def cluster_pointer(self) -> Path:
        """Names the folder of the PostgreSQL cluster when it cannot lie in the data directory."""
        return self.data / "cluster.path"

    def prepare(self) -> None:
        """Make the data directory and its folders, closed to others."""
        try:
            for folder in (self.data, self.logs, self.redis):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # As root, PostgreSQL's own user must pass through to its cluster; it still cannot list or read.
            self.data.chmod(0o711 if os.geteuid() == 0 else 0o700)
        except OSError as error:
            raise StackError(
                f"The data directory {self.data} cannot be used ({error.strerror}). "
                "Choose another with --data-dir or OPSBOARD_DATA_DIR."
            ) from error


def resolve(data_dir: str | None) -> Paths:
    """The data directory asked for, else OPSBOARD_DATA_DIR, else `.opsboard/` in the project."""
    chosen = data_dir or os.environ.get("OPSBOARD_DATA_DIR") or PROJECT / ".opsboard"
    return Paths(Path(chosen).expanduser().resolve())


def wheel_folder(module: str) -> Path:
    """The folder of an installed package, found without importing it (both server wheels act on import)."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise StackError(f"The package {module} is not installed. Run `make install`.")
    return Path(spec.origin).resolve().parent


def take_lock(path: Path) -> TextIOWrapper | None:
    """Hold the lock file until it is closed or the process ends; None when another process holds it."""
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def ensure_secret_key(paths: Paths) -> None:
    """Write the secret key once, readable by its owner only."""
    try:
        descriptor = os.open(paths.secret_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        paths.secret_key.chmod(0o600)
        return
    with os.fdopen(descriptor, "w") as handle:
        handle.write(secrets.token_urlsafe(50) + "\n")


def socket_folder(paths: Paths, account: Account | None) -> Path:
    """A folder for the unix sockets, short enough, that only we (and PostgreSQL's own user) may enter."""
    near = paths.data / "run"
    if len(os.fsencode(near)) <= LONGEST_SOCKET_FOLDER and (account is None or can_enter(account, paths.data)):
        return _private(near, account)
    far = _far(paths)
    if len(os.fsencode(far)) > LONGEST_SOCKET_FOLDER:
        raise StackError(f"The temporary directory {far.parent} is too long for sockets; set TMPDIR to a shorter one.")
    return _private(far, account)


def _far(paths: Paths) -> Path:
    return Path(tempfile.gettempdir()) / f"opsboard-{hashlib.sha256(os.fsencode(paths.data)).hexdigest()[:12]}"


def _private(folder: Path, account: Account | None) -> Path:
    """Make `folder` with mode 0700; refuse one that somebody else put there first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    ours = {os.geteuid()} | ({account.uid} if account else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
        raise StackError(f"{folder} belongs to somebody else; remove it or use another data directory.")
    if account:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    return folder


def remove_sockets(paths: Paths) -> None:
    """Delete the socket folder outside the data directory, if there is one. Nothing may be listening."""
    shutil.rmtree(_far(paths), ignore_errors=True)
