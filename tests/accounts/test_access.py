"""Who may do what, for which legal entities, and what those who may not are told."""

import json

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError
from django.db.transaction import atomic
from django.http import Http404, HttpResponse
from django.test import RequestFactory
from django.utils import timezone

from opsboard.accounts.access import SIGNED_IN, entities, in_scope, may, required
from opsboard.accounts.models import ServiceAccount, User
from opsboard.accounts.roles import PERMISSIONS, ROLES
from tests.personas import OTHER_ENTITY, OWN_ENTITY, make_person

READS = {code for code in PERMISSIONS if code.endswith(".view")}
ACTS = set(PERMISSIONS) - READS


@required("exceptions.replay")
def replay(request):
    """A page that may only be opened by who may replay."""
    return HttpResponse("replayed")


def test_the_table_keeps_duties_apart():
    assert ROLES["auditor"].permissions == READS
    assert not ROLES["executive"].permissions & ACTS
    assert "payloads.view" not in ROLES["executive"].permissions
    for code, role in ROLES.items():
        configures = role.permissions & {"accounts.manage", "catalog.manage"}
        acts = role.permissions & {"exceptions.fix", "exceptions.replay", "quarantine.resubmit"}
        assert not (configures and acts), f"{code} both configures and acts"
        assert role.permissions <= set(PERMISSIONS), f"{code} has a permission that does not exist"
    assert ROLES["administrator"].permissions & ACTS == {"accounts.manage", "catalog.manage"}


def test_nobody_gets_anything_by_default(stranger):
    assert not [code for code in PERMISSIONS if may(stranger, code)]
    assert not [code for code in PERMISSIONS if may(AnonymousUser(), code)]


@pytest.mark.django_db
def test_a_superuser_gets_no_shortcut_past_the_table(stranger, administrator):
    stranger.is_superuser = administrator.is_superuser = True
    assert not may(stranger, "exceptions.view")
    assert not may(administrator, "exceptions.replay")


def test_who_is_deactivated_may_nothing_at_once(owner, client):
    assert may(owner, "exceptions.fix")
    owner.is_active = False
    assert not may(owner, "exceptions.fix")
    assert not may(owner, SIGNED_IN)
    assert entities(owner) == []


def test_a_misspelt_permission_is_an_error_and_no_silent_no(owner):
    with pytest.raises(KeyError, match=r"exceptions\.fly"):
        may(owner, "exceptions.fly")
    with pytest.raises(KeyError, match=r"exceptions\.fly"):
        required("exceptions.fly")


def ask(user, path: str = "/exceptions/7/replay/", **headers) -> HttpResponse:
    """The answer of the page above to this person."""
    request = RequestFactory().get(path, headers=headers)
    request.user = user
    return replay(request)


def test_who_may_gets_in_and_the_view_says_what_it_needs(owner):
    assert ask(owner).content == b"replayed"
    assert vars(replay)["permission"] == "exceptions.replay"


def test_who_may_not_is_told_that_there_is_nothing(executive, auditor, stranger):
    for user in (executive, auditor, stranger):
        with pytest.raises(Http404):
            ask(user)


def test_a_visitor_is_sent_to_sign_in_and_comes_back():
    answer = ask(AnonymousUser(), "/exceptions/7/replay/?tab=diff")
    assert answer.status_code == 302
    assert answer["Location"] == "/account/login/?next=/exceptions/7/replay/%3Ftab%3Ddiff"


def test_a_fragment_sends_the_whole_page_to_sign_in():
    answer = ask(AnonymousUser(), **{"HX-Request": "true", "HX-Current-URL": "https://host.example/exceptions/?q=a"})
    assert answer.status_code == 401
    assert answer["HX-Redirect"] == "/account/login/?next=/exceptions/%3Fq%3Da"


def test_a_job_without_a_token_gets_problem_details():
    answer = ask(AnonymousUser(), "/api/v1/exceptions/")
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert json.loads(answer.content)["status"] == 401


def scoped(user) -> set[str]:
    """Which of three rows (own, other, unknown entity) the person sees; the entity stands in `name` here."""
    return set(in_scope(ServiceAccount.objects.all(), user, field="name").values_list("name", flat=True))


@pytest.fixture
def rows(db):
    """One row per legal entity, and one of which nobody knows the entity."""
    for number, entity in enumerate((OWN_ENTITY, OTHER_ENTITY, "")):
        ServiceAccount.objects.create(
            name=entity, source=f"urn:x:{number}", created_at=timezone.now(), created_by="test"
        )


def test_people_see_the_rows_of_their_own_legal_entities(rows, owner, colleague, executive):
    assert scoped(owner) == {OWN_ENTITY}
    assert scoped(colleague) == {OTHER_ENTITY}
    assert scoped(executive) == {OWN_ENTITY, OTHER_ENTITY, ""}
    assert scoped(make_person("finance", "Nil Entity", [])) == set()
    assert scoped(AnonymousUser()) == set()


def test_a_row_of_no_known_entity_is_seen_by_those_who_repair_or_audit_it(rows):
    assert scoped(make_person("platform", "Local Engineer", [OWN_ENTITY])) == {OWN_ENTITY, ""}
    assert scoped(make_person("auditor", "Local Auditor", [OWN_ENTITY])) == {OWN_ENTITY, ""}
    assert scoped(make_person("executive", "Local Director", [OWN_ENTITY])) == {OWN_ENTITY}


@pytest.mark.django_db
def test_the_database_refuses_a_role_that_is_not_in_the_table(owner):
    owner.role = "wizard"
    with pytest.raises(IntegrityError, match="user_role_is_in_the_table"), atomic():
        owner.save()


@pytest.mark.django_db
def test_one_person_per_address_whatever_its_letter_case(owner):
    with pytest.raises(IntegrityError, match="user_email_once"), atomic():
        User.objects.create(username="second", email=owner.email.upper())
