"""How many events a service account may send: a token bucket in Redis, shared by all web processes.

It protects the house from a sender that runs wild, so it lets everything through while Redis is away.
"""

import math
from dataclasses import dataclass
from functools import cache
from time import monotonic

import redis
import structlog
from django.conf import settings

WINDOW = 10  # seconds of the rate that may come at once
_AWAY = 5.0  # seconds without asking again, after Redis did not answer

log = structlog.get_logger(__name__)

# In the bucket are the events still allowed and the time of that count. More than the whole bucket is let through
# when it is full: otherwise a batch larger than the bucket could never be sent.
_TAKE = """
local rate, size, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = math.min(size, (tonumber(kept[1]) or size) + (now - (tonumber(kept[2]) or now)) * rate)
local taken = 0
if left >= math.min(cost, size) then left = left - cost; taken = 1 end
redis.call('HSET', KEYS[1], 'left', left, 'at', now)
redis.call('EXPIRE', KEYS[1], 60)
return {taken, tostring(left)}
"""


@dataclass(frozen=True)
class Allowance:
    """The answer of the bucket: `wait` is 0 when the events may come, else the seconds until they may."""

    rate: int
    left: int
    wait: int

    def headers(self) -> dict[str, str]:
        """RateLimit fields (IETF draft), and Retry-After when it was refused."""
        size = self.rate * WINDOW
        full_again = math.ceil(max(0, size - self.left) / self.rate)
        found = {
            "RateLimit-Policy": f'"events";q={size};w={WINDOW}',
            "RateLimit": f'"events";r={max(0, self.left)};t={max(self.wait, full_again)}',
        }
        return found | ({"Retry-After": str(self.wait)} if self.wait else {})


class Bucket:
    """The connection to the buckets of all service accounts."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25)
        self._take = self._client.register_script(_TAKE)
        self._away_until = 0.0

    def take(self, account: int, events: int) -> Allowance | None:
        """Take the events out of the account's bucket; None when Redis does not answer, which lets them through."""
        if monotonic() < self._away_until:
            return None
        rate = settings.OPSBOARD_EVENTS_PER_SECOND
        try:
            taken, left = self._take(keys=[f"opsboard:door:{account}"], args=[rate, rate * WINDOW, events])
        except redis.RedisError as error:
            self._away_until = monotonic() + _AWAY
            log.warning("rate limit not kept: Redis does not answer", error=str(error))
            return None
        remaining = float(left)
        missing = min(events, rate * WINDOW) - remaining
        return Allowance(rate, int(remaining), 0 if taken else max(1, math.ceil(missing / rate)))


@cache
def bucket() -> Bucket:
    """The bucket of this process, connected when it is first asked."""
    return Bucket()


def per_minute() -> int:
    """Events a minute, as the webhook handshake names it."""
    return int(settings.OPSBOARD_EVENTS_PER_SECOND) * 60
