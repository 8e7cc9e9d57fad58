"""Addresses of this room: the queue, one exception, and every action of the table, for one and for many."""

from django.urls import path

from opsboard.accounts.access import required
from opsboard.triage import views
from opsboard.triage.lifecycle import TABLE

BY_PEOPLE = {name: row.permission for name, row in TABLE.items() if row.permission and name != "fix"}

urlpatterns = [
    path("", views.queue, name="exceptions"),
    path("changed/", views.changed, name="exceptions-changed"),
    *(
        path(f"{name}/", required(BY_PEOPLE[name])(views.act_on_many), {"action": name}, name=f"exceptions-{name}")
        for name in views.FOR_MANY
    ),
    path("EXC-<int:number>/", views.detail, name="exception"),
    path("EXC-<int:number>/progress/", views.progress, name="exception-progress"),
    path("EXC-<int:number>/evidence.zip", views.evidence, name="exception-evidence"),
    path("EXC-<int:number>/fix/", views.fix, name="exception-fix"),
    path("EXC-<int:number>/check/", views.check, name="exception-check"),
    *(
        path(
            f"EXC-<int:number>/{name.replace('_', '-')}/",
            required(permission)(views.act),
            {"action": name},
            name=f"exception-{name.replace('_', '-')}",
        )
        for name, permission in BY_PEOPLE.items()
    ),
]
