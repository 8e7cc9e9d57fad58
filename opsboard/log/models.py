"""The log and what is read from it.

`Event` and `Payload` are the truth; `Object`, `Link`, `Membership` and `Transaction` are projections that
`manage.py rebuild` drops and makes again, equal. Keys of projections are digests of natural keys (core.ids).
"""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

STATUSES = ("pending", "retrying", "unknown", "failed", "succeeded", "superseded", "closed")


class Event(models.Model):
    """Something that happened, by machine or person. Thin, append-only: a trigger refuses UPDATE and DELETE."""

    seq = models.BigAutoField(primary_key=True, help_text="order of recording")
    id = models.UUIDField(unique=True, help_text="digest of (source, external_id): the identity")
    source = models.TextField()
    external_id = models.TextField()
    type = models.TextField()
    digest = models.BinaryField(help_text="SHA-256 of the content: tells a duplicate from a conflict")
    kind = models.TextField()
    flow = models.TextField(default="", blank=True)
    transaction_id = models.UUIDField(null=True)
    key = models.TextField(default="", blank=True, help_text="business key of the transaction")
    status = models.TextField(default="", blank=True, help_text="of the transaction after it; empty: unchanged")
    system = models.TextField(default="", blank=True, help_text="where it happened")
    entity = models.TextField(default="", blank=True, help_text="legal entity")
    attempt = models.PositiveIntegerField(default=1)
    amount = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    actor = models.TextField(default="", blank=True, help_text="the person, for actions by people")
    correlation = models.TextField(default="", blank=True)
    objects_named = models.JSONField(default=list, help_text="[system, type, id, role, name]; the first is the subject")
    refs = ArrayField(models.UUIDField(), default=list, help_text="ids of the objects")
    facts = models.JSONField(null=True, help_text="what a projection needs from this event, for opsboard's own events")
    occurred_at = models.DateTimeField(help_text="clock of the source")
    received_at = models.DateTimeField(help_text="clock of the door")
    recorded_at = models.DateTimeField(db_default=Now(), help_text="clock of the database; also finds the payload")

    class Meta:
        indexes = [
            # log.queries.trail: the events of a transaction
            models.Index(fields=["transaction_id", "occurred_at"], name="event_by_transaction"),
            # log.queries.events_of: the events that name an object; triage history of an exception
            GinIndex(fields=["refs"], name="event_by_object"),
            # log.queries.find: a correlation id or traceparent typed into the search
            models.Index(fields=["correlation"], condition=~Q(correlation=""), name="event_by_correlation"),
            # rebuild and triage: opsboard's own events that carry facts, in log order
            models.Index(fields=["seq"], condition=Q(facts__isnull=False), name="event_with_facts"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.flow} {self.key}"


class Payload(models.Model):
    """What was sent and answered, apart from the thin row: partitioned by month, droppable by retention."""

    seq = models.BigIntegerField(primary_key=True)
    recorded_at = models.DateTimeField()
    data = models.JSONField(null=True)
    error = models.JSONField(null=True, help_text="{system, code, message, http_status, body}")

    class Meta:
        managed = False  # partitioned: made by the migration's SQL
        db_table = "log_payload"


class Object(models.Model):
    """A business object as one system names it."""

    id = models.UUIDField(primary_key=True)
    system = models.TextField()
    type = models.TextField()
    external_id = models.TextField()
    name = models.TextField(default="", blank=True)
    named_on = models.DateField(null=True, help_text="day (UTC) the name was given: the latest wins")

    class Meta:
        indexes = [
            # log.queries.find: any id of any system, typed as people type it
            models.Index(models.functions.Lower("external_id"), name="object_by_external_id"),
        ]

    def __str__(self) -> str:
        return self.name or self.external_id


class Link(models.Model):
    """`a` leads to `b`: engagement objects lead to each other (binds), upstream documents to downstream ones."""

    pk = models.CompositePrimaryKey("a", "b")
    a = models.UUIDField()
    b = models.UUIDField()
    binds = models.BooleanField()
    pending = models.BooleanField(default=True, help_text="not yet correlated")

    class Meta:
        indexes = [
            # log.commands.correlate: what came since
            models.Index(fields=["a"], condition=Q(pending=True), name="link_pending"),
        ]


class Membership(models.Model):
    """The object belongs to the thread. A thread's id is the smallest id of the engagement objects it binds."""

    pk = models.CompositePrimaryKey("thread_id", "object_id")
    thread_id = models.UUIDField()
    object_id = models.UUIDField()

    class Meta:
        indexes = [
            # log.queries.threads_of and correlate: from an object to its threads
            models.Index(fields=["object_id"], name="membership_by_object"),
        ]


class Transaction(models.Model):
    """The life of one message in one flow, over all attempts.

    Its state is that of the greatest decisive event by (attempt, occurred_at, rank, id): the same whatever the order
    of arrival. `head_*` keep that event's position, `money_*` that of the event the amount came from.
    """

    id = models.UUIDField(primary_key=True)
    flow = models.TextField()
    key = models.TextField()
    subject_id = models.UUIDField(null=True, help_text="the object it is about: the first event's subject")
    entity = models.TextField(default="", blank=True)
    status = models.TextField(default="pending")
    attempt = models.PositiveIntegerField(default=1)
    head_at = models.DateTimeField(null=True)
    head_rank = models.SmallIntegerField(default=0)
    head_event = models.UUIDField(null=True)
    amount = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    money_at = models.DateTimeField(null=True)
    money_event = models.UUIDField(null=True)
    first_at = models.DateTimeField()
    first_event = models.UUIDField()
    last_at = models.DateTimeField()
    events = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=STATUSES), name="transaction_status_known"),
        ]
        indexes = [
            # log.queries.thread: the transactions of the objects of a thread
            models.Index(fields=["subject_id"], name="transaction_by_subject"),
            # kpis: what is unfinished in a flow (small), and what finished in a period
            models.Index(
                fields=["flow", "first_at"],
                condition=Q(status__in=["pending", "retrying", "unknown", "failed"]),
                name="transaction_unfinished",
            ),
            models.Index(fields=["flow", "head_at"], name="transaction_by_flow_and_end"),
        ]

    def __str__(self) -> str:
        return f"{self.flow} {self.key}"


