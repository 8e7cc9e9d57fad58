"""From OpenTelemetry to the log's own words: which spans and log records are steps, and what each step says.

The rules are data (`otlp_mapping.toml`). A step becomes a CloudEvent of the published contract, so that it passes the
event door like everybody else's: same limits, same duplicates, and when refused it lies in quarantine as an event
that can be corrected and sent again.

A span is judged alone. What its parent or another batch says would make its content depend on how the exporter cut
its batches, and a span that is sent again would be another event.
"""

import hashlib
import re
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from opsboard.api.contract import INT32, SENDER_KINDS
from opsboard.core.clock import iso
from opsboard.log.entry import KINDS

SPAN_KINDS = ("INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")  # by number; 0 says nothing
UNKNOWN_SERVICE = "unknown_service"  # as the SDKs call it
ERROR = 17  # severity number of an ERROR log record
TEXT_MAX = 20_000  # characters of an error's words, and of its stack trace
_DECISIVE = {"succeeded", "failed"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")

SpanKind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
Attributes = dict[str, Any]


class RulesError(ValueError):
    """The mapping file cannot be used; the text says which file, and what is wrong with it."""


class SpanRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which spans are steps."""

    root: bool
    kinds: frozenset[SpanKind]
    errors: bool
    attributes: tuple[str, ...]


class DecidingRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which steps decide how their message fares."""

    root: bool
    kinds: frozenset[SpanKind]
    attributes: tuple[str, ...]


class LogRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which log records are steps, and when they decide."""

    severity: int
    attributes: tuple[str, ...]
    decide: Literal["untraced", "always", "never"]


class NameRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which attributes name what, in order of preference."""

    flow: tuple[str, ...]
    key: tuple[str, ...]
    kind: tuple[str, ...]
    system: tuple[str, ...]
    entity: tuple[str, ...]
    amount: tuple[str, ...]
    currency: tuple[str, ...]
    attempt: tuple[str, ...]
    object_prefix: str


class ObjectRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attribute whose value is the id of a business object."""

    attribute: str
    type: str
    system: str = ""


class OutcomeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of an attribute that say what happened, where the status does not."""

    attribute: str
    values: tuple[str, ...]
    kind: str


class SkipRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of an attribute that make a span or record no step."""

    attribute: str
    values: tuple[str, ...]


class PayloadRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not kept: beginnings of attribute names."""

    drop: tuple[str, ...]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole mapping file."""

    without_key: Literal["trace", "note", "drop"]
    spans: SpanRules
    decides: DecidingRules
    ended: dict[SpanKind, str]
    passed: dict[SpanKind, str]
    logs: LogRules
    names: NameRules
    payload: PayloadRules
    objects: tuple[ObjectRule, ...] = ()
    outcomes: tuple[OutcomeRule, ...] = ()
    skip: tuple[SkipRule, ...] = ()


@cache
def rules(path: Path) -> Rules:
    """The mapping rules in that TOML file, read once per process. Raises RulesError."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), Rules)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise RulesError(f"{path}: {error}") from error
    missing = [kind for kind in SPAN_KINDS if kind not in found.ended or kind not in found.passed]
    said = {*found.ended.values(), *found.passed.values(), *(rule.kind for rule in found.outcomes)}
    if missing or not said <= set(SENDER_KINDS):
        raise RulesError(f"{path}: no word for {missing}, unknown words {sorted(said - set(SENDER_KINDS))}")
    return found


@dataclass(frozen=True)
class Step:
    """What a span or log record becomes: an event, nothing (`left_out` says by which rule), or a fault."""

    name: str
    event: dict[str, Any] | None = None
    left_out: str = ""
    fault: str = ""


@dataclass(frozen=True)
class _Seen:
    """A span or log record with all that is needed to judge it. `own` are its attributes, `all` also those around."""

    name: str
    span_kind: SpanKind
    root: bool
    failed: bool
    own: Attributes
    all: Attributes
    trace: str
    system: str

    def first(self, names: tuple[str, ...]) -> str:
        """The first of these attributes that says something, as text."""
        for name in names:
            if (value := self.all.get(name)) not in (None, ""):
                return str(value)
        return ""

    def has(self, beginnings: tuple[str, ...]) -> bool:
        """Whether it carries, itself, an attribute that begins so."""
        return any(name.startswith(beginnings) for name in self.own)


def of_traces(request: ExportTraceServiceRequest, rules: Rules, account: str) -> Iterator[Step]:
    """What each span of an export becomes; `account` is the source the sender may write as."""
    for resource in request.resource_spans:
        around = attributes(resource.resource.attributes)
        source = source_of(account, around)
        for scope in resource.scope_spans:
            outer = around | attributes(scope.scope.attributes)
            for span in scope.spans:
                yield _from_span(span, outer, rules, source)


def of_logs(request: ExportLogsServiceRequest, rules: Rules, account: str) -> Iterator[Step]:
    """What each log record of an export becomes; `account` is the source the sender may write as."""
    for resource in request.resource_logs:
        around = attributes(resource.resource.attributes)
        source = source_of(account, around)
        for scope in resource.scope_logs:
            outer = around | attributes(scope.scope.attributes)
            for record in scope.log_records:
                yield _from_record(record, outer, rules, source)


def source_of(account: str, resource: Attributes) -> str:
    """The source of a service's events: below that of the account, as the event door demands."""
    service = quote(str(resource.get("service.name") or UNKNOWN_SERVICE), safe="")
    if account[-1] in "/:?#":
        return account + service
    return f"{account}{':' if account.startswith('urn:') else '/'}{service}"


def _from_span(span: Span, outer: Attributes, rules: Rules, source: str) -> Step:
    if fault := _span_fault(span):
        return Step(span.name, fault=fault)
    own = attributes(span.attributes)
    seen = _seen(
        rules,
        name=span.name,
        span_kind=SPAN_KINDS[span.kind] if 0 <= span.kind < len(SPAN_KINDS) else "INTERNAL",
        root=not span.parent_span_id,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        own=own,
        outer=outer,
        trace=span.trace_id.hex(),
    )
    if left_out := _left_out(seen, rules) or _no_step(seen, rules.spans):
        return Step(span.name, left_out=left_out)
    ended = _moment(span.end_time_unix_nano or span.start_time_unix_nano)
    if ended is None:
        return Step(span.name, fault="its time cannot be kept")
    deciding = _decides(seen, rules)
    data = _said(seen, rules, deciding)
    if data is None:
        return Step(span.name, left_out="it names neither key nor object")
    if span.end_time_unix_nano >= span.start_time_unix_nano > 0:
        data["latency_ms"] = min((span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000, INT32)
    data["payload"] = _payload(seen, rules, span_id=span.span_id.hex(), parent_span_id=span.parent_span_id.hex())
    raised = [attributes(event.attributes) for event in span.events if event.name == "exception"]
    if seen.failed or data["kind"] in {"rejected", "retried"}:
        data["error"] = _error(seen, raised[-1] if raised else {}, span.status.message)
    return Step(span.name, _event(seen, source, f"{seen.trace}/{span.span_id.hex()}", ended, data))


def _from_record(record: LogRecord, outer: Attributes, rules: Rules, source: str) -> Step:
    own, name = attributes(record.attributes), record.event_name or "log record"
    if len(record.trace_id) not in (0, 16) or len(record.span_id) not in (0, 8):
        return Step(name, fault="a trace id has 16 bytes, a span id 8")
    trace = record.trace_id.hex() if any(record.trace_id) else ""
    severity = record.severity_number or (ERROR if "exception.type" in own else 0)
    failed = severity >= max(rules.logs.severity, ERROR)  # an exception that is only warned of was recovered
    seen = _seen(rules, name=name, span_kind="INTERNAL", root=False, failed=failed, own=own, outer=outer, trace=trace)
    left_out = _left_out(seen, rules)
    if not left_out and severity < rules.logs.severity and not seen.has(rules.logs.attributes):
        left_out = "its severity is below that of the rules, and it carries no attribute they name"
    if left_out:
        return Step(name, left_out=left_out)
    nanos = record.time_unix_nano or record.observed_time_unix_nano
    happened = _moment(nanos)
    if happened is None:
        return Step(name, fault="its time is missing or cannot be kept")
    deciding = failed and (rules.logs.decide == "always" or (rules.logs.decide == "untraced" and not trace))
    data = _said(seen, rules, deciding)
    if data is None:
        return Step(name, left_out="it names neither key nor object")
    body = _value(record.body)
    data["payload"] = _payload(seen, rules, span_id=record.span_id.hex(), body=body, severity=record.severity_text)
    if failed or "exception.type" in own:
        data["error"] = _error(seen, own, body if isinstance(body, str) else "")
    identity = f"{trace or '-'}/{record.span_id.hex() or '-'}/{nanos}/{_digest(record)}"
    return Step(name, _event(seen, source, identity, happened, data))


def _seen(rules: Rules, *, own: Attributes, outer: Attributes, **what: Any) -> _Seen:
    everything = outer | own
    system = next((str(everything[name]) for name in rules.names.system if everything.get(name)), UNKNOWN_SERVICE)
    return _Seen(own=own, all=everything, system=system[:100], **what)


def _span_fault(span: Span) -> str:
    """Why a span cannot be taken at all."""
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "its trace id must be 16 bytes, not all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "its span id must be 8 bytes, not all zero"
    if len(span.parent_span_id) not in (0, 8):
        return "its parent's span id must be 8 bytes"
    return "" if span.end_time_unix_nano or span.start_time_unix_nano else "it has no time"


def _left_out(seen: _Seen, rules: Rules) -> str:
    for rule in rules.skip:
        if str(seen.all.get(rule.attribute, "")) in rule.values:
            return f"{rule.attribute} is {seen.all[rule.attribute]}"
    return ""


def _no_step(seen: _Seen, which: SpanRules) -> str:
    """Why no rule makes the span a step; empty when one does."""
    step = (
        (which.root and seen.root)
        or seen.span_kind in which.kinds
        or (which.errors and seen.failed)
        or seen.has(which.attributes)
    )
    return "" if step else "it is no root, and neither its kind nor its status nor an attribute makes it a step"


def _decides(seen: _Seen, rules: Rules) -> bool:
    """Whether the span says how its message fares, or is one attempt or step on the way."""
    if named := _named(seen, rules):
        return _is_decisive(named)
    opens = seen.span_kind == "INTERNAL" and seen.has(rules.decides.attributes)
    return (rules.decides.root and seen.root) or seen.span_kind in rules.decides.kinds or opens


def _said(seen: _Seen, rules: Rules, deciding: bool) -> dict[str, Any] | None:
    """The data of the event, without time, payload and error; None when the rules drop what names no message."""
    names, kind = rules.names, _kind(seen, rules, deciding)
    key, objects = seen.first(names.key), list(_objects(seen, rules))
    if not key and not objects and deciding and rules.without_key == "drop":
        return None
    if not key and not _has_message(seen, rules, deciding, kind, bool(objects)):
        kind = "noted"
    said: dict[str, Any] = {"kind": kind, "system": seen.system, "objects": objects or [_instead(seen, key)]}
    if key or kind != "noted":
        said["flow"] = seen.first(names.flow) or UNKNOWN_SERVICE
    if key:
        said["key"] = key
    for name in ("entity", "amount", "currency"):
        if text := seen.first(getattr(names, name)):
            said[name] = text
    if attempt := seen.first(names.attempt):
        said["attempt"] = int(attempt) if attempt.isascii() and attempt.isdecimal() else attempt
    return said


def _has_message(seen: _Seen, rules: Rules, deciding: bool, kind: str, objects: bool) -> bool:
    """Whether a step without a key stands for a message: one that nothing ends would wait for its end for ever."""
    if objects:
        return deciding or bool(_named(seen, rules))
    return _is_decisive(kind) and bool(seen.trace) and rules.without_key == "trace"


def _instead(seen: _Seen, key: str) -> dict[str, Any]:
    """What stands for the business objects that are not named: the message, else the trace, else the service."""
    if key:
        return {"system": seen.system, "type": "message", "id": key}
    if seen.trace:
        return {"system": "otel", "type": "trace", "id": seen.trace}
    return {"system": "otel", "type": "service", "id": seen.first(("service.name",)) or seen.system}


def _named(seen: _Seen, rules: Rules) -> str:
    """The kind that the step itself names, or that stands in a rule for what it carries; empty for neither."""
    found = seen.first(rules.names.kind)
    for rule in rules.outcomes:
        if not found and str(seen.all.get(rule.attribute, "")) in rule.values:
            found = rule.kind
    return found


def _is_decisive(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].status in _DECISIVE


def _kind(seen: _Seen, rules: Rules, deciding: bool) -> str:
    """What happened, in a word of the contract. A failed attempt is no failure: the step around it decides."""
    if seen.failed:
        return "rejected" if deciding else "retried"
    return _named(seen, rules) or (rules.ended if deciding else rules.passed)[seen.span_kind]


def _objects(seen: _Seen, rules: Rules) -> Iterator[dict[str, Any]]:
    """The business objects named, in the order of the attributes: the first is the subject."""
    prefix = rules.names.object_prefix
    by_attribute = {rule.attribute: rule for rule in rules.objects}
    named = seen.own | {name: value for name, value in seen.all.items() if name not in seen.own}
    for name, value in named.items():
        kind, system = name.removeprefix(prefix), ""
        if name in by_attribute:
            kind, system = by_attribute[name].type, by_attribute[name].system or seen.system
        elif kind == name or "." in kind:
            continue
        several = isinstance(value, list)
        for one in value if several else [value]:
            where, slash, id_ = str(one).partition("/")
            if system or not slash:
                where, id_ = system or seen.system, str(one)
            called = "" if several else str(named.get(f"{name}.name", ""))
            yield {"system": where, "type": kind, "id": id_} | ({"name": called} if called else {})


def _payload(seen: _Seen, rules: Rules, **more: Any) -> dict[str, Any]:
    """What is kept to look at: the step's own attributes and where it stood, less what the rules drop."""
    kept = {name: value for name, value in seen.own.items() if not name.startswith(rules.payload.drop)}
    said = {"name": seen.name, "span_kind": seen.span_kind, "service": seen.first(("service.name",)), **more}
    return {name: value for name, value in said.items() if value not in (None, "")} | {"attributes": kept}


def _error(seen: _Seen, raised: Mapping[str, Any], told: str) -> dict[str, Any]:
    """What went wrong: the exception, else error.type and the words of the status."""
    code = str(raised.get("exception.type") or seen.own.get("exception.type") or seen.own.get("error.type") or "")
    message = str(raised.get("exception.message") or told or code or "It ended with status ERROR.")
    found: dict[str, Any] = {
        "system": seen.system,
        "code": _plain(code)[:255] or None,
        "message": message[:TEXT_MAX],
    }
    for name in ("http.response.status_code", "http.status_code", "error.type"):
        status = str(seen.own.get(name, ""))
        if status.isascii() and status.isdecimal() and 100 <= int(status[:4]) <= 599:
            found["http_status"] = int(status)
            break
    if trail := str(raised.get("exception.stacktrace", "")):
        found["body"] = {"stacktrace": trail[-TEXT_MAX:]}  # the cause stands at the end
    return found


def _event(seen: _Seen, source: str, id_: str, moment: datetime, data: dict[str, Any]) -> dict[str, Any]:
    """The step as a CloudEvent."""
    said = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": _plain(seen.name).strip()[:255] or "span",
        "time": iso(moment),
        "data": data,
    }
    return said | ({"correlationid": seen.trace} if seen.trace else {})


def attributes(pairs: Any) -> Attributes:
    """OTLP's list of key and value as a dict; of a name that comes twice, the last."""
    return {_whole(pair.key): _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    """An AnyValue as JSON: bytes as base64."""
    which = value.WhichOneof("value")
    if which is None:
        return None
    found = getattr(value, which)
    if which == "string_value":
        return _whole(found)
    if which == "array_value":
        return [_value(inner) for inner in found.values]
    if which == "kvlist_value":
        pairs: list[KeyValue] = list(found.values)
        return attributes(pairs)
    return b64encode(found).decode() if which == "bytes_value" else found


def _whole(text: str) -> str:
    """Text that PostgreSQL can keep."""
    return text.replace("\x00", "\ufffd")


def _plain(text: str) -> str:
    return _UNSAFE.sub(" ", text)


def _moment(nanos: int) -> datetime | None:
    """The time, cut to microseconds; None for none, or one that is out of range."""
    try:
        return _EPOCH + timedelta(microseconds=nanos // 1000) if nanos else None
    except OverflowError:
        return None


def _digest(record: LogRecord) -> str:
    """Tells records of the same moment apart. When it was observed is left out: that is the collector's clock."""
    said = LogRecord()
    said.CopyFrom(record)
    if said.time_unix_nano:
        said.ClearField("observed_time_unix_nano")
    return hashlib.sha256(said.SerializeToString(deterministic=True)).hexdigest()[:32]
