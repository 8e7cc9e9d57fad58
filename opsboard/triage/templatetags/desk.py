"""Words of the exception desk: filter values, resolutions, why something cannot be done."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.safestring import SafeString

from opsboard.core.templatetags.ui import SEVERITIES, title_case_code
from opsboard.triage import playbook
from opsboard.triage.lifecycle import CLOSED_BY_SUCCESS, RESOLUTIONS
from opsboard.triage.queries import Detail, Field, Filters

register = template.Library()


@register.simple_tag
def facet_word(labels: Mapping[str, Mapping[str, str]], name: str, value: object) -> str:
    """A filter's or column's value as people call it."""
    code = str(value)
    if name == "severity":
        return SEVERITIES.get(code, code).capitalize()
    if name == "category":
        return category_word(code)
    if name == "cause":
        return "same cause"
    known = labels.get(name, {}).get(code) if isinstance(labels, Mapping) else None
    return known or (title_case_code(code) if name in ("team", "flow") else code)


SHORT = {"pmo": "PMO", "sales_ops": "Sales ops", "hr_ops": "HR ops", "platform": "Platform"}


@register.filter
def team_short(code: str) -> str:
    """A team in a narrow column."""
    return SHORT.get(code) or title_case_code(code)


@register.filter
def category_word(code: str) -> str:
    """What people call a category."""
    label = playbook.advice(code).label if code else ""
    return label if label and label != code else title_case_code(code)


@register.simple_tag
def facet_chosen(filters: Filters, name: str, value: object) -> SafeString:
    """The attribute of the option that is in force."""
    return SafeString(" selected") if str(getattr(filters, name, "")) == str(value) else SafeString("")


@register.simple_tag
def resolution_words(code: str) -> str:
    """How an exception ended, in words."""
    if code in CLOSED_BY_SUCCESS:
        return CLOSED_BY_SUCCESS[code]
    return RESOLUTIONS[code][0] if code in RESOLUTIONS else title_case_code(code) or "Resolved"


@register.simple_tag
def posted_as(shown: Detail) -> str:
    """The number under which the target has it, empty when no target confirmed it or the person may not see that."""
    for step in reversed(shown.steps):
        if step.event.kind == "acknowledged":
            answer = step.payload.data if step.payload else None
            return str(answer.get("reference") or "") if isinstance(answer, dict) else ""
    return ""


@register.simple_tag
def why_not(shown: Detail, name: str) -> str:
    """Why the action cannot be done now."""
    return shown.why_not.get(name, "It does not apply to this exception as it stands.")


@register.simple_tag
def field_title(shown: Detail, path: str) -> str:
    """The place of a change as people call it: `/lines/0/hours` is `Lines › 1 › Hours`, `/project_code` its title."""
    titles = {field.path: field.title for field in shown.fields}
    parts = path.strip("/").split("/")
    if len(parts) == 1:
        return titles.get(parts[0]) or title_case_code(parts[0])
    return " › ".join(str(int(part) + 1) if part.isdecimal() else title_case_code(part) for part in parts)


@register.simple_tag
def typed(posted: Mapping[str, Any] | str, field: Field) -> str:
    """What stands in a field: what was just typed, else the present value."""
    name = f"field-{field.path}"
    if isinstance(posted, Mapping) and name in posted:
        return str(posted[name])
    return "" if field.value is None else str(field.value)
