"""``make chaos SEED=7 ROUNDS=20 RATE=100``: storms on a real Kafka, one after the other, on one platform.

``FIRST=12 ROUNDS=1`` has the twelfth storm of the seed alone. Ends at the first round after which something is wrong, and keeps
the folder with all logs then.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from integration.evidence import completed
from integration.platform_kit import Orders
from integration.storm import Storm, forecast

#: Gusts of one round.
GUSTS = 4
#: Seconds from a round's last fault until every order has ended and is shown, at most. A mute connection is left after 10 to 18
#: (33 by the services), what it held up has timeouts and retries of its own, and the machine may be slow.
RECOVERY = 120.0


def setting(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    seed, rate = setting("SEED", random.randrange(1_000_000)), setting("RATE", 100)
    first, rounds = setting("FIRST", 1), setting("ROUNDS", 20)
    folder = Path(tempfile.mkdtemp(prefix="kantor-chaos-"))
    logging.basicConfig(filename=folder / "test.log", level=logging.INFO)
    say(f"seed {seed}: {rounds} rounds at {rate} orders a second, in {folder}")
    every, wrongs = Orders(), list[str]()
    with Storm(folder) as storm:
        for number in range(first, first + rounds):
            with storm.orders(rate) as orders:
                storm.blow(forecast(random.Random(f"{seed}/{number}"), GUSTS), lambda text: say(f"  {text}"))
                calm = time.monotonic()
            took = time.monotonic() - calm
            every |= orders
            wrongs = storm.wrongs(every)
            if took > RECOVERY:
                wrongs.append(f"it took {took:.0f} s after the last fault until all was settled and shown")
            say(
                f"round {number}: {len(orders)} orders, {completed(storm.platform, orders)} completed, "
                f"{storm.waiting(orders)} wait for a person, settled {took:.0f} s after the last fault, {len(wrongs)} wrongs"
            )
            if wrongs:
                break
        for restart in storm.restarts:
            say(f"started again: {restart}")
    for wrong in wrongs[:50]:
        say(f"WRONG {wrong}")
    if wrongs:
        say(f"seed {seed}, round {number}; the logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
