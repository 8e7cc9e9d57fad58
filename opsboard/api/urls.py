"""Addresses of the API. What is not here answers with a problem, not with a page."""

from django.urls import path, re_path

from opsboard.api import views

urlpatterns = [
    path("events", views.take_events, name="api-events"),
    path("schemas/event.json", views.event_schema, name="api-event-schema"),
    path("openapi.json", views.openapi, name="api-openapi"),
    re_path(r"^.*$", views.nothing, name="api-nothing"),
]