class Quarantine(models.Model):
    """An item that could not be taken at a door, kept as it came, with the reason, until a person deals with it."""

    received_at = models.DateTimeField(db_default=Now())
    client = models.TextField(help_text="name of the service account")
    source = models.TextField(default="", blank=True)
    content_type = models.TextField()
    headers = models.JSONField(default=dict, help_text="ce-* headers of a binary event")
    body = models.TextField(help_text="the item as received; bytes that are not UTF-8 are escaped")
    problem = models.JSONField(help_text="RFC 9457: title, detail, errors[pointer, detail]")
    state = models.TextField(default="open")
    decided_at = models.DateTimeField(null=True)
    decided_by = models.TextField(default="", blank=True)
    reason = models.TextField(default="", blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["open", "resubmitted", "discarded"]), name="quarantine_state_known"
            ),
        ]
        indexes = [
            # log.queries.quarantine: newest open first
            models.Index(fields=["-received_at"], condition=Q(state="open"), name="quarantine_open"),
        ]


class Block(models.Model):
    """A sealed piece of the log; see log.sealing. Append-only like the events: a trigger refuses changes.

    `members` names its events one by one (usually one range), because numbers are drawn before commit and a lower
    one may become visible after a higher one.
    """

    number = models.BigIntegerField(primary_key=True, help_text="1, 2, 3, ... without a gap")
    previous = models.BinaryField(help_text="SHA-256 of the header of the block before; zeros at the first")
    root = models.BinaryField(help_text="Merkle root over the leaves (RFC 6962)")
    size = models.PositiveIntegerField(help_text="number of events")
    first = models.BigIntegerField(help_text="least seq in it")
    last = models.BigIntegerField(help_text="greatest seq in it")
    upto = models.BigIntegerField(help_text="no event with a seq up to this can be recorded any more")
    members = models.TextField(help_text="seqs, as an int8multirange is written")
    entries = models.BinaryField(help_text="64 bytes per event: SHA-256 of the row, SHA-256 of the payload or zeros")
    sealed_at = models.TextField(help_text="RFC 3339 in UTC, as signed")
    key = models.TextField(help_text="public key, hex")
    signature = models.BinaryField(help_text="ed25519 over the header")

    class Meta:
        indexes = [
            # log.sealing: the blocks that hold events above the mark
            models.Index(fields=["last"], name="block_by_last"),
        ]

    def __str__(self) -> str:
        return f"Block {self.number}"
