"""The connections: from `connections.json` (0600, in the data directory) to connectors in hand.

Credentials stay in that file: they are never in the database, in a log or on a page.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings

from integrations.connectors import connect
from integrations.connectors.ports import Connector
from integrations.errors import Misconfigured


def entries() -> dict[str, dict[str, Any]]:
    """Every configured connection by its system key; empty when nothing is connected."""
    path = Path(settings.OPSBOARD_CONNECTIONS)
    if not path.is_file():
        return {}
    return _read(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(Path(path).read_text())
    return found


@lru_cache(maxsize=32)
def _connector(key: str, config: str) -> Connector:
    return connect(json.loads(config), key)


def landscapes() -> list[str]:
    """The sets of systems that belong together: demo, live, production."""
    return sorted({str(entry["landscape"]) for entry in entries().values()})


def systems(landscape: str, roles: Iterable[str]) -> dict[str, Connector]:
    """Connectors of a landscape by role. Raises Misconfigured when a role is not connected."""
    found = {
        str(entry["role"]): _connector(key, json.dumps(entry, sort_keys=True))
        for key, entry in entries().items()
        if entry["landscape"] == landscape
    }
    missing = sorted(set(roles) - set(found))
    if missing:
        raise Misconfigured("opsboard", f"no connection for {', '.join(missing)} in landscape {landscape!r}")
    return found
