"""What people read: money, times, due words, status marks, small charts."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone, translation

from opsboard.core.templatetags import ui

NOW = datetime(2026, 11, 20, 11, 30, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _at_noon_in_berlin():
    with time_machine.travel(NOW, tick=False), timezone.override(ZoneInfo("Europe/Berlin")), translation.override("en"):
        yield


def draw(text: str, address: str = "/", **context: object) -> str:
    return Template("{% load ui %}" + text).render(Context(context | {"request": RequestFactory().get(address)}))


class TestMoney:
    @pytest.mark.parametrize(
        ("amount", "currency", "shown"),
        [
            (Decimal("84200"), "EUR", "€84,200.00"),
            (Decimal("-1940.5"), "USD", "−$1,940.50"),
            (Decimal("1200"), "JPY", "¥1,200"),
            (Decimal("0"), "EUR", "€0.00"),
            (Decimal("12.5"), "", "12.50"),
            (None, "EUR", "—"),
        ],
    )
    def test_in_english(self, amount, currency, shown):
        assert ui.money(amount, currency) == shown

    def test_in_german(self):
        with translation.override("de"):
            assert ui.money(Decimal("84200"), "EUR") == "84.200,00\xa0€"

    def test_large_amounts_keep_every_cent(self):
        assert ui.money(Decimal("1234567890123456.78"), "EUR") == "€1,234,567,890,123,456.78"

    def test_tiles_are_short(self):
        assert ui.money_short(Decimal("412800"), "EUR") == "€412.8K"
        assert ui.money_short(Decimal("9120.40"), "EUR") == "€9,120"
        assert ui.money_short(None, "EUR") == "—"

    def test_no_data_is_a_dash_and_never_zero(self):
        assert [ui.number(None), ui.pct(None), ui.duration(None), ui.age(None), ui.compact(None)] == ["—"] * 5

    def test_numbers(self):
        assert ui.number(1234567) == "1,234,567"
        assert ui.number(Decimal("9.60"), 2) == "9.6"
        assert ui.pct(Decimal("0.1254")) == "12.5\u202f%"
        assert [ui.compact(10_000), ui.compact(10_001)] == ["10,000", "10K+"]


class TestTime:
    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [(0.34, "340 ms"), (4.2, "4.2 s"), (59, "59 s"), (60, "1 m"), (3 * 3600 + 720, "3 h 12 m"), (7200, "2 h")],
    )
    def test_durations(self, seconds, shown):
        assert ui.duration(seconds) == shown

    def test_days(self):
        assert ui.duration(timedelta(days=2, hours=4, minutes=9)) == "2 d 4 h"
        assert ui.duration(timedelta(days=40, hours=4)) == "40 d"

    def test_relative_with_both_zones_in_the_title(self):
        html = draw("{% when at %}", at=NOW - timedelta(minutes=12))
        assert ">12 m ago<" in html
        assert 'datetime="2026-11-20T11:18:05Z"' in html
        assert 'title="20 Nov 2026, 12:18:05 CET · 2026-11-20 11:18:05 UTC"' in html
        assert "data-rel" in html

    def test_older_than_a_week_is_a_date(self):
        assert ">3 Nov<" in draw("{% when at %}", at=NOW - timedelta(days=17))
        assert ">3 Nov 2025<" in draw("{% when at %}", at=datetime(2025, 11, 3, 12, tzinfo=UTC))

    def test_summer_time_follows_the_moment_not_today(self):
        assert ">1 Jul 2026, 14:00 CEST<" in draw('{% when at "abs" %}', at=datetime(2026, 7, 1, 12, tzinfo=UTC))

    def test_a_plain_date(self):
        assert ">Fri 20 Nov 2026<" in draw('{% when at "day" %}', at=date(2026, 11, 20))

    def test_nothing(self):
        assert "—" in draw("{% when at %}{% due at %}", at=None)

    @pytest.mark.parametrize(
        ("left", "words", "css"),
        [
            (timedelta(hours=-50), "Overdue 2 d 2 h", "due late"),
            (timedelta(hours=2), "Due in 2 h", "due soon"),
            (timedelta(days=3), "Due in 3 d", "due"),
        ],
    )
    def test_due(self, left, words, css):
        html = draw("{% due at %}", at=NOW + left)
        assert words in html
        assert f'class="{css}"' in html
        assert ("<svg" in html) == (css != "due")


class TestStatus:
    def test_every_status_has_icon_and_word(self):
        for kind, table in ui.STATUSES.items():
            for value, shown in table.items():
                assert shown.word, (kind, value)
                assert "<svg" in ui.icon(shown.icon), (kind, value)
                assert shown.tone in {"bad", "warn", "good", "info", "mute", "none", "accent"}

    def test_an_unknown_status_keeps_its_word(self):
        assert "Half way" in ui.pill("state", "half_way")

    def test_words_are_escaped(self):
        assert "<b>" not in ui.pill("state", "<b>x</b>")
        assert "<b>" not in ui.avatar("<b>x</b>")

    @pytest.mark.parametrize(
        ("change", "direction", "css", "text"),
        [
            (3, "lower", "d-bad", "+3"),
            (-3, "lower", "d-good", "−3"),
            (3, "higher", "d-good", "+3"),
            (0, "lower", "d-good", "±0"),
        ],
    )
    def test_colour_follows_good_and_bad_not_up_and_down(self, change, direction, css, text):
        html = ui.delta(change, direction)
        assert css in html
        assert text in html


class TestAddresses:
    def test_a_new_filter_starts_at_the_first_page(self):
        html = draw('{% query team="pmo" %}', "/exceptions/?team=finance&q=acme&after=9")
        assert html == "?q=acme&amp;team=pmo"

    def test_taking_one_of_two_values_out(self):
        html = draw('{% without "category" "auth" %}', "/?category=auth&category=rate_limit")
        assert html == "?category=rate_limit"

    def test_sorting_turns_round_and_says_so(self):
        assert 'aria-sort="ascending"' in draw('{% sort_link "due" "Due" %}', "/?sort=due")
        assert "sort=-due" in draw('{% sort_link "due" "Due" %}', "/?sort=due")
        assert "aria-sort" not in draw('{% sort_link "due" "Due" %}', "/?sort=-money")


class TestSparkline:
    def test_line_target_and_label(self):
        html = ui.sparkline([1, None, 3, 2], "Blocked, 13 weeks", target=2)
        assert 'aria-label="Blocked, 13 weeks"' in html
        assert "sp-target" in html
        assert html.count("L") >= 2

    def test_no_line_from_one_value(self):
        assert ui.sparkline([None, 4], "x") == ""

    def test_a_flat_line_does_not_divide_by_zero(self):
        assert "sp-line" in ui.sparkline([0, 0, 0], "x")


def test_initials():
    assert [ui.initials("Mira Kovač"), ui.initials("finance"), ui.initials("a.lind@x.example")] == ["MK", "FI", "AL"]
