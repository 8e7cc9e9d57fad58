"""What holds for every KPI, also for one that is added tomorrow: found through the registry."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from statistics import median_low
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from opsboard.accounts.models import ALL_ENTITIES
from opsboard.accounts.roles import ROLES, TEAMS
from opsboard.kpis import queries
from opsboard.kpis.commands import snapshot
from opsboard.kpis.figures import Row
from opsboard.kpis.queries import Filters, Person
from opsboard.kpis.registry import Kpi, kpis
from tests.kpis.firm import (
    BILLING,
    NOW,
    PROJECTS,
    STATUS,
    UNFINISHED,
    Replay,
    ago,
    case,
    dollars_at,
    replays,
    transaction,
)
from tests.personas import make_person

EVERY = pytest.mark.parametrize("kpi", kpis().values(), ids=kpis().keys())
EXACT = Decimal("0.000001")


def records(person: Person, key: str, filters: Filters | None = None, limit: int = 3) -> list[Row]:
    """All records behind a figure, page by page."""
    found: list[Row] = []
    after = ""
    while True:
        page = queries.rows(person, key, filters, limit=limit, after=after)
        found += page.rows
        after = page.next
        if not after:
            return found


def only(by: str, key: str) -> Filters:
    """The filter that a slice of a breakdown leads to."""
    chosen = {"part": Filters(part=key), "flow": Filters(flow=key), "entity": Filters(entity=key)}
    return chosen[by]


def added_up(kpi: Kpi, contributions: list[Decimal]) -> Decimal | None:
    """The figure from its records, worked out here and not in the database."""
    if kpi.aggregate == "sum":
        return sum(contributions, Decimal(0))
    if not contributions:
        return None
    if kpi.aggregate == "ratio":
        return (100 * sum(contributions, Decimal(0)) / len(contributions)).quantize(EXACT)
    if kpi.aggregate == "median":
        return median_low(contributions)
    if kpi.aggregate == "p95":
        return sorted(contributions)[-(-len(contributions) * 95 // 100) - 1]
    return max(contributions)


@EVERY
def test_a_kpi_says_what_it_is_for_whom_and_who_answers_for_it(kpi):
    assert kpi.label
    assert kpi.tooltip.endswith(".")
    assert len(kpi.tooltip) < 110
    assert "Grain:" in kpi.definition
    assert kpi.audience
    assert kpi.audience <= ROLES.keys()
    assert kpi.owner in TEAMS
    assert kpi.unit in ("money", "days", "seconds", "percent", "count")
    assert kpi.good in ("up", "down")
    assert kpi.part_label
    assert kpi.target is None or kpi.target >= 0


def test_every_role_that_may_see_figures_has_a_board_of_at_most_five():
    for role in ROLES.values():
        if "kpis.view" in role.permissions:
            assert 1 <= len(queries.audience(role.code)) <= 5


@EVERY
def test_without_data_a_figure_is_missing_not_zero_and_nothing_fails(kpi, executive):
    found = queries.figure(executive, kpi.key)
    assert (found.value, found.text, found.status, found.word) == (None, "—", "unknown", "No data")
    assert found.series == [None] * 31
    assert [value for _, value in found.trend] == [None] * (13 * 7 + 1)
    assert (found.delta, found.better, found.count, found.excluded) == (None, None, 0, 0)
    assert queries.rows(executive, kpi.key).rows == []
    assert queries.breakdown(executive, kpi.key) == []
    assert queries.chart(executive, kpi.key).sentence == "There is nothing to show yet."


@pytest.fixture
def busy(db) -> Iterator[None]:
    """Eighteen of everything, in two legal entities and in two currencies, one of them without a rate."""
    with time_machine.travel(NOW, tick=False):
        dollars_at("0.9")
        for number in range(18):
            place: dict[str, Any] = {
                "entity": ("DE01", "US01")[number % 2],
                "currency": ("EUR", "USD", "CHF")[number % 3],
            }
            for flow in (BILLING, PROJECTS, STATUS):
                transaction(flow, status="succeeded", began=ago(number), ended=ago(number / 2), **place)
                stuck = transaction(flow, status="failed", began=ago(number + 1), **place)
                case(stuck)
                released = transaction(flow, status="succeeded", began=ago(number + 1), ended=ago(number / 2), **place)
                case(released, resolved_at=ago(number / 2), resolution="replayed")
                replays(released, Replay(ago(number / 2 + 0.1), "succeeded", ago(number / 2)))
        snapshot()
        yield


def test_a_figure_asks_at_most_three_questions_however_many_the_records(busy, owner, platform, executive):
    for key in kpis():
        for person in (owner, platform, executive):
            for ask in (queries.figure, queries.rows, queries.breakdown, queries.chart):
                with CaptureQueriesContext(connection) as asked:
                    ask(person, key, Filters())
                assert len(asked) <= 3, f"{ask.__name__} of {key}"


def test_a_board_asks_at_most_twelve_questions(busy):
    for role in ROLES:
        for entities in ([ALL_ENTITIES], ["DE01"], ["DE01", "US01"]):
            person = make_person(role, f"{role} {len(entities)}{entities[0][0]}", entities)
            with CaptureQueriesContext(connection) as asked:
                tiles = queries.board(person)
            assert len(asked) <= 12
            assert [tile.key for tile in tiles] == [kpi.key for kpi in queries.audience(role)]
            assert all(tile.value is not None for tile in tiles)


def test_a_colleague_of_another_entity_sees_only_their_own(busy, owner, colleague, executive):
    for key in kpis():
        own, other = records(owner, key, limit=100), records(colleague, key, limit=100)
        assert {row.entity for row in own} == {"DE01"}, key
        assert {row.entity for row in other} == {"US01"}, key
        everything = records(executive, key, limit=500)
        assert sorted(row.id for row in own + other) == sorted(row.id for row in everything), key
        assert queries.figure(owner, key).count == len(own), key
        # Asking for what is not theirs gives nothing, not an error that tells it exists.
        assert queries.rows(owner, key, Filters(entity="US01")).rows == [], key
        assert queries.figure(owner, key, Filters(entity="US01")).count == 0, key
        assert queries.breakdown(owner, key, Filters(entity="US01")) == [], key
        assert [part.key for part in queries.breakdown(owner, key, Filters(by="entity"))] == ["DE01"], key


def test_a_person_without_entities_or_without_account_sees_nothing(busy):
    for person in (make_person("finance", "No Body", []), AnonymousUser()):
        for key in kpis():
            assert queries.rows(person, key).rows == [], key
            assert queries.figure(person, key).value is None, key
            assert all(value is None for value in queries.figure(person, key).series), key


def test_pages_of_records_give_each_record_once(busy, executive):
    for key in kpis():
        at_once = [row.id for row in records(executive, key, limit=500)]
        assert [row.id for row in records(executive, key, limit=7)] == at_once, key
        assert len(set(at_once)) == len(at_once) > 14, key


AMOUNTS = st.none() | st.decimals("-9999", "9999999", places=2)


@st.composite
def lives(draw: Any) -> dict[str, Any]:
    """The life of one transaction, with its exception and replays."""
    began = draw(st.integers(0, 80 * 86400))
    lasted = draw(st.integers(0, began))
    return {
        "flow": draw(st.sampled_from([BILLING, PROJECTS, STATUS, "of-a-partner"])),
        "entity": draw(st.sampled_from(["DE01", "US01", ""])),
        "status": draw(st.sampled_from([*UNFINISHED, "succeeded", "superseded", "closed"])),
        "amount": draw(AMOUNTS),
        "currency": draw(st.sampled_from(["EUR", "USD", "CHF", ""])),
        "began": NOW - timedelta(seconds=began),
        "ended": NOW - timedelta(seconds=began - lasted),
        "case": draw(st.sampled_from([None, "open", "snoozed", "replayed", "written_off"])),
        "team": draw(st.sampled_from(sorted(TEAMS))),
        "base": draw(st.decimals("0", "999999", places=2)),
        "due": timedelta(days=draw(st.integers(0, 90))),
        "replays": draw(st.lists(st.sampled_from([None, "succeeded", "failed"]), max_size=3)),
    }


def live(life: dict[str, Any]) -> None:
    """Put one life into the database."""
    names = ("flow", "entity", "status", "amount", "currency", "began", "ended")
    row = transaction(**{name: life[name] for name in names})
    kind = life["case"]
    if kind:
        resolved = life["ended"] if kind in ("replayed", "written_off") else None
        case(
            row,
            team=life["team"],
            amount_base=life["base"],
            due_at=life["began"] + life["due"],
            changed_at=NOW,
            resolved_at=resolved,
            resolution=kind if resolved else "",
            **({"state": "snoozed", "snoozed_until": NOW} if kind == "snoozed" else {}),
        )
        replays(row, *(Replay(life["ended"], outcome, NOW) for outcome in life["replays"]))


class EveryFigureAddsUp(TestCase):
    """Hypothesis: whatever happened in a firm, each figure is its records put together, exactly, for each person."""

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(
        firm=st.lists(lives(), min_size=1, max_size=12),
        role=st.sampled_from(["finance", "platform"]),
        entities=st.sampled_from([[ALL_ENTITIES], ["DE01"]]),
    )
    def test_whatever_happened(self, firm, role, entities):
        with time_machine.travel(NOW, tick=False):
            dollars_at("0.87654321")
            for life in firm:
                live(life)
            person = make_person(role, f"{role} of the firm", entities)
            for kpi in kpis().values():
                self.adds_up(person, kpi)

    def adds_up(self, person: Person, kpi: Kpi) -> None:
        found = queries.figure(person, kpi.key)
        behind = records(person, kpi.key, limit=5)
        contributions = [row.contribution for row in behind if row.contribution is not None]
        expected = added_up(kpi, contributions)
        assert (found.count, found.excluded) == (len(behind), len(behind) - len(contributions))
        if found.value is None:
            assert not contributions
        else:
            assert found.value == expected, kpi.key
        seen = queries.scope(person, Filters())
        assert seen is None or {row.entity for row in behind} <= set(seen)
        for by in queries.DIMENSIONS:
            slices = queries.breakdown(person, kpi.key, Filters(by=by))
            assert sum(part.count for part in slices) == found.count
            assert sum(part.excluded for part in slices) == found.excluded
            if kpi.aggregate == "sum" and slices:
                assert sum((part.value or 0 for part in slices), Decimal(0)) == expected
            for part in slices:
                narrowed = queries.rows(person, kpi.key, only(by, part.key))
                assert len(narrowed.rows) == part.count, f"{kpi.key} by {by}: {part.key}"
