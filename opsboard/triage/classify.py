"""From what a system answered to what it means: category, accountable team, whether a repeat can help.

The rules are data: one TOML file per system in `classifier/`, and `common.toml` for all systems. A rule
speaks of vendor codes or of meanings, never of one sentence. Evaluation goes from the special to the general:

1. the system's own rules, in the order of its file (documented codes, house vocabulary),
2. the common rules (meanings that every product expresses),
3. the system's fallbacks (codes that only say the rough kind),
4. the common fallbacks (HTTP status).

The text wins over the status because vendors answer throttling with 400 and missing rights with 404.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

CATEGORIES: Final = (
    "closed_period",
    "invalid_dimension",
    "missing_reference",
    "duplicate_record",
    "validation_rule",
    "rate_limit",
    "auth",
    "permission",
    "concurrency",
    "connectivity",
    "schema_change",
    "amount_mismatch",
    "approval_state",
    "unknown",
)
TEAMS: Final = ("finance", "pmo", "sales_ops", "hr_ops", "platform")
RETRYABLE: Final = ("yes", "no", "after-wait")
SYSTEMS: Final = (
    "netsuite",
    "dynamics365_bc",
    "dynamics365_fo",
    "dataverse",
    "oracle_erp",
    "salesforce",
    "certinia",
    "sap_s4hana",
    "workday",
    "concur",
    "kantata",
    "clockify",
    "toggl",
    "tryton",
    "middleware",
)

_RULES_DIR: Final = Path(__file__).parent / "classifier"
# The cause stands at the beginning or, in stack traces, at the end; the middle is dropped to bound the time.
_TEXT_LIMIT: Final = 3000
_SUBJECT_LIMIT: Final = 80
_WHITE = re.compile(r"\s+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_WORD = re.compile(r"@\{(\w+)\}")
# The query of a URL is what we asked for, not what was answered ("...&limit=10" is no limit).
_QUERY = re.compile(r"\?[\w.%-]+=[^\s)'\"]*")
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "})


class RuleError(ValueError):
    """A rule file cannot be used; the text says which file and which rule."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The classification of one refused message.

    category, team and retryable are values of CATEGORIES, TEAMS and RETRYABLE; rule is the id of the rule
    that decided; subject is what the message is about (a period, a dimension value, a missing reference)
    or an empty string.
    """

    category: str
    team: str
    retryable: str
    rule: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rule file, compiled. All conditions that are given must hold."""

    id: str
    category: str
    team: str | None
    retryable: str | None
    fallback: bool
    codes: frozenset[str]
    globs: re.Pattern[str] | None
    about: tuple[str, ...]
    text: tuple[re.Pattern[str], ...]
    unless: re.Pattern[str] | None
    status: frozenset[int]


