"""Money: exact decimals, each with its currency; amounts of different currencies are never added up."""

from collections import defaultdict
from collections.abc import Iterable
from copy import copy
from decimal import ROUND_HALF_UP, Decimal

from babel import Locale
from babel.numbers import format_currency, get_currency_precision

STORED_DIGITS = 2  # what the amount columns keep, whatever the currency


def quantise(amount: Decimal, currency: str) -> Decimal:
    """The amount in whole minor units of its currency (ISO 4217: none for JPY, three for KWD).

    Halves go away from zero.
    """
    return amount.quantize(Decimal(1).scaleb(-get_currency_precision(currency)), ROUND_HALF_UP)


def stored(amount: Decimal) -> Decimal:
    """The amount as the database keeps it: two decimals, halves away from zero, like PostgreSQL's round()."""
    return amount.quantize(Decimal(1).scaleb(-STORED_DIGITS), ROUND_HALF_UP)


def totals(amounts: Iterable[tuple[str, Decimal | None]]) -> list[tuple[str, Decimal]]:
    """Sum per currency of (currency, amount) pairs, by currency code; pairs without an amount add nothing."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for currency, amount in amounts:
        if amount is not None:
            sums[currency] += amount
    return sorted(sums.items())


def text(amount: Decimal, currency: str, locale: str = "en", *, cents: bool = True) -> str:
    """The amount as people of the locale write it, with its currency: `€1,234.50`; without one, just the number.

    cents: False rounds to whole units, for places where the exact amount is one click away.
    """
    if not currency:
        return f"{amount:,f}"
    if cents:
        return format_currency(amount, currency, locale=locale)
    pattern = copy(Locale.parse(locale).currency_formats["standard"])
    pattern.frac_prec = (0, 0)
    return pattern.apply(amount, locale, currency=currency, currency_digits=False)
