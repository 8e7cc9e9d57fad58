"""Addresses of OTLP/HTTP, as exporters append them to their endpoint. Metrics are not taken: 404."""

from django.urls import path, re_path

from opsboard.api import otlp

urlpatterns = [
    path("traces", otlp.take_traces, name="otlp-traces"),
    path("logs", otlp.take_logs, name="otlp-logs"),
    re_path(r"^.*$", otlp.nothing, name="otlp-nothing"),
]
