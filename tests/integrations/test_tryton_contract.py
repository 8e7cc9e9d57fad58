"""The contract, on three real Tryton systems."""

from __future__ import annotations

import pytest

from tests.integrations.contract import Contract
from tests.integrations.firms import TrytonFirm
from tests.live import Entries

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def firm(live_systems: Entries) -> TrytonFirm:
    """One firm for all stories; each uses a project of its own."""
    return TrytonFirm(live_systems)


class TestTryton(Contract):
    """Every story of the contract."""
