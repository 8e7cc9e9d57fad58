"""`doctor`, `status`, `down` and `reset` on machines and folders where something is not as it should be."""

import json
import socket
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from opsboard.stack import paths
from opsboard.stack.doctor import examine
from opsboard.stack.paths import Paths


@pytest.fixture
def embedded(monkeypatch):
    """As on a machine where no environment variable names other servers."""
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")


def test_this_machine_can_run_the_stack(tmp_path, embedded):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    findings = {finding.name: finding for finding in examine(Paths(tmp_path), port)}
    assert [finding for finding in findings.values() if finding.verdict == "fail"] == []
    assert "PostgreSQL) 18" in findings["postgresql"].text


def test_a_taken_port_comes_with_a_remedy(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        findings = examine(Paths(tmp_path), taken.getsockname()[1])
    (port,) = [finding for finding in findings if finding.name == "port"]
    assert port.verdict == "fail"
    assert "--port" in port.remedy


def test_a_data_directory_that_cannot_be_written_comes_with_a_remedy():
    findings = examine(Paths(Path("/dev/null/data")), 0)
    (folder,) = [finding for finding in findings if finding.name == "data dir"]
    assert folder.verdict == "fail"
    assert "--data-dir" in folder.remedy


def test_a_failed_check_is_told_by_the_exit_code(capsys):
    with pytest.raises(SystemExit, match="1"):
        call_command("doctor", "--data-dir", "/dev/null/data", "--json")
    assert {"name": "data dir", "verdict": "fail"}.items() <= json.loads(capsys.readouterr().out)[2].items()


def test_status_of_nothing_is_not_healthy(tmp_path, capsys):
    with pytest.raises(SystemExit, match="3"):
        call_command("status", "--json", "--data-dir", str(tmp_path))
    found = json.loads(capsys.readouterr().out)
    assert (found["running"], found["healthy"], found["parts"]) == (False, False, {})


def test_down_with_nothing_running_says_so(tmp_path, capsys):
    call_command("down", "--data-dir", str(tmp_path))
    assert "nothing runs" in capsys.readouterr().out


def test_reset_deletes_only_what_a_stack_has_used(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CommandError, match="does not look like"):
        call_command("reset", "--yes", "--data-dir", str(tmp_path))
    assert (tmp_path / "thesis.txt").exists()


def test_reset_asks_and_a_terminal_that_is_not_there_means_no(tmp_path, monkeypatch):
    used = Paths(tmp_path / "data")
    used.prepare()
    used.lock.touch()
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(CommandError, match="Nothing was deleted"):
        call_command("reset", "--data-dir", str(used.data))
    assert used.data.exists()
    call_command("reset", "--yes", "--data-dir", str(used.data))
    assert not used.data.exists()


def test_the_project_itself_is_never_a_data_directory():
    assert paths.resolve(None).data != paths.PROJECT
