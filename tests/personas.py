"""The people the tests tell stories about. Fixtures for everybody; tests/conftest.py loads them.

The owner and the colleague have the same role in different legal entities, so scope is tested with the two.
"""

from collections.abc import Callable

import pytest
from django.test import Client
from model_bakery import baker

from opsboard.accounts.models import ALL_ENTITIES, User
from opsboard.accounts.roles import role
from opsboard.catalog.queries import forget_rates

OWN_ENTITY = "DE01"
OTHER_ENTITY = "US01"


def make_person(role_code: str, name: str, entities: list[str]) -> User:
    """A person in the database who can be signed in with `client.force_login`; has no usable password."""
    first, _, last = name.partition(" ")
    address = f"{name.lower().replace(' ', '.')}@firm.example"
    return baker.make(
        User,
        username=address,
        email=address,
        first_name=first,
        last_name=last,
        role=role_code,
        team=role(role_code).team,
        entities=entities,
        password="!",
        is_superuser=False,
    )


@pytest.fixture
def owner(db) -> User:
    """Finance, for OWN_ENTITY only: the person most stories are about."""
    return make_person("finance", "Miriam Halvorsen", [OWN_ENTITY])


@pytest.fixture
def colleague(db) -> User:
    """Finance too, but for OTHER_ENTITY only: may do the same things to other rows."""
    return make_person("finance", "Tom Aldridge", [OTHER_ENTITY])


@pytest.fixture
def finance_lead(db) -> User:
    """Finance for all legal entities: the second person of four-eyes stories."""
    return make_person("finance", "Beatriz Lund", [ALL_ENTITIES])


@pytest.fixture
def pmo(db) -> User:
    """Project management office, all legal entities."""
    return make_person("pmo", "Ravi Menon", [ALL_ENTITIES])


@pytest.fixture
def sales_ops(db) -> User:
    """Sales operations, all legal entities."""
    return make_person("sales_ops", "Clara Jansen", [ALL_ENTITIES])


@pytest.fixture
def hr_ops(db) -> User:
    """HR operations, all legal entities."""
    return make_person("hr_ops", "Olga Petrescu", [ALL_ENTITIES])


@pytest.fixture
def executive(db) -> User:
    """Sees figures and threads of all legal entities, no payloads, and acts on nothing."""
    return make_person("executive", "Grace Okafor", [ALL_ENTITIES])


@pytest.fixture
def platform(db) -> User:
    """Platform engineer, all legal entities; the only one with the quarantine in hand."""
    return make_person("platform", "Yuki Tanaka", [ALL_ENTITIES])


@pytest.fixture
def auditor(db) -> User:
    """Reads everything, changes nothing."""
    return make_person("auditor", "Henrik Solberg", [ALL_ENTITIES])


@pytest.fixture
def administrator(db) -> User:
    """Manages accounts and catalogue, neither fixes nor replays."""
    return make_person("administrator", "Ana Ferreira", [ALL_ENTITIES])


@pytest.fixture
def stranger(db) -> User:
    """Signed in, but without any role: nothing exists for this person."""
    return make_person("", "Sam Nobody", [ALL_ENTITIES])


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    """A browser in which the given person has signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture(autouse=True)
def no_kept_rates() -> None:
    """Each test reads the exchange rates anew: those of another test were rolled back."""
    forget_rates()
