"""What is true about people and service accounts."""

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower

from opsboard.accounts.roles import ROLES, TEAMS

ALL_ENTITIES = "*"
THEMES = {"system": "System", "light": "Light", "dark": "Dark"}
DENSITIES = {"compact": "Compact", "regular": "Regular", "comfortable": "Comfortable"}
LOCALES = {"en": "English", "de": "Deutsch"}


class User(AbstractUser):
    """A person. Signs in by e-mail; `role` says what, `entities` for which legal entities; empty: nothing."""

    role = models.TextField(blank=True, default="", choices=[(r.code, r.label) for r in ROLES.values()])
    team = models.TextField(blank=True, default="", choices=list(TEAMS.items()))
    # Legal entity codes; ["*"] is all of them, [] is none (default deny).
    entities = ArrayField(models.TextField(), default=list, blank=True)
    timezone = models.TextField(default="Europe/Berlin")
    locale = models.TextField(default="en", choices=list(LOCALES.items()))
    theme = models.TextField(default="system", choices=list(THEMES.items()))
    density = models.TextField(default="regular", choices=list(DENSITIES.items()))

    class Meta:
        constraints = [
            # Sign-in is by e-mail: one person per address, whatever its letter case.
            models.UniqueConstraint(Lower("email"), name="user_email_once", condition=~models.Q(email="")),
            models.CheckConstraint(condition=models.Q(role__in=["", *ROLES]), name="user_role_is_in_the_table"),
            models.CheckConstraint(condition=models.Q(team__in=["", *TEAMS]), name="user_team_is_known"),
            models.CheckConstraint(condition=models.Q(locale__in=list(LOCALES)), name="user_locale_is_known"),
            models.CheckConstraint(condition=models.Q(theme__in=list(THEMES)), name="user_theme_is_known"),
            models.CheckConstraint(condition=models.Q(density__in=list(DENSITIES)), name="user_density_is_known"),
        ]
        indexes = [
            # queries.people: who can be given an exception of this team.
            models.Index(fields=["team"], name="user_active_by_team", condition=models.Q(is_active=True)),
        ]

    def __str__(self) -> str:
        return self.get_full_name() or self.email or self.username


class ServiceAccount(models.Model):
    """A job or middleware that writes events, bound to one CloudEvents `source` and a set of scopes."""

    name = models.TextField(unique=True)
    source = models.TextField()
    scopes = ArrayField(models.TextField(), default=list)
    created_at = models.DateTimeField()
    created_by = models.TextField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.TextField(blank=True, default="")

    class Meta:
        constraints = [
            # Two writers of one source could forge each other's event ids.
            models.UniqueConstraint(
                fields=["source"],
                name="service_account_source_once",
                condition=models.Q(revoked_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Token(models.Model):
    """A bearer token of a service account. Only its SHA-256 is kept; two may be active during a rotation."""

    account = models.ForeignKey(ServiceAccount, on_delete=models.PROTECT, related_name="tokens")
    # The look-up of every request; 178 random bits need no slow hash.
    hash = models.BinaryField(unique=True, max_length=32)
    prefix = models.TextField()
    last4 = models.TextField()
    created_at = models.DateTimeField()
    created_by = models.TextField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.TextField(blank=True, default="")
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("created_at")), name="token_expires_after_creation"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last4}"
