"""Addresses of the API. What is not here answers with a problem, not with a page."""

from django.urls import URLPattern, path, re_path, register_converter

from opsboard.api import resources, views
from opsboard.triage.lifecycle import TABLE


class Reference:
    """EXC-12 or 12: the number of an exception."""

    regex = "(?:EXC-)?[0-9]{1,17}"

    def to_python(self, value: str) -> int:
        """12."""
        return int(value.removeprefix("EXC-"))

    def to_url(self, value: int) -> str:
        """EXC-12."""
        return f"EXC-{value}"


register_converter(Reference, "exception")


def at(route: str, endpoint: type[resources.Endpoint], name: str) -> URLPattern:
    """An endpoint at its address; the permission stands on the view, for the test of all views and roles."""
    view = endpoint.as_view()
    view.permission = endpoint.permission
    return path(route, view, name=name)


urlpatterns = [
    path("events", views.take_events, name="api-events"),
    at("threads", resources.Threads, "api-threads"),
    at("threads/<uuid:thread_id>", resources.Thread, "api-thread"),
    at("exceptions", resources.Exceptions, "api-exceptions"),
    at("exceptions/<exception:number>", resources.ExceptionEndpoint, "api-exception"),
    *(
        at(f"exceptions/<exception:number>/{name.replace('_', '-')}", resources.act(name), f"api-exception-{name}")
        for name, row in TABLE.items()
        if row.permission
    ),
    at("quarantine", resources.Quarantine, "api-quarantine"),
    at("quarantine/<int:number>", resources.QuarantineOne, "api-quarantine-item"),
    at("quarantine/<int:number>/resubmit", resources.Resubmit, "api-quarantine-resubmit"),
    at("quarantine/<int:number>/discard", resources.Discard, "api-quarantine-discard"),
    path("schemas/event.json", views.event_schema, name="api-event-schema"),
    path("openapi.json", views.openapi, name="api-openapi"),
    re_path(r"^.*$", views.nothing, name="api-nothing"),
]
