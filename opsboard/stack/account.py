"""The unprivileged user PostgreSQL runs as when the stack runs as root (PostgreSQL refuses root)."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from opsboard.stack.errors import StackError

NAME = "pgserver"  # the name the wheel uses too


@dataclass(frozen=True)
class Account:
    """A user of this machine, with the numbers needed to become it."""

    name: str
    uid: int
    gid: int


def for_postgres() -> Account | None:
    """The user for PostgreSQL, made on first use; None when we are not root and simply stay who we are."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _create()
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--user-group", NAME]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(
            f"PostgreSQL does not run as root, and the user '{NAME}' could not be created ({error}). "
            f"Create it with: {' '.join(command)}, or start as an ordinary user."
        ) from error
    return pwd.getpwnam(NAME)


def can_enter(account: Account | None, folder: Path) -> bool:
    """Whether the account (None: ourselves) may pass through `folder` and all that is above it."""
    return _try(account, ["test", "-x", str(folder)])


def can_run(account: Account | None, program: Path) -> bool:
    """Whether the account (None: ourselves) may run `program`, tried with `--version`."""
    return _try(account, [str(program), "--version"])


def _try(account: Account | None, argv: list[str]) -> bool:
    user = account.uid if account else None
    group = account.gid if account else None
    extra: list[int] | None = [] if account else None
    try:
        done = subprocess.run(
            argv, user=user, group=group, extra_groups=extra, cwd="/", capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
