"""Events as a story: who did what to which record, in words, with an icon and a tone for each kind."""

from collections.abc import Mapping
from typing import NamedTuple

from django import template
from django.utils.safestring import SafeString

from opsboard.core.templatetags.ui import icon
from opsboard.log.models import Event

register = template.Library()


class Told(NamedTuple):
    """How a kind of event is told. The words follow the name of a system or a person."""

    words: str
    icon: str
    tone: str


KINDS: dict[str, Told] = {
    "received": Told("reported it", "inbox", "mute"),
    "queued": Told("put it in line", "hourglass", "mute"),
    "validated": Told("checked it: complete and valid", "shield-check", "mute"),
    "transformed": Told("put it into the target's terms", "shuffle", "mute"),
    "posted": Told("posted it to the target", "send", "info"),
    "replayed": Told("sent it again", "rotate-cw", "accent"),
    "retried": Told("could not take it; tried again by itself", "refresh-cw", "warn"),
    "outcome_unknown": Told("gave no clear answer: outcome unknown", "circle-question-mark", "warn"),
    "rejected": Told("refused it", "circle-x", "bad"),
    "dead_lettered": Told("gave up after the last attempt", "octagon-alert", "bad"),
    "acknowledged": Told("confirmed it", "circle-check", "good"),
    "superseded": Told("replaced it by a newer version", "git-merge", "mute"),
    "written_off": Told("wrote it off", "eraser", "mute"),
    "closed": Told("closed it", "circle-check", "good"),
    "linked": Told("linked the records", "link", "mute"),
    "noted": Told("noted", "sticky-note", "mute"),
    "raised": Told("raised an exception", "triangle-alert", "warn"),
    "assigned": Told("assigned it", "user-plus", "info"),
    "taken": Told("took it", "hand", "info"),
    "commented": Told("commented", "message-square", "info"),
    "snoozed": Told("snoozed it", "alarm-clock", "mute"),
    "woken": Told("woke it", "alarm-clock-off", "mute"),
    "fixed": Told("corrected the message", "pencil", "info"),
    "fix_discarded": Told("discarded the correction", "undo-2", "mute"),
    "resolved": Told("resolved the exception", "circle-check", "good"),
    "reopened": Told("reopened the exception", "rotate-ccw", "warn"),
    "exported": Told("exported it", "download", "mute"),
}
ACTIONS = {
    "fail_again": Told("saw it refused again", "octagon-alert", "bad"),
    "succeed": Told("resolved the exception: it went through", "circle-check", "good"),
    "wake_up": Told("woke it: the time has come", "alarm-clock", "mute"),
}
# A step of a job names itself by object and verb: opsboard.job.invoice.drafted.
VERBS = {
    "created": "created",
    "drafted": "drafted",
    "posted": "posted",
    "found": "already has",
    "written": "wrote",
    "updated": "updated",
    "disputed": "disputed",
    "settled": "settled",
}
THINGS = {
    "invoice": "invoice",
    "customer": "customer",
    "project": "project",
    "status": "status",
    "dimension": "financial dimension",
    "expense": "expense",
}
TYPES = {"billing_request": "Billing request", "time_entry": "Time entry", "change_order": "Change order"}


def told(event: Event) -> Told:
    """How this event is told; a kind nobody has named keeps its own word."""
    action = (event.facts or {}).get("action", "")
    *_, thing, verb = ["", "", *event.type.split(".")]
    if event.kind in ("posted", "noted") and verb in VERBS and thing in THINGS:
        return KINDS[event.kind]._replace(words=f"{VERBS[verb]} the {THINGS[thing]}")
    return ACTIONS.get(action) or KINDS.get(event.kind) or Told(event.kind.replace("_", " "), "dot", "mute")


@register.simple_tag
def event_words(event: Event) -> str:
    """What happened, after the name of who did it."""
    return told(event).words


@register.simple_tag
def event_tone(event: Event) -> str:
    """The tone of the event's mark."""
    return told(event).tone


@register.simple_tag
def event_icon(event: Event, size: int = 14) -> SafeString:
    """The icon of the event's mark."""
    return icon(told(event).icon, size)


@register.simple_tag
def event_who(event: Event, labels: Mapping[str, Mapping[str, str]] | str = "") -> str:
    """The person who acted, else what people call the system."""
    person = (event.facts or {}).get("by_name") or event.actor
    if person:
        return str(person)
    system = event.system
    if not system and event.kind == "acknowledged":  # confirmed by the system of the document that came out
        system = event.objects_named[-1][0] if event.objects_named else ""
    systems = labels.get("system", {}) if isinstance(labels, Mapping) else {}
    return systems.get(system) or system or "opsboard"


@register.simple_tag
def event_subject(event: Event) -> str:
    """The record it is about: `Invoice INV-7 · Atlas rollout`."""
    named = next((one for one in event.objects_named if one[1] != "exception"), None)
    if named is None:
        return event.key
    _system, type_, id_, _role, name = [*named, "", "", "", "", ""][:5]
    return f"{type_word(type_)} {id_}" + (f" · {name}" if name and name != id_ else "")


@register.filter
def type_word(type_: str) -> str:
    """An object type as people say it."""
    return TYPES.get(type_, type_.replace("_", " ").capitalize())
