"""Exceptions. The code says Case where the screen says Exception (the name is Python's)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from opsboard.log.models import Transaction

STATES = ("open", "snoozed", "replaying", "resolved")
TEAMS = ("finance", "pmo", "sales_ops", "hr_ops", "platform")


class Case(models.Model):
    """A transaction that needs a person. A projection: folded from the events whose facts carry `case`.

    `version` rises with every action; a page that acts on an old one is told who was faster.
    """

    number = models.BigIntegerField(primary_key=True, help_text="EXC-<number>")
    transaction = models.ForeignKey(
        Transaction, on_delete=models.DO_NOTHING, db_constraint=False, related_name="cases"
    )  # no foreign key in the database: both sides are projections, dropped and rebuilt on their own
    flow = models.TextField()
    entity = models.TextField(default="", blank=True)
    system = models.TextField(default="", blank=True, help_text="the system that refused")
    team = models.TextField()
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, db_constraint=False, related_name="cases"
    )
    state = models.TextField(default="open")
    severity = models.SmallIntegerField(help_text="1 critical, 2 high, 3 medium, 4 low")
    category = models.TextField()
    rule = models.TextField(default="", blank=True, help_text="the classifier's rule")
    retryable = models.TextField(default="no")
    fingerprint = models.TextField(help_text="same cause, same fingerprint")
    title = models.TextField()
    object_label = models.TextField(default="", blank=True)
    customer = models.TextField(default="", blank=True)
    amount = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    amount_base = models.DecimalField(
        max_digits=18, decimal_places=2, default=0, help_text="at stake, in the reporting currency"
    )
    error_event = models.UUIDField(help_text="the event that carries the verbatim answer")
    patch = models.JSONField(null=True, help_text="RFC 6902: what a person changed in the payload and has not replayed")
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField()
    snoozed_until = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    resolution = models.TextField(default="", blank=True)
    changed_at = models.DateTimeField()
    changed_by = models.TextField(default="", blank=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=STATES), name="case_state_known"),
            models.CheckConstraint(condition=Q(team__in=TEAMS), name="case_team_known"),
            models.CheckConstraint(condition=Q(severity__range=(1, 4)), name="case_severity_known"),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | (~Q(state="resolved") & Q(resolved_at__isnull=True)),
                name="resolved_has_a_time",
            ),
            models.CheckConstraint(
                condition=Q(state="snoozed", snoozed_until__isnull=False)
                | (~Q(state="snoozed") & Q(snoozed_until__isnull=True)),
                name="snoozed_has_an_end",
            ),
            # law 6, once: a transaction stands in the queue at most once
            models.UniqueConstraint(
                fields=["transaction"], condition=~Q(state="resolved"), name="one_open_case_per_transaction"
            ),
        ]
        indexes = [
            # triage.queries.queue: the open ones of a team by money, and by due time
            models.Index(
                fields=["team", "-amount_base", "number"], condition=~Q(state="resolved"), name="case_by_money"
            ),
            models.Index(fields=["due_at", "number"], condition=~Q(state="resolved"), name="case_by_due"),
            # the tab of the person's own, triage.queries.queue
            models.Index(fields=["assignee"], condition=~Q(state="resolved"), name="case_by_assignee"),
            # detail page: others with this cause
            models.Index(fields=["fingerprint"], name="case_by_cause"),
            # commands.follow: the cases of a transaction
            models.Index(fields=["transaction"], name="case_by_transaction"),
            # resolved tab, newest first
            models.Index(fields=["-resolved_at"], condition=Q(state="resolved"), name="case_resolved"),
        ]

    def __str__(self) -> str:
        return f"{self.reference} {self.title}"

    @property
    def reference(self) -> str:
        """The number as people say it."""
        return f"EXC-{self.number}"