@dataclass(frozen=True, slots=True)
class TeamRule:
    """A noun that says whose data is meant, for the categories where that differs from case to case."""

    team: str
    categories: frozenset[str]
    text: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that applies to one system, in the order of evaluation."""

    system: str
    specific: tuple[Rule, ...]
    fallback: tuple[Rule, ...]
    teams: tuple[TeamRule, ...]
    default_team: Mapping[str, str]
    default_retryable: Mapping[str, str]
    subjects: Mapping[str, tuple[re.Pattern[str], ...]]
    code_patterns: tuple[re.Pattern[str], ...]
    noise: re.Pattern[str]


@dataclass(slots=True)
class _Case:
    """One message, prepared for matching."""

    original: str
    text: str
    codes: frozenset[str]
    status: int | None
    match: re.Match[str] | None = field(default=None)


def classify(system: str, message: str, code: str | None = None, http_status: int | None = None) -> Verdict:
    """Say what a refusal means.

    system: short name as in SYSTEMS; an unknown one is judged by the common rules alone.
    message: the answer as received, text or body. code: the vendor's error code, when it has one.
    http_status: only when really observed; it decides only when text and code say nothing.
    Never raises for any text and always returns legal values.
    """
    rules = ruleset(system if system in SYSTEMS else "")
    case = _prepare(rules, message, code, http_status)
    for rule in (*rules.specific, *rules.fallback):
        if _applies(rule, case):
            return _verdict(rules, rule.id, rule.category, rule.team, rule.retryable, case)
    return _verdict(rules, "common.nothing-known", "unknown", None, None, case)


def rules_of(system: str) -> Iterator[Rule]:
    """All rules that may decide for a system, in the order of evaluation."""
    found = ruleset(system)
    yield from found.specific
    yield from found.fallback


def _prepare(rules: RuleSet, message: str, code: str | None, status: int | None) -> _Case:
    """Normalise the text and collect every code that is given or stands in the text."""
    raw = message if len(message) <= _TEXT_LIMIT else f"{message[:2000]} {message[-1000:]}"
    plain = _QUERY.sub("", html.unescape(raw).translate(_QUOTES).replace("\\", " "))
    original = _WHITE.sub(" ", plain).strip()
    # Vendors write the same code with a blank or an underscore ("INVALID SUPPLIER", "INVALID_SUPPLIER").
    codes = {_code(code), _code(_WHITE.sub("_", code.strip()))} if code else set()
    for pattern in rules.code_patterns:
        for match in pattern.finditer(original):
            codes.add(_code("".join(part for part in match.groups() if part) or match.group()))
    return _Case(original=original, text=original.lower(), codes=frozenset(codes), status=status)


def _code(text: str) -> str:
    """A code as rules spell it: upper case, no white space ('f5 201' and 'F5201' are the same code)."""
    return _WHITE.sub("", text).upper()


def _applies(rule: Rule, case: _Case) -> bool:
    """Whether all conditions of the rule hold; keeps the text match for the subject."""
    if rule.status and case.status not in rule.status:
        return False
    if (rule.codes or rule.globs) and not _code_applies(rule, case.codes):
        return False
    if rule.about and not any(word in case.text for word in rule.about):
        return False
    case.match = None
    for pattern in rule.text:
        case.match = pattern.search(case.text)
        if case.match:
            break
    if rule.text and case.match is None:
        return False
    return rule.unless is None or rule.unless.search(case.text) is None


def _code_applies(rule: Rule, codes: frozenset[str]) -> bool:
    if not rule.codes.isdisjoint(codes):
        return True
    globs = rule.globs
    return globs is not None and any(globs.fullmatch(code) for code in codes)


def _verdict(rules: RuleSet, rule: str, category: str, team: str | None, retryable: str | None, case: _Case) -> Verdict:
    return Verdict(
        category=category,
        team=team or _team(rules, category, case),
        retryable=retryable or rules.default_retryable.get(category, "no"),
        rule=rule,
        subject=_subject(rules, category, case),
    )


def _team(rules: RuleSet, category: str, case: _Case) -> str:
    """The team by the first noun that names an owner, else the system's usual team for the category."""
    nouns = ""
    for rule in rules.teams:
        if category in rule.categories:
            nouns = nouns or _nouns(rules, case)
            if rule.text.search(nouns):
                return rule.team
    return rules.default_team.get(category, "platform")


def _nouns(rules: RuleSet, case: _Case) -> str:
    """The text and its names taken apart, without the phrases of transport ("accessing a resource")."""
    words = rules.noise.sub(" ", case.text)
    return f"{words} {rules.noise.sub(' ', _CAMEL.sub(' ', case.original).lower())}"


def _subject(rules: RuleSet, category: str, case: _Case) -> str:
    """The thing named in the message: from the deciding rule's group, else by the category's patterns."""
    match = case.match
    if match is not None and "subject" in match.re.groupindex and match.group("subject"):
        start, end = match.span("subject")
        # Lower-casing can change the length of some scripts; then positions do not carry over.
        same = len(case.original) == len(case.text)
        return (case.original[start:end] if same else match.group("subject")).strip()[:_SUBJECT_LIMIT]
    for pattern in rules.subjects.get(category, ()):
        found = pattern.search(case.original)
        if found:
            return found.group("subject").strip()[:_SUBJECT_LIMIT]
    return ""


