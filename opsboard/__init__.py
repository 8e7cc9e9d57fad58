"""opsboard: one correlated log of all that happens between a firm's systems."""

from opsboard.celery import app as celery_app

__all__ = ["celery_app"]
