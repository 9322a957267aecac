"""``make simulate SEEDS=1000``: that many runs of seeds that probably nobody has run yet, or of those from ``FIRST_SEED`` on.
A failure is shrunk and told. Exit status 1 if any."""

from __future__ import annotations

import os
import sys
from random import SystemRandom

from simulation.drawing import plan
from simulation.run import report, run, shrink, verdicts
from simulation.trouble import NEWEST

#: Fresh seeds are from this one on: those below have been run, and mended, often.
_FRESH = NEWEST
#: Failures that are told in full: shrinking takes a while, and the next ones are mostly the same.
_TOLD = 3


def main() -> int:
    count = int(os.environ.get("SEEDS") or "1000")
    first = int(os.environ.get("FIRST_SEED") or SystemRandom().randrange(_FRESH, 2**31))
    print(f"seeds {first} to {first + count - 1} (again with FIRST_SEED={first} SEEDS={count})", flush=True)
    failed = 0
    for seed, broken in verdicts(range(first, first + count)):
        if not broken:
            continue
        failed += 1
        print(f"seed {seed}: {broken[0]}", flush=True)
        if failed <= _TOLD:
            print(report(shrink(run(plan(seed)))), flush=True)
    print(f"{count} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
