"""``make demo``. Progress is on stderr, results are on stdout.

Exit codes: 0 no order is half done, 1 some are or it could not be found out, 130 interrupted before that was known.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kantor.errors import KantorError
from kantor_orchestrator.demo.children import DemoError
from kantor_orchestrator.demo.ending import Interrupted, hear


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kantor_orchestrator.demo",
        description="Kafka, the platform and four services; orders with faults; a count that none is half done.",
        epilog="With ONCE=1 in the environment it stops then, else at Ctrl-C. With KANTOR_BOOTSTRAP_SERVERS it uses that "
        "cluster and starts no Kafka.",
    )
    parser.add_argument("--orders", type=int, default=200, metavar="N", help="default: 200, at least 20")
    parser.add_argument(
        "--home", type=Path, default=Path(".demo"), help="keep everything there (default: .demo)"
    )
    options = parser.parse_args(arguments)
    if options.orders < 20:
        parser.error("--orders: at least 20, so that every fault occurs")
    hear()
    try:
        from kantor_orchestrator.demo.command import demo

        return demo(options.home.absolute(), options.orders, once=os.environ.get("ONCE") == "1")
    except Interrupted:
        print("Interrupted.", file=sys.stderr)  # noqa: T201 - a command line
        return 130
    except (DemoError, KantorError) as error:
        print(f"\n{error}", file=sys.stderr)  # noqa: T201 - a command line
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kantor_examples":
            raise
        parser.error(
            "the demo's services do not come with the package: run it in a checkout of the repository"
        )


if __name__ == "__main__":
    sys.exit(main())
