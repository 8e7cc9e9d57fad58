"""Every address, in the order of the rooms."""

from django.urls import include, path
from django_prometheus.exports import ExportToDjangoView

from opsboard.core import views as core

urlpatterns = [
    path("api/v1/", include("opsboard.api.urls")),
    path("v1/", include("opsboard.api.otlp_urls")),  # where OTLP exporters send, given the host alone
    path("", include("opsboard.dashboards.urls")),
    path("quarantine/", include("opsboard.api.page_urls")),
    path("exceptions/", include("opsboard.triage.urls")),
    path("", include("opsboard.accounts.urls")),
    path("livez", core.livez, name="livez"),
    path("readyz", core.readyz, name="readyz"),
    path("metrics", core.local_only(ExportToDjangoView), name="metrics"),
]
