"""``make simulate SEEDS=1000``: that many runs from ``FIRST_SEED`` on; a failure is shrunk and told. Exit status 1 if any."""

from __future__ import annotations

import os
import sys

from simulation.plan import plan
from simulation.run import report, run, shrink, verdicts

#: Failures that are told in full: shrinking takes a while, and the next ones are mostly the same.
_TOLD = 3


def main() -> int:
    first, count = int(os.environ.get("FIRST_SEED", "0")), int(os.environ.get("SEEDS", "1000"))
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
