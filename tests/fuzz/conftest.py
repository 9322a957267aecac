"""How many examples each door gets: few in ``make test``, always the same; fresh ones in ``make fuzz``."""

from __future__ import annotations

import os

import hypothesis

#: A multiple of what a test asks for.
SCALE = int(os.environ.get("KANTOR_FUZZ_SCALE") or 1)


def examples(count: int) -> hypothesis.settings:
    """The test's number of examples in ``make test``."""
    return hypothesis.settings(
        hypothesis.settings.get_profile("kantor"),
        max_examples=count * SCALE,
        derandomize=SCALE == 1,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
