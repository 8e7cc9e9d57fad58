"""Addresses of the pages of this room."""

from django.urls import path

from opsboard.api import pages

urlpatterns = [
    path("", pages.listing, name="quarantine"),
    path("<int:number>/", pages.item, name="quarantine-item"),
    path("<int:number>/resubmit/", pages.resubmit, name="quarantine-resubmit"),
    path("<int:number>/discard/", pages.discard, name="quarantine-discard"),
]
