"""The flows. One file each, found by this folder: a module with a `FLOW` is a flow."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from integrations.flows.base import Collected, Flow, Message, Posted, Problem, Ref, Step, idempotency_key

__all__ = ["Collected", "Flow", "Message", "Posted", "Problem", "Ref", "Step", "flows", "idempotency_key"]


@cache
def flows() -> dict[str, Flow]:
    """All flows by key."""
    found: dict[str, Flow] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        flow = getattr(import_module(f"{__name__}.{module.name}"), "FLOW", None)
        if isinstance(flow, Flow):
            found[flow.key] = flow
    return found
