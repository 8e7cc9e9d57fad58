"""The OpenAPI document: a file in the project, made by `manage.py openapi` and served as it is."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).parent / "openapi.json"


@cache
def read() -> dict[str, Any]:
    """The document as it was made last."""
    found: dict[str, Any] = msgspec.json.decode(FILE.read_bytes())
    return found
