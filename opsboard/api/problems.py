"""Errors of the API as RFC 9457 problem details: one shape, whatever went wrong and wherever."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from opsboard.core.errors import Refused

MEDIA_TYPE = "application/problem+json"
REALM = 'Bearer realm="opsboard"'


def details(status: int, detail: str, *, title: str = "", errors: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The members of a problem; `errors` are pairs of JSON pointer and what is wrong there."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    listed = [{"pointer": pointer, "detail": what} for pointer, what in errors]
    return body | ({"errors": listed} if listed else {})


def response(
    status: int,
    detail: str,
    *,
    title: str = "",
    errors: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JsonResponse:
    """A problem as an answer, outside DRF."""
    return answer(details(status, detail, title=title, errors=errors), headers=headers)


def answer(problem: Mapping[str, Any], *, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """A problem that is put together already, as an answer."""
    status = problem["status"]
    given = dict(headers or {}) | ({"WWW-Authenticate": REALM} if status == 401 else {})
    return JsonResponse(problem, status=status, content_type=MEDIA_TYPE, headers=given)


def handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: what a view raised, as problem details. None for a defect, which must be seen as one."""
    found = _read(error)
    if found is None:
        return None
    status, detail, errors = found
    headers = {"WWW-Authenticate": REALM} if status == 401 else {}
    if isinstance(error, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(context["view"].allowed_methods)
    return Response(details(status, detail, errors=errors), status, headers=headers, content_type=MEDIA_TYPE)


def _read(error: Exception) -> tuple[int, str, list[tuple[str, str]]] | None:
    """Status, detail and faults of an exception that is an answer."""
    if isinstance(error, Refused):
        return (409 if error.stale else 422), error.reason, []
    if isinstance(error, Http404 | PermissionDenied):
        return 404, "There is nothing here, or nothing you may see.", []
    if isinstance(error, exceptions.ValidationError):
        return 400, "The request is not valid.", list(_faults(error.detail))
    if isinstance(error, exceptions.APIException):
        return error.status_code, str(error.detail), []
    return None


def _faults(detail: Any, at: str = "") -> Iterable[tuple[str, str]]:
    """DRF's nested messages as pointers."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _faults(inner, at if name == "non_field_errors" else f"{at}/{name}")
    elif isinstance(detail, list):
        for position, inner in enumerate(detail):
            yield from _faults(inner, f"{at}/{position}" if isinstance(inner, dict | list) else at)
    else:
        yield at, str(detail)
