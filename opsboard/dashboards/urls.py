"""Addresses of this room."""

from django.urls import path

from opsboard.dashboards import views

urlpatterns = [
    path("theme/", views.theme, name="theme"),
]
