"""The OpenAPI 3.1 document: a file in the project, made by `manage.py openapi` and served as it is.

drf-spectacular describes the resources; the event door is a plain view and describes itself here.
"""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator

from opsboard.api import contract, events

FILE = Path(__file__).parent / "openapi.json"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
REFUSALS = {
    "400": "The request is not valid; errors name where.",
    "401": "No valid session or token.",
    "403": "The token lacks the scope.",
    "404": "There is nothing here, or nothing you may see.",
    "406": "Only JSON is answered.",
    "409": "Somebody else was faster, or it stands otherwise now.",
    "415": "The format is not understood.",
    "422": "It may not be done; the detail says why.",
}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells drf-spectacular what a service account's token is."""

    target_class = "opsboard.api.authentication.ServiceToken"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """HTTP bearer."""
        return {"type": "http", "scheme": "bearer", "description": "The token of a service account."}


@cache
def read() -> dict[str, Any]:
    """The document as it was made last."""
    found: dict[str, Any] = msgspec.json.decode(FILE.read_bytes())
    return found


def text(document: dict[str, Any]) -> str:
    """The document as the file holds it: sorted, so that a change is a small difference."""
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1).decode() + "\n"


def build() -> dict[str, Any]:
    """The document as the code says it now."""
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    document["servers"] = [{"url": "/"}]
    document["paths"] = {path: item for path, item in document["paths"].items() if path.startswith("/api/v1/")}
    for item in document["paths"].values():
        for method, operation in item.items():
            _refusals(operation, writes=method == "post")
    data = {key: value for key, value in contract.schema().items() if key not in {"$schema", "$id"}}
    document["components"]["schemas"] |= {"EventData": data, **_door_schemas()}
    document["paths"] |= {
        "/api/v1/events": {"post": _door()},
        "/api/v1/schemas/event.json": {"get": _static("read_event_schema", "application/schema+json")},
        "/api/v1/openapi.json": {"get": _static("read_openapi", "application/json")},
    }
    return document


def _refusals(operation: dict[str, Any], *, writes: bool) -> None:
    """Every resource may answer with these problems."""
    usual = {"400", "401", "403", "404", "406"} | ({"409", "415", "422"} if writes else set())
    operation["responses"] |= {status: _problem(REFUSALS[status]) for status in sorted(usual)}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": PROBLEM}


def _static(operation: str, media: str) -> dict[str, Any]:
    content = {media: {"schema": {"type": "object"}}}
    return {
        "operationId": operation,
        "tags": ["documents"],
        "security": [{}],
        "responses": {"200": {"description": "The document.", "content": content}},
    }


def _door_schemas() -> dict[str, Any]:
    fault = {
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": {"pointer": {"type": "string", "description": "JSON pointer."}, "detail": {"type": "string"}},
    }
    problem = {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            **{name: {"type": "string"} for name in ("type", "title", "detail")},
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": fault},
        },
    }
    return {"CloudEvent": _event(), "Problem": problem, "EventReceipt": _receipt(), "BatchReceipt": _batch_receipt()}


def _event() -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$"}
    properties = {
        "specversion": {"const": "1.0"},
        "id": text | {"description": "With source the event's identity."},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1, "maxLength": 1000},
        "type": text,
        "time": {"type": ["string", "null"], "format": "date-time"},
        "subject": {"type": ["string", "null"], "minLength": 1, "maxLength": 1000},
        "datacontenttype": {"const": "application/json"},
        "correlationid": {"type": ["string", "null"], "maxLength": 500},
        "traceparent": {"type": ["string", "null"]},
        "data": {"$ref": "#/components/schemas/EventData"},
    }
    return {
        "type": "object",
        "description": "A CloudEvent 1.0. Extension attributes may be added: text, whole number, true or false.",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": properties,
        "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
    }


def _receipt() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["status"],
        "properties": {
            "id": {"type": "string"},
            "source": {"type": "string"},
            "status": {"enum": ["accepted", "duplicate", "rejected"]},
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
    }


def _batch_receipt() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["accepted", "duplicates", "rejected", "items"],
        "properties": {
            **{name: {"type": "integer"} for name in ("accepted", "duplicates", "rejected")},
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/EventReceipt"}},
        },
    }


def _door() -> dict[str, Any]:
    event, receipt = {"$ref": "#/components/schemas/CloudEvent"}, {"$ref": "#/components/schemas/EventReceipt"}
    batch = {"type": "array", "items": event, "maxItems": events.BATCH_MAX}
    many = {"schema": {"oneOf": [receipt, {"$ref": "#/components/schemas/BatchReceipt"}]}}
    refusals = {
        "400": "The event, or the batch as a whole, cannot be read; errors name where.",
        "401": REFUSALS["401"],
        "403": "The token lacks the scope events:write, or the source is not the account's.",
        "409": "The same identity with other content.",
        "411": "Content-Length is missing.",
        "413": "Too large.",
        "415": REFUSALS["415"],
        "429": "Too many events; Retry-After says when to come back.",
    }
    return {
        "operationId": "send_events",
        "tags": ["events"],
        "summary": "Send events",
        "description": (
            "One CloudEvent in structured or binary mode (its attributes as ce- headers, data as the body), or a "
            f"batch of at most {events.BATCH_MAX}. An event has at most {events.EVENT_BYTES_MAX} bytes, a request "
            f"{events.BODY_BYTES_MAX}. The same event again is a duplicate and no error."
        ),
        "security": [{"token": []}],
        "parameters": [
            {
                "name": "atomic",
                "in": "query",
                "description": "Batches: all or nothing.",
                "schema": {"type": "string", "enum": ["true", "false"], "default": "false"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {events.STRUCTURED: {"schema": event}, events.BATCHED: {"schema": batch}},
        },
        "responses": {
            "200": {
                "description": "A duplicate; or a batch, with one result for each event in order.",
                "content": {"application/json": many},
            },
            "202": {"description": "Accepted and stored.", "content": {"application/json": {"schema": receipt}}},
            **{status: _problem(description) for status, description in refusals.items()},
        },
    }
