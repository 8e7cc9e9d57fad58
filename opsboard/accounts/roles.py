"""The one table of roles: what each is called, which team it belongs to and what it may do.

Default deny: a permission that is not listed here does not exist, and a user without a role may do nothing.
Segregation of duties is visible in the table: whoever configures (administrator) neither fixes nor replays,
the auditor reads everything and changes nothing, and the executive reads figures and threads but no
payloads.
"""

from dataclasses import dataclass

TEAMS: dict[str, str] = {
    "finance": "Finance",
    "pmo": "Project management office",
    "sales_ops": "Sales operations",
    "hr_ops": "HR operations",
    "platform": "Integration platform",
}

PERMISSIONS: dict[str, str] = {
    "exceptions.view": "see the exception queue and its records",
    "exceptions.assign": "assign an exception, hand it over or take it",
    "exceptions.comment": "comment on an exception",
    "exceptions.snooze": "put an exception off until later",
    "exceptions.fix": "change the payload of an exception",
    "exceptions.replay": "send a fixed message to its target again",
    "exceptions.resolve": "resolve or reopen an exception, with a reason",
    "threads.view": "see the thread of an engagement from opportunity to cash",
    "payloads.view": "see what was sent and what the target answered",
    "kpis.view": "see figures and the records behind them",
    "quarantine.view": "see events that were refused at the door",
    "quarantine.resubmit": "correct a refused event and send it through the door again",
    "platform.view": "see flows, connectors, queues and their health",
    "audit.view": "see who did what, when and why",
    "accounts.manage": "manage people, roles and service accounts",
    "catalog.manage": "manage systems, flows, mappings and rules",
}

# What the token of a service account may be made for.
SCOPES: dict[str, str] = {
    "events:write": "send events, as its own source only",
    "threads:read": "find threads by any id",
    "exceptions:read": "list exceptions",
}

_WORK = frozenset(
    {
        "exceptions.view",
        "exceptions.assign",
        "exceptions.comment",
        "exceptions.snooze",
        "exceptions.fix",
        "exceptions.replay",
        "exceptions.resolve",
        "threads.view",
        "payloads.view",
        "kpis.view",
    }
)


@dataclass(frozen=True)
class Role:
    """One row of the table: `code` is stored at the user, `home` is the title of the role's first page."""

    code: str
    label: str
    team: str
    home: str
    permissions: frozenset[str]


_TABLE = (
    Role("finance", "Finance", "finance", "Finance", _WORK),
    Role("pmo", "PMO", "pmo", "Projects", _WORK),
    Role("sales_ops", "Sales operations", "sales_ops", "Sales operations", _WORK),
    Role("hr_ops", "HR operations", "hr_ops", "People and rates", _WORK),
    Role(
        "executive",
        "Executive",
        "",
        "From pipeline to cash",
        frozenset({"exceptions.view", "threads.view", "kpis.view"}),
    ),
    Role(
        "platform",
        "Integration platform",
        "platform",
        "Integration platform",
        _WORK | {"quarantine.view", "quarantine.resubmit", "platform.view"},
    ),
    Role(
        "auditor",
        "Auditor",
        "",
        "Audit",
        frozenset(code for code in PERMISSIONS if code.endswith(".view")),
    ),
    Role(
        "administrator",
        "Administrator",
        "",
        "Administration",
        frozenset(
            {
                "exceptions.view",
                "threads.view",
                "kpis.view",
                "platform.view",
                "audit.view",
                "accounts.manage",
                "catalog.manage",
            }
        ),
    ),
)

ROLES: dict[str, Role] = {role.code: role for role in _TABLE}
NO_ROLE = Role("", "No role", "", "Home", frozenset())

# Roles that may be obliged to use a second factor (setting OPSBOARD_REQUIRE_MFA): they move money or hold
# the keys.
MFA_ROLES = frozenset({"finance", "platform", "administrator"})

# Roles that see rows of no known legal entity; see access.in_scope for the reason.
UNPLACED_ROLES = frozenset({"platform", "auditor"})


def role(code: str) -> Role:
    """The role of that code; an unknown or empty code is the role that may do nothing."""
    return ROLES.get(code, NO_ROLE)
