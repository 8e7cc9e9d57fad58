"""Exchange rates of the demo: units per US dollar by month, rounded to four places.

From the public-domain (PDDL) monthly series of the Federal Reserve's H.10 rates. The series ends in June 2026; later
months have no row, so the last known rate goes on flat, as catalog.queries takes the last rate at or before a month.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

FIRST = date(2025, 1, 1)
PER_USD = {
    "EUR": "0.9656 0.9603 0.9248 0.8903 0.8870 0.8670 0.8568 0.8586 0.8519 0.8590 0.8652 0.8540"
    " 0.8515 0.8457 0.8653 0.8549 0.8561 0.8684",
    "CHF": "0.9096 0.9034 0.8836 0.8337 0.8299 0.8132 0.7989 0.8058 0.7961 0.7975 0.8037 0.7969"
    " 0.7894 0.7729 0.7873 0.7876 0.7834 0.7993",
    "GBP": "0.8095 0.7973 0.7744 0.7608 0.7486 0.7365 0.7413 0.7432 0.7404 0.7487 0.7611 0.7470"
    " 0.7388 0.7364 0.7497 0.7433 0.7409 0.7497",
}


def rows() -> Iterator[tuple[str, date, Decimal]]:
    """(currency, first of the month, units per dollar)."""
    for currency, series in PER_USD.items():
        for position, value in enumerate(series.split()):
            year, month = divmod(FIRST.month - 1 + position, 12)
            yield currency, date(FIRST.year + year, month + 1, 1), Decimal(value)


def between(base: str, currency: str) -> Decimal:
    """One unit of `currency` in `base`, at the last known rate: what the sandbox ERP posts with."""
    latest = {name: Decimal(series.split()[-1]) for name, series in PER_USD.items()} | {"USD": Decimal(1)}
    return (latest[base] / latest[currency]).quantize(Decimal("0.0001"))
