"""The event door over HTTP. A plain Django view: DRF would cost more than the reading itself."""

from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from opsboard.accounts.queries import Principal
from opsboard.api import contract, document, door, events, limits, problems
from opsboard.api.authentication import bearer
from opsboard.api.door import Item, Message
from opsboard.api.events import Invalid

SCOPE = "events:write"
_BLOCK = 64 * 1024
_SINGLE = {"accepted": 202, "duplicate": 200}


@csrf_exempt
def take_events(request: HttpRequest) -> HttpResponse:
    """POST /api/v1/events: a CloudEvent in binary or structured mode, or a batch. OPTIONS: the webhook handshake."""
    if request.method == "OPTIONS":
        return _handshake(request)
    if request.method != "POST":
        return problems.response(405, "Events are sent with POST.", headers={"Allow": "POST, OPTIONS"})
    try:
        return _let_in(request)
    except Invalid as error:
        return _refused(error)
    except (OperationalError, InterfaceError):  # the database is away, or undid it for the sake of another
        return problems.response(503, "Nothing was stored. Send it again.", headers={"Retry-After": "2"})


take_events.permission = f"token:{SCOPE}"  # type: ignore[attr-defined]


def _let_in(request: HttpRequest) -> HttpResponse:
    sender = bearer(request)
    if sender is None:
        return problems.response(401, "Send the token of a service account as Authorization: Bearer.")
    if SCOPE not in sender.scopes:
        return problems.response(403, f"The token lacks the scope {SCOPE}.")
    return _take(request, sender)


def _take(request: HttpRequest, sender: Principal) -> HttpResponse:
    message = Message(request.headers.get("Content-Type", ""), _body(request), _ce_headers(request))
    if events.mode(message.content_type) == "batch":
        return _take_batch(request, message, sender)
    allowance = limits.bucket().take(sender.account_id, 1)
    if allowance and allowance.wait:
        return _too_many(allowance)
    item = door.receive(message, by=sender)
    headers = allowance.headers() if allowance else {}
    if item.problem:
        return problems.answer(item.problem, headers=headers)
    return JsonResponse(item.told(), status=_SINGLE[item.status], headers=headers)


def _take_batch(request: HttpRequest, message: Message, sender: Principal) -> HttpResponse:
    atomically = request.GET.get("atomic", "false")
    if atomically not in {"true", "false"}:
        return problems.response(400, "atomic is true or false.", errors=[("/atomic", "must be true or false")])
    try:
        bodies = events.split(message.body)
    except Invalid as error:
        if error.status == 400:
            door.keep_unread(message, error, by=sender)
        raise
    allowance = limits.bucket().take(sender.account_id, len(bodies))
    if allowance and allowance.wait:
        return _too_many(allowance)
    items = door.receive_batch(bodies, atomically=atomically == "true", by=sender)
    headers = allowance.headers() if allowance else {}
    if atomically == "true" and any(item.problem for item in items):
        return _nothing_taken(items, headers)
    return JsonResponse(_counted(items), headers=headers)


def _counted(items: list[Item]) -> dict[str, Any]:
    """One result per event, in order, and how many of each there are."""
    found = [item.status for item in items]
    return {
        "accepted": found.count("accepted"),
        "duplicates": found.count("duplicate"),
        "rejected": found.count("rejected"),
        "items": [item.told() for item in items],
    }


def _nothing_taken(items: list[Item], headers: dict[str, str]) -> HttpResponse:
    """A batch that was to be taken whole or not at all, and was not; 409 when other content is all that is wrong."""
    wrong = [(position, item.problem) for position, item in enumerate(items) if item.problem]
    status = 409 if all(problem["status"] == 409 for _, problem in wrong) else 400
    faults = [
        (f"/{position}{fault['pointer']}", fault["detail"])
        for position, problem in wrong
        for fault in problem.get("errors", [{"pointer": "", "detail": problem["detail"]}])
    ]
    return problems.response(
        status,
        "Nothing was stored: not every event could be.",
        title="The batch was refused",
        errors=faults,
        headers=headers,
    )


