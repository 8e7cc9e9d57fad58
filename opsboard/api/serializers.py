"""What the API answers and asks for, field by field. Money is decimal text beside its currency; times are UTC."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from opsboard.accounts.roles import TEAMS
from opsboard.log.entry import Named
from opsboard.triage.lifecycle import RESOLUTIONS


def money(**more: Any) -> serializers.DecimalField:
    """An amount with two decimals, as text."""
    return serializers.DecimalField(max_digits=18, decimal_places=2, **more)


class NamedObject(serializers.Serializer):
    """A business object as one system names it."""

    system = serializers.CharField()
    type = serializers.CharField()
    id = serializers.CharField()
    role = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)


class Event(serializers.Serializer):
    """Something that happened, without what was sent and answered."""

    id = serializers.CharField(source="external_id")
    source = serializers.CharField()
    type = serializers.CharField()
    kind = serializers.CharField()
    status = serializers.CharField(allow_null=True, help_text="what the transaction was after it; null: unchanged")
    flow = serializers.CharField(allow_blank=True)
    key = serializers.CharField(allow_blank=True)
    system = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField()
    amount = money(allow_null=True)
    currency = serializers.CharField(allow_blank=True)
    latency_ms = serializers.IntegerField(allow_null=True)
    actor = serializers.CharField(allow_blank=True)
    correlation = serializers.CharField(allow_blank=True)
    occurred_at = serializers.DateTimeField()
    received_at = serializers.DateTimeField()
    objects = serializers.SerializerMethodField()

    @extend_schema_field(NamedObject(many=True))
    def get_objects(self, event: Any) -> list[dict[str, str]]:
        """The objects it touches, the subject first."""
        return [Named(*named)._asdict() for named in event.objects_named]


class ThreadLine(serializers.Serializer):
    """One engagement in a list."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    customer = serializers.CharField(allow_blank=True)
    objects = serializers.IntegerField()
    transactions = serializers.IntegerField()
    failed = serializers.IntegerField()


class ThreadList(serializers.Serializer):
    """The engagements an id leads to."""

    items = ThreadLine(many=True)


class ThreadObject(serializers.Serializer):
    """A business object of an engagement."""

    system = serializers.CharField()
    type = serializers.CharField()
    id = serializers.CharField(source="external_id")
    name = serializers.CharField(allow_blank=True)


class Transaction(serializers.Serializer):
    """The life of one message in one flow, over all attempts."""

    id = serializers.UUIDField()
    flow = serializers.CharField()
    key = serializers.CharField()
    status = serializers.CharField()
    entity = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField()
    failures = serializers.IntegerField()
    amount = money(allow_null=True)
    currency = serializers.CharField(allow_blank=True)
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()


