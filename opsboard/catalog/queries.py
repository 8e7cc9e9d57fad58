"""What is connected, and what an amount is worth in the reporting currency.

Rates are units per US dollar and month. A conversion goes through the dollar at the last rate of each currency at or
before the month of the moment, and rounds to cents, halves away from zero. `to_base` (Python) and `convert_sql` (for
sets) give the same; where a rate is missing both give nothing rather than zero, so that the record can be counted as
excluded.
"""

from bisect import bisect_right
from datetime import date, datetime
from decimal import Decimal, localcontext
from time import monotonic
from typing import LiteralString

from django.conf import settings
from psycopg.sql import SQL, Composed, Literal

from opsboard.catalog.models import Flow, LegalEntity, Rate, System
from opsboard.core.clock import UTC
from opsboard.core.money import stored

DOLLAR = "USD"
CACHE_SECONDS = 60.0  # a new rate is known in every process after this long, in the writing one at once

Table = dict[str, tuple[list[date], list[Decimal]]]
_cache: list[tuple[float, Table]] = []


def to_base(amount: Decimal | None, currency: str, on: date | datetime) -> Decimal | None:
    """The amount in the reporting currency at the rate of the month of `on` (UTC), in cents.

    None when there is no amount or no rate at or before that month: not worth zero, but worth we do not know what.
    """
    target = settings.OPSBOARD_REPORTING_CURRENCY
    if amount is None or not currency:
        return None
    if currency == target:
        return stored(amount)
    month = _month(on)
    source_rate, target_rate = _rate(currency, month), _rate(target, month)
    if source_rate is None or target_rate is None:
        return None
    with localcontext() as context:
        context.prec = 60
        return stored(amount * target_rate / source_rate)


def convert_sql(amount: LiteralString, currency: LiteralString, moment: LiteralString) -> Composed:
    """SQL expression for `amount` (a column or expression) in the reporting currency; NULL where `to_base` is None.

    `moment` is a timestamptz expression. Costs up to two index look-ups per row that is not in the reporting currency.
    """
    target = settings.OPSBOARD_REPORTING_CURRENCY
    source_rate = _rate_sql(SQL(currency), SQL(moment))
    target_rate = _rate_sql(Literal(target), SQL(moment))
    # The scale of the first factor makes the division exact far beyond the cent, so that it rounds as Python does.
    return SQL(
        "(CASE WHEN {currency} = {target} THEN round({amount}, 2)"
        " WHEN {currency} <> '' THEN round({amount}::numeric(48, 24) * {target_rate} / {source_rate}, 2) END)"
    ).format(
        amount=SQL(amount),
        currency=SQL(currency),
        target=Literal(target),
        source_rate=source_rate,
        target_rate=target_rate,
    )


def legal_entities() -> list[LegalEntity]:
    """All legal entities, by name."""
    return list(LegalEntity.objects.order_by("name"))


def systems() -> list[System]:
    """All connected systems, by label."""
    return list(System.objects.order_by("label"))


def flow_labels() -> dict[str, str]:
    """What people call each flow, by key."""
    return dict(Flow.objects.values_list("key", "label"))


def forget_rates() -> None:
    """Empty this process's table of rates, so that a new one counts here at once."""
    _cache.clear()


def _rate_sql(currency: SQL | Literal, moment: SQL) -> Composed:
    """The last rate of the currency at or before the month of the moment; the dollar is worth one dollar."""
    return SQL(
        "(CASE WHEN {currency} = {dollar} THEN 1 ELSE"
        " (SELECT rate.per_usd FROM catalog_rate rate WHERE rate.currency = {currency}"
        " AND rate.month <= ({moment} AT TIME ZONE 'UTC')::date ORDER BY rate.month DESC LIMIT 1) END)"
    ).format(currency=currency, dollar=Literal(DOLLAR), moment=moment)


def _month(on: date | datetime) -> date:
    day = on.astimezone(UTC).date() if isinstance(on, datetime) else on
    return day.replace(day=1)


def _rate(currency: str, month: date) -> Decimal | None:
    if currency == DOLLAR:
        return Decimal(1)
    months, rates = _rates().get(currency, ([], []))
    position = bisect_right(months, month)
    return rates[position - 1] if position else None


def _rates() -> Table:
    """Every rate, from memory or read anew: some thousand rows at most."""
    if _cache and _cache[0][0] > monotonic():
        return _cache[0][1]
    table: Table = {}
    for currency, month, per_usd in Rate.objects.order_by("currency", "month").values_list(
        "currency", "month", "per_usd"
    ):
        months, rates = table.setdefault(currency, ([], []))
        months.append(month)
        rates.append(per_usd)
    _cache[:] = [(monotonic() + CACHE_SECONDS, table)]
    return table