# ---- reading the rule files ----------------------------------------------------------------


@cache
def ruleset(system: str) -> RuleSet:
    """The compiled rules of a system; an empty name gives the common rules alone."""
    common = _read("common")
    own = _read(system) if system else {}
    words = {**common.get("words", {}), **own.get("words", {})}
    name = system or "common"
    own_rules = [_rule(name, entry, words) for entry in own.get("rule", ())]
    all_rules = [*own_rules, *(_rule("common", entry, words) for entry in common["rule"])]
    teams = [_team_rule(entry, words) for entry in (*own.get("team", ()), *common["team"])]
    defaults: Mapping[str, Mapping[str, str]] = own.get("defaults", {})
    subjects = {**common["subjects"], **own.get("subjects", {})}
    return RuleSet(
        system=name,
        specific=tuple(rule for rule in all_rules if not rule.fallback),
        fallback=tuple(rule for rule in all_rules if rule.fallback),
        teams=tuple(teams),
        default_team={**common["defaults"]["team"], **defaults.get("team", {})},
        default_retryable={**common["defaults"]["retryable"], **defaults.get("retryable", {})},
        subjects={key: tuple(re.compile(text) for text in texts) for key, texts in subjects.items()},
        noise=re.compile("|".join((*own.get("noise", ()), *common["noise"]))),
        code_patterns=tuple(
            re.compile(text) for text in (*own.get("code_patterns", ()), *common.get("code_patterns", ()))
        ),
    )


def _read(name: str) -> dict[str, Any]:
    path = _RULES_DIR / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RuleError(f"{path.name}: {error}") from error


def _rule(name: str, entry: Mapping[str, Any], words: Mapping[str, str]) -> Rule:
    """Check and compile one entry; a mistake in it is an error at the first use, not a silent miss."""
    rule_id = f"{name}.{entry.get('id', '?')}"
    _check(rule_id, entry)
    codes = [str(code).upper() for code in entry.get("codes", ())]
    globs = [code for code in codes if "*" in code]
    return Rule(
        id=rule_id,
        category=entry["category"],
        team=entry.get("team"),
        retryable=entry.get("retryable"),
        fallback=entry.get("stage", "specific") == "fallback",
        codes=frozenset(code for code in codes if "*" not in code),
        globs=re.compile("|".join(re.escape(g).replace(r"\*", ".*") for g in globs)) if globs else None,
        about=tuple(entry.get("about", ())),
        text=tuple(_compile(rule_id, text, words) for text in entry.get("text", ())),
        unless=_compile(rule_id, "|".join(entry["unless"]), words) if entry.get("unless") else None,
        status=frozenset(entry.get("status", ())),
    )


def _check(rule_id: str, entry: Mapping[str, Any]) -> None:
    allowed = {
        "category": CATEGORIES,
        "team": TEAMS,
        "retryable": RETRYABLE,
        "stage": ("specific", "fallback"),
    }
    for key, values in allowed.items():
        if key in entry and entry[key] not in values:
            raise RuleError(f"{rule_id}: {key} {entry[key]!r} is not one of {', '.join(values)}")
    if "category" not in entry or "id" not in entry:
        raise RuleError(f"{rule_id}: a rule needs an id and a category")
    if not any(entry.get(key) for key in ("codes", "text", "status")):
        raise RuleError(f"{rule_id}: a rule needs codes, text or status")


def _team_rule(entry: Mapping[str, Any], words: Mapping[str, str]) -> TeamRule:
    text = "|".join(entry["text"])
    return TeamRule(entry["team"], frozenset(entry["categories"]), _compile("team", text, words))


def _compile(rule_id: str, text: str, words: Mapping[str, str]) -> re.Pattern[str]:
    """Replace @{word} by its meaning (words may use words) and compile."""
    for _ in range(3):
        text = _WORD.sub(lambda found: words[found.group(1)], text)
    try:
        return re.compile(text)
    except re.error as error:
        raise RuleError(f"{rule_id}: {error} in {text!r}") from error
