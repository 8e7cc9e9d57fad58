"""Where the published process logs lie, when they are at hand: beside the checkout."""

from pathlib import Path

import pytest

LOGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "event_logs"
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason="the published process logs are not beside this checkout")
