"""The bench of what an entry costs looks into an engine: it must go on to fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench" / "engine_cost.py"


def test_what_an_entry_costs_can_be_measured() -> None:
    """Two records for an entry, about: a decision, and a command or an announcement."""
    ran = subprocess.run([sys.executable, str(BENCH), "300"], capture_output=True, text=True, check=True)
    spent, _, rest = ran.stdout.partition(" us an entry, ")
    assert float(spent) > 0
    assert float(rest.split()[0]) > 1
