"""Home of each role, figures with the records behind them, and the thread from any id."""

import re
from decimal import Decimal

import pytest
from django.urls import reverse

from opsboard import pipeline
from opsboard.accounts.models import ALL_ENTITIES
from opsboard.accounts.roles import ROLES
from opsboard.core.clock import now
from opsboard.kpis.queries import catalogue
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Membership
from tests.personas import OTHER_ENTITY, OWN_ENTITY, make_person

pytestmark = pytest.mark.django_db


def text(answer) -> str:
    return answer.content.decode()


def tells(
    id_: str, kind: str, *objects: Named, entity: str = OWN_ENTITY, flow: str = "time-to-billing", **said
) -> None:
    """An event of the middleware."""
    moment = now()
    entry = Entry(
        source="urn:middleware", id=id_, type="step", kind=kind, flow=flow, objects=objects, entity=entity,
        system=objects[0].system, amount=Decimal("1200.00"), currency="EUR",
        occurred_at=moment, received_at=moment, **said,
    )  # fmt: skip
    pipeline.accept([entry])


@pytest.fixture
def engagement() -> None:
    """An opportunity became a project; its first invoice was posted, its second refused."""
    project = Named("psa", "project", "P-7", "", "Atlas rollout")
    tells("1", "acknowledged", Named("crm", "opportunity", "OPP-7"), project, flow="opportunity-to-project")
    tells("2", "acknowledged", Named("erp", "invoice", "INV-1"), project)
    error = {"system": "netsuite", "code": "period", "message": "The posting period is closed."}
    tells("3", "rejected", Named("erp", "invoice", "INV-2"), project, error=error)
    pipeline.correlate()


@pytest.mark.parametrize("code", [*ROLES, ""])
def test_every_role_has_a_home_with_at_most_five_figures(code, signed_in, engagement):
    answer = signed_in(make_person(code, f"Some {code or 'one'}", [ALL_ENTITIES])).get("/")
    assert answer.status_code == 200
    assert text(answer).count('class="card kpi') <= 5
    assert text(answer).count("<h1>") == 1


def test_navigation_holds_only_what_one_may_open(signed_in, owner, platform):
    assert reverse("quarantine") not in text(signed_in(owner).get("/"))
    assert reverse("quarantine") in text(signed_in(platform).get("/"))


def test_the_worklist_of_home_is_that_of_the_team(signed_in, owner, engagement):
    assert "INV-2" in text(signed_in(owner).get("/"))


def test_those_who_only_read_figures_get_no_worklist(signed_in, executive, engagement):
    shown = text(signed_in(executive).get("/"))
    assert "Due first" not in shown
    assert "Scorecard" in shown


@pytest.mark.parametrize("kpi", catalogue(), ids=lambda kpi: kpi.key)
def test_a_figure_has_its_definition_its_table_and_its_records(kpi, signed_in, finance_lead, engagement):
    shown = text(signed_in(finance_lead).get(reverse("kpi", args=[kpi.key])))
    assert "Records behind this number" in shown
    assert "View as table" in shown
    assert kpi.definition.split()[0] in shown
    figures = re.findall(r'data-figure="([\w-]+)"', shown)
    assert figures
    assert all(f'<script id="{figure}" type="application/json">' in shown for figure in figures)


def test_there_is_no_figure_of_that_name(signed_in, owner):
    assert signed_in(owner).get("/kpis/happiness/").status_code == 404


class TestThreads:
    @pytest.mark.parametrize("ref", ["OPP-7", "P-7", "INV-1", "inv-2"])
    def test_any_id_of_any_system_leads_there_in_one_step(self, ref, signed_in, owner, engagement):
        thread = Membership.objects.values_list("thread_id", flat=True).distinct().get()
        answer = signed_in(owner).get(f"/threads/?q={ref}")
        assert answer["Location"] == reverse("thread", args=[thread])

    def test_the_number_of_an_exception_leads_to_the_exception(self, signed_in, owner, engagement):
        (number,) = re.findall(r"EXC-(\d+)", text(signed_in(owner).get("/exceptions/?tab=open")))[:1]
        assert signed_in(owner).get(f"/threads/?q=exc-{number}")["Location"] == reverse("exception", args=[number])

    def test_the_thread_tells_money_messages_and_the_exception(self, signed_in, owner, engagement):
        shown = text(signed_in(owner).get("/threads/?q=P-7", follow=True))
        assert "Atlas rollout" in shown
        assert "€1,200.00" in shown
        assert "INV-2" in shown
        assert re.search(r"EXC-\d+", shown)

    @pytest.mark.parametrize("show", ["messages", "errors", "people", "all"])
    def test_each_view_of_the_story(self, show, signed_in, owner, engagement):
        address = signed_in(owner).get("/threads/?q=P-7")["Location"]
        answer = signed_in(owner).get(f"{address}?show={show}", headers={"HX-Request": "true", "HX-Target": "story"})
        assert answer.status_code == 200
        assert "<html" not in text(answer)

    def test_the_events_of_one_message_come_when_it_is_opened(self, signed_in, owner, engagement):
        browser = signed_in(owner)
        address = browser.get("/threads/?q=P-7")["Location"]
        target = re.findall(r'id="(trail-[\w-]+)"', text(browser.get(address)))[0]
        opened = browser.get(address, headers={"HX-Request": "true", "HX-Target": target})
        assert "refused it" in text(opened)
        for wrong in ("trail-7", f"trail-{Membership.objects.values_list('object_id', flat=True)[0]}"):
            assert browser.get(address, headers={"HX-Request": "true", "HX-Target": wrong}).status_code == 404

    def test_another_legal_entity_does_not_exist(self, signed_in, owner, colleague, engagement):
        address = signed_in(owner).get("/threads/?q=P-7")["Location"]
        assert signed_in(colleague).get(address).status_code == 404
        assert "Nothing has this id" in text(signed_in(colleague).get("/threads/?q=P-7"))

    def test_who_may_not_see_payloads_sees_the_story_without_them(self, signed_in, executive, engagement):
        address = signed_in(executive).get("/threads/?q=P-7")["Location"]
        assert "posting period is closed" not in text(signed_in(executive).get(f"{address}?show=all"))


def test_the_theme_is_rendered_by_the_server_and_leads_back(signed_in, owner):
    browser = signed_in(owner)
    answer = browser.post("/theme/", {"theme": "dark", "next": "/kpis/"})
    assert answer["Location"] == "/kpis/"
    assert 'data-theme="dark"' in text(browser.get("/"))
    assert browser.post("/theme/", {"theme": "neon", "next": "https://elsewhere.example/"})["Location"] == "/"
    owner.refresh_from_db()
    assert owner.theme == "dark"


def test_the_environment_is_named_on_every_page(signed_in, owner, settings):
    settings.OPSBOARD_ENVIRONMENT = "Simulated systems"
    for address in ("/", "/exceptions/", "/kpis/", "/threads/"):
        assert text(signed_in(owner).get(address)).count("Simulated systems") == 2, "in the head and in the title"


def test_entities_outside_the_scope_add_nothing_to_a_figure(signed_in, owner, engagement):
    tells("9", "rejected", Named("erp", "invoice", "INV-9"), entity=OTHER_ENTITY)
    assert "INV-9" not in text(signed_in(owner).get(reverse("kpi", args=["open_exceptions"])))
