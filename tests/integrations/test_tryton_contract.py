"""The contract, on three real Tryton systems."""

from __future__ import annotations

import pytest

from tests.integrations.contract import Contract
from tests.integrations.firms import TrytonFirm
from tests.live import Entries

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live")]


class TestTryton(Contract):
    """Every story of the contract."""

    @pytest.fixture(scope="class")
    def firm(self, live_systems: Entries) -> TrytonFirm:
        return TrytonFirm(live_systems)
