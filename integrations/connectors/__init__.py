"""Connections to systems. One file per kind of system; nothing else knows a vendor.

A connection is an entry of `connections.json`: {"connector": "tryton", "role": "erp", "landscape": "live",
"label": "Tryton ERP", ...what the connector needs}; its key is the system's key everywhere ("live-erp").
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from integrations.connectors.ports import Connector
from integrations.errors import Misconfigured

ROLES = ("crm", "psa", "erp")


def connect(config: Mapping[str, Any], system: str = "") -> Connector:
    """The connector for one entry of `connections.json`; nothing is sent before it is used.

    `system` is the entry's key; without it the entry's own "system" is taken.
    Raises Misconfigured when the entry names no connector, an unknown one, or lacks what the connector needs.
    """
    key = system or str(config.get("system", ""))
    name = str(config.get("connector", ""))
    if config.get("role") not in ROLES:
        raise Misconfigured(key, f"a connection needs a role out of {', '.join(ROLES)}")
    if not name.isidentifier():
        raise Misconfigured(key, "the connection names no connector")
    try:
        module = import_module(f"integrations.connectors.{name}")
    except ModuleNotFoundError as error:
        raise Misconfigured(key, f"there is no connector {name!r}") from error
    try:
        connector: Connector = module.connect(key, config)
    except KeyError as error:
        raise Misconfigured(key, f"the connection lacks {error.args[0]!r}") from error
    return connector
