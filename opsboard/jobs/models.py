"""The promises: work items, what has been taken from the sources, and where reading goes on."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

LIVE = ("ready", "running", "unknown", "failed")
STATES = (*LIVE, "done", "cancelled")


class WorkItem(models.Model):
    """One message of one flow that must reach its target exactly once.

    ready → running → done; a refusal leads to failed (a person), a lost answer to unknown (the target is asked first).
    `lane` keeps order: an item is claimed only when no earlier item of its lane is still live.
    """

    landscape = models.TextField(help_text="which set of systems: demo, live, production")
    flow = models.TextField()
    key = models.TextField(help_text="business key")
    lane = models.TextField(help_text="business key whose order is kept")
    version = models.PositiveIntegerField(default=1, help_text="of the payload; a fix makes a new one")
    payload = models.JSONField(help_text="canonical object")
    refs = models.JSONField(default=list, help_text="objects it touches: [system, type, id, role, name]")
    transaction_id = models.UUIDField()
    entity = models.TextField(default="", blank=True)
    amount = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    state = models.TextField(default="ready")
    attempt = models.PositiveIntegerField(default=0, help_text="over the life of the item, also across replays")
    retries = models.PositiveIntegerField(default=0, help_text="since it was last released; the back-off counts these")
    not_before = models.DateTimeField(db_default=Now())
    claimed_by = models.TextField(default="", blank=True)
    lease_until = models.DateTimeField(null=True)
    error = models.JSONField(null=True)
    result = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["landscape", "flow", "key"], name="one_work_item_per_business_key"),
            # also serves triage: the work item behind an exception
            models.UniqueConstraint(fields=["transaction_id"], name="one_work_item_per_transaction"),
            models.CheckConstraint(condition=Q(state__in=STATES), name="work_item_state_known"),
            models.CheckConstraint(
                condition=Q(state="running", lease_until__isnull=False)
                | (~Q(state="running") & Q(lease_until__isnull=True)),
                name="running_has_a_lease",
            ),
        ]
        indexes = [
            # jobs.commands.claim: what may run now
            models.Index(
                fields=["not_before", "id"], condition=Q(state__in=["ready", "unknown"]), name="work_claimable"
            ),
            # jobs.commands.claim and queries.behind: is anything earlier in the lane still live
            models.Index(fields=["landscape", "lane", "id"], condition=Q(state__in=LIVE), name="work_live_by_lane"),
            # jobs.commands.reap: leases that ran out
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="work_running"),
        ]

    def __str__(self) -> str:
        return f"{self.flow} {self.key}"


class Taken(models.Model):
    """A source record in one version that a flow has taken, so that an overlapping read takes it once only."""

    landscape = models.TextField()
    flow = models.TextField()
    source = models.TextField(help_text="identity and version of the source record")
    taken_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["landscape", "flow", "source"], name="taken_once")]


class Cursor(models.Model):
    """How far a flow has read its source. Moves in the same database transaction as the items it covers."""

    landscape = models.TextField()
    flow = models.TextField()
    value = models.TextField(default="", blank=True)
    read_at = models.DateTimeField(null=True)
    error = models.JSONField(null=True, help_text="the last read failed")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["landscape", "flow"], name="one_cursor_per_flow")]
