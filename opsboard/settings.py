"""Settings: what differs between machines comes from the environment (`Env`), all else is written out here.

`manage.py up` sets the variables for the embedded servers; production sets them itself.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from csp.constants import NONE, SELF
from django.core.management.utils import get_random_secret_key
from pydantic_settings import BaseSettings, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent


class Env(BaseSettings):
    """The environment variables opsboard reads. Names are given with their prefix in README, "Running it"."""

    model_config = SettingsConfigDict(env_prefix="OPSBOARD_", extra="ignore")

    data_dir: Path = BASE_DIR / ".opsboard"
    secret_key: str = ""
    secret_key_fallbacks: str = ""
    hosts: str = "127.0.0.1,localhost"
    https: bool = False  # set behind a TLS proxy: secure cookies, HSTS, redirect of pages (never of the API)
    debug: bool = False
    environment: str = "Demo"  # shown on every page, so that nobody confuses a sandbox with production
    reporting_currency: str = "EUR"
    require_mfa: bool | None = None  # second factor for finance, platform and administrators; None: with https
    events_per_second: int = 20_000  # what one service account may send; ten seconds of it at once
    otlp_mapping: Path = BASE_DIR / "opsboard" / "api" / "otlp_mapping.toml"  # which spans are steps, and of what
    metrics_token: str = ""  # bearer token for /metrics from other hosts; without it, this host only
    log_json: bool = False


class Servers(BaseSettings):
    """DATABASE_URL and REDIS_URL, as every platform names them."""

    database_url: str = ""
    redis_url: str = ""


env = Env()


def database(url: str) -> dict[str, object]:
    """Django's database entry for a postgresql:// URL; a host in the query string is a unix socket directory."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or parts.hostname or ""
    return {
        "ENGINE": "django_prometheus.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "opsboard",
        "USER": unquote(parts.username or "opsboard"),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": parts.port or "",
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"application_name": "opsboard", **options},
    }


def secret_key(path: Path) -> str:
    """The key from the environment, else from the data directory, else a throw-away one (commands without a stack)."""
    if env.secret_key:
        return env.secret_key
    return path.read_text().strip() if path.is_file() else get_random_secret_key()


def running(path: Path) -> Servers:
    """The servers of the environment; without them those that `manage.py up` runs on this data directory, so that
    every command works beside it in another terminal."""
    given = Servers()
    if given.database_url or not path.is_file():
        return given
    return Servers(**json.loads(path.read_text()))


DATA_DIR = env.data_dir
servers = running(DATA_DIR / "servers.json")
DEBUG = env.debug
SECRET_KEY = secret_key(DATA_DIR / "secret.key")
SECRET_KEY_FALLBACKS = [key for key in env.secret_key_fallbacks.split(",") if key]
ALLOWED_HOSTS = env.hosts.split(",")
REDIS_URL = servers.redis_url or "redis://127.0.0.1:6379/0"
DATABASES = {"default": database(servers.database_url or "postgresql://opsboard@127.0.0.1/opsboard")}

OPSBOARD_ENVIRONMENT = env.environment
OPSBOARD_REPORTING_CURRENCY = env.reporting_currency
OPSBOARD_REQUIRE_MFA = env.https if env.require_mfa is None else env.require_mfa
OPSBOARD_METRICS_TOKEN = env.metrics_token
OPSBOARD_EVENTS_PER_SECOND = env.events_per_second
OPSBOARD_OTLP_MAPPING = env.otlp_mapping
OPSBOARD_CONNECTIONS = DATA_DIR / "connections.json"  # systems and their credentials, mode 0600, never in the database

# The rooms of the house, outermost first: the same order as the import contract in pyproject.toml.
ROOMS = [
    "opsboard.stack",
    "opsboard.api",
    "opsboard.dashboards",
    "opsboard.demo",
    "opsboard.kpis",
    "opsboard.triage",
    "opsboard.log",
    "opsboard.jobs",
    "opsboard.catalog",
    "opsboard.accounts",
    "opsboard.core",
]
INSTALLED_APPS = [
    *ROOMS,
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "django_filters",
    "django_htmx",
    "django_prometheus",
    "django_structlog",
    "lucide",
    "csp",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "opsboard.accounts.middleware.Preferences",
    "opsboard.accounts.middleware.SecondFactor",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "opsboard.urls"
WSGI_APPLICATION = "opsboard.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "opsboard.dashboards.context.shell",
            ],
        },
    }
]

# People and sign-in
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "opsboard.accounts.adapter.Adapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # a forgotten password of a stranger sends no mail
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True  # a session ends after SESSION_COOKIE_AGE, not with the browser
MFA_ADAPTER = "opsboard.accounts.adapter.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "opsboard"
USERSESSIONS_TRACK_ACTIVITY = True
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_NAME = "__Host-opsboard" if env.https else "opsboard"

# Transport and content security
SECURE_SSL_REDIRECT = env.https
SECURE_REDIRECT_EXEMPT = [r"^api/", r"^v1/", r"^livez$", r"^readyz$", r"^metrics$"]  # ASVS 4.1.2: no redirected API
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.https else None
SECURE_HSTS_SECONDS = 365 * 86400 if env.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = env.https
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.https
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "opsboard.core.views.csrf_failure"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"  # Plotly adds one empty style element
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF, EMPTY_STYLE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Files
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "opsboard.core.finders.PackageAssetFinder",
]
PACKAGE_ASSETS = {
    "vendor/plotly": ("plotly", "package_data", ["plotly.min.js"]),
    "vendor/inter": (
        "unfold",
        "static/unfold/fonts/inter",
        ["Inter-Regular.woff2", "Inter-Medium.woff2", "Inter-SemiBold.woff2"],
    ),
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "opsboard.core.finders.HashedStorage"},
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024

# Time and language: stored in UTC, shown in the person's zone
USE_TZ, TIME_ZONE = True, "UTC"
USE_I18N, LANGUAGE_CODE = True, "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

# Celery: acknowledged late, nothing kept in Redis, one task in hand per worker
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Ringing while Redis is away must not hold up whoever rings: without this every request waits six seconds.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "socket_connect_timeout": 1,
}
CELERY_TASK_ALWAYS_EAGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {  # every task is also rung when there is work: these make good for rings that were lost
    name: {"task": f"opsboard.pipeline.{name}", "schedule": seconds, "options": {"expires": max(seconds, 10)}}
    for name, seconds in {
        "collect": 30.0,
        "process": 5.0,
        "correlate": 2.0,
        "reap": 30.0,
        "detect": 60.0,
        "wake": 30.0,
        "refresh": 60.0,
        "seal": 5.0,
        "partitions": 3600.0,
    }.items()
}
CELERY_BEAT_SCHEDULER = "opsboard.core.health:Scheduler"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "opsboard.api.authentication.ServiceToken",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["opsboard.api.authentication.Denied"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "opsboard.api.problems.handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "opsboard",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "DESCRIPTION": "Events in, threads and exceptions out. Times are UTC, money is decimal text with its currency.",
}

LOGGING_CONFIG = None  # structlog below writes everything; libraries log through it


def only_what_went_wrong(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out the two lines of every request that was answered well, unless logs are collected as JSON."""
    fine = event.get("event") == "request_started" or (
        event.get("event") == "request_finished" and event.get("code", 0) < HTTPStatus.BAD_REQUEST
    )
    if fine and not env.log_json:
        raise structlog.DropEvent
    return event


structlog.configure(
    processors=[
        only_what_went_wrong,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer() if env.log_json else structlog.dev.ConsoleRenderer(colors=False),
    ],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),  # standard output belongs to what commands print
)
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
