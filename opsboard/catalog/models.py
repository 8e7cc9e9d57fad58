"""What is connected: systems, flows, legal entities, exchange rates."""

from django.db import models


class LegalEntity(models.Model):
    """A company of the firm. Its code is the scope of people's rights."""

    code = models.TextField(primary_key=True)
    name = models.TextField()
    currency = models.CharField(max_length=3)

    def __str__(self) -> str:
        return self.name


class System(models.Model):
    """A connected system as events name it. Credentials are never here (settings.OPSBOARD_CONNECTIONS)."""

    key = models.TextField(primary_key=True)
    label = models.TextField()
    role = models.TextField(help_text="crm, psa, erp, hcm, timekeeping, middleware")
    vendor = models.TextField(default="", blank=True, help_text="whose rules read its errors: netsuite, salesforce …")
    simulated = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.label


class Flow(models.Model):
    """An integration process as the catalogue shows it; built-in ones come from integrations/flows."""

    key = models.TextField(primary_key=True)
    label = models.TextField()
    owner = models.TextField(help_text="the accountable team")
    criticality = models.TextField(default="normal")
    pattern = models.TextField(default="event")
    latency_objective = models.DurationField(help_text="received to acknowledged")
    builtin = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.label


class Rate(models.Model):
    """Units of `currency` for one US dollar in a month; converted through the dollar, at the rate of that month."""

    currency = models.CharField(max_length=3)
    month = models.DateField(help_text="first day of the month")
    per_usd = models.DecimalField(max_digits=18, decimal_places=8)

    class Meta:
        constraints = [
            # also serves the look-up "the last rate at or before this month" of catalog.queries.rates
            models.UniqueConstraint(fields=["currency", "month"], name="one_rate_per_currency_and_month"),
            models.CheckConstraint(condition=models.Q(per_usd__gt=0), name="rate_is_positive"),
        ]
