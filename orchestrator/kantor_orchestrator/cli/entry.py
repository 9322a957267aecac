"""Where the program ``kantor`` begins: who installed only what services need is told what else the program wants."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from kantor_orchestrator.cli.main import main as program

        program()  # what a command needs is imported when it is asked for
    except ModuleNotFoundError as error:
        if (error.name or "kantor").partition(".")[0].startswith("kantor"):
            raise
        sys.exit(
            f"kantor: the package {error.name} is missing: services work without it, this program does not. "
            "Install kantor[orchestrator], or kantor[dev], which includes Apache Kafka"
        )
