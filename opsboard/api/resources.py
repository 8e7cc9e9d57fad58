"""Threads, exceptions and the quarantine over the API: the same queries and commands as the pages use.

People may do here what they may do on the pages. Service accounts read within their scopes and never act: every
action has a person who answers for it (law 7).
"""

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from opsboard.accounts.models import User
from opsboard.accounts.queries import Principal, people
from opsboard.api import door, problems, serializers
from opsboard.api.authentication import Needs, reader
from opsboard.api.contract import CONTROL
from opsboard.log import quarantine
from opsboard.log import queries as log
from opsboard.triage import commands, queries
from opsboard.triage.lifecycle import TABLE
from opsboard.triage.models import Case
from opsboard.triage.queries import Filters

PAGE = 50


class Endpoint(APIView):
    """An address that people with `permission`, and service accounts with `scope`, may use."""

    permission: str = ""
    scope: str = ""
    permission_classes: ClassVar = [Needs]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who asks is settled first; then what no query could mean anything by is refused."""
        super().initial(request, *args, **kwargs)
        for name, values in request.query_params.lists():
            if any(CONTROL.search(value) for value in values):
                raise ValidationError({name: ["Control characters are not allowed."]})


def asked(name: str, what: str, **more: Any) -> OpenApiParameter:
    """A query parameter, for the document."""
    return OpenApiParameter(name, OpenApiTypes.STR, description=what, **more)


class Threads(Endpoint):
    """From any id of any system to the engagements it belongs to."""

    permission, scope = "threads.view", "threads:read"

    @extend_schema(
        operation_id="find_threads",
        tags=["threads"],
        parameters=[asked("ref", "an id of any system, a business key, a correlation or trace id", required=True)],
        responses=serializers.ThreadList,
    )
    def get(self, request: Request) -> Response:
        """Find engagements by any id."""
        ref = request.query_params.get("ref", "").strip()
        if not ref:
            raise ValidationError({"ref": ["Which id? For example ?ref=INV-1."]})
        return Response(serializers.ThreadList({"items": log.find(reader(request), ref[:500])}).data)


class Thread(Endpoint):
    """One engagement from opportunity to cash."""

    permission, scope = "threads.view", "threads:read"

    @extend_schema(operation_id="read_thread", tags=["threads"], responses=serializers.Thread)
    def get(self, request: Request, thread_id: UUID) -> Response:
        """Read one engagement: its objects, its transactions, and the events of them all."""
        found = log.thread(reader(request), thread_id)
        if found is None:
            raise Http404
        return Response(serializers.Thread(found).data)


FILTERS = [
    OpenApiParameter("tab", enum=sorted(queries.TABS), description="Which exceptions; triage when left out."),
    *(asked(name, f"Only this {name}.") for name in ("team", "category", "flow", "entity", "severity")),
    asked("owner", "me, none, or the number of a person"),
    asked("cause", "only this cause"),
    asked("q", "words in title, customer or object, or a number"),
    OpenApiParameter("sort", enum=sorted(queries.SORTS), description="By money, due time or newest."),
    asked("after", "the number the page before ended with"),
    OpenApiParameter("per", enum=["50", "100"], description="How many on a page."),
]


class Exceptions(Endpoint):
    """The queue."""

    permission, scope = "exceptions.view", "exceptions:read"

    @extend_schema(
        operation_id="list_exceptions", tags=["exceptions"], parameters=FILTERS, responses=serializers.ExceptionList
    )
    def get(self, request: Request) -> Response:
        """List exceptions, filtered and sorted as on the page."""
        given = request.query_params
        if isinstance(request.auth, Principal) and (given.get("tab") == "mine" or given.get("owner") == "me"):
            raise ValidationError({"owner": ["A service account has no exceptions of its own."]})
        found = queries.page(reader(request), Filters.of(given))
        answer = {
            "items": found.rows,
            "next": f"{request.path}{found.next}" if found.next else None,
            "total": found.total,
            "total_is_exact": not found.more_than_counted,
            "sums": [{"currency": currency, "amount": amount} for currency, amount in found.sums],
            "sum_base": found.sum_base,
            "base_currency": settings.OPSBOARD_REPORTING_CURRENCY,
        }
        return _page(serializers.ExceptionList(answer).data)


def _page(answer: Any) -> Response:
    """A list, with its next page also as a Link header (RFC 8288)."""
    headers = {"Link": f'<{answer["next"]}>; rel="next"'} if answer["next"] else {}
    return Response(answer, headers=headers)


NUMBER = [OpenApiParameter("number", {"type": "string", "pattern": "^(EXC-)?[0-9]{1,17}$"}, OpenApiParameter.PATH)]


class ExceptionEndpoint(Endpoint):
    """One exception."""

    permission, scope = "exceptions.view", "exceptions:read"

    @extend_schema(
        operation_id="read_exception", tags=["exceptions"], parameters=NUMBER, responses=serializers.ExceptionDetail
    )
    def get(self, request: Request, number: int) -> Response:
        """Read one exception with all that is needed to decide and act."""
        found = queries.detail(reader(request), number)
        if found is None:
            raise Http404
        row = serializers.Exception_(found.case).data
        more = {
            "error": found.error,
            "payload": found.payload,
            "changes": found.changes,
            "events": serializers.Event([step.event for step in found.steps], many=True).data,
            "actions": list(found.actions),
            "why_not": found.why_not,
            "waiting_behind": len(found.behind),
            "idempotency_key": found.idempotency_key,
            "target": found.target,
        }
        return Response({**row, **more})


ASKS: dict[str, type[Serializer]] = {
    "assign": serializers.Assign,
    "take": serializers.Versioned,
    "comment": serializers.Comment,
    "snooze": serializers.Snooze,
    "wake": serializers.Versioned,
    "fix": serializers.Fix,
    "discard_fix": serializers.Versioned,
    "replay": serializers.WithReason,
    "resolve": serializers.Resolve,
    "reopen": serializers.ReasonNeeded,
}


class Act(Endpoint):
    """One action of the lifecycle table on one exception; only people act."""

    action: str = ""

    def post(self, request: Request, number: int) -> Response:
        """Do it, and answer with the exception as it is then."""
        by: User = request.user
        _visible(by, number)
        asks = ASKS[self.action](data=request.data)
        asks.is_valid(raise_exception=True)
        said = dict(asks.validated_data)
        if self.action == "assign" and said.get("to"):
            said["to"] = _person(said["to"])
        which: dict[str, Any] = {"number": number} if self.action in {"fix", "discard_fix"} else {"numbers": [number]}
        outcome = getattr(commands, self.action)(**which, **said, by=by)
        return Response(serializers.Outcome({"done": outcome.done, "exception": _visible(by, number)}).data)


def act(action: str) -> type[Act]:
    """The endpoint of one action, with the permission the lifecycle table names."""
    row = TABLE[action]
    found = type(f"Act_{action}", (Act,), {"action": action, "permission": row.permission, "__doc__": row.label})
    described = extend_schema(
        operation_id=f"{action}_exception",
        summary=row.label,
        tags=["exceptions"],
        parameters=NUMBER,
        request=ASKS[action],
        responses=serializers.Outcome,
    )
    return extend_schema_view(post=described)(found)


def _visible(person: User, number: int) -> Case:
    """The exception, if it exists for the person."""
    found = queries.visible(person).select_related("assignee").filter(number=number).first()
    if found is None:
        raise Http404
    return found


def _person(number: int) -> User:
    """An active person by number."""
    found = next((user for user in people(None) if user.pk == number), None)
    if found is None:
        raise ValidationError({"to": ["There is no such person."]})
    return found


class Quarantine(Endpoint):
    """What was refused at the door."""

    permission = "quarantine.view"

    @extend_schema(
        operation_id="list_quarantine",
        tags=["quarantine"],
        parameters=[
            OpenApiParameter("state", enum=[*quarantine.STATES, "all"], description="open when left out"),
            asked("client", "only what this service account sent"),
            asked("after", "the number the page before ended with"),
        ],
        responses=serializers.QuarantineList,
    )
    def get(self, request: Request) -> Response:
        """List what was refused, newest first."""
        given = request.query_params
        found = quarantine.listing(request.user, state=given.get("state", "open"), client=given.get("client", ""))
        rows = list(quarantine.before(found, given.get("after", ""))[: PAGE + 1])
        following = f"{request.path}?{_with(request, after=str(rows[PAGE - 1].pk))}" if len(rows) > PAGE else None
        return _page(serializers.QuarantineList({"items": rows[:PAGE], "next": following}).data)


def _with(request: Request, **changes: str) -> str:
    query = request.query_params.copy()
    for name, value in changes.items():
        query[name] = value
    return str(query.urlencode())


class QuarantineOne(Endpoint):
    """One refused item."""

    permission = "quarantine.view"

    @extend_schema(operation_id="read_quarantine", tags=["quarantine"], responses=serializers.QuarantineItem)
    def get(self, request: Request, number: int) -> Response:
        """Read one refused item as it came."""
        return Response(serializers.QuarantineItem(quarantine.one(request.user, number)).data)


class Resubmit(Endpoint):
    """Sends a refused item through the door again."""

    permission = "quarantine.resubmit"

    @extend_schema(
        operation_id="resubmit_quarantine",
        tags=["quarantine"],
        request=serializers.Resubmit,
        responses=serializers.Receipt,
    )
    def post(self, request: Request, number: int) -> Response:
        """Correct a refused item and send it through the door again, as its sender."""
        item = quarantine.one(request.user, number)
        asks = serializers.Resubmit(data=request.data)
        asks.is_valid(raise_exception=True)
        body = asks.validated_data.get("body", item.body)
        again = door.resubmit(item=item, body=body, reason=asks.validated_data["reason"], by=request.user)
        if again.problem:
            return Response(again.problem, again.problem["status"], content_type=problems.MEDIA_TYPE)
        return Response(again.told())


class Discard(Endpoint):
    """Puts a refused item away."""

    permission = "quarantine.resubmit"

    @extend_schema(
        operation_id="discard_quarantine",
        tags=["quarantine"],
        request=serializers.Discard,
        responses=serializers.QuarantineItem,
    )
    def post(self, request: Request, number: int) -> Response:
        """Put a refused item away for good, with the reason. It stays readable."""
        quarantine.one(request.user, number)
        asks = serializers.Discard(data=request.data)
        asks.is_valid(raise_exception=True)
        quarantine.discard(number=number, reason=asks.validated_data["reason"], by=request.user)
        return Response(serializers.QuarantineItem(quarantine.one(request.user, number)).data)
