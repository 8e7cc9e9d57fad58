"""From any id of any system to the whole engagement, in one step, and to nothing else."""

import uuid

import pytest

from opsboard.log import commands, queries
from opsboard.log.entry import Named
from opsboard.log.models import Transaction
from tests.log.test_append import CUSTOMER, INVOICE, OPPORTUNITY, PAYMENT, PROJECT, TIME, engagement, entry
from tests.personas import OTHER_ENTITY, OWN_ENTITY

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(owner):
    """The engagement of the story in the owner's legal entity, and a second one of the same customer."""
    other = Named("crm", "opportunity", "006B")
    events = [*engagement(), entry("20", "received", other, CUSTOMER, flow="opportunity-to-project")]
    commands.append(events)
    commands.append([entry("21", "noted", OPPORTUNITY, correlation="corr-1")])
    commands.correlate()
    Transaction.objects.update(entity=OWN_ENTITY)
    return owner


@pytest.mark.parametrize("named", [OPPORTUNITY, PROJECT, TIME])
def test_any_id_leads_to_the_one_engagement(told, named):
    (line,) = queries.find(told, named.id)
    assert line.title == "Project 4711", "no system has told its name: a number of it"
    assert line.customer == "Acme GmbH"


@pytest.mark.parametrize("named", [INVOICE, PAYMENT])
def test_a_document_of_two_engagements_leads_to_both(told, named):
    assert len(queries.find(told, named.id)) == 2


def test_a_customer_leads_to_all_of_its_engagements(told):
    assert len(queries.find(told, "ACME")) == 2
    assert len(queries.find(told, "acme")) == 2, "however it is typed"


@pytest.mark.parametrize("text", ["P-7/2026-10", "corr-1"])
def test_a_business_key_or_a_correlation_id_leads_to_its_engagement_not_to_the_customers_others(told, text):
    assert len(queries.find(told, text)) == 1


def test_nothing_is_found_by_those_who_may_not_see_it(told, colleague, stranger):
    assert queries.find(colleague, "P-7") == []
    assert queries.find(stranger, "P-7") == []
    (line,) = queries.find(told, "P-7")
    assert queries.thread(told, line.id) is not None
    assert queries.thread(colleague, line.id) is None
    assert queries.thread(told, uuid.uuid4()) is None
    Transaction.objects.update(entity=OTHER_ENTITY)
    assert queries.find(told, "P-7") == []


def test_a_thread_tells_its_money_by_flow_and_currency(told):
    (line,) = queries.find(told, "P-7")
    thread = queries.thread(told, line.id)
    assert thread.money["time-to-billing"]["done"]["EUR"] == 1250
    assert {one.type for one in thread.objects} >= {"opportunity", "project", "time_entry", "invoice", "payment"}
    assert [event.occurred_at for event in thread.events] == sorted(event.occurred_at for event in thread.events)
