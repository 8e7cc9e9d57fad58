"""What people are told about an exception: its name, its title, what to do next, what may be corrected.

The words are data (`playbook.toml`), one entry per category of the classifier.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

_FILE = Path(__file__).parent / "playbook.toml"
_UNKNOWN = "unknown"
_WHITE = re.compile(r"\s+")
_SUBJECT_LIMIT = 40
_LABEL_LIMIT = 120
# What only a machine reads: GUIDs, placeholders, CONSTANT_NAMES, snake_case, mark-up, long numbers of rows.
_MACHINE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}|[<>{}\[\]|$]|%\d|^&\d?$|https?:|^[A-Z0-9]+(?:_[A-Z0-9]+)+$|^\w*_\w*$|^0x[0-9a-f]+$",
    re.IGNORECASE,
)


class Parts(TypedDict):
    """What a title is put together from; every part may be empty."""

    object: str
    customer: str
    system: str
    subject: str


@dataclass(frozen=True)
class Advice:
    """What is known about a category.

    label: its name on screen. what_next: two to four short sentences, in order. repairable: fields of the
    canonical document that a correction may change; ("*",) is every field, () none.
    """

    label: str
    what_next: tuple[str, ...]
    repairable: tuple[str, ...]
    title: str
    title_plain: str


class Cause(NamedTuple):
    """What a rule says where it knows more than its category."""

    title: str
    title_plain: str


def advice(category: str) -> Advice:
    """The advice for a category; for one that is not in the playbook, that of an unknown cause."""
    entries, _ = _entries()
    return entries.get(category, entries[_UNKNOWN])


def title(category: str, rule: str = "", **parts: Unpack[Parts]) -> str:
    """One sentence in business words for the head of an exception, also when parts are missing.

    rule: the classifier's, which may know more than the category. object: what was sent ("Invoice INV-7"); customer:
    whom it is for, left out when the object's name says it; system: who refused it; subject: the cause as the
    classifier found it, left out when only a machine could read it.
    """
    _, causes = _entries()
    entry = causes.get(rule.rpartition(".")[2]) or advice(category)
    subject, customer, thing = _subject(parts["subject"]), _plain(parts["customer"]), _plain(parts["object"])
    template = entry.title if subject else entry.title_plain
    if not customer or customer.split()[0].lower() in thing.lower():
        template = template.replace(" for {customer}", "")
    words = {
        "object": thing or "A message",
        "customer": customer,
        "system": _plain(parts["system"]) or "the target system",
        "subject": subject,
    }
    # Only the template's own braces are filled: names of customers may contain any sign.
    text = re.sub(r"\{(\w+)\}", lambda found: words[found[1]], template)
    return text[0].upper() + text[1:]


def _plain(text: str) -> str:
    """On one line and not longer than a title can bear."""
    line = _WHITE.sub(" ", text).strip()
    return line if len(line) <= _LABEL_LIMIT else f"{line[: _LABEL_LIMIT - 1].rstrip()}…"


def _subject(text: str) -> str:
    line = _WHITE.sub(" ", text).strip(" .,:;'\"")
    return "" if len(line) > _SUBJECT_LIMIT or _MACHINE.search(line) else line


@cache
def _entries() -> tuple[dict[str, Advice], dict[str, Cause]]:
    raw = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    causes = {rule: Cause(**words) for rule, words in raw.pop("causes").items()}
    return {
        category: Advice(
            label=entry["label"],
            what_next=tuple(entry["what_next"]),
            repairable=tuple(entry["repairable"]),
            title=entry["title"],
            title_plain=entry["title_plain"],
        )
        for category, entry in raw.items()
    }, causes
