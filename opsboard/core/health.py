"""The heartbeats of the worker and of beat: a moment each, in Redis, so that everybody can see they live."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import redis
import structlog
from celery.beat import PersistentScheduler
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

KEY = "opsboard:beat:{}"
NAMES = ("worker", "beat")
STALE = 30.0  # seconds; the worker beats every 2, beat at least every 5
LONGEST_SLEEP = 5  # seconds between two ticks of beat

log = structlog.get_logger(__name__)


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    once = Retry(NoBackoff(), 0)  # the next beat is the second try
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2, retry=once)


def record(name: str) -> None:
    """Write that `name` lives now. A Redis that does not answer is no reason to stop living."""
    try:
        _client().set(KEY.format(name), repr(time.time()), ex=600)
    except redis.exceptions.RedisError as error:
        log.warning("heartbeat not written", name=name, error=str(error))


def worker_beats(**_: Any) -> None:
    """Receiver for Celery's `heartbeat_sent`: the worker's main loop turns and reaches its broker."""
    record("worker")


class Scheduler(PersistentScheduler):
    """Celery beat's scheduler, which records a heartbeat at each tick."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.max_interval: float = LONGEST_SLEEP

    def tick(self, *args: Any, **options: Any) -> float:
        """Run what is due; seconds until the next tick."""
        record("beat")
        return super().tick(*args, **options)


def ages(client: redis.Redis | None = None) -> dict[str, float | None]:
    """Seconds since the last heartbeat of each, None for one that has not beaten. Raises RedisError."""
    values = (client or _client()).mget([KEY.format(name) for name in NAMES])
    now = time.time()
    return {name: None if value is None else now - float(value) for name, value in zip(NAMES, values, strict=True)}
