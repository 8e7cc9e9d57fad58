"""What can be done with the catalogue."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import structlog
from django.db.transaction import atomic, on_commit

from integrations.flows import flows
from opsboard.catalog import connections
from opsboard.catalog.models import Flow, LegalEntity, Rate, System
from opsboard.catalog.queries import DOLLAR, forget_rates
from opsboard.core.errors import Refused

log = structlog.get_logger(__name__)


@atomic
def set_rates(*, rates: Iterable[tuple[str, date, Decimal]], by: str) -> int:
    """Set units of currency per US dollar for (currency, any day of the month); a rate that is there is replaced.

    Returns how many were set. Raises Refused for a currency that is no three-letter code, a dollar that is not
    worth one dollar, a rate that is not above zero, or the same currency and month twice.
    """
    rows: dict[tuple[str, date], Rate] = {}
    for currency, day, per_usd in rates:
        month = day.replace(day=1)
        _check(currency, month, per_usd, taken=(currency, month) in rows)
        rows[currency, month] = Rate(currency=currency, month=month, per_usd=per_usd)
    Rate.objects.bulk_create(
        [rows[key] for key in sorted(rows)],
        update_conflicts=True,
        unique_fields=["currency", "month"],
        update_fields=["per_usd"],
    )
    forget_rates()
    on_commit(forget_rates)  # again: somebody may have read the old ones meanwhile
    log.info("rates_set", count=len(rows), by=by)
    return len(rows)


@atomic
def register_connections(*, by: str) -> int:
    """Enter what is connected into the catalogue: systems, their legal entities, the built-in flows.

    Systems and flows are brought up to date; a legal entity that is known stays as it is. Returns how many systems.
    """
    entries = connections.entries()
    for key, entry in entries.items():
        described = {"label": entry["label"], "role": entry["role"], "vendor": entry.get("vendor", "")}
        simulated = entry["connector"] == "sandbox"
        System.objects.update_or_create(key=key, defaults={**described, "simulated": simulated})
        for entity in entry.get("legal_entities", ()):
            named = {"name": entity["name"], "currency": entity["currency"]}
            LegalEntity.objects.get_or_create(code=entity["code"], defaults=named)
    for flow in flows().values():
        shown = ("label", "owner", "criticality", "pattern", "latency_objective")
        values = {name: getattr(flow, name) for name in shown}
        Flow.objects.update_or_create(key=flow.key, defaults={**values, "builtin": True})
    log.info("connections_registered", systems=sorted(entries), by=by)
    return len(entries)


def _check(currency: str, month: date, per_usd: Decimal, *, taken: bool) -> None:
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise Refused(f"“{currency}” is not a three-letter currency code.")
    if currency == DOLLAR and per_usd != 1:
        raise Refused("The dollar is what rates are measured in; its rate is 1.")
    if not per_usd.is_finite() or per_usd <= 0:
        raise Refused(f"The rate of {currency} for {month:%Y-%m} must be above zero.")
    if taken:
        raise Refused(f"{currency} is given twice for {month:%Y-%m}.")
