"""The classifier: what vendors' refusals mean, whose they are, whether a repeat can help.

Two sets of examples: `data/error_meanings.jsonl` is ours (documented codes and our own wording of what they mean)
and always runs; the corpus of real messages lies beside the checkout and is skipped where it is absent.
"""

import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsboard.triage import classify as classifier
from opsboard.triage import playbook
from opsboard.triage.classify import CATEGORIES, RETRYABLE, SYSTEMS, TEAMS, Verdict, classify, rules_of
from opsboard.triage.management.commands.classify import classify_lines

ROOT = Path(__file__).resolve().parents[2]
MEANINGS = Path(__file__).parent / "data" / "error_meanings.jsonl"
CORPUS = ROOT.parent / "shared" / "data" / "error_corpus_dev.jsonl"
# Frames that a product puts around every cause of a kind; the variable part stands before, behind or between.
FRAMES = (
    "resource not found for the segment",
    "cannot be found in the related table",
    "write failed for table row of type",
    "unable to write data to entity",
    "is not a valid id value for type",
    "item with the same key has already been added",
)
PARTS = ("category", "team", "retryable")

needs_corpus = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real messages is not beside the checkout")


def examples(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def verdict(row: dict[str, Any]) -> Verdict:
    observed = None if row.get("http_status_basis") == "inferred" else row.get("http_status")
    return classify(row["system"], row["message"], row.get("code"), observed)


def accuracy(rows: list[dict[str, Any]]) -> dict[str, float]:
    right = Counter(part for row in rows for part in PARTS if getattr(verdict(row), part) == row[part])
    return {part: right[part] / len(rows) for part in PARTS}


def all_rules() -> list[classifier.Rule]:
    own = [rule for system in SYSTEMS for rule in rules_of(system) if not rule.id.startswith("common.")]
    return [*own, *rules_of("")]


@pytest.mark.parametrize("row", examples(MEANINGS), ids=lambda row: f"{row['system']}-{row['message'][:40]}")
def test_meanings(row):
    found = verdict(row)
    assert (found.category, found.team, found.retryable) == tuple(row[part] for part in PARTS), found.rule


@needs_corpus
def test_the_corpus_is_classified_as_labelled():
    reached = accuracy(examples(CORPUS))
    assert reached["category"] >= 0.93, reached
    assert reached["team"] >= 0.92, reached
    assert reached["retryable"] >= 0.93, reached


@needs_corpus
def test_no_rule_is_made_of_one_real_message():
    """A rule that repeats six words of a real message in a row, other than a frame, was written for that message."""
    messages = [" ".join(row["message"].lower().split()) for row in examples(CORPUS)]
    copied = [
        f"{rule.id}: {' '.join(run)}"
        for rule in all_rules()
        for pattern in rule.text
        for words in [pattern.pattern.replace("|", " | ").replace("(?:", " ").split()]
        for run in zip(*(words[start:] for start in range(6)), strict=False)
        if all(word.isalpha() for word in run)
        and any(" ".join(run) in message for message in messages)
        and not any(" ".join(run) in frame for frame in FRAMES)
    ]
    assert copied == []


def test_rule_ids_are_unique():
    count = Counter(rule.id for rule in all_rules())
    assert [rule for rule, times in count.items() if times > 1] == []


def test_every_rule_decides_at_least_one_example():
    deciding = {verdict(row).rule for row in examples(MEANINGS)}
    assert [rule.id for rule in all_rules() if rule.id not in deciding] == []


def test_the_words_a_rule_is_about_never_hide_a_match():
    """`about` only saves time: where the text of a rule matches, one of its words must be in the message."""
    hidden = []
    rows = examples(MEANINGS) + (examples(CORPUS) if CORPUS.exists() else [])
    for row in rows:
        text = " ".join(row["message"].lower().split())
        for rule in rules_of(row["system"]):
            missed = rule.about and not any(word in text for word in rule.about)
            excused = rule.unless is not None and rule.unless.search(text) is not None
            if missed and not excused and any(pattern.search(text) for pattern in rule.text):
                hidden.append((rule.id, text[:80]))
    assert hidden == []


def test_the_text_wins_over_the_status():
    throttled = classify("netsuite", "Request Limit Exceeded", "SSS_REQUEST_LIMIT_EXCEEDED", 400)
    assert (throttled.category, throttled.retryable) == ("rate_limit", "after-wait")
    closed = classify("dynamics365_fo", "The period 2026-03 is closed for posting.", None, 503)
    assert closed.category == "closed_period"


def test_the_status_decides_only_when_nothing_else_does():
    assert classify("toggl", "", None, 429).category == "rate_limit"
    assert classify("toggl", "", None, None).category == "unknown"


def test_one_template_changes_category_with_the_field_it_names():
    template = "You have entered an Invalid Field Value 42 for the following field: {}"
    found = {
        field: classify("netsuite", template.format(field), "USER_ERROR", 400) for field in ("class", "item", "job")
    }
    assert found["class"].category == "invalid_dimension"
    assert (found["item"].category, found["item"].team) == ("missing_reference", "finance")
    assert (found["job"].category, found["job"].team) == ("missing_reference", "pmo")


def test_the_inner_cause_tells_more_than_the_wrapper():
    nested = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY, Trigger: Upsert failed; first error: UNABLE_TO_LOCK_ROW, unable to"
    assert classify("salesforce", nested, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", 400).category == "concurrency"


def test_a_limit_in_the_url_we_asked_for_is_no_limit():
    message = (
        "Max retries exceeded with url: /api/v1/items?page=1&limit=10 (Caused by SSLError(CERTIFICATE_VERIFY_FAILED))"
    )
    found = classify("middleware", message, None, None)
    assert (found.category, found.retryable) == ("connectivity", "no")


@pytest.mark.parametrize(
    ("system", "message", "subject"),
    [
        (
            "tryton",
            'To continue, you must reopen the period "2026-03" of company "X" for the date "03/15/2026".',
            "2026-03",
        ),
        ("sap_s4hana", "Posting period 007 2018 not open for variant 2000 and ledger 0L", "007 2018"),
        ("netsuite", "You have entered an Invalid Field Value 53384 for the following field: customer.", "53384"),
        ("tryton", 'The value "999999" for field "Party" in "Account Invoice" does not exist.', "999999"),
        ("dynamics365_bc", "Dimension Code AREA is blocked", "AREA"),
        ("workday", "Invalid ID value. 'PRJ-1' is not a valid ID value for type = 'Project_ID'", "PRJ-1"),
    ],
)
def test_the_cause_is_named(system, message, subject):
    assert classify(system, message, None, None).subject == subject


def test_a_code_is_the_same_in_every_spelling():
    spellings = ["F5201", "F5 201", "f5 201"]
    assert {classify("sap_s4hana", "", code, None).category for code in spellings} == {"closed_period"}
    assert classify("sap_s4hana", "<TypeID>201(F5)</TypeID>", None, None).category == "closed_period"


@given(
    st.sampled_from([*SYSTEMS, "something-else", ""]),
    st.text(max_size=4000)
    | st.lists(st.sampled_from(["period", "closed", "not", "İ", "ß", "%1", "&", "'", '"', "\\", "("])).map(" ".join),
    st.none() | st.text(max_size=40),
    st.none() | st.integers(),
)
def test_any_text_gets_a_legal_verdict(system, message, code, status):
    found = classify(system, message, code, status)
    assert found.category in CATEGORIES
    assert found.team in TEAMS
    assert found.retryable in RETRYABLE
    assert found.rule
    assert len(found.subject) <= 80


def test_a_huge_answer_does_not_take_long():
    """Stack traces of a megabyte come back from some systems; only beginning and end are read."""
    huge = "Write failed. " + "invalid account period not " * 50_000 + " The period 2026-03 is closed."
    assert classify("dynamics365_fo", huge, None, None).category in CATEGORIES


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_advice(category):
    advice = playbook.advice(category)
    assert advice.label
    assert 2 <= len(advice.what_next) <= 4
    assert all(sentence.endswith(".") for sentence in advice.what_next)


def test_an_unknown_category_gets_the_advice_of_the_unknown_cause():
    assert playbook.advice("no-such-category") == playbook.advice("unknown")


def test_the_title_says_it_in_business_words():
    parts = {"object": "Invoice INV-7", "customer": "Brightwater", "system": "ERP"}
    said = playbook.title("closed_period", **parts, subject="2026-03")
    assert said == "Invoice INV-7 for Brightwater was refused: period 2026-03 is closed"
    of_rule = playbook.title("amount_mismatch", "tryton.rate-missing", **parts, subject="Swiss Franc")
    assert of_rule == "Invoice INV-7 for Brightwater was refused: ERP has no exchange rate for Swiss Franc"
    named = parts | {"object": "Invoice for Grid – Brightwater, Oct 2026"}
    assert playbook.title("closed_period", **named, subject="2026-03").startswith(named["object"] + " was refused")
    plain = playbook.title("closed_period", **parts, subject="")
    assert plain == "Invoice INV-7 for Brightwater was refused: the accounting period is closed"


@pytest.mark.parametrize(
    "subject",
    [
        "DAC3AB2F-5FEA-4AD2-A663-EF832F270A7B",
        "A_BusinessPartnerType",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "%1",
        "x" * 80,
    ],
)
def test_the_title_never_shows_what_only_a_machine_reads(subject):
    said = playbook.title("missing_reference", object="Project P-1", customer="", system="PSA", subject=subject)
    assert said == "Project P-1 was refused: something it refers to is not known there"


@given(st.sampled_from([*CATEGORIES, "?"]), st.text(), st.text(), st.text(), st.text())
def test_a_title_is_always_one_line(category, object_, customer, system, subject):
    said = playbook.title(category, object=object_, customer=customer, system=system, subject=subject)
    assert said
    assert "\n" not in said
    assert "{customer}" not in said or "{customer}" in object_ + customer + system + subject


def run_lines(*lines: str) -> tuple[bool, list[dict[str, Any]]]:
    out = io.StringIO()
    good = classify_lines((line.encode() for line in lines), out)
    return good, [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_bad_line_is_named_and_does_not_stop_the_rest():
    row = {"system": "concur", "message": "The request encountered a database deadlock.", "http_status": 400}
    good, answers = run_lines(
        json.dumps(row), "{nonsense", "[1]", "", '{"system": "concur", "message": 7}', json.dumps(row)
    )
    assert not good
    assert answers[0] == {**row, "category": "concurrency", "team": "platform", "retryable": "yes"} | {
        "rule": "common.lock-conflict"
    }
    assert [answer.get("line") for answer in answers] == [None, 2, 3, 5, None]
    assert all(answer["error"] for answer in answers[1:4])


def test_a_line_that_is_not_utf8_is_an_error_of_that_line():
    out = io.StringIO()
    assert not classify_lines([b"\xff\xfe\n", b'{"system": "toggl", "message": "x"}\n'], out)
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first == {"line": 1, "error": "not UTF-8"}
    assert second["category"] in CATEGORIES


def test_the_command_needs_no_database():
    """From standard input to standard output in a process of its own, with a database that does not exist."""
    done = subprocess.run(
        [sys.executable, "manage.py", "classify"],
        cwd=ROOT,
        input='{"system": "sap_s4hana", "message": "Posting period 003 2026 is not open", "code": "F5 201"}\n!\n',
        env={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["category"], first["team"], first["retryable"]) == ("closed_period", "finance", "no")
    assert second["line"] == 2
    assert done.returncode == 1
