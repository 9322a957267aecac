"""``make fuzz MINUTES=60``: fresh examples for every door until the time is over; the exit code says whether any went through.

Each round is a pytest of its own with another seed, so that a door that ends the process ends its round alone. What failed is
kept by Hypothesis, and tried first in the next round and by ``KANTOR_FUZZ_SCALE=2 pytest tests/fuzz``.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

_FOLDER = Path(__file__).parent
#: So many times the examples of ``make test`` in a round: some minutes.
_SCALE = 20


def main() -> int:
    minutes = float(os.environ.get("MINUTES") or 60)
    deadline, failed, rounds = time.monotonic() + 60 * minutes, list[int](), 0
    while time.monotonic() < deadline:
        seed = random.SystemRandom().randrange(1 << 32)
        rounds += 1
        for door in sorted(_FOLDER.glob("test_*.py")):
            command = [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", str(door)]
            done = subprocess.run(
                command,
                env=os.environ | {"KANTOR_FUZZ_SCALE": str(_SCALE)},
                cwd=_FOLDER.parents[1],
                check=False,
            )
            if done.returncode != 0:
                print(f"seed {seed}: {door.name} failed with {done.returncode}", flush=True)
                failed.append(seed)
            if time.monotonic() > deadline:
                break
    print(f"{rounds} rounds in {minutes:g} minutes, {len(failed)} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
