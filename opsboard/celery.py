"""Celery, the doorbell: it wakes workers; what is to be done stands in PostgreSQL (DESIGN, law 3)."""

import os

from celery import Celery
from celery.signals import heartbeat_sent

from opsboard.core import health

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsboard.settings")
app = Celery("opsboard")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["opsboard"], related_name="pipeline")
heartbeat_sent.connect(health.worker_beats)
