"""The doorbell: wake a worker after commit. What is to be done stands in PostgreSQL already (DESIGN, law 3)."""

import structlog
from django.db.transaction import on_commit
from kombu.exceptions import OperationalError

from opsboard.celery import app

log = structlog.get_logger(__name__)


def ring(task: str) -> None:
    """Send `task` (a name in opsboard.pipeline) when the current database transaction has committed.

    Rung by name, because the rooms below may not import the pipeline. A lost ring costs seconds: the scheduler rings
    every task anyway.
    """
    on_commit(lambda: _send(task))


def _send(task: str) -> None:
    try:
        app.send_task(f"opsboard.pipeline.{task}", retry=False, ignore_result=True)
    except (OperationalError, ConnectionError) as error:
        log.warning("doorbell not heard", task=task, error=str(error))
