"""Money helpers: exact, and never across currencies."""

from decimal import Decimal

import pytest

from opsboard.core import money


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [("1.005", "EUR", "1.01"), ("-1.005", "EUR", "-1.01"), ("10.5", "JPY", "11"), ("1.00049", "KWD", "1.000")],
)
def test_an_amount_is_rounded_to_the_minor_unit_of_its_currency(amount, currency, expected):
    assert str(money.quantise(Decimal(amount), currency)) == expected


def test_sums_stay_apart_by_currency():
    amounts = [("USD", Decimal("0.10")), ("EUR", Decimal("5")), ("USD", Decimal("0.20")), ("EUR", None)]
    assert money.totals(amounts) == [("EUR", Decimal("5")), ("USD", Decimal("0.30"))]


def test_an_amount_reads_as_in_the_country_of_the_reader():
    assert money.text(Decimal("1234.5"), "EUR", "en") == "€1,234.50"
    assert money.text(Decimal("1234.5"), "EUR", "de") == "1.234,50\xa0€"
    assert money.text(Decimal("1234.5"), "") == "1,234.5"
    assert money.text(Decimal("84200.75"), "EUR", "en", cents=False) == "€84,201"
    assert money.text(Decimal("84200.75"), "EUR", "de", cents=False) == "84.201\xa0€"
