"""The data directory: where it is, who may read it, and that only one stack uses it."""

import os
import stat
from pathlib import Path

import pytest

from opsboard.stack import account, paths
from opsboard.stack.errors import StackError
from opsboard.stack.paths import LONGEST_SOCKET_FOLDER, Paths


@pytest.fixture
def here(tmp_path):
    """A prepared data directory."""
    found = Paths(tmp_path / "data")
    found.prepare()
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_command_line_wins_over_the_environment_and_that_over_the_project(monkeypatch, tmp_path):
    monkeypatch.setenv("OPSBOARD_DATA_DIR", str(tmp_path / "from-environment"))
    assert paths.resolve(str(tmp_path / "asked")).data == tmp_path / "asked"
    assert paths.resolve(None).data == tmp_path / "from-environment"
    monkeypatch.delenv("OPSBOARD_DATA_DIR")
    assert paths.resolve(None).data == paths.PROJECT / ".opsboard"


def test_others_cannot_list_the_data_directory(here):
    assert mode(here.data) & 0o066 == 0
    assert mode(here.logs) == mode(here.redis) == 0o700


def test_a_data_directory_that_cannot_be_made_is_refused_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="--data-dir"):
        Paths(tmp_path / "file" / "data").prepare()


def test_the_secret_key_is_made_once_and_read_by_its_owner_only(here):
    paths.ensure_secret_key(here)
    first = here.secret_key.read_text()
    here.secret_key.chmod(0o644)
    paths.ensure_secret_key(here)
    assert here.secret_key.read_text() == first
    assert len(first.strip()) >= 50
    assert mode(here.secret_key) == 0o600


def test_a_lock_is_held_by_one_until_it_is_closed(here):
    held = paths.take_lock(here.lock)
    assert held
    assert paths.take_lock(here.lock) is None
    held.close()
    again = paths.take_lock(here.lock)
    assert again
    again.close()


@pytest.mark.parametrize("depth", [1, 12], ids=["short", "long"])
def test_sockets_always_lie_in_a_short_private_folder(tmp_path, depth):
    deep = Paths(tmp_path.joinpath(*["a-rather-long-folder"] * depth))
    deep.prepare()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == deep.data.owner() and "pytest" in folder.name:
            folder.chmod(0o711)
    folder = paths.socket_folder(deep, account.for_postgres())
    assert len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER
    assert mode(folder) == 0o700
    assert paths.socket_folder(deep, account.for_postgres()) == folder, "the same on the next start"
    paths.remove_sockets(deep)


def test_a_socket_folder_somebody_else_put_there_is_refused(tmp_path):
    data = Paths(tmp_path / ("x" * LONGEST_SOCKET_FOLDER))
    trap = paths.socket_folder(data, None)
    trap.rmdir()
    trap.symlink_to(tmp_path)
    with pytest.raises(StackError, match="somebody else"):
        paths.socket_folder(data, None)
    trap.unlink()