class Thread(serializers.Serializer):
    """One engagement from opportunity to cash. `cut` says that only the newest events are shown."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    customer = serializers.CharField(allow_blank=True)
    objects = ThreadObject(many=True)
    transactions = Transaction(many=True)
    events = Event(many=True)
    cut = serializers.BooleanField()


class Person(serializers.Serializer):
    """Somebody who works on exceptions."""

    id = serializers.IntegerField(source="pk")
    name = serializers.CharField(source="__str__")


@extend_schema_serializer(component_name="Exception")
class Exception_(serializers.Serializer):
    """A transaction that needs a person."""

    number = serializers.IntegerField()
    reference = serializers.CharField()
    title = serializers.CharField()
    state = serializers.CharField()
    severity = serializers.IntegerField(help_text="1 critical, 2 high, 3 medium, 4 low")
    category = serializers.CharField()
    cause = serializers.CharField(source="fingerprint", help_text="the same cause has the same text")
    retryable = serializers.CharField()
    team = serializers.CharField()
    assignee = Person(allow_null=True)
    flow = serializers.CharField()
    entity = serializers.CharField(allow_blank=True)
    system = serializers.CharField(allow_blank=True)
    object = serializers.CharField(source="object_label", allow_blank=True)
    customer = serializers.CharField(allow_blank=True)
    amount = money(allow_null=True)
    currency = serializers.CharField(allow_blank=True)
    amount_base = money(help_text="at stake, in the reporting currency")
    opened_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField()
    snoozed_until = serializers.DateTimeField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolution = serializers.CharField(allow_blank=True)
    version = serializers.IntegerField(help_text="send it back with an action, to be told when somebody was faster")


class Sum(serializers.Serializer):
    """An amount in one currency."""

    currency = serializers.CharField()
    amount = money()


class ExceptionList(serializers.Serializer):
    """One page of the queue; the sums are over the whole filter."""

    items = Exception_(many=True)
    next = serializers.CharField(allow_null=True, help_text="address of the next page")
    total = serializers.IntegerField()
    total_is_exact = serializers.BooleanField()
    sums = Sum(many=True)
    sum_base = money()
    base_currency = serializers.CharField()


class Change(serializers.Serializer):
    """One field a person has corrected."""

    path = serializers.CharField(help_text="JSON pointer")
    op = serializers.CharField()
    sent = serializers.JSONField(allow_null=True)
    yours = serializers.JSONField(allow_null=True)


@extend_schema_serializer(component_name="ExceptionDetail")
class ExceptionDetail(Exception_):
    """One exception with all that is needed to decide and act. Payloads only for those who may see them."""

    error = serializers.JSONField(help_text="the target's answer, word for word")
    payload = serializers.JSONField(help_text="as it would be sent now")
    changes = Change(many=True)
    events = Event(many=True)
    actions = serializers.ListField(child=serializers.CharField(), help_text="what you can do now")
    why_not = serializers.DictField(child=serializers.CharField(), help_text="what you cannot do now, and why")
    waiting_behind = serializers.IntegerField()
    idempotency_key = serializers.CharField(allow_blank=True)
    target = serializers.CharField(allow_blank=True)


class Versioned(serializers.Serializer):
    """An action. With a version it is refused when somebody else was faster."""

    version = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)


class WithReason(Versioned):
    """An action with a reason that may be left out."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=5000, default="")


class ReasonNeeded(Versioned):
    """An action that is not done without a reason."""

    reason = serializers.CharField(max_length=5000)


class Comment(serializers.Serializer):
    """Something to say to those who work on it."""

    text = serializers.CharField(max_length=5000)


class Assign(WithReason):
    """To whom: a person, a team, or both."""

    to = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)
    team = serializers.ChoiceField(required=False, allow_null=True, choices=sorted(TEAMS))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two is needed."""
        if not attrs.get("to") and not attrs.get("team"):
            raise serializers.ValidationError("Name a person (to), a team, or both.")
        return attrs


class Snooze(WithReason):
    """Until when."""

    until = serializers.DateTimeField()


class Resolve(ReasonNeeded):
    """How it was closed without a replay, and why."""

    resolution = serializers.ChoiceField(choices=sorted(RESOLUTIONS))


class Fix(ReasonNeeded):
    """The whole payload as it should be sent."""

    document = serializers.DictField()


class Outcome(serializers.Serializer):
    """What an action achieved."""

    done = serializers.ListField(child=serializers.IntegerField())
    exception = Exception_()


class QuarantineItem(serializers.Serializer):
    """Something that was refused at the door, as it came."""

    number = serializers.IntegerField(source="pk")
    received_at = serializers.DateTimeField()
    client = serializers.CharField()
    source = serializers.CharField(allow_blank=True)
    content_type = serializers.CharField(allow_blank=True)
    headers = serializers.DictField(child=serializers.CharField(), help_text="ce- headers of a binary event")
    body = serializers.CharField(allow_blank=True)
    problem = serializers.JSONField(help_text="RFC 9457 problem details")
    state = serializers.CharField()
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)


class QuarantineList(serializers.Serializer):
    """One page of the quarantine, newest first."""

    items = QuarantineItem(many=True)
    next = serializers.CharField(allow_null=True, help_text="address of the next page")


class Resubmit(serializers.Serializer):
    """The item as it should have come; left out, it goes through the door as it is."""

    body = serializers.CharField(required=False, trim_whitespace=False, max_length=256 * 1024)
    reason = serializers.CharField(required=False, allow_blank=True, max_length=5000, default="")


class Discard(serializers.Serializer):
    """Why it is put away."""

    reason = serializers.CharField(max_length=5000)


class Receipt(serializers.Serializer):
    """What became of one event."""

    id = serializers.CharField(required=False)
    source = serializers.CharField(required=False)
    status = serializers.ChoiceField(choices=["accepted", "duplicate", "rejected"])
    problem = serializers.JSONField(required=False)
