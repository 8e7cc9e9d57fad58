"""The published description of the API: it is what the code says, and the API keeps to it under odd requests."""

import json

import jsonschema_rs
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from opsboard.api import contract, document
from opsboard.log.models import Event, Quarantine
from opsboard.triage.models import Case
from opsboard.wsgi import application

schema = schemathesis.openapi.from_dict(document.read())
schema.app = lambda environ, start: application({"REMOTE_ADDR": "127.0.0.1"} | environ, start)
schema.config.generation.update(with_security_parameters=False)  # each test brings its own
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_file_is_what_the_code_says():
    assert document.FILE.read_text() == document.text(document.build()), "run manage.py openapi"


def test_the_document_is_openapi_3_1_and_every_address_names_its_problems(client):
    served = client.get("/api/v1/openapi.json").json()

    assert served == document.read()
    assert served["openapi"] == "3.1.0"
    ids = [operation["operationId"] for item in served["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids)) == 21
    for path, item in served["paths"].items():
        for method, operation in item.items():
            if operation["tags"] != ["documents"]:
                assert "401" in operation["responses"], (path, method)


def test_the_contract_in_the_document_is_the_published_one():
    held = document.read()["components"]["schemas"]["EventData"]
    assert held == {key: value for key, value in contract.schema().items() if key not in {"$schema", "$id"}}
    jsonschema_rs.Draft202012Validator(contract.schema())


@pytest.fixture
def room(db, sender, event, platform, signed_in, token):
    """A database with one exception and one refused event, and headers that open the API."""
    sender.send(event("1", kind="rejected", amount="10.00", currency="EUR"))
    sender.send(event("2", kind="nonsense"))
    browser = signed_in(platform)
    # Called without Django's test client, the application would close the connection that holds the test's rows.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    session = {name: morsel.value for name, morsel in browser.cookies.items()}
    yield {"session": {"cookies": session}, "token": {"headers": {"Authorization": f"Bearer {token}"}}}
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@schema.exclude(method="POST").parametrize()
@BOUNDED
def test_reading_keeps_to_the_document(room, case):
    assert case.call_and_validate(**room["session"], checks=CHECKS).status_code != 401
    numbers = {"exceptions": Case.objects.get().number, "quarantine": Quarantine.objects.get().pk}
    for room_name, number in numbers.items():
        if "number" in case.path_parameters and room_name in case.path:
            case.path_parameters["number"] = number
            response = case.call_and_validate(**room["session"], checks=CHECKS)
            if case.method == "GET":  # other methods are tried, too: 405, or 403 without a form's token
                assert response.status_code in {200, 400, 406}


@schema.include(operation_id="send_events").parametrize()
@settings(BOUNDED, max_examples=40)
def test_the_door_keeps_to_the_document_and_never_breaks(room, case):
    response = case.call_and_validate(**room["token"], checks=CHECKS)

    if response.status_code == 202:
        assert Event.objects.filter(external_id=json.loads(response.content)["id"]).exists()
