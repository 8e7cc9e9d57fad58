"""JSON Lines: one object per line."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from integrations.files.records import Row

LINE_MAX = 1024 * 1024


def rows(stream: BinaryIO) -> Iterator[Row]:
    """The lines' objects. A line that is no JSON object, or longer than a megabyte, is a Row with a problem."""
    line = 0
    while raw := stream.readline(LINE_MAX + 1):
        line += 1
        if line == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > LINE_MAX:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(LINE_MAX)
            yield Row(line, {}, f"The line has more than {LINE_MAX} bytes.")
        elif raw.strip():
            yield _row(line, raw)


def _row(line: int, raw: bytes) -> Row:
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Row(line, {"line": raw.decode("utf-8", "backslashreplace").strip()}, f"The line is not JSON: {error}")
    if not isinstance(value, dict):
        return Row(line, {"line": value}, "The line is not a JSON object.")
    return Row(line, value)
