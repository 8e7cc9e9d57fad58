"""The KPIs: one file each in `catalog/`, found by that folder, and by being there on every board they name."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import import_module
from inspect import cleandoc
from typing import Literal

from psycopg.sql import Composed

from opsboard.accounts.roles import ROLES, TEAMS

Unit = Literal["money", "days", "seconds", "percent", "count"]
Good = Literal["up", "down"]
# How a figure comes from the contributions of its records. sum: added up. ratio: their share of the records, in
# percent. median, p95: the record at that rank (the lower one of two). max: the greatest.
Aggregate = Literal["sum", "ratio", "median", "p95", "max"]
Also = Literal["records", "value", "oldest", "age", "mean"]

ADDITIVE: frozenset[Aggregate] = frozenset({"sum", "ratio"})


@dataclass(frozen=True)
class Kpi:
    """One KPI as its file declares it. `records` gives the SQL of its records (records.py)."""

    key: str
    label: str
    audience: frozenset[str]
    unit: Unit
    good: Good
    owner: str
    aggregate: Aggregate
    order: int
    records: Callable[[], Composed]
    target: Decimal | None
    days: int
    flow: str
    also: tuple[Also, ...]
    part_label: str
    excluded: str

    @property
    def tooltip(self) -> str:
        """The meaning in one line."""
        return self._doc.partition("\n")[0]

    @property
    def definition(self) -> str:
        """Formula, grain and exclusions, in words."""
        return self._doc.partition("\n")[2].strip()

    @property
    def _doc(self) -> str:
        return cleandoc(self.records.__doc__ or "")


_found: dict[str, Kpi] = {}


def kpi(
    *,
    label: str,
    audience: set[str],
    unit: Unit,
    good: Good,
    owner: str,
    aggregate: Aggregate,
    order: int,
    target: Decimal | None = None,
    days: int = 30,
    flow: str = "",
    also: tuple[Also, ...] = (),
    part_label: str = "Legal entity",
    excluded: str = "no exchange rate",
) -> Callable[[Callable[[], Composed]], Callable[[], Composed]]:
    """Register a KPI; its key is the function's name, its definition the docstring (first line: tooltip).

    audience: codes of the roles whose home page shows it, by `order`, five at most. good: which direction is better.
    owner: accountable team. target: in `unit`, set by the firm; None: none agreed. days: length of the period, and
    the distance of the comparison. flow: the only flow it is about, if so. also: figures shown beside it.
    part_label: what `part` of its records is. excluded: why a record has no contribution.
    """

    def register(records: Callable[[], Composed]) -> Callable[[], Composed]:
        key = records.__name__
        unknown = audience - ROLES.keys()
        if unknown or owner not in TEAMS or key in _found or not (records.__doc__ or "").strip():
            raise ValueError(f"KPI {key}: unknown role or owner, a key used twice, or no definition")
        _found[key] = Kpi(
            key=key,
            label=label,
            audience=frozenset(audience),
            unit=unit,
            good=good,
            owner=owner,
            aggregate=aggregate,
            order=order,
            records=records,
            target=target,
            days=days,
            flow=flow,
            also=also,
            part_label=part_label,
            excluded=excluded,
        )
        return records

    return register


@cache
def kpis() -> dict[str, Kpi]:
    """Every KPI by key, in order."""
    folder = f"{__package__}.catalog"
    for module in pkgutil.iter_modules(import_module(folder).__path__):
        import_module(f"{folder}.{module.name}")
    return dict(sorted(_found.items(), key=lambda item: (item[1].order, item[0])))
