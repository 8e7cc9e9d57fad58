"""Senders and their events."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from opsboard.accounts.commands import create_service_account
from opsboard.accounts.queries import forget_tokens
from opsboard.api import limits

SOURCE = "urn:firm:psa"


@pytest.fixture(autouse=True)
def nothing_kept_in_the_process() -> None:
    """Tokens and the connection to Redis of another test do not count."""
    forget_tokens()
    limits.bucket.cache_clear()


@pytest.fixture
def token(db) -> str:
    """The token of the PSA job, which may write events as urn:firm:psa."""
    return create_service_account(name="psa job", source=SOURCE, scopes=["events:write"], by="test")[1]


@pytest.fixture
def reading_token(db) -> str:
    """The token of an account that may read and not write."""
    return create_service_account(
        name="reporting", source="urn:firm:bi", scopes=["threads:read", "exceptions:read"], by="test"
    )[1]


class Sender(Client):
    """A job that sends to the event door with its token."""

    def send(self, body: Any, content_type: str = "application/cloudevents+json", query: str = "", **headers: str):
        """POST the body, JSON unless it is bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.post(f"/api/v1/events{query}", raw, content_type=content_type, headers=headers)

    def batch(self, events: list[Any], query: str = ""):
        """POST a batch."""
        return self.send(events, "application/cloudevents-batch+json", query)


@pytest.fixture
def sender(token) -> Sender:
    """The PSA job."""
    return Sender(headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """Makes an event of the PSA job; keywords replace members of its data."""

    def make(id_: str, source: str = SOURCE, **data: Any) -> dict[str, Any]:
        subject = {"system": "psa", "type": "time_entry", "id": f"TE-{id_}"}
        project = {"system": "psa", "type": "project", "id": "P-1", "name": "Rollout"}
        said = {"kind": "posted", "flow": "time-to-billing", "objects": [subject, project], "entity": "DE01"}
        return {
            "specversion": "1.0",
            "id": id_,
            "source": source,
            "type": "time.posted",
            "time": "2026-11-20T10:00:00Z",
            "data": said | data,
        }

    return make
