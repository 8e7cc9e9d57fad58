"""The contract, on the simulated firm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.contract import Contract
from tests.integrations.firms import SandboxFirm


class TestSandbox(Contract):
    """Every story of the contract."""

    @pytest.fixture
    def firm(self, tmp_path: Path) -> SandboxFirm:
        return SandboxFirm(tmp_path / "sandbox.sqlite")
