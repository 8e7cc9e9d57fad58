"""What an amount is worth in the reporting currency: the same in Python and in SQL, and never silently zero."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Max
from django.db.transaction import atomic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from psycopg.sql import SQL

from opsboard.catalog.commands import set_rates
from opsboard.catalog.models import Rate
from opsboard.catalog.queries import convert_sql, to_base
from opsboard.core.errors import Refused

SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)


def in_sql(amount: Decimal | None, currency: str, moment: datetime) -> Decimal | None:
    """The conversion as the database does it."""
    query = SQL("SELECT {converted} FROM (SELECT %s::numeric AS a, %s AS c, %s::timestamptz AS m) x").format(
        converted=convert_sql("x.a", "x.c", "x.m")
    )
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(None), [amount, currency, moment])
        row = cursor.fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def rates(db) -> None:
    """Euro and pound in September, the euro alone in October."""
    set_rates(
        rates=[
            ("EUR", SEPTEMBER, Decimal("0.90")),
            ("GBP", SEPTEMBER, Decimal("0.75")),
            ("EUR", OCTOBER, Decimal("0.80")),
        ],
        by="test",
    )


@pytest.mark.parametrize(
    ("amount", "currency", "moment", "worth"),
    [
        ("100.00", "EUR", datetime(2020, 1, 1, tzinfo=UTC), "100.00"),  # the reporting currency needs no rate
        ("100.00", "USD", datetime(2026, 9, 30, 23, 59, tzinfo=UTC), "90.00"),
        ("100.00", "USD", datetime(2026, 10, 1, tzinfo=UTC), "80.00"),
        ("75.00", "GBP", datetime(2026, 9, 15, tzinfo=UTC), "90.00"),  # through the dollar
        ("75.00", "GBP", datetime(2026, 12, 1, tzinfo=UTC), "80.00"),  # last rate known of each
        ("-0.05", "GBP", datetime(2026, 9, 15, tzinfo=UTC), "-0.06"),
        ("100.00", "USD", datetime(2026, 8, 31, tzinfo=UTC), None),  # no rate yet
        ("100.00", "CHF", datetime(2026, 10, 1, tzinfo=UTC), None),  # never a rate
        ("100.00", "", datetime(2026, 10, 1, tzinfo=UTC), None),
        (None, "EUR", datetime(2026, 10, 1, tzinfo=UTC), None),
    ],
)
def test_an_amount_is_converted_at_the_rate_of_its_month(rates, amount, currency, moment, worth):
    given_amount = None if amount is None else Decimal(amount)
    expected = None if worth is None else Decimal(worth)
    assert to_base(given_amount, currency, moment) == expected
    assert in_sql(given_amount, currency, moment) == expected


def test_the_month_is_that_of_utc_wherever_the_moment_was_written(rates):
    evening_in_new_york = datetime.fromisoformat("2026-09-30T21:00:00-04:00")
    assert to_base(Decimal(100), "USD", evening_in_new_york) == Decimal("80.00")
    assert in_sql(Decimal(100), "USD", evening_in_new_york) == Decimal("80.00")


class PythonAndSqlAgree(TestCase):
    """Hypothesis: whatever the amount and the rates."""

    @given(
        amount=st.decimals("-9999999999999", "9999999999999", places=2),
        source=st.decimals("0.00000001", "9999999", places=8),
        target=st.decimals("0.00000001", "9999999", places=8),
    )
    def test_for_any_amount_and_rates(self, amount, source, target):
        set_rates(rates=[("AAA", OCTOBER, source), ("EUR", OCTOBER, target)], by="test")
        moment = datetime(2026, 10, 20, tzinfo=UTC)
        assert to_base(amount, "AAA", moment) == in_sql(amount, "AAA", moment)


@pytest.mark.django_db
def test_a_new_rate_replaces_the_old_one_and_counts_at_once():
    set_rates(rates=[("EUR", date(2026, 9, 14), Decimal("0.90"))], by="test")
    assert to_base(Decimal(10), "USD", SEPTEMBER) == Decimal("9.00")
    set_rates(rates=[("EUR", SEPTEMBER, Decimal("0.95"))], by="test")
    assert to_base(Decimal(10), "USD", SEPTEMBER) == Decimal("9.50")
    assert list(Rate.objects.values_list("currency", "month", "per_usd")) == [("EUR", SEPTEMBER, Decimal("0.95"))]


def test_a_set_of_conversions_asks_for_the_rates_once(rates, django_assert_num_queries):
    with django_assert_num_queries(1):
        for number in range(50):
            to_base(Decimal(number), "GBP", OCTOBER)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rates", "reason"),
    [
        ([("EURO", SEPTEMBER, Decimal(1))], "three-letter"),
        ([("eur", SEPTEMBER, Decimal(1))], "three-letter"),
        ([("USD", SEPTEMBER, Decimal(2))], "its rate is 1"),
        ([("EUR", SEPTEMBER, Decimal(0))], "above zero"),
        ([("EUR", SEPTEMBER, Decimal("NaN"))], "above zero"),
        ([("EUR", SEPTEMBER, Decimal(1)), ("EUR", date(2026, 9, 9), Decimal(2))], "twice"),
    ],
)
def test_a_wrong_rate_is_refused_and_nothing_is_kept(rates, reason):
    with pytest.raises(Refused, match=reason), atomic():
        set_rates(rates=[("CHF", SEPTEMBER, Decimal("0.9")), *rates], by="test")
    assert Rate.objects.aggregate(last=Max("month"))["last"] is None
