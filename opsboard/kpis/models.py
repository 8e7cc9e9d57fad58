"""What a figure was at the end of a day."""

from django.db import models

FIRM = "*"  # in the place of a legal entity: the whole firm, with rows of no known entity


class Snapshot(models.Model):
    """One KPI on one day for one legal entity (or FIRM): what its trend is drawn from.

    A projection: `commands.backfill` makes it again from the log. Sums, ratios and means of several entities come
    from numerator and denominator; percentiles do not add up, so the firm has a row of its own.
    """

    kpi = models.TextField()
    day = models.DateField(help_text="in UTC; today's row is rewritten until the day ends")
    entity = models.TextField(blank=True)
    numerator = models.DecimalField(max_digits=24, decimal_places=6, help_text="sum of the contributions")
    denominator = models.PositiveIntegerField(help_text="records that contribute")
    value = models.DecimalField(max_digits=24, decimal_places=6, null=True, help_text="null: nothing to measure")
    at = models.DateTimeField(help_text="as of")

    class Meta:
        constraints = [
            # also serves queries: the series of some KPIs for some entities
            models.UniqueConstraint(fields=["kpi", "entity", "day"], name="one_snapshot_per_kpi_entity_and_day"),
        ]

    def __str__(self) -> str:
        return f"{self.kpi} {self.entity} {self.day}"
