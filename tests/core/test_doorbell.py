"""The doorbell: a lost ring costs nobody time."""

import json
import threading
import time

from celery import Celery
from django.conf import settings

from opsboard.core import doorbell


def test_ringing_while_redis_is_away_does_not_hold_up_who_rings(db, monkeypatch, django_capture_on_commit_callbacks):
    away = Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False)
    away.conf.broker_transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    monkeypatch.setattr(doorbell, "app", away)

    begun = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        doorbell.ring("correlate")

    assert time.monotonic() - begun < 1


def test_it_rings_after_the_commit_and_not_before(db, monkeypatch, django_capture_on_commit_callbacks):
    heard: list[str] = []
    monkeypatch.setattr(doorbell, "_send", heard.append)

    with django_capture_on_commit_callbacks(execute=True):
        doorbell.ring("correlate")
        assert heard == []
    assert heard == ["correlate"]


def test_the_ring_reaches_redis_from_any_thread(redis_client):
    """Web requests are answered in threads, which did not import Celery themselves."""
    ringing = threading.Thread(target=doorbell._send, args=["correlate"])
    ringing.start()
    ringing.join()

    (message,) = redis_client.lrange("celery", 0, -1)
    assert json.loads(message)["headers"]["task"] == "opsboard.pipeline.correlate"
