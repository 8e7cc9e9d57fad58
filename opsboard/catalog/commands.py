"""What can be done with the catalogue."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import structlog
from django.db.transaction import atomic, on_commit

from opsboard.catalog.models import Rate
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


def _check(currency: str, month: date, per_usd: Decimal, *, taken: bool) -> None:
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise Refused(f"“{currency}” is not a three-letter currency code.")
    if currency == DOLLAR and per_usd != 1:
        raise Refused("The dollar is what rates are measured in; its rate is 1.")
    if not per_usd.is_finite() or per_usd <= 0:
        raise Refused(f"The rate of {currency} for {month:%Y-%m} must be above zero.")
    if taken:
        raise Refused(f"{currency} is given twice for {month:%Y-%m}.")
