"""`manage.py classify`: what refused messages mean, from JSON Lines to JSON Lines; needs no database."""

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from django.core.management.base import BaseCommand

from opsboard.triage.classify import Verdict, classify


class Command(BaseCommand):
    help = (
        "Read JSON Lines (system, message, code, http_status) from standard input and write each with category, "
        "team, retryable and rule. A bad line becomes an error object with its number; then the exit code is 1."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Classify standard input to the end."""
        if not classify_lines(sys.stdin.buffer, self.stdout):
            sys.exit(1)


def classify_lines(lines: Iterable[bytes], out: TextIO | Any) -> bool:
    """Write one JSON object per line that is not blank; returns whether every line could be read."""
    good = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            result = classified(line)
        except ValueError as error:
            good = False
            result = {"line": number, "error": str(error)}
        out.write(json.dumps(result, ensure_ascii=False) + "\n")
    return good


def classified(line: bytes) -> dict[str, Any]:
    """The object of one line with the verdict added. Raises ValueError saying what is wrong with the line."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("not JSON: nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    verdict = _verdict(row)
    added = {"category": verdict.category, "team": verdict.team, "retryable": verdict.retryable, "rule": verdict.rule}
    return {**row, **added}


def _verdict(row: dict[str, Any]) -> Verdict:
    system, message, code, status = (row.get(key) for key in ("system", "message", "code", "http_status"))
    if not isinstance(system, str) or not system:
        raise ValueError("system must be text")
    if not isinstance(message, str):
        raise ValueError("message must be text")
    if not isinstance(code, str | int | None) or isinstance(code, bool):
        raise ValueError("code must be text, a number or null")
    if not isinstance(status, int | None) or isinstance(status, bool):
        raise ValueError("http_status must be a whole number or null")
    # A status that somebody only inferred from the text is not an observation.
    observed = None if row.get("http_status_basis") == "inferred" else status
    return classify(system, message, None if code is None else str(code), observed)
