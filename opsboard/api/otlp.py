"""OTLP/HTTP 1.x: traces and logs of OpenTelemetry, through the event door.

An exporter needs the address, a token, and nothing else. What of an export becomes a step stands in the mapping rules
(`otlp_mapping`). What the specification leaves open is decided here:

* 16 MiB and 20,000 spans or log records are the limits of a request, packed and unpacked.
* JSON takes ids in hex, enums as numbers and names in lowerCamelCase only; a member that is named twice is refused.
* A span that is no step is not stored, and that is no rejection: the sender has done nothing wrong.
* A step that is refused is counted as rejected and lies in quarantine, since no exporter sends it again.
* The database being away is 503, which exporters try again; any other 5xx would lose the batch.
"""

import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from opsboard.accounts.queries import Principal
from opsboard.api import door, events, limits, otlp_mapping, problems
from opsboard.api.authentication import bearer
from opsboard.api.events import Invalid
from opsboard.api.otlp_mapping import Rules, RulesError, Step
from opsboard.api.views import SCOPE, body_of

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
RETRY_AFTER = 5  # seconds until the database may be back
ITEMS_MAX = 20_000  # spans or records of a request; exporters send 512, collectors 8192
CHUNK = 1000  # steps stored in one database transaction
TOLD_MAX = 1000  # characters about what was rejected
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*", re.ASCII)
_IDS = {"trace_id", "span_id", "parent_span_id"}
# google.rpc.Code by HTTP status; what is not here is INVALID_ARGUMENT
_CODES = {401: 16, 403: 7, 404: 5, 405: 12, 429: 8, 503: 14}

log = structlog.get_logger(__name__)
Request = TypeVar("Request", bound=Message)


class Failure(Exception):
    """A request that is answered with a google.rpc.Status."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Signal(Generic[Request]):
    """What differs between traces and logs."""

    key: str  # the member by which a payload in JSON is known
    request: type[Request]
    answer: Callable[[], Message]
    rejected: str  # the field of the answer that counts what was not taken
    steps: Callable[[Request, Rules, str], Iterator[Step]]


TRACES = Signal(
    "resourceSpans",
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    "rejected_spans",
    otlp_mapping.of_traces,
)
LOGS = Signal(
    "resourceLogs",
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    "rejected_log_records",
    otlp_mapping.of_logs,
)


@csrf_exempt
def take_traces(request: HttpRequest) -> HttpResponse:
    """POST /v1/traces: an ExportTraceServiceRequest."""
    return _answered(request, TRACES)


@csrf_exempt
def take_logs(request: HttpRequest) -> HttpResponse:
    """POST /v1/logs: an ExportLogsServiceRequest."""
    return _answered(request, LOGS)


@csrf_exempt  # nothing is done here, and a refusal would be a page
def nothing(request: HttpRequest) -> HttpResponse:
    """Any other address below /v1/, metrics among them: 404, which exporters do not try again."""
    return _failed(Failure(404, "Only traces and logs are taken here: /v1/traces and /v1/logs."), _media(request))


take_traces.permission = take_logs.permission = f"token:{SCOPE}"  # type: ignore[attr-defined]
nothing.permission = "public"  # type: ignore[attr-defined]


def _answered(request: HttpRequest, signal: Signal[Any]) -> HttpResponse:
    media = _media(request)
    try:
        return _take(request, signal, media)
    except Failure as failure:
        return _failed(failure, media)
    except Invalid as error:
        problem = door.problem(error)
        told = [problem["detail"], *(f"{one['pointer']}: {one['detail']}" for one in problem.get("errors", []))]
        return _failed(Failure(error.status, " ".join(told)), media)
    except (OperationalError, InterfaceError) as error:
        log.warning("OTLP export not stored: the database does not answer", error=str(error))
        return _failed(Failure(503, "The log cannot be written now.", {"Retry-After": str(RETRY_AFTER)}), media)
    except RulesError as error:
        log.error("OTLP export not stored: the mapping rules cannot be used", error=str(error))
        return _failed(Failure(503, "The mapping rules cannot be used.", {"Retry-After": "60"}), media)


def _take(request: HttpRequest, signal: Signal[Any], media: str) -> HttpResponse:
    if request.method != "POST":
        raise Failure(405, "Exports are sent with POST.", {"Allow": "POST"})
    sender = bearer(request)
    if sender is None:
        raise Failure(401, "Send the token of a service account as Authorization: Bearer.")
    if SCOPE not in sender.scopes:
        raise Failure(403, f"The token lacks the scope {SCOPE}.")
    if media not in {JSON, PROTOBUF}:
        raise Failure(415, f"Exports are {PROTOBUF} or {JSON}.", {"Accept": f"{PROTOBUF}, {JSON}"})
    message = decode(signal, unpacked(request.headers.get("Content-Encoding", ""), body_of(request)), media)
    mapped = signal.steps(message, otlp_mapping.rules(settings.OPSBOARD_OTLP_MAPPING), sender.source)
    steps = list(islice(mapped, ITEMS_MAX + 1))
    if len(steps) > ITEMS_MAX:
        raise Failure(413, f"A request has at most {ITEMS_MAX} spans or log records. Send smaller batches.")
    allowance = limits.bucket().take(sender.account_id, len(steps)) if steps else None
    if allowance and allowance.wait:
        told = f"More than {allowance.rate} events a second. Try again in {allowance.wait} s."
        raise Failure(429, told, allowance.headers())
    taken = store(steps, sender)
    return _written(taken.answer(signal), media, 200, allowance.headers() if allowance else {})


@dataclass
class Taken:
    """How many spans or records of an export were not taken, and why."""

    rejected: int = 0
    reasons: dict[str, None] = field(default_factory=dict)  # in order, each once

    def reject(self, why: str) -> None:
        """Count one."""
        self.rejected += 1
        self.reasons[why] = None

    def answer(self, signal: Signal[Any]) -> Message:
        """The answer of the signal; `partial_success` is set only when something was rejected."""
        found = signal.answer()
        if self.rejected:
            told = {signal.rejected: self.rejected, "error_message": " | ".join(self.reasons)[:TOLD_MAX]}
            json_format.ParseDict({"partial_success": told}, found)
        return found


def store(steps: list[Step], sender: Principal) -> Taken:
    """Send the steps through the event door, where duplicates are recognised and refused ones kept."""
    taken = Taken()
    for step in steps:
        if step.fault:
            taken.reject(f"{step.name[:100]}: {step.fault}")
    bodies = (msgspec.json.encode(step.event) for step in steps if step.event)
    while chunk := list(islice(bodies, CHUNK)):
        for item in door.receive_batch(chunk, atomically=False, by=sender):
            if item.problem:
                taken.reject(_why(item.problem))
    return taken


def _why(problem: Mapping[str, Any]) -> str:
    faults = "; ".join(f"{fault['pointer']} {fault['detail']}" for fault in problem.get("errors", []))
    return faults or str(problem["detail"])


def unpacked(encoding: str, body: bytes) -> bytes:
    """The body without its gzip. Raises Failure: 413 as soon as it grows over the limit, 400 when it is damaged."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise Failure(415, "The only Content-Encoding taken is gzip.", {"Accept-Encoding": "gzip"})
    found = b""
    while body:
        reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            found += reader.decompress(body, events.BODY_BYTES_MAX + 1 - len(found))
        except zlib.error:
            raise Failure(400, "The body is not gzip.") from None
        if len(found) > events.BODY_BYTES_MAX:
            raise Failure(413, f"A request has at most {events.BODY_BYTES_MAX} bytes, also when unpacked.")
        if not reader.eof:
            raise Failure(400, "The gzip of the body ends early.")
        body = reader.unused_data  # gzip files may stand one behind the other
    return found


