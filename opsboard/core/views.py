"""Pages that belong to no room: liveness, readiness, and a refused form."""

from collections.abc import Callable
from functools import wraps
from hmac import compare_digest

from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from redis.exceptions import RedisError

from opsboard.core import health


def livez(request: HttpRequest) -> HttpResponse:
    """200 while the process answers; asks nothing of anybody else."""
    return HttpResponse("ok", content_type="text/plain; charset=utf-8")


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database and Redis answer and the database is migrated; 503 with the reason otherwise.

    The heartbeats (seconds since worker and scheduler last beat) are told, but do not decide: the web can serve.
    """
    try:
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError:
        return JsonResponse({"ready": False, "database": False}, status=503)
    try:
        heartbeats, reached = health.ages(), True
    except RedisError:
        heartbeats, reached = {}, False
    ready = reached and not behind
    told = {"ready": ready, "migrations_missing": len(behind), "redis": reached, "heartbeats": heartbeats}
    return JsonResponse(told, status=200 if ready else 503)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form was open too long or in two sessions: say so, and how to go on."""
    return render(request, "403_csrf.html", {"reason": reason}, status=403)


def local_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let this host, or a bearer of OPSBOARD_METRICS_TOKEN, see a machine's page; nobody else knows it exists."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        expected = f"Bearer {settings.OPSBOARD_METRICS_TOKEN}" if settings.OPSBOARD_METRICS_TOKEN else ""
        given = request.headers.get("Authorization", "")
        local = request.META.get("REMOTE_ADDR") in {"127.0.0.1", "::1"} and "X-Forwarded-For" not in request.headers
        if local or (expected and compare_digest(given, expected)):
            return view(request)
        raise Http404

    return guarded
