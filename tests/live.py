"""Real Tryton systems for tests marked `live`: made once per machine, fresh for every module that asks.

Put `pytestmark = pytest.mark.live` on a module that uses `live_systems` and call it test_live_* or test_tryton_*:
by that name all of them go to one worker, one after the other, so that two cores carry one set of systems.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

from opsboard.stack import live
from opsboard.stack.paths import PROJECT, Paths
from opsboard.stack.process import Crew, Part

Entries = dict[str, dict[str, Any]]


class TogetherByName(LoadGroupScheduling):
    """Hands all files of live systems to one worker. By name: xdist 3.8 cannot group by mark under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0].rpartition("/")[2]
        if name.startswith(("test_live_", "test_tryton_")):
            return "live"
        return str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherByName | None:
    """How `--dist loadgroup` spreads tests over the workers."""
    return TogetherByName(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="module")
def live_systems(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entries]:
    """The connections ("live-crm", "live-psa", "live-erp") as `up --live` writes them, on databases of their own.

    Each entry has one more under "administrator": the same connection as Tryton's administrator.
    """
    paths = Paths(tmp_path_factory.mktemp("live"))
    paths.prepare()
    crew = Crew(paths, lambda name, line: None)

    def spawn(
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = PROJECT,
        wait: bool = False,
    ) -> None:
        part = Part(name, argv, os.environ if env is None else env, cwd=cwd)
        crew.run(part) if wait else crew.start(part)

    server = os.environ["DATABASE_URL"]
    prefix = f"live_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{request.module.__name__.rpartition('.')[2]}"
    try:
        live.start(paths.data, spawn, server, prefix=prefix)
        entries: Entries = json.loads((paths.data / "connections.json").read_text())
        for entry in entries.values():  # for the hands of a person at the system; the product never sees it
            entry["administrator"] = live.administrator(paths.data, entry, prefix=prefix)
        yield entries
    finally:
        crew.stop_all()
        with psycopg.connect(live.database_uri(server, "postgres"), autocommit=True) as connection:
            for role in live.ROLES:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(f"{prefix}_{role}")))