def decode(signal: Signal[Request], body: bytes, media: str) -> Request:
    """The request in either encoding. Raises Failure (400) when it cannot be read, or Invalid for what is no JSON."""
    try:
        if media == PROTOBUF:
            return signal.request.FromString(body)
        said = events.read_json(body)
        if not isinstance(said, dict):
            raise Failure(400, "The body must be a JSON object.")
        return json_format.ParseDict(as_proto3_json(said, signal.request.DESCRIPTOR), signal.request())
    except (DecodeError, json_format.ParseError, ValueError, TypeError) as error:
        raise Failure(400, f"The body is not a {signal.request.DESCRIPTOR.name}: {str(error)[:200]}") from None


def as_proto3_json(said: dict[str, Any], message: Descriptor, at: str = "") -> dict[str, Any]:
    """OTLP's JSON as the JSON of proto3, which takes ids as base64 and enums by name without a word.

    What has no such lowerCamelCase name is left out. Raises Failure (400) for an id that is not hex or an enum that is
    no number.
    """
    found: dict[str, Any] = {}
    for known in message.fields:
        value, where = said.get(known.json_name), f"{at}/{known.json_name}"
        if value is None:
            continue
        if isinstance(value, list):
            found[known.name] = [_member(inner, known, f"{where}/{place}") for place, inner in enumerate(value)]
        else:
            found[known.name] = _member(value, known, where)
    return found


def _member(value: Any, known: FieldDescriptor, where: str) -> Any:
    if known.type == FieldDescriptor.TYPE_MESSAGE and isinstance(value, dict) and known.message_type:
        return as_proto3_json(value, known.message_type, where)
    if known.type == FieldDescriptor.TYPE_ENUM and (isinstance(value, bool) or not isinstance(value, int)):
        raise Failure(400, f"{where}: enums are numbers.")
    if known.type == FieldDescriptor.TYPE_BYTES and known.name in _IDS:
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise Failure(400, f"{where}: ids are hexadecimal.")
        return b64encode(bytes.fromhex(value)).decode()
    return value


def _media(request: HttpRequest) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _failed(failure: Failure, media: str) -> HttpResponse:
    """A google.rpc.Status in the encoding of the request; JSON when that is not known."""
    status = Status(code=_CODES.get(failure.status, 3), message=failure.message)
    headers = failure.headers | ({"WWW-Authenticate": problems.REALM} if failure.status == 401 else {})
    return _written(status, media, failure.status, headers)


def _written(message: Message, media: str, status: int, headers: Mapping[str, str]) -> HttpResponse:
    if media == PROTOBUF:
        return HttpResponse(message.SerializeToString(), PROTOBUF, status, headers=dict(headers))
    said = json_format.MessageToDict(message)
    return HttpResponse(msgspec.json.encode(said), JSON, status, headers=dict(headers))
