"""`manage.py otlp_test`: what an OTLP payload would become under the mapping rules; nothing is stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsboard.api import events, otlp, otlp_mapping
from opsboard.api.events import Invalid
from opsboard.api.otlp import LOGS, TRACES, Failure, Signal
from opsboard.api.otlp_mapping import RulesError, Step
from opsboard.core.clock import now


class Command(BaseCommand):
    help = (
        "Show what the spans or log records of an OTLP payload (JSON, or protobuf with --signal; gzip too) would "
        "become under the mapping rules: one JSON object per line. Nothing is stored. Exit code 1 when one is refused."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """The payload, and the rules to try."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--mapping", type=Path, default=settings.OPSBOARD_OTLP_MAPPING, help="rules to try")
        parser.add_argument("--signal", choices=["traces", "logs"], help="needed for protobuf, which does not say it")
        parser.add_argument(
            "--source", default="urn:example", help="source of the service account (default %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Judge every span or record of the file."""
        try:
            told = list(judged(options["file"], options["mapping"], options["signal"], options["source"]))
        except (OSError, Failure, Invalid, RulesError) as error:
            raise CommandError(str(error)) from error
        for one in told:
            self.stdout.write(msgspec.json.encode(one).decode())
        if any("refused" in one for one in told):
            raise CommandError("Not everything would be taken.")


def judged(file: Path, mapping: Path, named: str | None, source: str) -> Iterator[dict[str, Any]]:
    """For each span or record its name and: `event` it becomes, `left_out` by which rule, or `refused` and why."""
    body = file.read_bytes()
    body = otlp.unpacked("gzip" if body[:2] == b"\x1f\x8b" else "", body)
    is_json = body.lstrip()[:1] == b"{"
    signal: Signal[Any] | None = {"traces": TRACES, "logs": LOGS, None: None}[named]
    if signal is None:
        said = events.read_json(body) if is_json else {}
        signal = next((one for one in (TRACES, LOGS) if one.key in said), None)
    if signal is None:
        raise CommandError("Say with --signal whether these are traces or logs.")
    message = otlp.decode(signal, body, otlp.JSON if is_json else otlp.PROTOBUF)
    for step in signal.steps(message, otlp_mapping.rules(mapping), source):
        yield {"name": step.name, **_verdict(step)}


def _verdict(step: Step) -> dict[str, Any]:
    if step.event is None:
        return {"refused": step.fault} if step.fault else {"left_out": step.left_out}
    try:
        events.structured(msgspec.json.encode(step.event), received_at=now())
    except Invalid as error:
        return {"refused": [fault._asdict() for fault in error.faults], "event": step.event}
    return {"event": step.event}
