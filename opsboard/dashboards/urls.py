"""Addresses of this room."""

from django.urls import path

from opsboard.dashboards import views

urlpatterns = [
    path("", views.home, name="home"),
    path("threads/", views.threads, name="threads"),
    path("threads/<uuid:thread_id>/", views.thread, name="thread"),
    path("kpis/", views.kpis, name="kpis"),
    path("kpis/<slug:key>/", views.kpi, name="kpi"),
    path("theme/", views.theme, name="theme"),
]
