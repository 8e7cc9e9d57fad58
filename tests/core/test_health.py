"""Heartbeats in Redis, and what /readyz tells of them."""

import time

import pytest
from django.conf import settings
from django.db import OperationalError

from opsboard.core import health, views


@pytest.fixture
def no_redis(monkeypatch, tmp_path):
    """Redis has gone away."""
    monkeypatch.setattr(settings, "REDIS_URL", f"unix://{tmp_path / 'nobody.sock'}")
    health._client.cache_clear()
    yield
    health._client.cache_clear()


def test_nobody_has_beaten_before_the_first_beat():
    assert health.ages() == {"worker": None, "beat": None}


def test_a_beat_ages(redis_client):
    health.worker_beats(sender=None)
    redis_client.set(health.KEY.format("beat"), repr(time.time() - 60))
    ages = health.ages()
    assert ages["worker"] == pytest.approx(0, abs=5)
    assert ages["beat"] == pytest.approx(60, abs=5)


def test_a_worker_outlives_the_loss_of_redis(no_redis):
    health.record("worker")


@pytest.mark.django_db
def test_readyz_tells_the_heartbeats_and_is_ready_without_them(client):
    health.record("beat")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["heartbeats"]["worker"] is None
    assert answer.json()["heartbeats"]["beat"] < 5


@pytest.mark.django_db
def test_readyz_without_redis_is_not_ready(rf, no_redis):
    answer = views.readyz(rf.get("/readyz"))
    assert answer.status_code == 503
    assert b'"redis": false' in answer.content


def test_readyz_without_the_database_is_not_ready(rf, monkeypatch):
    def lost(connection):
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(views, "MigrationExecutor", lost)
    answer = views.readyz(rf.get("/readyz"))
    assert answer.status_code == 503
    assert b'"database": false' in answer.content
