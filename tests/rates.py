"""Exchange rates do not outlive their test, in memory either. A plugin of tests/conftest.py."""

import pytest

from opsboard.catalog.queries import forget_rates


@pytest.fixture(autouse=True)
def no_kept_rates() -> None:
    """Each test reads the rates anew: those of another test were rolled back."""
    forget_rates()
