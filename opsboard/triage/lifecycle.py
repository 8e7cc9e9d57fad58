"""What can be done with an exception: the one table behind commands, buttons, API and tests.

Actions by a person name the permission they need and whether a reason must be given; actions by the machine name
none. `to` is the state after it, None where the state stays.
"""

from typing import NamedTuple

OPEN, SNOOZED, REPLAYING, RESOLVED = "open", "snoozed", "replaying", "resolved"
UNRESOLVED = frozenset({OPEN, SNOOZED, REPLAYING})
ANY = UNRESOLVED | {RESOLVED}


class Action(NamedTuple):
    """One row: what the button says, from which states it leads to which, who may, and what it asks for."""

    label: str
    icon: str
    kind: str  # the event it writes to the log
    source: frozenset[str]
    to: str | None
    permission: str | None
    reason: bool = False
    key: str = ""  # the keyboard's


TABLE: dict[str, Action] = {
    # by a person
    "replay": Action(
        "Replay", "rotate-cw", "replayed", frozenset({OPEN, SNOOZED}), REPLAYING, "exceptions.replay", False, "r"
    ),
    "fix": Action("Fix", "pencil", "fixed", frozenset({OPEN, SNOOZED}), OPEN, "exceptions.fix", True, "f"),
    "discard_fix": Action("Discard fix", "undo-2", "fix_discarded", frozenset({OPEN, SNOOZED}), None, "exceptions.fix"),
    "assign": Action("Assign", "user-plus", "assigned", UNRESOLVED, None, "exceptions.assign", False, "a"),
    "take": Action("Take", "hand", "taken", UNRESOLVED, None, "exceptions.assign", False, "i"),
    "comment": Action("Comment", "message-square", "commented", ANY, None, "exceptions.comment", True, "c"),
    "snooze": Action("Snooze", "alarm-clock", "snoozed", frozenset({OPEN}), SNOOZED, "exceptions.snooze", False, "h"),
    "wake": Action("Wake", "alarm-clock-off", "woken", frozenset({SNOOZED}), OPEN, "exceptions.snooze"),
    "resolve": Action(
        "Resolve", "check", "resolved", frozenset({OPEN, SNOOZED}), RESOLVED, "exceptions.resolve", True, "e"
    ),
    "reopen": Action("Reopen", "rotate-ccw", "reopened", frozenset({RESOLVED}), OPEN, "exceptions.resolve", True),
    # by the machine
    "raise": Action("Raised", "octagon-alert", "raised", frozenset(), OPEN, None),
    "fail_again": Action("Refused again", "octagon-alert", "noted", UNRESOLVED, OPEN, None),
    "succeed": Action("Succeeded", "circle-check", "resolved", UNRESOLVED, RESOLVED, None),
    "wake_up": Action("Snooze ended", "alarm-clock", "woken", frozenset({SNOOZED}), OPEN, None),
}

# How a person may close an exception without a replay, and what becomes of its transaction.
RESOLUTIONS: dict[str, tuple[str, str]] = {
    "at_source": ("Done at the source: the target has it", "closed"),
    "not_needed": ("Not needed: nothing has to be posted", "closed"),
    "duplicate": ("Duplicate of something that was posted", "superseded"),
}
# How the machine closes one.
CLOSED_BY_SUCCESS: dict[str, str] = {
    "replayed": "Replayed and posted",
    "later_success": "Succeeded later, without a replay",
}