def _too_many(allowance: limits.Allowance) -> HttpResponse:
    return problems.response(
        429,
        f"More than {allowance.rate} events a second. Try again in {allowance.wait} s.",
        headers=allowance.headers(),
    )


def _refused(error: Invalid) -> HttpResponse:
    headers = {"Accept": f"{events.STRUCTURED}, {events.BATCHED}"} if error.status == 415 else {}
    return problems.answer(door.problem(error), headers=headers)


def _body(request: HttpRequest) -> bytes:
    """The body as sent. Raises Invalid for one that is too large, packed, or not all there."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        events.refuse("", "Send the body as it is, without Content-Encoding.", title="Content-Encoding", status=415)
    return body_of(request)


def body_of(request: HttpRequest) -> bytes:
    """The body's bytes, packed or not. Raises Invalid for one that is too large or not all there."""
    length = request.headers.get("Content-Length", "")
    try:
        body = _counted_body(request, int(length)) if length.isdecimal() else _chunked_body(request)
    except (UnreadablePostError, RawPostDataException):
        events.refuse("", "The body ended early.", title="The body ended early")
    if len(body) > events.BODY_BYTES_MAX:
        detail = f"A request has at most {events.BODY_BYTES_MAX} bytes."
        events.refuse("", detail, title="The request is too large", status=413)
    return body


def _counted_body(request: HttpRequest, length: int) -> bytes:
    """The body of that many bytes. One somewhat too large is read and dropped, so that its sender sees the answer."""
    if length > events.BODY_BYTES_MAX:
        left = length if length <= 4 * events.BODY_BYTES_MAX else 0
        while left > 0 and (block := request.read(min(left, _BLOCK))):
            left -= len(block)
        return b" " * (events.BODY_BYTES_MAX + 1)
    body = request.body
    if len(body) != length:
        raise UnreadablePostError
    return body


def _chunked_body(request: HttpRequest) -> bytes:
    """A body whose length was not told. Django reads none then, so the server's own stream is read."""
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked" or not isinstance(request, WSGIRequest):
        events.refuse("", "Send the length of the body (Content-Length), or chunks.", title="Length", status=411)
    blocks, size = [], 0
    while size <= events.BODY_BYTES_MAX and (block := request.environ["wsgi.input"].read(_BLOCK)):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _ce_headers(request: HttpRequest) -> dict[str, str]:
    """The ce- headers by lower-case name without the prefix."""
    return {
        name[8:].lower().replace("_", "-"): str(value)
        for name, value in request.META.items()
        if name.startswith("HTTP_CE_")
    }


def _handshake(request: HttpRequest) -> HttpResponse:
    """The consent of the CloudEvents webhook protocol. Asking is free; sending needs the token all the same."""
    answer = HttpResponse(status=200, headers={"Allow": "POST, OPTIONS"})
    if origin := request.headers.get("WebHook-Request-Origin", ""):
        answer["WebHook-Allowed-Origin"] = origin
        answer["WebHook-Allowed-Rate"] = str(limits.per_minute())
    return answer


def _document(request: HttpRequest, content: dict[str, Any], content_type: str) -> HttpResponse:
    if request.method not in {"GET", "HEAD"}:
        return problems.response(405, "This is read with GET.", headers={"Allow": "GET, HEAD"})
    return JsonResponse(content, content_type=content_type)


@csrf_exempt
def event_schema(request: HttpRequest) -> HttpResponse:
    """GET /api/v1/schemas/event.json: the contract of an event's data as JSON Schema."""
    return _document(request, contract.schema(), "application/schema+json")


@csrf_exempt
def openapi(request: HttpRequest) -> HttpResponse:
    """GET /api/v1/openapi.json: this API, as OpenAPI 3.1; built when the code changes, not when it is asked for."""
    return _document(request, document.read(), "application/json")


@csrf_exempt  # nothing is done here, and a refusal would be a page
def nothing(request: HttpRequest) -> HttpResponse:
    """Any other address below /api/: a problem, not a page."""
    return problems.response(404, "There is nothing here, or nothing you may see.")


# No data of the firm is in them: everybody may read how to talk to opsboard.
for _open in (event_schema, openapi, nothing):
    _open.permission = "public"  # type: ignore[attr-defined]
